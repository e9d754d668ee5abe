"""The rows of a large JSONL file, read on all cores, as one table of facts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from finetune_advisor.datasets import kinds, shards, sketch
from finetune_advisor.datasets.shards import Source
from finetune_advisor.errors import require
from finetune_advisor.records import Finding

MOST_OF_A_CODE = 1_000
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What memory and method depend on.

    Args:
        range_bytes: How much of the file a worker reads at a time.
        exact_up_to: Different questions up to which all are compared with each other.
        workers: Processes: 0 for one on each core, 1 for none beside this one.
    """

    range_bytes: int = 4 << 20
    exact_up_to: int = 5_000
    workers: int = 0

    def each(self, work: Callable[..., T], arguments: Sequence[tuple[Any, ...]]) -> Iterator[T]:
        """The results of many calls, in order, from as many processes as there may be."""
        if self.workers == 1 or len(arguments) < 2:
            return (work(*given) for given in arguments)
        joblib = require("joblib", extra="all")
        parallel = joblib.Parallel(self.workers or joblib.cpu_count(), return_as="generator", max_nbytes=None)
        return parallel(joblib.delayed(work)(*given) for given in arguments)


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """All usable rows of a file.

    Args:
        source: The file.
        limits: How to go on.
        table: `facts.Facts` of each row.
        sketches: Of the rows' wordings, by place in the table.
        private: `shards.Shard.private`, by place in the table.
        accepted: `shards.Shard.accepted`, by place in the table.
        forms: Which forms all answers have.
        findings: What is wrong with single rows, MOST_OF_A_CODE of each code at most.
        counts: How often each code was found.
    """

    source: Source
    limits: Limits
    table: Any
    sketches: sketch.Sketches
    private: Any
    accepted: dict[int, frozenset[int]]
    forms: kinds.Forms
    findings: tuple[Finding, ...]
    counts: Counter[str]

    def only(self, chosen: Any) -> Gathered:
        """The same without the rows that are not chosen."""
        np = require("numpy", extra="all")
        if chosen.all():
            return self
        place = np.cumsum(chosen) - 1
        private = self.private[chosen[self.private["row"]]]
        private["row"] = place[private["row"]]
        accepted = {int(place[row]): answers for row, answers in self.accepted.items() if chosen[row]}
        sketches = sketch.only(self.sketches, chosen[self.sketches.row])
        sketches = sketches._replace(row=place[sketches.row].astype(np.uint32))
        return replace(self, table=self.table[chosen], sketches=sketches, private=private, accepted=accepted)


def gather(source: Source, start: int, most_tokens: int, limits: Limits) -> Gathered:
    """Read a file from a byte on.

    Raises:
        UnicodeDecodeError: It is not UTF-8.
    """
    np = require("numpy", extra="all")
    cuts = _cuts(source.path, start, limits.range_bytes)
    works = [(source, begin, end, most_tokens) for begin, end in pairwise(cuts)]
    tables, sketches, private = list[Any](), list[sketch.Sketches](), list[Any]()
    lines = rows = 0
    findings, counts, forms = list[Finding](), Counter[str](), kinds.Forms()
    accepted: dict[int, frozenset[int]] = {}
    for shard in limits.each(shards.read, works):
        for finding in shard.findings:
            counts[finding.code] += 1
            if counts[finding.code] <= MOST_OF_A_CODE:
                findings.append(replace(finding, line=finding.line + lines))
        shard.facts["line"] += lines
        shard.private["row"] += rows
        accepted |= {row + rows: answers for row, answers in shard.accepted.items()}
        forms.join(shard.forms)
        tables.append(shard.facts)
        private.append(shard.private)
        sketches.append(sketch.moved(shard.sketches, rows))
        lines, rows = lines + shard.lines, rows + len(shard.facts)
    table = np.concatenate(tables)
    tables.clear()  # the largest pieces are not kept twice
    return Gathered(
        source=source,
        limits=limits,
        table=table,
        sketches=sketch.join(sketches),
        private=np.concatenate(private),
        accepted=accepted,
        forms=forms,
        findings=tuple(findings),
        counts=counts,
    )


def _cuts(path: Path, start: int, step: int) -> list[int]:
    """Where ranges of whole lines begin, and the end of the file."""
    size = path.stat().st_size
    cuts = [start]
    with path.open("rb") as stream:
        while cuts[-1] + step < size:
            stream.seek(cuts[-1] + step)
            stream.readline()
            cuts.append(stream.tell())
    return cuts if cuts[-1] == size else [*cuts, size]
