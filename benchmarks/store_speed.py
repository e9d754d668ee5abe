"""How long does a store with a million answers take to open and to query, beside pandas reading them from JSONL?

Run: python -m benchmarks.store_speed [FOLDER] [--fits 20] [--examples 50000] [--rounds 5] [--what reading,memory,...].
FOLDER, runs/store_speed unless given, keeps what is made for it: 9 GB at full size, where pandas takes 17 GB of memory.
The questions are those that pages and runs put to a store; each opens it anew, with the operating system's cache
emptied of the file ("cold", where it lets a program do so) and filled. "Schema 3" is how the store was laid out, and
read, before: bodies in the tree of the keys, every answer decoded. pandas reads the same answers from one JSONL file,
which is timed by itself, and is then asked the same. Further tables: peak memory, each in a process of its own;
answers written in a second; what migrating a store of schema 3 takes; and results.json of a case of that size, which
is what pages read most.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from pydantic import TypeAdapter

from benchmarks.measured import ROOT, Outcome, absent, alternated, peak, publish
from benchmarks.store_files import PART, Files, Size, answers, lay_out_as_before
from finetune_advisor import case, experiment, workspace
from finetune_advisor.errors import require
from finetune_advisor.records import Failure, Reply
from finetune_advisor.report import document
from finetune_advisor.store import FILE, MIGRATIONS, Store, Stored

PACKAGES = ("pandas", "pydantic")
SHOWN = 50
BATCH = 32

T = TypeVar("T")
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Ours:
    """The questions, put to a store."""

    folder: Path
    size: Size

    def opened(self) -> object:
        """What every page asks: jobs and locks."""
        with Store(self.folder) as store:
            return len(store.jobs()), len(store.locks())

    def count(self) -> object:
        """How many answers a fit has."""
        with Store(self.folder) as store:
            return store.count(self.size.fit_names[-1], PART)

    def names(self) -> object:
        """Which answers of a fit are there: what a run asks that goes on."""
        with Store(self.folder) as store:
            return store.answered(self.size.fit_names[-1], PART)

    def page(self) -> object:
        """Some answers of two fits with their prompts, side by side: what the page of examples shows."""
        shown = self.size.example_names[:SHOWN]
        with Store(self.folder) as store:
            return [_shown(store.answers(fit, PART, shown)) for fit in self.size.fit_names[-2:]]

    def outcomes(self) -> object:
        """What came back for a fit, to be scored."""
        with Store(self.folder) as store:
            return {n: _text(each) for n, each in store.outcomes(self.size.fit_names[-1], PART).items()}


QUESTIONS = {
    "opened": "open it; jobs and locks",
    "count": "how many answers a fit has",
    "names": "which of a fit's answers are there",
    "page": f"{SHOWN} answers of two fits, by their ids",
    "outcomes": "what came back for a fit",
}
"""Methods of the contenders."""


def _shown(found: Mapping[str, Stored]) -> dict[str, tuple[str, str]]:
    return {name: (each.request.messages[-1].content, _text(each.outcome)) for name, each in found.items()}


def _text(outcome: Reply | Failure) -> str:
    return outcome.text if isinstance(outcome, Reply) else ""


class Before:
    """The same questions as they were put to a store of schema 3."""

    def __init__(self, folder: Path, size: Size) -> None:
        self._path = folder / FILE
        self._size = size
        self._codec = TypeAdapter(Stored)

    def opened(self) -> object:
        """Jobs and locks."""
        with closing(sqlite3.connect(self._path)) as base:
            jobs, locks = (base.execute(f"SELECT * FROM {table}").fetchall() for table in ("jobs", "locks"))
        return len(jobs), len(locks)

    def count(self) -> object:
        """How many answers a fit has."""
        with closing(sqlite3.connect(self._path)) as base:
            asked = (self._size.fit_names[-1], PART)
            return base.execute("SELECT count(*) FROM answers WHERE fit = ? AND part = ?", asked).fetchone()[0]

    def names(self) -> object:
        """Which answers are there: all were decoded for that."""
        return set(self._answers(-1))

    def page(self) -> object:
        """Some answers of two fits: all were decoded for that."""
        shown = self._size.example_names[:SHOWN]
        return [_shown({name: found[name] for name in shown}) for found in map(self._answers, (-2, -1))]

    def outcomes(self) -> object:
        """What came back for a fit."""
        return {name: _text(each.outcome) for name, each in self._answers(-1).items()}

    def _answers(self, at: int) -> Mapping[str, Stored]:
        with closing(sqlite3.connect(self._path)) as base:
            asked = (self._size.fit_names[at], PART)
            rows = base.execute("SELECT example_id, body FROM answers WHERE fit = ? AND part = ?", asked).fetchall()
        return {name: self._codec.validate_json(body) for name, body in rows}


class Pandas:
    """The same questions to a data frame that holds the whole file."""

    def __init__(self, path: Path, size: Size) -> None:
        self._path = path
        self._size = size

    @cached_property
    def frame(self) -> Any:
        """All answers."""
        return self.read()

    def read(self) -> Any:
        """Read the file."""
        return require("pandas", extra="all").read_json(self._path, lines=True, dtype=False)

    def count(self) -> object:
        """How many answers a fit has."""
        return len(self._fit(-1))

    def names(self) -> object:
        """Which answers of a fit are there."""
        return set(self._fit(-1).request.str["example_id"])

    def page(self) -> object:
        """Some answers of two fits."""
        shown = self._size.example_names[:SHOWN]
        picked = [found[found.request.str["example_id"].isin(shown)] for found in map(self._fit, (-2, -1))]
        return [_of_frame(found) for found in picked]

    def outcomes(self) -> object:
        """What came back for a fit."""
        found = self._fit(-1)
        return dict(zip(found.request.str["example_id"], found.outcome.str["text"], strict=True))

    def _fit(self, at: int) -> Any:
        return self.frame[self.frame.fit == self._size.fit_names[at]]


def _of_frame(found: Any) -> dict[str, tuple[str, str]]:
    pairs = zip(found.request, found.outcome, strict=True)
    return {asked["example_id"]: (asked["messages"][-1]["content"], got["text"]) for asked, got in pairs}


def reading(files: Files, rounds: int) -> Outcome:
    """Every question, cold and warm, before and now, and then to pandas, whose frame fills the memory."""
    peer = None if absent("pandas", "pandas") else Pandas(files.jsonl, files.size)
    asked = {name: _question(name, files, rounds) for name in QUESTIONS}
    notes = [absent("pandas", "pandas")]
    if peer:
        notes = [f"pandas read the file in {_timed(lambda: peer.frame, rounds=1):.1f} s, once"]
        for name, (row, given) in asked.items():
            if ask := getattr(peer, name, None):
                row |= {"pandas, once read": _timed(ask, rounds), "all agree": _same(*given, ask())}
    rows = [row for row, _ in asked.values()]
    size = files.size.fits * files.size.examples
    return Outcome(question=f"{size:,} answers: seconds", rows=rows, notes=[*notes, *_sizes(files)])


def _question(name: str, files: Files, rounds: int) -> tuple[Row, list[object]]:
    """How long the store of today takes and the one of schema 3, and what they answered."""
    ours, before = Ours(folder=files.now, size=files.size), Before(files.old, files.size)
    asked: Mapping[str, Callable[[], object]] = {"now": getattr(ours, name), "schema 3": getattr(before, name)}
    paths = {"now": files.now / FILE, "schema 3": files.old / FILE}
    given = [ask() for ask in asked.values()]
    warm = {timing.name: timing.median for timing in alternated(asked, rounds, warm=False)}
    cold = {side: _timed(ask, rounds, partial(_forget, paths[side])) for side, ask in asked.items()}
    row: Row = {"question": QUESTIONS[name]}
    for side in asked:
        row |= {f"{side}, cold": cold[side], side: warm[side]}
    return row | {"pandas, once read": "", "all agree": _same(*given)}, given


def _same(*given: object) -> str:
    return "yes" if all(each == given[0] for each in given) else "NO"


def _timed(act: Callable[[], object], rounds: int, prepare: Callable[[], None] = lambda: None) -> float:
    taken: list[float] = []
    for _ in range(rounds):
        prepare()
        started = time.perf_counter()
        act()
        taken.append(time.perf_counter() - started)
    return median(taken)


def _forget(path: Path) -> None:
    """Empty the operating system's cache of a file, where it can be asked to."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _sizes(files: Files) -> list[str]:
    named = {"store": files.now / FILE, "schema 3": files.old / FILE, "JSONL": files.jsonl}
    return [f"{name}: {path.stat().st_size / 2**20:,.0f} MiB" for name, path in named.items()]


