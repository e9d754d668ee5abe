"""The same answers three times, for `store_speed`: a store as it is written today, one of schema 3, and JSONL.

The store of today lies in a case that was really run, with few test examples; its results.json is stretched to as many
as there are answers of each fit, so that the pages can be drawn with it.
"""

from __future__ import annotations

import hashlib
import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import app_speed
from finetune_advisor.records import ArmResult, Message, Reply, Request, Usage
from finetune_advisor.report import document
from finetune_advisor.store import FILE, MIGRATIONS, Store, Stored

PART = "test"
RUN_EXAMPLES = 50
"""So many test examples the case really has."""

WORDS = ("refund", "card", "login", "invoice", "delivery", "customer", "said", "my", "order", "was", "late", "and")


@dataclass(frozen=True, kw_only=True)
class Size:
    """So many fits, each with an answer for so many examples."""

    fits: int
    examples: int

    @property
    def fit_names(self) -> list[str]:
        """As the store names fits: 16 hexadecimal digits."""
        return [_digest(f"fit {at}") for at in range(self.fits)]

    @property
    def example_names(self) -> list[str]:
        """As the data are named."""
        return [_digest(f"example {at}") for at in range(self.examples)]


@dataclass(frozen=True, kw_only=True)
class Files:
    """The same answers three times."""

    folder: Path
    size: Size

    @property
    def now(self) -> Path:
        """The folder of the case, whose store is written as it is today."""
        return self.folder / f"{self.size.fits}x{RUN_EXAMPLES}"

    @property
    def old(self) -> Path:
        """The folder of a store of schema 3."""
        return self.folder / "old"

    @property
    def jsonl(self) -> Path:
        """One answer a line, with its fit and its part."""
        return self.folder / "answers.jsonl"

    def made(self) -> Files:
        """Make what is not there yet; what was made is marked once all of it is."""
        whole = self.folder / f"made {self.size}"
        if not whole.exists():
            self.folder.mkdir(parents=True)
            self.old.mkdir()
            app_speed.make(self.now, self.size.fits, RUN_EXAMPLES)
            stretch(self.now / "report" / "results.json", self.size)
            fill(self.now, self.size)
            export(self.now, self.jsonl, self.size.fit_names)
            lay_out_as_before(self.now, self.old, self.size.fit_names)
            whole.touch()
        return self


def stretch(path: Path, size: Size) -> None:
    """Results of so many examples for each arm, as likely to be right as they were of few."""
    found = document.from_json(path.read_text(encoding="utf-8"))
    names, chance = tuple(size.example_names), random.Random(0)

    def stretched(arm: ArmResult) -> ArmResult:
        scores = tuple(float(chance.random() < arm.score) for _ in names)
        share = sum(scores) / len(scores)
        forms = (True,) * len(names)
        return replace(arm, n=len(names), score=share, example_ids=names, scores=scores, forms=forms)

    arms = tuple(map(stretched, found.arms))
    larger = replace(found, arms=arms, clusters=tuple(range(len(names))))
    path.write_text(document.to_json(larger), encoding="utf-8")


def fill(folder: Path, size: Size) -> None:
    """Store answers, each fit with one more example in its prompts than the fit before."""
    with Store(folder) as store:
        for shots, fit in enumerate(size.fit_names):
            store.add(fit, PART, answers(shots, size.example_names))


def answers(shots: int, names: Sequence[str]) -> Iterator[Stored]:
    """Answers to prompts of 0.4 KB and 0.16 KB more for each shot, as in the case of `app_speed`."""
    chance = random.Random(shots)
    system = Message(role="system", content=_text(chance, 25))
    examples = tuple(Message(role="user", content=_text(chance, 21)) for _ in range(shots))
    for name in names:
        messages = (system, *examples, Message(role="user", content=_text(chance, 14)))
        usage = Usage(prompt_tokens=60 + 30 * shots, completion_tokens=2, seconds=0.25, prefill_seconds=0.2)
        request = Request(example_id=name, messages=messages, max_tokens=8)
        yield Stored(request=request, outcome=Reply(text=chance.choice(WORDS), usage=usage))


def _text(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(WORDS, k=words))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def export(folder: Path, target: Path, fits: Sequence[str]) -> None:
    """The answers of these fits as JSONL."""
    with closing(sqlite3.connect(folder / FILE)) as base, target.open("w", encoding="utf-8") as file:
        for fit in fits:
            for part, body in base.execute("SELECT part, body FROM answers WHERE fit = ?", (fit,)):
                file.write(f'{{"fit": "{fit}", "part": "{part}", {body[1:]}\n')


def lay_out_as_before(source: Path, folder: Path, fits: Sequence[str]) -> None:
    """A store of schema 3 with the locks, the jobs and the answers of these fits."""
    with closing(sqlite3.connect(folder / FILE)) as base:
        base.executescript(f"PRAGMA journal_mode=WAL; {';'.join(MIGRATIONS[:3])}; PRAGMA user_version=3")
        base.execute("ATTACH ? AS now", (str(source / FILE),))
        base.execute("INSERT INTO locks SELECT * FROM now.locks")
        base.execute("INSERT INTO jobs SELECT * FROM now.jobs")
        for fit in sorted(fits):
            base.execute("INSERT INTO answers SELECT * FROM now.answers WHERE fit = ? ORDER BY example_id", (fit,))
            base.commit()
