"""The store of a case: every answer as it arrives, the locked split, who has touched the test split, and its jobs.

One SQLite file, `store.sqlite`. The schema is built by numbered migrations; a store from a newer version is
refused and left alone. A batch of answers is written in one transaction, so a killed run leaves whole batches.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from filelock import FileLock, Timeout
from pydantic import Field, TypeAdapter

from finetune_advisor.errors import NoSpace, StoreProblem
from finetune_advisor.records import Failure, Interval, Reply, Request, TrainingRun

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
    """
    CREATE TABLE jobs (
        id TEXT NOT NULL UNIQUE, state TEXT NOT NULL, wanted TEXT, relock INTEGER NOT NULL,
        minutes REAL, usd TEXT, usd_per_hour TEXT NOT NULL, created TEXT NOT NULL, started TEXT NOT NULL,
        heartbeat TEXT NOT NULL, seconds REAL NOT NULL DEFAULT 0, seconds_left REAL, pid INTEGER,
        error TEXT NOT NULL DEFAULT '', hint TEXT NOT NULL DEFAULT '', steps TEXT NOT NULL DEFAULT '[]'
    );
    """,
    """
    CREATE TABLE charges (
        id INTEGER PRIMARY KEY, job TEXT NOT NULL, what TEXT NOT NULL, usd TEXT NOT NULL, state TEXT NOT NULL,
        at TEXT NOT NULL
    );
    ALTER TABLE jobs ADD COLUMN usd_charged TEXT NOT NULL DEFAULT '0';
    """,
    # In the tree of their keys most bodies took a page each: twice the disk or more, and much of it was read only to
    # count answers or to name them.
    """
    CREATE TABLE moved (
        fit TEXT NOT NULL, part TEXT NOT NULL, example_id TEXT NOT NULL, body TEXT NOT NULL, at TEXT NOT NULL,
        PRIMARY KEY (fit, part, example_id)
    );
    INSERT INTO moved SELECT * FROM answers;
    DROP TABLE answers;
    ALTER TABLE moved RENAME TO answers;
    """,
)
VERSION = len(MIGRATIONS)

# In the order of their names the answers of a fit lie scattered over the file; as they were written, side by side.
_OF_FIT = """
    SELECT example_id, body FROM answers
    WHERE rowid IN (SELECT rowid FROM answers WHERE fit = ? AND part = ?) ORDER BY rowid
"""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A prompt and what came back."""

    request: Request
    outcome: Reply | Failure


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """What is read of a stored answer where its prompt, most of it, is not wanted."""

    outcome: Annotated[Reply | Failure, Field(union_mode="left_to_right")]


@dataclass(frozen=True, kw_only=True)
class Lock:
    """A locked split: its hash, the hash of the data it was made from, and the parts as JSON."""

    hash: str
    data_hash: str
    body: str
    locked_at: datetime


ChargeState = Literal["reserved", "charged", "lost"]


@dataclass(frozen=True, kw_only=True)
class Charge:
    """Money for one request to a provider, or for one training there.

    "reserved" is the most that it may cost, before it is answered; "lost" may have been charged though nothing came.
    """

    id: int
    job: str
    what: str
    usd: Decimal
    state: ChargeState

    def turned_out(self, usd: Decimal, state: ChargeState = "charged") -> Charge:
        """The same with what it really was."""
        return replace(self, usd=usd, state=state)


