"""Scorer of JSON answers, field by field."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, cast

from finetune_advisor.metrics.text import references
from finetune_advisor.records import Example, Score

MAX_FIELDS = 20
"""How many fields are reported one by one where none were named."""

_FENCE = re.compile(r"```(?:json)?(.*)```", re.DOTALL | re.IGNORECASE)


class _NotJson(ValueError):
    """The text is not one JSON value."""


@dataclass(frozen=True, kw_only=True)
class _Parsed:
    """A JSON value, its leaves as a multiset, and its top-level fields in comparable form."""

    container: type[Any]
    leaves: Counter[Hashable]
    fields: Mapping[str, Hashable]


@dataclass(frozen=True, kw_only=True)
class JsonFields:
    """Micro F1 over the (path, value) pairs of a JSON object or list.

    The elements of a list count as a set with repeats, each as a whole: a slot with the wrong value is wrong. Strings
    are equal regardless of case, spacing and Unicode form, numbers by value; a string never equals a number. A
    Markdown fence around the JSON is tolerated, any other text around it is the wrong form.

    Args:
        fields: The top-level fields that count; all where none are given.
    """

    fields: tuple[str, ...] = ()
    higher_is_better: ClassVar[bool] = True
    binary: ClassVar[bool] = False
    title: ClassVar[str] = "Field F1"

    def score(self, text: str, example: Example) -> Score:
        """How good one answer is; a format failure where it is not JSON, or a list where an object is wanted."""
        answered = self._parse(text)
        wanted = [parsed for parsed in map(self._parse, references(example)) if parsed]
        if answered is None or (wanted and all(answered.container is not want.container for want in wanted)):
            return Score(value=0.0, format_ok=False)
        return Score(value=max((_f1(answered, want) for want in wanted), default=0.0))

    def extras(self, texts: Sequence[str], examples: Sequence[Example]) -> Mapping[str, float]:
        """Shares: `json_valid`, `exact_match` (all fields right), and `field_NAME` for each top-level field.

        A field's share is over the examples whose first reference has it; the most frequent 20 are given.
        """
        if not texts:
            return {}
        answered = [self._parse(text) for text in texts]
        wanted = [self._parse(example.answer) for example in examples]
        exact = sum(self.score(text, example).value == 1 for text, example in zip(texts, examples, strict=True))
        return {
            "json_valid": sum(parsed is not None for parsed in answered) / len(texts),
            "exact_match": exact / len(texts),
            **_field_shares(answered, wanted),
        }

    def _parse(self, text: str) -> _Parsed | None:
        try:
            value = loads(text)
            if self.fields and isinstance(value, dict):
                value = {key: item for key, item in cast(dict[str, Any], value).items() if key in self.fields}
            return _Parsed(
                container=cast(type[Any], type(value)), leaves=Counter(_leaves((), value)), fields=_fields(value)
            )
        except (ValueError, ArithmeticError, RecursionError):
            return None


def loads(text: str) -> Any:
    """One JSON value, be it in a Markdown fence; numbers as Decimal.

    Raises:
        ValueError: The text is no JSON.
    """
    bare = text.strip().strip("\ufeff")
    fenced = _FENCE.fullmatch(bare)
    # Decimal keeps 1 and 1.0 equal and takes integers of any length.
    return json.loads(
        fenced[1] if fenced else bare, parse_int=Decimal, parse_float=Decimal, parse_constant=_refuse_constant
    )


def _refuse_constant(name: str) -> None:
    raise _NotJson(f"{name} is not JSON")


def _leaves(path: tuple[str, ...], value: Any) -> Iterator[Hashable]:
    """The (path, value) pairs; an empty object or list is a value of its own."""
    if isinstance(value, dict) and value:
        for key, item in cast(dict[str, Any], value).items():
            yield from _leaves((*path, key), item)
    elif isinstance(value, list) and value:
        for item in cast(list[Any], value):
            yield (*path, "[]"), _canonical(item)
    else:
        yield path, _canonical(value)


def _canonical(value: Any) -> Hashable:
    """A value that equals another exactly where the two count as the same."""
    if isinstance(value, dict):
        items = cast(dict[str, Any], value).items()
        return "object", frozenset((key, _canonical(item)) for key, item in items)
    if isinstance(value, list):
        return "list", frozenset(Counter(map(_canonical, cast(list[Any], value))).items())
    if isinstance(value, str):
        folded = unicodedata.normalize("NFKC", value).casefold()
        return "string", " ".join(folded.split())
    return type(value).__name__, value


def _fields(value: Any) -> Mapping[str, Hashable]:
    if not isinstance(value, dict):
        return {}
    return {key: _canonical(item) for key, item in cast(dict[str, Any], value).items()}


def _f1(answered: _Parsed, wanted: _Parsed) -> float:
    if answered.leaves == wanted.leaves:
        return 1.0
    common = (answered.leaves & wanted.leaves).total()
    return 2 * common / (answered.leaves.total() + wanted.leaves.total())


def _field_shares(answered: Sequence[_Parsed | None], wanted: Sequence[_Parsed | None]) -> dict[str, float]:
    seen: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for answer, want in zip(answered, wanted, strict=True):
        for name, value in want.fields.items() if want else ():
            seen[name] += 1
            right[name] += bool(answer and name in answer.fields and answer.fields[name] == value)
    return {f"field_{name}": right[name] / count for name, count in seen.most_common(MAX_FIELDS)}
