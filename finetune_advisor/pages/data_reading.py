"""The data of a case as it stands on disk, read and audited once for each version of its files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import streamlit as st
from pydantic import TypeAdapter

from finetune_advisor.case import Case, guess_kind
from finetune_advisor.datasets import audit, load, mend
from finetune_advisor.datasets.folders import data_files, is_folder, visible_files
from finetune_advisor.datasets.load import Columns
from finetune_advisor.datasets.split import Split
from finetune_advisor.errors import AdvisorError, BadInput
from finetune_advisor.experiment.prepare import PARTS, fix_task, prepare, read_pool
from finetune_advisor.pages.shell import refuse
from finetune_advisor.records import Example, Finding, Part, TaskKind, no_progress
from finetune_advisor.store import FILE, Lock, Store

Version: TypeAlias = "tuple[tuple[str, int, int], ...]"
"""Path, time of change and size of each file."""

RELOCK = (
    "The test split is locked on the data as it is now. Other examples make a new one necessary: every approach is run "
    "again on it, which takes the time and the money of a first run, and the report says that it was locked anew."
)


@dataclass(frozen=True, kw_only=True)
class Look:
    """The examples, and the newest locked split, None where none is locked.

    `fits` says that the data is what the split was locked on. `parts` has the part by example id. `kind` is the kind of
    task that the answers look like.
    """

    examples: tuple[Example, ...]
    kind: TaskKind
    lock: Lock | None
    split: Split | None
    fits: bool
    parts: Mapping[str, Part]


@dataclass(frozen=True, kw_only=True)
class Audited:
    """What the audit found; `problem` is what would stop a run before it starts."""

    findings: tuple[Finding, ...]
    problem: AdvisorError | None = None


def plain(case: Case, text: str) -> str:
    """A message with the paths of files as they count from the case folder."""
    return text.replace(f"{case.folder}{os.sep}", "").replace(str(case.folder), case.folder.name)


def refused(case: Case, error: AdvisorError) -> None:
    """Show an error without the path of the case folder."""
    refuse(AdvisorError(plain(case, error.message), hint=plain(case, error.hint)))


def columns(case: Case) -> Columns:
    """Where the case says that prompt and answer stand."""
    return Columns(prompt=case.data.prompt_column, completion=case.data.answer_column)


def named(case: Case) -> tuple[Path, ...]:
    """The files or folders of examples that the case names."""
    data = case.data
    return tuple(case.folder / name for name in (data.examples, data.train, data.validation, data.test) if name)


def files(case: Case) -> tuple[Path, ...]:
    """The files with examples that are there."""
    found: list[Path] = []
    for path in named(case):
        try:
            found += [file for file in data_files(path) if file.is_file()]
        except BadInput:
            continue
    return tuple(found)


def version(paths: Sequence[Path]) -> Version:
    """What tells one state of files and folders from another."""
    single = [file for path in paths for file in (visible_files(path) if is_folder(path) else [path])]
    stats = [(str(file), file.stat()) for file in single if file.is_file()]
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)


def look(case: Case) -> Look:
    """The data as it stands.

    Raises:
        AdvisorError: It cannot be read.
    """
    locks = locked(case)
    return _look(_stated(case), version(named(case)), tuple(lock.hash for lock in locks), case, locks)


def audited(case: Case, *, models: bool) -> Audited:
    """What the audit finds in the data as it stands.

    Args:
        case: The case.
        models: Hold the lengths against the models of the case, which are loaded for that.
    """
    locks, paths = locked(case), [*named(case), *_documents(case)]
    return _audited(_stated(case), version(paths), tuple(lock.hash for lock in locks), models, case, locks)


def rows(case: Case, path: Path) -> tuple[mend.Row, ...]:
    """The rows of a file that can be edited.

    Raises:
        BadInput: It cannot be edited.
    """
    return _rows(version([path]), path, columns(case))


def bytes_to_audit(case: Case) -> int:
    """The size of all that the audit reads."""
    return sum(size for *_, size in version([*named(case), *_documents(case)]))


def _documents(case: Case) -> list[Path]:
    return [case.folder / case.data.documents] if case.data.documents else []


def _stated(case: Case) -> str:
    return f"{case.folder} {case.data.model_dump_json()} {case.task.model_dump_json()} {case.models}"


def locked(case: Case) -> list[Lock]:
    """Every split that was locked for the case, oldest first."""
    if not (case.folder / FILE).exists():
        return []
    with Store(case.folder) as store:
        return store.locks()


@st.cache_resource(max_entries=8, show_spinner="Reading the examples…")
def _look(stated: str, version: Version, hashes: tuple[str, ...], _case: Case, _locks: list[Lock]) -> Look:
    pool = read_pool(_case)
    lock = _locks[-1] if _locks else None
    split = TypeAdapter(Split).validate_json(lock.body) if lock else None
    return Look(
        examples=pool.examples,
        kind=guess_kind(pool.examples),
        lock=lock,
        split=split,
        fits=lock is None or lock.data_hash == pool.data_hash,
        parts={name: part for part in PARTS for name in getattr(split, part)} if split else {},
    )


@st.cache_resource(max_entries=8, show_spinner="Looking through the data for faults…")
def _audited(
    stated: str, version: Version, hashes: tuple[str, ...], models: bool, _case: Case, _locks: list[Lock]
) -> Audited:
    case = _case if models else _case.model_copy(update={"models": ()})
    try:
        # Changed data is audited as the run would split it that locks a new test part.
        return Audited(findings=prepare(case, _locks if look(_case).fits else (), no_progress).findings)
    except AdvisorError as error:
        return Audited(findings=_by_row(case), problem=error)


def _by_row(case: Case) -> tuple[Finding, ...]:
    """What is wrong with single rows, where there is too little for a whole case."""
    read = [found for path in named(case) if (found := _loaded(path, columns(case)))]
    known = tuple(finding for found in read for finding in found.findings)
    examples = tuple(example for found in read for example in found.examples)
    if not examples:
        return known
    parts: Mapping[Part, tuple[Example, ...]] = {"train": examples}
    return (*known, *audit.audit(parts, fix_task(case, examples), known=known))


def _loaded(path: Path, wanted: Columns) -> load.Loaded | None:
    try:
        return load.load(path, wanted)
    except BadInput:
        return None


@st.cache_resource(max_entries=8, show_spinner="Reading the rows…")
def _rows(version: Version, path: Path, wanted: Columns) -> tuple[mend.Row, ...]:
    return mend.rows(path, wanted)
