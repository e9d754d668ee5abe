"""One range of a large file, read by one worker: the facts of its rows, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from finetune_advisor.datasets import duplicates, facts, jsonl, kinds, load, privacy, screen, sketch, tokens
from finetune_advisor.datasets.facts import Content, Facts
from finetune_advisor.datasets.rows import Row
from finetune_advisor.errors import BadInput, require
from finetune_advisor.records import Example, Finding

_HIT = [("row", "u4"), ("text", "u8"), ("codes", "u4"), ("system", "?")]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file of lines in UTF-8. `name` is what findings call it, `shape` where its columns are, None for chats."""

    path: Path
    name: str
    shape: load.Columns | None

    def example(self, raw: bytes, line: int) -> tuple[Example | None, list[Finding]]:
        """The example on a line, or None where it cannot be used, and what is wrong with it."""
        value, faults = jsonl.parse(raw.decode("utf-8"), line, self.name)
        row, found = load.checked(Row(line=line, value=value, findings=tuple(faults)), self.shape, self.name)
        return None if row is None else load.example_of(row, line, self.name), found

    def content(self, raw: bytes, line: int) -> Content:
        """What facts are taken from, of a line that is usable.

        Raises:
            BadInput: It is not any more.
        """
        row = facts.plain(raw) if self.shape is None else None
        example = None if row else self.example(raw, line)[0]
        if example is not None:
            row = facts.content(example)
        if row is None:
            raise BadInput(f"Line {line} of {self.name} changed while it was read.", hint="Run it again.")
        return row


@dataclass(frozen=True, kw_only=True)
class Shard:
    """What a range of lines comes to.

    Args:
        lines: How many lines it has; all line numbers count from its first one, all rows from its first usable one.
        facts: A table of `facts.Facts`, one for each usable row.
        sketches: Of the rows' wordings.
        findings: What is wrong with single rows.
        private: A table of texts that hold personal data; a system message stands there once.
        accepted: The digests of all accepted answers, for rows that accept more than one.
        forms: Which forms all answers have.
    """

    lines: int
    facts: Any
    sketches: sketch.Sketches
    findings: tuple[Finding, ...]
    private: Any
    accepted: dict[int, frozenset[int]]
    forms: kinds.Forms


class Place(NamedTuple):
    """Where a row is, and whether its system message belongs to what it asks."""

    start: int
    size: int
    line: int
    alone: bool


def read(source: Source, begin: int, end: int, most_tokens: int) -> Shard:
    """Read the lines between two bytes of a file.

    Args:
        source: The file.
        begin: The first byte of a line.
        end: The byte behind the end of a line.
        most_tokens: The most that an answer may have.

    Raises:
        UnicodeDecodeError: It is not UTF-8.
    """
    with source.path.open("rb") as stream:
        stream.seek(begin)
        data = stream.read(end - begin)
    if not data.isascii():
        data.decode("utf-8")
    reader = _Reader(source=source, most_tokens=most_tokens)
    lines = data.removesuffix(b"\n").split(b"\n")
    del data
    for line, raw in enumerate(lines, start=1):
        reader.add(raw, (begin, len(raw), line))
        begin += len(raw) + 1
    return reader.shard(len(lines))


