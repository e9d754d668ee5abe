"""Requests and answers held against OpenAI's OpenAPI specification, where a copy of it is given."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from finetune_advisor.errors import BadInput, require

NAME = "urn:openai"
JSON = ("content", "application/json", "schema")


class Spec:
    """The specification.

    Args:
        path: `openapi.yaml` of github.com/openai/openai-openapi.

    Raises:
        BadInput: The file is missing or not such a specification.
    """

    def __init__(self, path: Path) -> None:
        self._content = _parsed(path)
        referencing = require("referencing", extra="emulator")
        drafts = require("referencing.jsonschema", extra="emulator")
        self._registry = referencing.Registry().with_resource(NAME, drafts.DRAFT202012.create_resource(self._content))

    def request_fault(self, method: str, path: str, body: object) -> str:
        """What the specification has against a request's JSON body; "" for nothing.

        Args:
            method: "POST", for example.
            path: The path as the specification writes it, "/files/{file_id}" for example.
            body: Parsed JSON.
        """
        return self._fault(("paths", path, method.lower(), "requestBody", *JSON), body)

    def answer_fault(self, method: str, path: str, body: object) -> str:
        """The same for an answer that is no error."""
        return self._fault(("paths", path, method.lower(), "responses", "200", *JSON), body)

    def _fault(self, place: tuple[str, ...], body: object) -> str:
        if not self._has(place):
            return ""
        jsonschema = require("jsonschema", extra="emulator")
        pointer = "/".join(step.replace("~", "~0").replace("/", "~1") for step in place)
        schema = {"$ref": f"{NAME}#/{quote(pointer)}"}
        faults = jsonschema.Draft202012Validator(schema, registry=self._registry).iter_errors(body)
        fault = jsonschema.exceptions.best_match(faults)
        return f"{fault.json_path}: {fault.message[:300]}" if fault else ""

    def _has(self, place: tuple[str, ...]) -> bool:
        part: Any = self._content
        for step in place:
            part = part.get(step, {})
        return bool(part)


@cache
def _parsed(path: Path) -> Mapping[str, Any]:
    yaml = require("yaml", extra="emulator")
    try:
        content: Any = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"The specification {path} cannot be read: {error}.") from error
    if not isinstance(content, dict) or "paths" not in content or "components" not in content:
        raise BadInput(f"{path} is not an OpenAPI specification.", hint="Take openapi.yaml of openai/openai-openapi.")
    return _mended(content)


def _mended(value: Any) -> Any:
    """With today's words: the file says version 3.1, and in places writes `nullable` and `exclusiveMinimum` as 3.0."""
    if isinstance(value, list):
        return [_mended(item) for item in cast(list[Any], value)]
    if not isinstance(value, dict):
        return value
    made = {key: _mended(item) for key, item in cast(dict[str, Any], value).items()}
    if made.get("exclusiveMinimum") is True:
        made["exclusiveMinimum"] = made.pop("minimum")
    return {"anyOf": [made, {"type": "null"}]} if made.pop("nullable", None) is True else made
