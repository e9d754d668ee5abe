"""The JSON schema of the answers, read off the training examples, for models that can be made to keep to one.

It is written in the part of JSON schema that OpenAI and Azure OpenAI take as strict: every key is required and no other
is allowed, within their limits. So there is none where a schema would forbid answers that are seen in training.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from finetune_advisor.approaches.prompts import MAX_KEYS, closed
from finetune_advisor.datasets.jsonl import JSON, canonical, loads
from finetune_advisor.records import Example, Settings, Task, TaskKind

MAX_LEVELS = 5
MAX_PROPERTIES = 100
MAX_ENUM_VALUES = 500
"""What Azure OpenAI takes; OpenAI takes more
(https://learn.microsoft.com/azure/ai-services/openai/how-to/structured-outputs)."""

_TYPES: Mapping[type, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    type(None): "null",
}


class _Unfit(ValueError):
    """No strict schema allows all that was seen."""


def answer_schema(task: Task, train: Sequence[Example]) -> Settings | None:
    """The schema of a JSON task's answers; None where they are not all objects of one form, or of another kind.

    Single values are a closed set by the same rule as in the prompts of untuned arms (`prompts.rules`).
    """
    if task.kind is not TaskKind.JSON:
        return None
    try:
        values = [loads(example.answer) for example in train]
        if not values or not all(isinstance(value, dict) for value in values):
            return None
        schema = _schema(values, MAX_LEVELS)
    except ValueError:
        return None
    return schema if _is_small(schema) else None


def _schema(values: Sequence[JSON], levels: int) -> dict[str, Any]:
    objects = [value for value in values if isinstance(value, dict)]
    lists = [value for value in values if isinstance(value, list)]
    single = [value for value in values if not isinstance(value, dict | list)]
    if levels == 0 and (objects or lists):
        raise _Unfit
    kinds = [
        *([_object(objects, levels - 1)] if objects else []),
        *([_list(lists, levels - 1)] if lists else []),
        *([_single(single)] if single else []),
    ]
    return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}


def _object(objects: Sequence[Mapping[str, JSON]], levels: int) -> dict[str, Any]:
    keys = list(objects[0])
    if len(keys) > MAX_KEYS or any(set(each) != set(keys) for each in objects):
        raise _Unfit
    return {
        "type": "object",
        "properties": {key: _schema([each[key] for each in objects], levels) for key in keys},
        "required": keys,
        "additionalProperties": False,
    }


def _list(lists: Sequence[Sequence[JSON]], levels: int) -> dict[str, Any]:
    items = [item for each in lists for item in each]
    if not items:
        raise _Unfit
    return {"type": "array", "items": _schema(items, levels)}


def _single(values: Sequence[JSON]) -> dict[str, Any]:
    types = dict.fromkeys(_TYPES[type(value)] for value in values)
    if "number" in types:
        types.pop("integer", None)
    names = list(types)
    kind: dict[str, Any] = {"type": names[0] if len(names) == 1 else names}
    seen = Counter(map(canonical, values))
    # 1 and 1.0 are one value in JSON, so numbers are never listed.
    return {**kind, "enum": [json.loads(each) for each in seen]} if closed(seen) and "number" not in types else kind


def _is_small(schema: Mapping[str, Any]) -> bool:
    parts = list(_parts(schema))
    properties = sum(len(part.get("properties", ())) for part in parts)
    return properties <= MAX_PROPERTIES and sum(len(part.get("enum", ())) for part in parts) <= MAX_ENUM_VALUES


def _parts(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A schema and all that are in it."""
    yield schema
    inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", ()), schema.get("items")]
    for each in cast(list[Mapping[str, Any] | None], inner):
        if each is not None:
            yield from _parts(each)