def memory(files: Files) -> Outcome:
    """The peak of a process that asks one question."""
    asked = [("now", name) for name in QUESTIONS] + [("schema 3", "names"), ("pandas", "count")]
    rows = [
        {"contender": side, "question": QUESTIONS[name], "peak, GiB": _peak(files, f"{side}:{name}")}
        for side, name in asked
        if side != "pandas" or not absent("pandas", "pandas")
    ]
    return Outcome(question="Peak memory of a process that asks one question", rows=rows)


def _peak(files: Files, alone: str) -> float:
    size = ["--fits", str(files.size.fits), "--examples", str(files.size.examples)]
    return peak(["benchmarks.store_speed", str(files.folder), *size, "--alone", alone])[0]


def alone(files: Files, named: str) -> None:
    """Ask one question, for whoever measures this process."""
    side, _, name = named.partition(":")
    if side == "pandas":
        getattr(Pandas(files.jsonl, files.size), name)()
    else:
        getattr(Ours(folder=files.now, size=files.size) if side == "now" else Before(files.old, files.size), name)()


def writing(files: Files, rounds: int, total: int = 20_000) -> Outcome:
    """Answers stored in a second, in batches, with what SQLite does for each to survive a loss of power."""
    given = list(answers(10, Size(fits=1, examples=total).example_names))
    codec = TypeAdapter(Stored)
    rows = [("fit", PART, each.request.example_id, codec.dump_json(each).decode(), "now") for each in given]
    numbers, new = itertools.count(), partial(_in_new, files.folder)
    contenders: dict[str, Callable[[], None]] = {
        "the store": partial(new, lambda folder: _add(folder, "fit", given)),
        "the store, where all the others lie": lambda: _add(files.now, f"again {next(numbers)}", given),
        "plain SQL": partial(new, lambda folder: _insert(folder, rows, 4, "FULL")),
        "plain SQL, synchronous=NORMAL": partial(new, lambda folder: _insert(folder, rows, 4, "NORMAL")),
        "plain SQL, schema 3": partial(new, lambda folder: _insert(folder, rows, 3, "FULL")),
        "JSONL, fsync for each batch": partial(new, lambda folder: _append(folder, rows)),
    }
    timings = alternated(contenders, rounds, warm=False)
    with closing(sqlite3.connect(files.now / FILE)) as base, base:
        base.execute("DELETE FROM answers WHERE fit LIKE 'again %'")
    found: list[Row] = [
        {
            "written": timing.name,
            "answers/s": round(total / timing.median),
            "spread": f"{total / max(timing.seconds):.0f} to {total / min(timing.seconds):.0f}",
        }
        for timing in timings
    ]
    return Outcome(question=f"Writing {total:,} answers of 2 KB, {BATCH} at a time", rows=found)


