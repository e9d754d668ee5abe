"""The store of a case: every answer as it arrives, the locked split, and who has touched the test split.

One SQLite file, `store.sqlite`. The schema is built by numbered migrations; a store from a newer version is
refused and left alone. A batch of answers is written in one transaction, so a killed run leaves whole batches.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from finetune_advisor.errors import NoSpace, StoreProblem
from finetune_advisor.records import Failure, Reply, Request, TrainingRun

FILE = "store.sqlite"
MIGRATIONS = (
    """
    CREATE TABLE locks (
        hash TEXT NOT NULL, data_hash TEXT NOT NULL, body TEXT NOT NULL, locked_at TEXT NOT NULL
    );
    CREATE TABLE fits (
        fit TEXT PRIMARY KEY, arm TEXT NOT NULL, fingerprint TEXT NOT NULL, training TEXT, at TEXT NOT NULL
    );
    CREATE TABLE answers (
        fit TEXT NOT NULL, part TEXT NOT NULL, example_id TEXT NOT NULL, body TEXT NOT NULL, at TEXT NOT NULL,
        PRIMARY KEY (fit, part, example_id)
    ) WITHOUT ROWID;
    CREATE TABLE touches (
        arm TEXT NOT NULL, split_hash TEXT NOT NULL, fit TEXT NOT NULL, at TEXT NOT NULL,
        PRIMARY KEY (arm, split_hash, fit)
    ) WITHOUT ROWID;
    """,
)
VERSION = len(MIGRATIONS)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A prompt and what came back."""

    request: Request
    outcome: Reply | Failure


@dataclass(frozen=True, kw_only=True)
class Lock:
    """A locked split: its hash, the hash of the data it was made from, and the parts as JSON."""

    hash: str
    data_hash: str
    body: str
    locked_at: datetime


@cache
def _codec(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def _clear_errors(path: Path) -> Generator[None]:
    """Turn what SQLite raises into sentences."""
    try:
        yield
    except sqlite3.Error as error:
        text = str(error)
        if "full" in text or "disk I/O" in text:
            raise NoSpace(
                f"The disk is full: {path} could not be written.",
                hint="Free some space and run again; every answer that was stored is kept.",
            ) from error
        if "locked" in text:
            raise StoreProblem(
                f"{path} is in use by another program.", hint="Wait for the other run, or stop it, and try again."
            ) from error
        raise StoreProblem(
            f"{path} cannot be read as a store: {text}.", hint="Move the file away to start with an empty store."
        ) from error


class Store:
    """The store in a case folder; use it as a context manager.

    Args:
        folder: The case folder; the file is created when absent.

    Raises:
        StoreProblem: The file is from a newer version, or is no store.
        NoSpace: The disk is full.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        with _clear_errors(self.path):
            self._db = sqlite3.connect(self.path, isolation_level=None, timeout=10)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._migrate()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def _migrate(self) -> None:
        found = self._db.execute("PRAGMA user_version").fetchone()[0]
        if found > VERSION:
            raise StoreProblem(
                f"{self.path} was written by a newer version (store schema {found}, this program knows {VERSION}).",
                hint="Upgrade: pip install --upgrade finetune-advisor. The file was not changed.",
            )
        for number, script in enumerate(MIGRATIONS[found:], start=found + 1):
            self._db.executescript(f"BEGIN IMMEDIATE;{script}PRAGMA user_version={number};COMMIT;")

    @contextmanager
    def exclusive(self) -> Generator[None]:
        """Hold the store for one run; the lock goes with the process, however it ends.

        Raises:
            StoreProblem: Another run holds it.
        """
        lock = FileLock(self.path.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise StoreProblem(
                f"Another run is using {self.path.parent}.", hint="Wait until it has ended, or stop it, then run again."
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _write(self, sql: str, rows: Iterable[tuple[str | None, ...]]) -> None:
        with _clear_errors(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(sql, rows)
                self._db.execute("COMMIT")
            except BaseException:
                # SQLite rolls back by itself when the disk is full.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _read(self, sql: str, *values: str) -> list[tuple[Any, ...]]:
        with _clear_errors(self.path):
            return self._db.execute(sql, values).fetchall()

    def lock(self, *, hash: str, data_hash: str, body: str) -> Lock:
        """Lock a split; the newest lock is the one in force."""
        self._write("INSERT INTO locks VALUES (?, ?, ?, ?)", [(hash, data_hash, body, _now())])
        return self.locks()[-1]

    def locks(self) -> list[Lock]:
        """All splits that were ever locked, oldest first."""
        rows = self._read("SELECT hash, data_hash, body, locked_at FROM locks ORDER BY rowid")
        return [Lock(hash=h, data_hash=d, body=b, locked_at=datetime.fromisoformat(t)) for h, d, b, t in rows]

    def save_fit(self, fit: str, arm: str, fingerprint: str, training: TrainingRun | None) -> None:
        """Remember what a fit was made of, and its training."""
        body = None if training is None else _codec(TrainingRun).dump_json(training).decode()
        self._write("INSERT OR REPLACE INTO fits VALUES (?, ?, ?, ?, ?)", [(fit, arm, fingerprint, body, _now())])

    def training(self, fit: str) -> TrainingRun | None:
        """The training behind a fit, if it had one."""
        rows = self._read("SELECT training FROM fits WHERE fit = ? AND training IS NOT NULL", fit)
        return _codec(TrainingRun).validate_json(rows[0][0]) if rows else None

    def add(self, fit: str, part: str, answered: Iterable[Stored]) -> None:
        """Store a batch of answers, all or none.

        Raises:
            StoreProblem: One of them is stored already.
        """
        codec = _codec(Stored)
        rows = [(fit, part, a.request.example_id, codec.dump_json(a).decode(), _now()) for a in answered]
        self._write("INSERT INTO answers VALUES (?, ?, ?, ?, ?)", rows)

    def answers(self, fit: str, part: str) -> Mapping[str, Stored]:
        """All stored answers of a fit on a part, by example id."""
        codec = _codec(Stored)
        rows = self._read("SELECT example_id, body FROM answers WHERE fit = ? AND part = ?", fit, part)
        return {name: codec.validate_json(body) for name, body in rows}

    def touch(self, arm: str, split_hash: str, fit: str) -> None:
        """Record that this fit of the arm is about to see the test split; once for a fit, however often resumed."""
        self._write("INSERT OR IGNORE INTO touches VALUES (?, ?, ?, ?)", [(arm, split_hash, fit, _now())])

    def touches(self, arm: str, split_hash: str) -> int:
        """How many different fits of the arm have seen this test split."""
        rows = self._read("SELECT count(*) FROM touches WHERE arm = ? AND split_hash = ?", arm, split_hash)
        return int(rows[0][0])
