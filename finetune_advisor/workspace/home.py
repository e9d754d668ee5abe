"""What a home page does: list the cases, make one, open the sample, copy and remove."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

from filelock import FileLock, Timeout

from finetune_advisor import case
from finetune_advisor.datasets import load
from finetune_advisor.datasets.replace import alone, writing
from finetune_advisor.errors import AdvisorError, BadInput, StoreProblem
from finetune_advisor.records import TaskKind
from finetune_advisor.store import FILE as STORE
from finetune_advisor.workspace.folders import SAMPLE, free, settle, slug

RESULTS = "results.json"
TRASH = ".trash"

State: TypeAlias = Literal["new", "started", "finished", "broken"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A case as a home page lists it.

    Args:
        name: The folder's name, which tells cases apart.
        folder: The folder.
        title: The title in `case.toml`; the name where that cannot be read.
        state: "new" before anything was run, "started" with stored answers, "finished" with results, or "broken".
        decision: GO, NO-GO or NOT YET in the results that were written last, or "".
        modified: When settings, store or results changed last (UTC).
        problem: Why the case cannot be read, or "".
    """

    name: str
    folder: Path
    title: str
    state: State
    decision: str = ""
    modified: datetime
    problem: str = ""


def cases(root: Path) -> tuple[Entry, ...]:
    """The cases in a folder, the one that changed last first; a broken one is listed with what is wrong with it."""
    found = sorted(root.glob(f"*/{case.FILE}")) if root.is_dir() else []
    entries = [_entry(path.parent) for path in found if not path.parent.name.startswith(".")]
    return tuple(sorted(entries, key=lambda entry: entry.modified, reverse=True))


def find(root: Path, name: str) -> Path:
    """The folder of a case by its name, which may come from an address that somebody typed.

    Raises:
        BadInput: There is no such case in that folder.
    """
    known = {path.parent.name: path.parent for path in root.glob(f"*/{case.FILE}")}
    if name not in known or name.startswith("."):
        raise BadInput(f"There is no case named {name!r} here.", hint="Choose one from the list.")
    return known[name]


def _entry(folder: Path) -> Entry:
    files = [folder / case.FILE, folder / STORE, folder / f"{STORE}-wal", folder / "report" / RESULTS]
    modified = max((path.stat().st_mtime for path in files if path.exists()), default=0.0)
    common: dict[str, Any] = {
        "name": folder.name,
        "folder": folder,
        "modified": datetime.fromtimestamp(modified, UTC),
    }
    settings = (folder / case.FILE).stat()
    title, problem = _title(folder, settings.st_mtime_ns, settings.st_size)
    if problem:
        return Entry(**common, title=folder.name, state="broken", problem=problem)
    results = folder / "report" / RESULTS
    judged = results.stat() if results.exists() else None
    decision = _decision(results, judged.st_mtime_ns, judged.st_size) if judged else ""
    state: State = "finished" if decision else "started" if (folder / STORE).exists() else "new"
    return Entry(**common, title=title, state=state, decision=decision)


@lru_cache(maxsize=1024)
def _title(folder: Path, modified: int, size: int) -> tuple[str, str]:
    """A case's title, or what is wrong with it. Checking one takes a while, so an unchanged file is checked once."""
    try:
        return case.read(folder).title, ""
    except AdvisorError as error:
        return "", error.message


@lru_cache(maxsize=1024)
def _decision(results: Path, modified: int, size: int) -> str:
    """What a report decided; the results of a large case take a second to read, so an unchanged file is read once."""
    try:
        return str(json.loads(results.read_bytes())["verdict"]["decision"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""


def create(
    root: Path,
    *,
    title: str,
    kind: TaskKind | None = None,
    examples: Path | None = None,
    documents: Path | None = None,
) -> Path:
    """Make a case in a folder of its own, named after the title, with the data copied into it.

    Args:
        root: The folder of cases.
        title: What people call it, in any script.
        kind: The kind of task; guessed from the examples unless given.
        examples: A data file or folder.
        documents: A folder of documents, or a JSONL file of them.

    Raises:
        BadInput: No title, or data that cannot be read; nothing is left behind.
    """
    title = " ".join(title.split())
    if not title:
        raise BadInput("The case has no title.", hint="Say in a few words what the model should do.")
    kind = kind or _guessed(examples)

    def fill(draft: Path) -> str:
        case.write_new(draft, title=title, kind=kind, examples=examples, documents=documents)
        case.read(draft)
        return slug(title)

    return settle(root, fill)


def _guessed(examples: Path | None) -> TaskKind:
    found = load.load(examples).examples if examples else ()
    return case.guess_kind(found) if found else TaskKind.TEXT


def open_sample(root: Path) -> Path:
    """The sample case in a folder of cases, copied there when it is first asked for."""

    def fill(draft: Path) -> str:
        case.sample(draft)
        return SAMPLE

    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
    with alone(root / SAMPLE):
        return root / SAMPLE if (root / SAMPLE / case.FILE).exists() else settle(root, fill)


def copy(folder: Path, *, title: str) -> Path:
    """A copy of a case beside it, with its data, answers and adapters, under another title.

    Raises:
        BadInput: The case is broken, or the title is empty.
    """
    left_out = shutil.ignore_patterns(f"{STORE}*", "*.lock", ".*")

    def fill(draft: Path) -> str:
        shutil.copytree(folder, draft, ignore=left_out, dirs_exist_ok=True)
        if (folder / STORE).exists():
            snapshot(folder / STORE, draft / STORE)
        case.edit(draft, {"title": " ".join(title.split()) or None})
        return slug(title)

    return settle(folder.parent, fill)


def remove(folder: Path) -> Path:
    """Move a case into `.trash` beside it, from where it can be moved back by hand.

    Returns:
        Where it lies now.

    Raises:
        StoreProblem: Something is running in it.
    """
    try:
        held = FileLock((folder / STORE).with_suffix(".lock")).acquire(timeout=0)
    except Timeout as error:
        raise StoreProblem(f"Something is running in {folder.name}.", hint="Cancel it first.") from error
    trash = folder.parent / TRASH
    with held, writing(folder):
        trash.mkdir(exist_ok=True)
        with alone(trash / "cases"):
            return folder.rename(free(trash, f"{folder.name}-{datetime.now(UTC):%Y-%m-%d}"))


def snapshot(store: Path, target: Path) -> None:
    """A copy of a store as it stands between two writes, while a run goes on.

    Raises:
        StoreProblem: It cannot be read.
    """
    try:
        with closing(sqlite3.connect(store, timeout=10)) as source, closing(sqlite3.connect(target)) as copied:
            source.backup(copied)
    except sqlite3.Error as error:
        raise StoreProblem(f"{store} cannot be copied: {error}.", hint="Try again when the run has ended.") from error
