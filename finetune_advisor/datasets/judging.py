"""What rows of a large file say about each other and by themselves, from their facts; `audit` words it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from finetune_advisor.datasets import audit, facts, kinds, near, privacy, repeats, shards, tokens
from finetune_advisor.datasets.gather import Gathered
from finetune_advisor.datasets.shards import Place
from finetune_advisor.errors import require
from finetune_advisor.records import Finding, Task, TaskKind

_REPEATS, _LABELS, _ANSWERS, _PRIVATE = range(4)


class _Pick(NamedTuple):
    """A finding that is to be worded: in which part of the audit, about which row, and with which other one."""

    part: int
    row: int
    code: str
    other: int = 0


class _More(NamedTuple):
    part: int
    row: int
    code: str
    number: int


def judge(gathered: Gathered, known: Any) -> Iterator[Finding]:
    """What `audit.audit` finds in training examples, in its order.

    Args:
        gathered: The rows.
        known: Whether a repeat of each has been reported on reading.
    """
    task = Task(kind=_kind(gathered), metric="")
    grouped, how = near.groups(gathered)
    repeated = repeats.repeats(*grouped, gathered.accepted, known, labels=task.kind is TaskKind.CLASSIFICATION)
    picked: list[_Pick] = []
    left: list[_More] = []
    for part, code, rows, others in (*_repeats(repeated), *_answers(gathered.table), *_private(gathered.private)):
        most = audit.MOST_OF_A_CODE
        picked += [_Pick(part, row, code, other) for row, other in zip(rows[:most], others[:most], strict=True)]
        if len(rows) > most:
            left.append(_More(part, rows[most], code, len(rows) - most))
    worded = [*_worded(gathered, picked, task), *_label_findings(gathered, task, left)]
    worded.sort(key=lambda each: each[:2])
    yield from how
    yield from (finding for _, _, finding in worded)
    last = {finding.code: finding for _, _, finding in worded}
    yield from (audit.more(last[code], number) for _, _, code, number in sorted(left))


def _kind(gathered: Gathered) -> TaskKind:
    np = require("numpy", extra="all")
    table = gathered.table
    longest, middle = int(table["length"].max()), len(table) // 2
    return kinds.guess(
        gathered.forms,
        answers=len(table),
        distinct=len(np.unique(table["label"])) if longest <= kinds.LONGEST_LABEL else len(table),
        longest=longest,
        words=int(np.partition(table["words"], middle)[middle]),
    )


def _repeats(found: Sequence[repeats.Repeat]) -> Iterator[tuple[int, str, list[int], list[int]]]:
    codes: defaultdict[str, list[repeats.Repeat]] = defaultdict(list)
    for repeat in found:
        codes[repeat.code].append(repeat)
    for code, each in codes.items():
        yield _REPEATS, code, [repeat.row for repeat in each], [repeat.other for repeat in each]


def _answers(table: Any) -> Iterator[tuple[int, str, list[int], list[int]]]:
    np = require("numpy", extra="all")
    for code, flag in (("empty_answer", facts.EMPTY_ANSWER), ("long_answer", facts.LONG_ANSWER)):
        rows = np.flatnonzero(table["flags"] == flag).tolist()
        yield _ANSWERS, code, rows, rows


def _private(hits: Any) -> Iterator[tuple[int, str, list[int], list[int]]]:
    """A system message that many examples share counts once."""
    shared: set[int] = set()
    new: set[int] = set()
    codes: defaultdict[str, list[int]] = defaultdict(list)
    before = -1
    for row, digest, bits, system in hits.tolist():
        if row != before:
            shared |= new
            before = row
        if digest in shared:
            continue
        new |= {digest} if system else set()
        for at, code in enumerate(privacy.CODES):
            if bits >> at & 1 and codes[code][-1:] != [row]:
                codes[code].append(row)
    for code, rows in codes.items():
        yield _PRIVATE, code, rows, rows


def _worded(gathered: Gathered, picked: Sequence[_Pick], task: Task) -> Iterator[tuple[int, int, Finding]]:
    placed = _placed(gathered, {each.row for each in picked} | {each.other for each in picked})
    private = {(each.row, each.code) for each in picked if each.part == _PRIVATE}
    for part, row, code, other in picked:
        if part == _REPEATS:
            yield part, row, audit.repeat_finding(code, placed[row], placed[other], task)
        elif part == _ANSWERS:
            yield from ((part, row, each) for each in audit.answer_findings([placed[row]], task, tokens.encoding()))
    rows = sorted({row for row, _ in private})
    by_line = {placed[row].example.line: row for row in rows}
    for finding in audit.private_findings([placed[row] for row in rows]):
        row = by_line[finding.line]
        if (row, finding.code) in private:
            yield _PRIVATE, row, finding


def _label_findings(gathered: Gathered, task: Task, left: list[_More]) -> Iterator[tuple[int, int, Finding]]:
    if task.kind is not TaskKind.CLASSIFICATION:
        return
    np = require("numpy", extra="all")
    _, first, counts = np.unique(gathered.table["label"], return_index=True, return_counts=True)
    order = np.argsort(first)
    placed = _placed(gathered, first.tolist())
    firsts = {placed[row].example.answer.strip(): placed[row] for row in first[order].tolist()}
    trained = Counter(dict(zip(firsts, counts[order].tolist(), strict=True)))
    seen: Counter[str] = Counter()
    beyond: dict[str, int] = {}
    for at, finding in enumerate(audit.label_findings(firsts, trained, task)):
        seen[finding.code] += 1
        if seen[finding.code] <= audit.MOST_OF_A_CODE:
            yield _LABELS, at, finding
        else:
            beyond.setdefault(finding.code, at)
    left += [_More(_LABELS, at, code, seen[code] - audit.MOST_OF_A_CODE) for code, at in beyond.items()]


def _placed(gathered: Gathered, rows: Iterable[int]) -> dict[int, audit.Placed]:
    """The examples of some rows, read once more."""
    wanted = sorted(rows)
    columns = (gathered.table[name][wanted].tolist() for name in ("start", "size", "line"))
    places = [Place(start, size, line, False) for start, size, line in zip(*columns, strict=True)]
    found = zip(wanted, shards.examples(gathered.source, places), strict=True)
    return {row: audit.Placed(part="train", example=example, prompt="", group=0) for row, example in found}
