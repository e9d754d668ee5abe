"""Near duplicates among the rows of a large file: all compared where they are few, else those whose sketches meet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from finetune_advisor.datasets import duplicates, repeats, shards, sketch
from finetune_advisor.datasets.gather import Gathered
from finetune_advisor.datasets.shards import Place
from finetune_advisor.errors import require
from finetune_advisor.records import Finding

_ROWS_AT_ONCE, _PAIRS_AT_ONCE = 4_000, 1_000
_MIXED = 0x9E3779B97F4A7C15


class Grouped(NamedTuple):
    """For each row a number, the same for near duplicates, and where there are any, digests of question and answer."""

    group: Any
    asked: Any
    answer: Any


def groups(gathered: Gathered) -> tuple[Grouped, tuple[Finding, ...]]:
    """The groups of exact and near duplicates, and what has to be said of how they were found."""
    np = require("numpy", extra="all")
    alone = _alone(gathered.table)
    bare, sketches = _asked(gathered, alone)
    first = repeats.first_of_each(bare)
    places = np.arange(len(bare))
    different = int((first == places).sum())
    exact = different <= gathered.limits.exact_up_to
    if exact:
        one = other = places[:0]
    else:
        one, other = sketch.pairs(sketch.only(sketches, first[sketches.row] == sketches.row))
    again = np.flatnonzero(first != places)
    near = places if exact else np.unique(np.concatenate([one, other, again, first[again]]))
    compared = np.zeros((len(bare), 4), dtype=np.uint64)
    compared[:, 0] = bare
    compared[near] = _compared_by(gathered, alone, near)
    wording, numbers, asked, answer = compared.T
    same = repeats.first_of_each(wording)
    if exact:
        family = _compared(gathered, alone, same)
    else:
        one, other = np.concatenate([same[one], same[again]]), np.concatenate([same[other], same[first[again]]])
        family = _linked(gathered, alone, one, other)
    key = (family[same].astype(np.uint64) + np.uint64(1)) * np.uint64(_MIXED) ^ numbers
    return Grouped(key, asked, answer), () if exact else (_said(gathered, different),)


def _alone(table: Any) -> Any:
    """Whether each row's system message stands before no other conversation, and so belongs to what the row asks."""
    np = require("numpy", extra="all")
    given = table["system"] != 0
    only = repeats.distinct_under(table["system"][given], table["talk"][given])
    return given & np.isin(table["system"], only)


def _asked(gathered: Gathered, alone: Any) -> tuple[Any, sketch.Sketches]:
    """Digests and sketches of what each row asks, those with a system message of their own read once more."""
    np = require("numpy", extra="all")
    bare = gathered.table["bare"].copy()
    parts = _parts(np.flatnonzero(alone))
    works = [(gathered.source, _places(gathered.table, part, alone)) for part in parts]
    sketches = [sketch.only(gathered.sketches, ~alone[gathered.sketches.row])]
    for part, (digests, drawn) in zip(parts, gathered.limits.each(shards.bared, works), strict=True):
        bare[part] = digests
        sketches.append(drawn._replace(row=part[drawn.row].astype(np.uint32)))
    return bare, sketch.join(sketches)


def _compared_by(gathered: Gathered, alone: Any, rows: Any) -> Any:
    """A table of `facts.Asked` for some rows."""
    np = require("numpy", extra="all")
    works = [(gathered.source, _places(gathered.table, part, alone)) for part in _parts(rows)]
    return np.concatenate([np.zeros((0, 4), np.uint64), *gathered.limits.each(shards.asked, works)])


def _compared(gathered: Gathered, alone: Any, same: Any) -> Any:
    """The family of each row, all wordings compared; `same` is the first row with each wording."""
    np = require("numpy", extra="all")
    rows = np.unique(same)
    questions = shards.questions(gathered.source, _places(gathered.table, rows, alone))
    wordings = [duplicates.worded(question)[0] for question in questions]
    families = duplicates.families(wordings)
    family = np.zeros(len(same), dtype=np.uint64)
    family[rows] = [families[wording] for wording in wordings]
    return family


def _linked(gathered: Gathered, alone: Any, one: Any, other: Any) -> Any:
    """The family of each row, by those of the pairs that are alike when compared in full."""
    np = require("numpy", extra="all")
    one, other = np.unique(np.stack([np.minimum(one, other), np.maximum(one, other)]), axis=1)
    one, other = one[one != other], other[one != other]
    works: list[tuple[Any, ...]] = []
    for at in range(0, len(one), _PAIRS_AT_ONCE):
        pair = np.stack([one[at : at + _PAIRS_AT_ONCE], other[at : at + _PAIRS_AT_ONCE]])
        rows, place = np.unique(pair, return_inverse=True)
        works.append((gathered.source, _places(gathered.table, rows, alone), place.reshape(2, -1).T.tolist()))
    alike = np.array([each for part in gathered.limits.each(shards.alike, works) for each in part], dtype=bool)
    return duplicates.linked(one[alike], other[alike], len(gathered.table))


def _parts(rows: Any) -> list[Any]:
    return [rows[at : at + _ROWS_AT_ONCE] for at in range(0, len(rows), _ROWS_AT_ONCE)]


def _places(table: Any, rows: Any, alone: Any) -> Sequence[Place]:
    columns = [table[name][rows].tolist() for name in ("start", "size", "line")]
    return [Place(*each) for each in zip(*columns, alone[rows].tolist(), strict=True)]


def _said(gathered: Gathered, distinct: int) -> Finding:
    message = (
        f"There are {distinct:,} different questions, too many to compare each with each. Near duplicates were looked "
        "for by sketches of their texts (MinHash), so some may be missed; those that were found were compared in full."
    )
    return Finding(
        file=gathered.source.name, line=0, code="near_duplicates_by_sketch", severity="info", message=message
    )
