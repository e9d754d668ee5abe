"""Repeats among the rows of a large file, told from digests: the same decisions as `chat.Seen` and `audit` make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from finetune_advisor.errors import require


class Repeat(NamedTuple):
    """A row that asks what an earlier one asks; `code` says how much the two have in common."""

    row: int
    code: str
    other: int


def first_of_each(values: Any) -> Any:
    """For each value the first place of its like."""
    np = require("numpy", extra="all")
    first = np.arange(len(values))
    many = np.flatnonzero(_come_again(values))
    if len(many):
        _, start, place = np.unique(values[many], return_index=True, return_inverse=True)
        first[many] = many[start[place]]
    return first


def distinct_under(groups: Any, members: Any) -> Any:
    """The groups, sorted, that have only one distinct member."""
    np = require("numpy", extra="all")
    order = np.lexsort((members, groups))
    group, member = groups[order], members[order]
    new = np.concatenate([[True], group[1:] != group[:-1]])[: len(group)]
    other = np.concatenate([[False], ~new[1:] & (member[1:] != member[:-1])])[: len(group)]
    return np.setdiff1d(group[new], group[other])


def repeats(
    groups: Any, asked: Any, answers: Any, accepted: Mapping[int, frozenset[int]], known: Any, *, labels: bool
) -> list[Repeat]:
    """What is found in rows of the same group, in the order of rows.

    Args:
        groups: The group of near duplicates of each row.
        asked: The digest of each row's question.
        answers: The digest of each row's answer.
        accepted: The digests of all accepted answers of rows that have more than one.
        known: Whether the repeat of a row has been reported already.
        labels: Whether answers are labels, so that near duplicates with other answers are conflicts.
    """
    np = require("numpy", extra="all")
    many = np.flatnonzero(_come_again(groups))
    order = many[np.argsort(groups[many], kind="stable")]
    cuts = np.flatnonzero(np.diff(groups[order])) + 1
    found: list[Repeat] = []
    for members in np.split(order, cuts) if len(order) else ():
        rows = members.tolist()
        sets = [accepted.get(row) or frozenset([int(answers[row])]) for row in rows]
        skipped = known[members].tolist()
        found += _in_group(rows, asked[members].tolist(), sets, skipped, labels)
    return sorted(found)


def _come_again(values: Any) -> Any:
    """Whether each value is there more than once; sorting values is many times faster than sorting places."""
    np = require("numpy", extra="all")
    ordered = np.sort(values)
    return np.isin(values, np.unique(ordered[1:][ordered[1:] == ordered[:-1]]))


def _in_group(
    rows: Sequence[int], asked: Sequence[int], sets: Sequence[frozenset[int]], known: Sequence[bool], labels: bool
) -> Iterator[Repeat]:
    all_answers: dict[frozenset[int], int] = {}
    same_first: dict[int, int] = {}
    same_answers: dict[int, dict[frozenset[int], int]] = {}
    for row, question, answers, skip in zip(rows, asked, sets, known, strict=True):
        same = question in same_first
        if row != rows[0] and not skip:
            others = same_answers[question] if same else all_answers
            differing = _disjoint(answers, others.items())
            if differing is not None and (same or labels):
                yield Repeat(row, "conflicting_label" if same else "conflicting_label_near", differing)
            elif same:
                yield Repeat(row, "exact_duplicate", same_first[question])
            else:
                yield Repeat(row, "near_duplicate", rows[0])
        same_first.setdefault(question, row)
        same_answers.setdefault(question, {}).setdefault(answers, row)
        all_answers.setdefault(answers, row)


def _disjoint(answers: frozenset[int], others: Iterable[tuple[frozenset[int], int]]) -> int | None:
    """The first row none of whose answers is among these."""
    return next((row for accepted, row in others if accepted.isdisjoint(answers)), None)
