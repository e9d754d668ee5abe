"""Prompts as a tree of segments, so that what several of them begin with is computed once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

LEAST = 16
"""A common beginning is a segment of its own from this many tokens on: each costs a turn of the attention."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A run of tokens that one or more prompts have at the same place after the same beginning.

    `before` are the segments that stand in front of it, the first one first, `start` is how many tokens they have.
    `prompts` are the prompts that it is a part of, the first in order paying for it; a leaf has exactly one.
    """

    tokens: tuple[int, ...]
    start: int
    before: tuple[int, ...]
    prompts: tuple[int, ...]
    leaf: bool

    @property
    def end(self) -> int:
        """Tokens up to and including this segment."""
        return self.start + len(self.tokens)


def tree(prompts: Sequence[Sequence[int]], least: int = LEAST) -> list[Segment]:
    """The prompts' segments, each after those that stand before it.

    Each prompt is the tokens of one leaf after those of the segments before it; a leaf has at least one token.

    Args:
        prompts: Token ids of each prompt; none empty.
        least: The fewest tokens that are worth sharing.
    """
    order, same = _in_order(prompts)
    segments: list[Segment] = []
    waiting: list[tuple[int, int, int, tuple[int, ...]]] = [(0, len(order), 0, ())] if order else []
    while waiting:
        low, high, start, before = waiting.pop()
        first, members = prompts[order[low]], tuple(sorted(order[low:high]))
        leaf = high - low == 1
        end = len(first) if leaf else min(same[low : high - 1])
        if leaf or end - start >= least:
            made = Segment(tokens=tuple(first[start:end]), start=start, before=before, prompts=members, leaf=leaf)
            segments.append(made)
            before, start = (*before, len(segments) - 1), end
        if not leaf:
            waiting += [(*part, start, before) for part in _parts(same, low, high, start + least)]
    return segments


def grouped(prompts: Sequence[Sequence[int]], limits: Sequence[int], most: int, most_tokens: int) -> list[list[int]]:
    """Which prompts are answered together: those that begin alike, in groups that take about the same.

    Args:
        prompts: Token ids of each prompt.
        limits: The most tokens of each answer.
        most: The most prompts of a group.
        most_tokens: The most tokens of a group, answers included, where a common beginning counts once; a longer
            prompt is a group by itself.
    """
    order, same = _in_order(prompts)
    known = [0, *same][: len(order)]
    added = [len(prompts[place]) - some + limits[place] for place, some in zip(order, known, strict=True)]
    wanted = max(1, math.ceil(len(order) / most), math.ceil(sum(added) / most_tokens))
    share, groups, tokens, done = sum(added) / wanted, list[list[int]](), 0, 0
    for place, more in zip(order, added, strict=True):
        if groups and len(groups[-1]) < most and tokens + more <= most_tokens and done < share * len(groups):
            groups[-1].append(place)
            tokens += more
        else:
            groups.append([place])
            tokens = len(prompts[place]) + limits[place]
        done += more
    return groups


def alike_in_length(lengths: Sequence[int], turn: int) -> list[slice]:
    """Runs of rows that are padded to a length of their own, with the least padding.

    Args:
        lengths: Tokens of each row, the most first.
        turn: How many tokens of padding another run has to save.
    """
    best = [(0, 0)]
    for end in range(1, len(lengths) + 1):
        best.append(min((best[start][0] + (end - start) * lengths[start] + turn, start) for start in range(end)))
    runs: list[slice] = []
    end = len(lengths)
    while end:
        runs.append(slice(best[end][1], end))
        end = best[end][1]
    return runs[::-1]


def packs(segments: Sequence[Segment], most: int) -> Iterator[list[int]]:
    """Which segments are read together, in their order: at most so many tokens, or a longer one by itself."""
    pack: list[int] = []
    tokens = 0
    for place, segment in enumerate(segments):
        if pack and tokens + len(segment.tokens) > most:
            yield pack
            pack, tokens = [], 0
        pack.append(place)
        tokens += len(segment.tokens)
    if pack:
        yield pack


def _in_order(prompts: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
    """The prompts in the order of their tokens, and how many each has in common with the next."""
    order = sorted(range(len(prompts)), key=lambda place: tuple(prompts[place]))
    return order, [alike(prompts[one], prompts[other]) for one, other in pairwise(order)]


def alike(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with, leaving one token of each."""
    most = min(len(one), len(other)) - 1
    return next((place for place in range(most) if one[place] != other[place]), most)


def _parts(same: Sequence[int], low: int, high: int, least: int) -> Iterator[tuple[int, int]]:
    """Neighbours that have at least so many tokens in common."""
    cuts = [low, *(place + 1 for place in range(low, high - 1) if same[place] < least), high]
    return pairwise(cuts)
