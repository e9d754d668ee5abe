"""Which answer was given where which one was wanted: for labels, and for JSON fields that take few values."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, cast

from finetune_advisor.metrics import Metric
from finetune_advisor.metrics.labels import Label, normalised
from finetune_advisor.metrics.structured import JsonFields, loads
from finetune_advisor.records import Confusion, Example

ELSE = "(another answer)"
"""Stands for every answer that is wanted nowhere."""

MOST_VALUES = 12
"""A JSON field with more values than this has no matrix that could be read."""

OFTEN = 3
"""So often each value of a field has to be wanted on average; a field of names or dates has no matrix."""


def confusions(metric: Metric, texts: Sequence[str], examples: Sequence[Example]) -> tuple[Confusion, ...]:
    """One matrix for labels, one for each JSON field with few values, none for other answers.

    Args:
        metric: Judges the answers.
        texts: What was answered; empty where nothing was.
        examples: What was wanted, in the same order.
    """
    if isinstance(metric, Label):
        return (_of_labels(metric, texts, examples),)
    if isinstance(metric, JsonFields):
        return tuple(_of_fields(metric, texts, examples))
    return ()


def _of_labels(metric: Label, texts: Sequence[str], examples: Sequence[Example]) -> Confusion:
    spelled = {normalised(name): name for name in (*(each.answer for each in examples), *metric.labels)}

    def pair(text: str, example: Example) -> tuple[str, str]:
        score = metric.score(text, example)
        wanted = spelled[normalised(example.answer)]
        # Of several references the one that was answered is the wanted one.
        answered = wanted if score.value else spelled.get(normalised(text), ELSE)
        return wanted, answered if score.format_ok else ""

    return _counted("", [pair(text, example) for text, example in zip(texts, examples, strict=True)])


def _counted(field: str, pairs: Iterable[tuple[str, str]]) -> Confusion:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for wanted, answered in pairs:
        counts[wanted][answered] += 1
    return Confusion(field=field, counts={wanted: dict(found) for wanted, found in sorted(counts.items())})


def _of_fields(metric: JsonFields, texts: Sequence[str], examples: Sequence[Example]) -> Iterable[Confusion]:
    wanted = [_fields(example.answer) or {} for example in examples]
    answered = [_fields(text) for text in texts]
    for name in dict.fromkeys(name for fields in wanted for name in fields):
        values = Counter(fields[name] for fields in wanted if name in fields)
        known = name in metric.fields or not metric.fields
        if known and 2 <= len(values) <= MOST_VALUES and values.total() >= OFTEN * len(values):
            yield _counted(name, _pairs(name, wanted, answered))


def _pairs(
    name: str, wanted: Sequence[Mapping[str, str]], answered: Sequence[Mapping[str, str] | None]
) -> Iterable[tuple[str, str]]:
    values = {normalised(fields[name]): fields[name] for fields in wanted if name in fields}
    for want, got in zip(wanted, answered, strict=True):
        if name in want:
            given = None if got is None else values.get(normalised(got.get(name, "")), ELSE)
            yield values[normalised(want[name])], given or ""


def _fields(text: str) -> Mapping[str, str] | None:
    """The fields of a JSON object whose values are single words or numbers; None where it is no object."""
    try:
        value = loads(text)
    except (ValueError, ArithmeticError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    found = cast(dict[str, Any], value)
    return {name: str(each) for name, each in found.items() if isinstance(each, str | bool | Decimal) or each is None}
