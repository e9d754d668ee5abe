"""JSON as data: its type, the reading of one line, and the one way to write a value for hashing."""

from __future__ import annotations

import json
from typing import TypeAlias

from finetune_advisor.records import Finding

JSON: TypeAlias = "dict[str, JSON] | list[JSON] | str | int | float | bool | None"


_SHOWN = 60


def canonical(value: JSON) -> str:
    """A value as JSON text that is the same for equal values: keys sorted, no spaces, no escapes beyond need."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def loads(text: str) -> JSON:
    """Parse strict JSON.

    Raises:
        ValueError: Not JSON, nested or long beyond reason, or holding what Python's parser takes but nobody else
            does: NaN, Infinity, and halves of surrogate pairs, which no encoding can write.
    """
    try:
        value: JSON = json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if "\\ud" in text.lower():
        _check_encodable(value)
    return value


def parse(raw: str, line: int, file: str) -> tuple[JSON, list[Finding]]:
    """The value on one line of a JSONL file, or the finding that says why there is none."""
    if not raw.strip():
        return None, [_fault(file, line, "blank_line", "The line is empty; every line has to hold one JSON object.")]
    try:
        return loads(raw.strip()), []
    except ValueError as error:
        return None, [_fault(file, line, "invalid_json", f"The line is not JSON: {_reason(error)}.")]


def shown(value: JSON) -> str:
    """A value for a message: as JSON, cut where it is long."""
    written = canonical(value)
    return written if len(written) <= _SHOWN else written[:_SHOWN] + "..."


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def _reason(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        cut_off = "" if error.doc.endswith("}") else "; the line seems to be cut off"
        return f"{error.msg} at column {error.colno}{cut_off}"
    return str(error)


def _check_encodable(value: JSON) -> None:
    try:
        canonical(value).encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("a text holds half of a surrogate pair (\\ud800 to \\udfff)") from error


def _fault(file: str, line: int, code: str, message: str) -> Finding:
    return Finding(file=file, line=line, code=code, severity="error", message=message)