StepState = Literal["waiting", "running", "done", "skipped", "failed"]
JobState = Literal["starting", "running", "paused", "cancelled", "stopped", "budget used up", "failed", "done"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a job: an arm, or what comes before and after the arms.

    `doing` says what is being done, of which `done` of `total` pieces are; `seconds` were spent on the step so far and
    `seconds_left` are estimated, None while that cannot be told. A finished arm has score, interval and `n` examples;
    a step that was skipped or failed has a reason.
    """

    name: str
    state: StepState = "waiting"
    doing: str = ""
    done: int = 0
    total: int = 0
    seconds: float = 0.0
    seconds_left: float | None = None
    score: float | None = None
    interval: Interval | None = None
    n: int | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run of the case that a process of its own works on.

    `wanted` is the state that somebody asked for and that is not reached yet. `minutes` and `usd` are the limits,
    None where there is none; machine time is money at `usd_per_hour`. `seconds` were worked up to the last heartbeat,
    by all processes that worked on it; `seconds_left` are estimated, None while that cannot be told. `usd_charged` is
    what providers may have charged for it. `pid` is for information only.
    """

    id: str
    state: JobState
    wanted: JobState | None
    relock: bool
    minutes: float | None
    usd: Decimal | None
    usd_per_hour: Decimal
    created: datetime
    started: datetime
    heartbeat: datetime
    seconds: float
    seconds_left: float | None
    pid: int | None
    error: str
    hint: str
    steps: tuple[Step, ...]
    usd_charged: Decimal = Decimal(0)

    @property
    def usd_spent(self) -> Decimal:
        """What providers have charged, and the machine time so far as money."""
        return self.usd_charged + Decimal(str(self.seconds)) / 3600 * self.usd_per_hour

    @property
    def usd_left(self) -> Decimal | None:
        """What is left of the money limit; None where there is none."""
        return None if self.usd is None else max(Decimal(0), self.usd - self.usd_spent)

    @property
    def seconds_limit(self) -> float | None:
        """The tighter of both limits in seconds; None where neither binds."""
        limits = [self.minutes * 60] if self.minutes is not None else []
        if self.usd is not None and self.usd_per_hour:
            limits.append(float((self.usd - self.usd_charged) / self.usd_per_hour * 3600))
        return min(limits, default=None)


@cache
def _codec(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _settling(charge: Charge) -> tuple[str, tuple[str | int, ...]]:
    return "UPDATE charges SET usd = ?, state = ? WHERE id = ?", (str(charge.usd), charge.state, charge.id)


def _column(value: object) -> str | float | None:
    """A value as the table of jobs keeps it."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple):
        return _codec(tuple[Step, ...]).dump_json(value).decode()
    return value if value is None or isinstance(value, int | float) else str(value)


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

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def _migrate(self) -> None:
        found = self._version()
        if found > VERSION:
            raise StoreProblem(
                f"{self.path} was written by a newer version (store schema {found}, this program knows {VERSION}).",
                hint="Upgrade: pip install --upgrade finetune-advisor. The file was not changed.",
            )
        if found < VERSION:
            # Where SQLite is built to overwrite what is dropped, as Debian's is, moving a table takes twice as long.
            self._db.execute("PRAGMA secure_delete=OFF")
            with self._transaction():
                # Another process may have migrated it while this one waited for its turn.
                for statement in ";".join(MIGRATIONS[self._version() :]).split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version={VERSION}")

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

    @contextmanager
    def _transaction(self) -> Generator[None]:
        """All or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            # SQLite rolls back by itself when the disk is full.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _write(self, sql: str, rows: Iterable[Sequence[str | float | None]]) -> int:
        with _clear_errors(self.path), self._transaction():
            return self._db.executemany(sql, rows).rowcount

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

    def add(self, fit: str, part: str, answered: Iterable[Stored], charge: Charge | None = None) -> None:
        """Store a batch of answers and what they cost, all or none.

        Raises:
            StoreProblem: One of them is stored already.
        """
        codec = _codec(Stored)
        rows = [(fit, part, a.request.example_id, codec.dump_json(a).decode(), _now()) for a in answered]
        with _clear_errors(self.path), self._transaction():
            self._db.executemany("INSERT INTO answers VALUES (?, ?, ?, ?, ?)", rows)
            if charge is not None:
                self._db.execute(*_settling(charge))

    def reserve(self, job: str, what: str, usd: Decimal) -> Charge:
        """Write down money for a request before it is sent."""
        row = (job, what, str(usd), _now())
        with _clear_errors(self.path), self._transaction():
            written = self._db.execute(
                "INSERT INTO charges (job, what, usd, state, at) VALUES (?, ?, ?, 'reserved', ?)", row
            )
        return Charge(id=written.lastrowid or 0, job=job, what=what, usd=usd, state="reserved")

    def settle(self, charge: Charge) -> None:
        """Write down what a reservation turned out to be."""
        with _clear_errors(self.path), self._transaction():
            self._db.execute(*_settling(charge))

    def charges(self, job: str | None = None) -> list[Charge]:
        """All charges and reservations, oldest first; those of one job where it is named."""
        rows = self._read("SELECT id, job, what, usd, state FROM charges ORDER BY id")
        found = [Charge(id=i, job=j, what=w, usd=Decimal(u), state=s) for i, j, w, u, s in rows]
        return [charge for charge in found if job in (None, charge.job)]

    def charged(self, job: str) -> Decimal:
        """What providers may have charged for a job: reservations that nothing came back for count too."""
        return sum((Decimal(usd) for (usd,) in self._read("SELECT usd FROM charges WHERE job = ?", job)), Decimal(0))

    def answered(self, fit: str, part: str) -> set[str]:
        """The ids of the examples whose answers are stored, without reading these."""
        return {name for (name,) in self._read("SELECT example_id FROM answers WHERE fit = ? AND part = ?", fit, part)}

    def outcomes(self, fit: str, part: str) -> Mapping[str, Reply | Failure]:
        """What came back for a fit on a part, by example id; the prompts, most of what is stored, are not made."""
        codec = _codec(_Outcome)
        return {name: codec.validate_json(body).outcome for name, body in self._read(_OF_FIT, fit, part)}

    def answers(self, fit: str, part: str, examples: Collection[str] | None = None) -> Mapping[str, Stored]:
        """The stored answers of a fit on a part, by example id: all, or those of some examples."""
        codec = _codec(Stored)
        if examples is None:
            rows = self._read(_OF_FIT, fit, part)
        else:
            one = "SELECT example_id, body FROM answers WHERE fit = ? AND part = ? AND example_id = ?"
            rows = [row for name in examples for row in self._read(one, fit, part, name)]
        return {name: codec.validate_json(body) for name, body in rows}

    def touch(self, arm: str, split_hash: str, fit: str) -> None:
        """Record that this fit of the arm is about to see the test split; once for a fit, however often resumed."""
        self._write("INSERT OR IGNORE INTO touches VALUES (?, ?, ?, ?)", [(arm, split_hash, fit, _now())])

    def touches(self, arm: str, split_hash: str) -> int:
        """How many different fits of the arm have seen this test split."""
        rows = self._read("SELECT count(*) FROM touches WHERE arm = ? AND split_hash = ?", arm, split_hash)
        return int(rows[0][0])

    def count(self, fit: str, part: str) -> int:
        """How many answers of a fit on a part are stored."""
        return int(self._read("SELECT count(*) FROM answers WHERE fit = ? AND part = ?", fit, part)[0][0])

    def add_job(self, **values: object) -> None:
        """Store a new job; the values are named as the fields of `Job`."""
        names, places = ", ".join(values), ", ".join("?" * len(values))
        self._write(f"INSERT INTO jobs ({names}) VALUES ({places})", [[_column(value) for value in values.values()]])

    def change_job(self, id: str, *, among: Collection[JobState] = (), **values: object) -> bool:
        """Change a job, where `among` names states only if it is in one of them; says whether it was changed."""
        settings = ", ".join(f"{name} = ?" for name in values)
        condition = f" AND state IN ({', '.join('?' * len(among))})" if among else ""
        row = [*(_column(value) for value in values.values()), id, *among]
        return self._write(f"UPDATE jobs SET {settings} WHERE id = ?{condition}", [row]) > 0

    def jobs(self) -> list[Job]:
        """All jobs, oldest first, as they were last stored."""
        names = list(Job.__dataclass_fields__)
        rows = self._read(f"SELECT {', '.join(names)} FROM jobs ORDER BY rowid")
        found = [dict(zip(names, row, strict=True)) for row in rows]
        return [_codec(Job).validate_python({**job, "steps": json.loads(job["steps"])}) for job in found]
