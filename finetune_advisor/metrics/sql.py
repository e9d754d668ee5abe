"""Scorer of SQL answers: what the query returns counts, not how it is written.

The answer is untrusted. It runs on SQLite with an authorizer that lets nothing but reading through, on a database
opened read-only or built in memory, with limits on time, on rows and on the size of a value; printf() is not
available. The scratch space of a large sort is bounded by the time limit only.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from finetune_advisor.errors import BadInput
from finetune_advisor.metrics.text import references
from finetune_advisor.records import Example, Score

MAX_ROWS = 100_000
# A single instr() or LIKE cannot be interrupted; on values of this size it ends within a fraction of a second.
_MAX_VALUE_BYTES = 100_000
_STEPS_BETWEEN_CHECKS = 100

_FENCE = re.compile(r"```(?:sqlite|sql)?(.*)```", re.DOTALL | re.IGNORECASE)
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/", re.DOTALL)
_INNERMOST = re.compile(r"\([^()]*\)")
_ORDER_BY = re.compile(r"\border\s+by\b", re.IGNORECASE)

_READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
# printf('%.2000000000c', 'x') takes ten seconds that no limit of SQLite cuts short.
_UNSAFE_FUNCTIONS = {"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit", "printf", "format"}
_OUTSIDE = {sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH, sqlite3.SQLITE_PRAGMA, sqlite3.SQLITE_CREATE_VTABLE}
_FAULTS = (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError)

_Rows = list[tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True)
class SqlExecution:
    """1 where the answer returns the same rows as a reference (execution accuracy, Yu et al. 2018).

    Rows compare as a set with repeats, in order where the reference sorts its result; columns by position, their
    names do not count. An example's ``meta["schema"]``, a script that creates and fills its tables, comes before
    the options.

    Args:
        database: Path of a SQLite file.
        schema: SQL script that builds the database where no file is given.
        seconds: Time limit of one query.

    Raises:
        BadInput: The file is missing.
    """

    database: str = ""
    schema: str = ""
    seconds: float = 2.0
    higher_is_better: ClassVar[bool] = True
    binary: ClassVar[bool] = True
    title: ClassVar[str] = "Execution accuracy"

    def __post_init__(self) -> None:
        if self.database and not Path(self.database).is_file():
            raise BadInput(f"There is no database {self.database}.", hint="Give the path of a SQLite file.")

    def score(self, text: str, example: Example) -> Score:
        """How good one answer is; a format failure where it is not one query that runs within the limits."""
        try:
            with self._connected(example) as connection:
                return self._judged(connection, text, example)
        except _FAULTS:
            return Score(value=0.0, format_ok=False)

    def extras(self, texts: Sequence[str], examples: Sequence[Example]) -> Mapping[str, float]:
        """`references_executed`: the share of the examples that can be right, as their own reference runs."""
        if not examples:
            return {}
        ran = sum(self.score(example.answer, example).value for example in examples)
        return {"references_executed": ran / len(examples)}

    def _judged(self, connection: sqlite3.Connection, text: str, example: Example) -> Score:
        answered = self._rows(connection, _query(text))
        for reference in references(example):
            try:
                wanted = self._rows(connection, _query(reference))
            except _FAULTS:
                continue
            if _equal(answered, wanted, ordered=is_ordered(reference)):
                return Score(value=1.0)
        return Score(value=0.0)

    @contextmanager
    def _connected(self, example: Example) -> Generator[sqlite3.Connection]:
        script = str(example.meta.get("schema", "") or ("" if self.database else self.schema))
        in_memory = script or not self.database
        target = "file::memory:" if in_memory else f"{Path(self.database).resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(target, uri=True, timeout=self.seconds)) as connection:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
            connection.text_factory = _decoded
            if script:
                self._build(connection, script)
            connection.set_authorizer(_reading_only)
            yield connection

    def _build(self, connection: sqlite3.Connection, script: str) -> None:
        connection.set_authorizer(_inside_only)
        with _deadline(connection, self.seconds):
            connection.executescript(script)

    def _rows(self, connection: sqlite3.Connection, query: str) -> _Rows:
        with _deadline(connection, self.seconds), closing(connection.execute(query)) as cursor:
            if cursor.description is None:
                raise ValueError("This statement returns nothing.")
            rows = cursor.fetchmany(MAX_ROWS + 1)
        if len(rows) > MAX_ROWS:
            raise ValueError(f"More than {MAX_ROWS} rows.")
        return [tuple(_rounded(value) for value in row) for row in rows]


def is_ordered(query: str) -> bool:
    """Whether a query sorts its result; sorting inside a subquery or a window does not count."""
    outer = _QUOTED.sub(" ", query)
    while (shorter := _INNERMOST.sub(" ", outer)) != outer:
        outer = shorter
    return bool(_ORDER_BY.search(outer))


def _query(text: str) -> str:
    fenced = _FENCE.fullmatch(text.strip())
    return fenced[1] if fenced else text


def _equal(answered: _Rows, wanted: _Rows, *, ordered: bool) -> bool:
    return answered == wanted if ordered else Counter(answered) == Counter(wanted)


def _rounded(value: Any) -> Any:
    """Sums of floating-point numbers differ in their last digits with the order of the rows."""
    return float(f"{value:.9g}") if isinstance(value, float) else value


def _decoded(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _reading_only(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    unsafe = action == sqlite3.SQLITE_FUNCTION and str(second).lower() in _UNSAFE_FUNCTIONS
    return sqlite3.SQLITE_OK if action in _READING and not unsafe else sqlite3.SQLITE_DENY


def _inside_only(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    unsafe = action == sqlite3.SQLITE_FUNCTION and str(second).lower() in _UNSAFE_FUNCTIONS
    return sqlite3.SQLITE_DENY if action in _OUTSIDE or unsafe else sqlite3.SQLITE_OK


@contextmanager
def _deadline(connection: sqlite3.Connection, seconds: float) -> Generator[None]:
    end = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS_BETWEEN_CHECKS)
    try:
        yield
    finally:
        connection.set_progress_handler(None, 0)