@dataclass(kw_only=True)
class _Reader:
    source: Source
    most_tokens: int
    rows: list[Facts] = field(default_factory=list[Facts])
    asked: list[bytes] = field(default_factory=list[bytes])
    contents: list[Content] = field(default_factory=list[Content])
    findings: list[Finding] = field(default_factory=list[Finding])
    accepted: dict[int, frozenset[int]] = field(default_factory=dict[int, frozenset[int]])
    forms: kinds.Forms = field(default_factory=kinds.Forms)
    count: Callable[[str], int] = field(default_factory=lambda: tokens.encoding().count)

    def add(self, raw: bytes, at: tuple[int, int, int]) -> None:
        row = facts.plain(raw) if self.source.shape is None else None
        if row is None:
            row = self._looked_at(raw, at[2])
        if row is None:
            return
        words = facts.words(row)
        found, asked = facts.facts(row, at, words, self._flags(row, words))
        self.forms.add(row.answer.strip())
        self.rows.append(found)
        self.asked.append(asked)
        self.contents.append(row)

    def shard(self, lines: int) -> Shard:
        np = require("numpy", extra="all")
        return Shard(
            lines=lines,
            facts=facts.table(self.rows),
            sketches=sketch.sketches(self.asked),
            findings=tuple(self.findings),
            private=np.array(list(_private(self.contents)), dtype=_HIT),
            accepted=self.accepted,
            forms=self.forms,
        )

    def _looked_at(self, raw: bytes, line: int) -> Content | None:
        example, found = self.source.example(raw, line)
        self.findings += found
        if example is None:
            return None
        if len(example.references) > 1:
            texts = {duplicates.normalise(answer) for answer in (example.answer, *example.references)}
            self.accepted[len(self.rows)] = frozenset(facts.hasher()(text.encode()) for text in texts)
        return facts.content(example)

    def _flags(self, row: Content, words: int) -> int:
        """Each word has a token of its own, but for a slash that follows the end of a line."""
        answer = row.answer
        if not answer.strip():
            return facts.EMPTY_ANSWER
        if len(answer) <= self.most_tokens:
            return 0
        surely = row.clean and words - answer.count("/") > self.most_tokens
        return facts.LONG_ANSWER if surely or self.count(answer) > self.most_tokens else 0


def _private(rows: Sequence[Content]) -> Iterator[tuple[int, int, int, bool]]:
    """The texts that hold personal data; a system message is looked at once."""
    known: set[str] = set()
    texts: list[list[str]] = []
    for row in rows:
        texts.append([*(message.content for message in row.said if message.content not in known), row.answer])
        known.update(message.content for message in row.said if message.role in facts.INSTRUCTIONS)
    for at, possible in screen.suspicious(["\n".join(each) for each in texts]).items():
        systems = {message.content for message in rows[at].said if message.role in facts.INSTRUCTIONS}
        *said, answer = texts[at]
        for text, system in (*((text, text in systems) for text in said), (answer, False)):
            codes = _codes(text, possible)
            if codes:
                yield at, facts.digest(text), codes, system


@lru_cache(256)
def _codes(text: str, possible: frozenset[str]) -> int:
    """The kinds of personal data that a text holds, one bit for each of `privacy.CODES`."""
    return sum(1 << privacy.CODES.index(code) for code in {code for code, _ in privacy.scan(text, possible)})


def examples(source: Source, places: Sequence[Place]) -> Iterator[Example]:
    """The examples at some places of a file."""
    with source.path.open("rb") as stream:
        for place in places:
            stream.seek(place.start)
            example, _ = source.example(stream.read(place.size), place.line)
            if example is not None:
                yield example


def contents(source: Source, places: Sequence[Place]) -> Iterator[Content]:
    """What stands at some places of a file."""
    with source.path.open("rb") as stream:
        for place in places:
            stream.seek(place.start)
            yield source.content(stream.read(place.size), place.line)


def questions(source: Source, places: Sequence[Place]) -> Iterator[str]:
    """What some rows ask, normalised."""
    rows = zip(contents(source, places), places, strict=True)
    return (facts.question(row, alone=place.alone) for row, place in rows)


def bared(source: Source, places: Sequence[Place]) -> tuple[Any, sketch.Sketches]:
    """What some rows ask, without digits: its digests and sketches."""
    np = require("numpy", extra="all")
    found = [facts.bare(question) for question in questions(source, places)]
    return np.array([facts.hasher()(each) for each in found], dtype=np.uint64), sketch.sketches(found)


def asked(source: Source, places: Sequence[Place]) -> Any:
    """A table of `facts.Asked` for some rows."""
    np = require("numpy", extra="all")
    rows = zip(contents(source, places), places, strict=True)
    return np.array([facts.asked(row, alone=place.alone) for row, place in rows], dtype=np.uint64).reshape(-1, 4)


def alike(source: Source, places: Sequence[Place], pairs: Sequence[tuple[int, int]]) -> list[bool]:
    """Whether each pair of some rows is as similar as `duplicates.groups` asks of near duplicates."""
    grams = [_grams(duplicates.worded(question)[0]) for question in questions(source, places)]
    return [duplicates.similar(grams[one], grams[other]) for one, other in pairs]


def _grams(wording: str) -> set[str]:
    cut = duplicates.ends(wording)
    return {cut[at : at + duplicates.GRAM] for at in range(len(cut) - duplicates.GRAM + 1)}
