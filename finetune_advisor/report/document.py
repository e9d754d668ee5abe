"""Results as JSON and back: every key, money as decimal strings, times in ISO 8601, and a schema version on top."""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from finetune_advisor.errors import BadInput, StoreProblem
from finetune_advisor.records import SCHEMA_VERSION, Results


@cache
def _adapter() -> TypeAdapter[Results]:
    return TypeAdapter(Results)


def to_json(results: Results) -> str:
    """All results as indented JSON; `from_json` reads it back."""
    document = {"schema": SCHEMA_VERSION, **_adapter().dump_python(results, mode="json")}
    text = json.dumps(_finite(document), ensure_ascii=False, indent=1, allow_nan=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8") + "\n"


def _finite(value: Any) -> Any:
    """JSON has no infinities: a training that diverged logs them, so they travel as words."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in cast(dict[str, Any], value).items()}
    if isinstance(value, list):
        return [_finite(each) for each in cast(list[Any], value)]
    return value


def from_json(text: str) -> Results:
    """Results from what `to_json` wrote.

    Raises:
        BadInput: It is not JSON, or not a whole results document.
        StoreProblem: A newer version of this program wrote it.
    """
    document = _parsed(text)
    schema = document.pop("schema", None)
    if not isinstance(schema, int):
        raise BadInput("This is not a results document: it has no schema version.", hint=_AGAIN)
    if schema > SCHEMA_VERSION:
        raise StoreProblem(
            f"These results have schema {schema}, this program reads up to {SCHEMA_VERSION}.",
            hint="Update finetune-advisor, or run the case again with this version.",
        )
    try:
        return _adapter().validate_python(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"The results document is damaged at {where}: {first['msg']}.", hint=_AGAIN) from error


_AGAIN = "Write it again with: finetune-advisor report CASE"


def _parsed(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"The results document is not valid JSON: {error}.", hint=_AGAIN) from error
    if not isinstance(document, dict):
        raise BadInput("The results document is not a JSON object.", hint=_AGAIN)
    return cast(dict[str, Any], document)
