"""The audit of a large JSONL file in little memory, on all cores: what `load` and `audit` say of it, to the letter.

Rows that are plain and faultless are told by a strict decoder; all others are read as small files are. Of each row only
digests stay in memory (`facts`); texts that findings quote are read a second time. Near duplicates are compared as in
small files up to EXACT_UP_TO different questions, and looked for by MinHash beyond that, which a finding says.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from finetune_advisor.datasets import audit, chat, gather, judging, load, repeats, text
from finetune_advisor.datasets.gather import Gathered, Limits
from finetune_advisor.datasets.shards import Source
from finetune_advisor.errors import require
from finetune_advisor.records import Finding, Task, TaskKind

__all__ = ["FROM_BYTES", "Audited", "Limits", "audit_file", "takes"]

FROM_BYTES = 16 << 20
"""Size from which a file is audited here."""

_DUPLICATE = re.compile(r"_\d+$")
_Named: TypeAlias = Callable[[int, int, str], Finding]
_Across: TypeAlias = tuple[_Named, Any, Any]


@dataclass(frozen=True, kw_only=True)
class Audited:
    """What was found, and in how many usable examples."""

    findings: tuple[Finding, ...]
    examples: int


def takes(path: Path) -> bool:
    """Whether a file is one that is better audited here."""
    return path.suffix.lower() in (".jsonl", ".ndjson") and path.stat().st_size >= FROM_BYTES


def audit_file(path: Path, limits: Limits | None = None) -> Audited:
    """Everything that is suspicious about the examples of one JSONL file.

    Args:
        path: The file.
        limits: What memory and method depend on.

    Raises:
        BadInput: As `load.load` does.
    """
    found: list[Finding] = []
    shape = load.columns_of(path, None, found)
    start = text.utf8_from(path)
    chosen = limits or Limits()
    if start is not None:
        try:
            return _audited(Source(path=path, name=str(path), shape=shape), start, found, chosen)
        except UnicodeDecodeError:
            pass
    with tempfile.TemporaryDirectory() as folder:
        again: list[Finding] = []
        copy = Path(folder) / path.name
        with copy.open("w", encoding="utf-8", newline="") as file:
            file.writelines(text.lines(path, again))
        named = [finding for finding in found if finding.code != "encoding"]
        return _audited(Source(path=copy, name=str(path), shape=shape), 0, again + named, chosen)


def _audited(source: Source, start: int, head: Sequence[Finding], limits: Limits) -> Audited:
    np = require("numpy", extra="all")
    most_tokens = Task(kind=TaskKind.TEXT, metric="").max_answer_tokens
    gathered = gather.gather(source, start, most_tokens, limits)
    places = np.arange(len(gathered.table))
    whole = repeats.first_of_each(gathered.table["whole"])
    prompt = repeats.first_of_each(gathered.table["prompt"])
    again = whole != places
    conflicting = ~again & (prompt != places)
    across = ((chat.duplicate, again, whole), (chat.conflict, conflicting, prompt))
    reading = _on_reading(gathered, head, across)
    gathered = gathered.only(~again)
    judged = judging.judge(gathered, conflicting[~again]) if len(gathered.table) else ()
    return Audited(findings=(*reading, *judged), examples=len(gathered.table))


def _on_reading(gathered: Gathered, head: Sequence[Finding], across: Sequence[_Across]) -> list[Finding]:
    """What `load` finds, in its order, MOST_OF_A_CODE of each kind, and how much that leaves out.

    Args:
        gathered: The rows.
        head: What was found in the file as a whole.
        across: For each kind of repeat how it is called, which rows are one, and of which rows.
    """
    repeated = [_repeated(gathered, *each) for each in across]
    findings = [*(each for each in head if not each.line), *gathered.findings]
    findings += [finding for some, _ in repeated for finding in some]
    findings += [each for each in head if each.line]
    last = {finding.code: finding for finding in gathered.findings}
    left = [(last[code], number - gather.MOST_OF_A_CODE) for code, number in gathered.counts.items()]
    left += [(replace(some[-1], code=_DUPLICATE.sub("", some[-1].code)), rest) for some, rest in repeated if some]
    return [
        *sorted(findings, key=lambda finding: finding.line),
        *(audit.more(finding, number) for finding, number in left if number > 0),
    ]


def _repeated(gathered: Gathered, named: _Named, chosen: Any, first: Any) -> tuple[list[Finding], int]:
    rows = require("numpy", extra="all").flatnonzero(chosen).tolist()
    lines, file, most = gathered.table["line"], gathered.source.name, gather.MOST_OF_A_CODE
    return [named(int(lines[first[row]]), int(lines[row]), file) for row in rows[:most]], len(rows) - most