def _in_new(place: Path, write: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory(dir=place) as folder:
        write(Path(folder))


def _add(folder: Path, fit: str, given: Sequence[Stored]) -> None:
    with Store(folder) as store:
        for batch in _batches(given):
            store.add(fit, PART, batch)


def _insert(folder: Path, rows: Sequence[Sequence[str]], schema: int, synchronous: str) -> None:
    with closing(sqlite3.connect(folder / FILE, isolation_level=None)) as base:
        base.executescript(f"PRAGMA journal_mode=WAL; {';'.join(MIGRATIONS[:schema])}")
        base.execute(f"PRAGMA synchronous={synchronous}")
        for batch in _batches(rows):
            base.execute("BEGIN IMMEDIATE")
            base.executemany("INSERT INTO answers VALUES (?, ?, ?, ?, ?)", batch)
            base.execute("COMMIT")


def _append(folder: Path, rows: Sequence[Sequence[str]]) -> None:
    with (folder / "answers.jsonl").open("w", encoding="utf-8") as file:
        for batch in _batches(rows):
            file.writelines(f"{row[3]}\n" for row in batch)
            file.flush()
            os.fsync(file.fileno())


def _batches(given: Sequence[T]) -> Iterator[Sequence[T]]:
    return (given[at : at + BATCH] for at in range(0, len(given), BATCH))


def migrating(files: Files) -> Outcome:
    """Opening stores of schema 3 for the first time."""
    counts = sorted({1, 2, files.size.fits} & set(range(files.size.fits + 1)))
    rows = [_migrated(files, files.size.fit_names[:fits]) for fits in counts]
    return Outcome(question="Opening a store of schema 3, which migrates it", rows=rows)


def _migrated(files: Files, fits: Sequence[str]) -> Row:
    with tempfile.TemporaryDirectory(dir=files.folder) as scratch:
        path = Path(scratch) / FILE
        lay_out_as_before(files.now, Path(scratch), fits)
        was = path.stat().st_size
        _forget(path)
        seconds = _timed(lambda: Store(Path(scratch)).__exit__(), rounds=1)
        with Store(Path(scratch)) as moved, Store(files.now) as store:
            same = all(moved.answered(fit, PART) == store.answered(fit, PART) for fit in fits)
            same = same and moved.answers(fits[-1], PART) == store.answers(fits[-1], PART)
        return {
            "answers": f"{len(fits) * files.size.examples:,}",
            "s": seconds,
            "MiB before": round(was / 2**20),
            "MiB after": round(path.stat().st_size / 2**20),
            "the same answers": _same(same, True),
        }


def results(files: Files, rounds: int) -> Outcome:
    """What pages read most: results.json, and its judgement."""
    loaded = case.read(files.now)
    text = loaded.results_file.read_text(encoding="utf-8")
    read = document.from_json(text)
    asked = {
        "read and check results.json": lambda: document.from_json(loaded.results_file.read_text(encoding="utf-8")),
        "judge them by the case as it stands": lambda: experiment.rejudge(loaded, read),
        "list the cases of the folder (home)": lambda: workspace.cases(files.folder),
    }
    rows: list[Row] = [
        {"what": timing.name, "s": timing.median, "spread": f"{min(timing.seconds):.2f} to {max(timing.seconds):.2f}"}
        for timing in alternated(asked, rounds)
    ]
    note = f"results.json: {len(text.encode()) / 2**20:.1f} MiB"
    return Outcome(question=f"Results of {files.size.fits} arms on {files.size.examples:,}", rows=rows, notes=[note])


def main() -> None:
    """Make the files where they are not there yet, and print the tables."""
    given = _arguments()
    files = Files(folder=given.folder, size=Size(fits=given.fits, examples=given.examples)).made()
    if given.alone:
        alone(files, given.alone)
        return
    tables: dict[str, Callable[[], Outcome]] = {
        "reading": lambda: reading(files, given.rounds),
        "memory": lambda: memory(files),
        "writing": lambda: writing(files, given.rounds),
        "migrating": lambda: migrating(files),
        "results": lambda: results(files, given.rounds),
    }
    for name in given.what.split(","):
        publish(tables[name](), f"store_{name}", PACKAGES)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "runs" / "store_speed")
    parser.add_argument("--fits", type=int, default=20, help="arms, at least 3")
    parser.add_argument("--examples", type=int, default=50_000, help="answers of each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--what", default="reading,memory,writing,migrating,results", help="tables, comma-separated")
    parser.add_argument("--alone", help="ask one question and print nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
