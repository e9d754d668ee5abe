"""A case as a zip file: written for others, and taken in from others without trusting them."""

from __future__ import annotations

import io
import sqlite3
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO

from finetune_advisor import case
from finetune_advisor.case import FILE, Case, trust
from finetune_advisor.datasets.folders import visible_files
from finetune_advisor.errors import BadInput
from finetune_advisor.store import FILE as STORE
from finetune_advisor.store import VERSION
from finetune_advisor.workspace import unzip
from finetune_advisor.workspace.folders import hyphenated, settle, slug
from finetune_advisor.workspace.home import RESULTS, snapshot
from finetune_advisor.workspace.unzip import Limits, Member

FITS = "fits"
REPORT = "report"
_ADAPTER_FILES = (".safetensors", ".json", ".txt", ".jinja", ".model")
"""What an adapter is made of. Checkpoints hold pickled files, which are never given away nor taken in."""


def export_zip(folder: Path, *, with_models: bool = False) -> bytes:
    """A case as a zip file, in a folder of its own.

    It holds `case.toml`, the data, documents and prices that this names, the reports, and the store as it stands;
    nothing else that may lie in the folder, such as keys or settings of an environment.

    Args:
        folder: The case folder.
        with_models: With the trained adapters too.

    Raises:
        BadInput: The case is broken, or names a file outside its folder.
        StoreProblem: The store cannot be read.
    """
    loaded = case.read(folder)
    stream, top = io.BytesIO(), hyphenated(folder.resolve().name) or "case"
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for path in dict.fromkeys(_exported(loaded, with_models=with_models)):
            archive.write(path, f"{top}/{path.relative_to(folder).as_posix()}")
        if (folder / STORE).exists():
            with tempfile.TemporaryDirectory() as temporary:
                snapshot(folder / STORE, Path(temporary) / STORE)
                archive.write(Path(temporary) / STORE, f"{top}/{STORE}")
    return stream.getvalue()


def _exported(loaded: Case, *, with_models: bool) -> Iterator[Path]:
    folder = loaded.folder
    yield folder / FILE
    if (folder / "README.md").is_file():
        yield folder / "README.md"
    for key, name in loaded.files.items():
        path = folder / name
        if ".." in Path(name).parts or not _is_inside(path, folder):
            raise BadInput(
                f"{key} names {name}, which lies outside the case folder.",
                hint="Copy it into the case folder and name it by its path from there.",
            )
        yield from _files(path, folder)
    yield from _files(loaded.reports, folder)
    if with_models:
        yield from (path for path in _files(folder / FITS, folder) if _is_adapter_file(path.relative_to(folder).parts))


def _files(path: Path, folder: Path) -> list[Path]:
    """A file, or the files below a folder; none that a link leads out of the case."""
    files = visible_files(path) if path.is_dir() else [path] if path.is_file() else []
    return [file for file in files if _is_inside(file, folder) and file != folder / trust.IMPORTED]


def _is_inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _is_adapter_file(parts: tuple[str, ...]) -> bool:
    return parts[-1].endswith(_ADAPTER_FILES) and not any(part.startswith("checkpoint") for part in parts)


def import_zip(root: Path, file: Path | IO[bytes], *, limits: Limits | None = None) -> Path:
    """Take a case in from a zip file, under a name of its own.

    Args:
        root: The folder of cases.
        file: The archive; the case lies at its root or in one folder there. Of the reports only the results are
            taken, because a report is a page that could do things; the app writes it anew.
        limits: How much it may hold.

    Returns:
        The case folder, marked as taken in (`case.trust`).

    Raises:
        BadInput: Damaged, encrypted, too large, with paths or links that lead elsewhere, without a case or with
            several, or with a case that is broken or names files outside its folder. Nothing is left behind.
    """
    with unzip.opened(file, limits or Limits()) as archive:
        members = archive.members()
        depth = _depth(members)

        def fill(draft: Path) -> str:
            for member in members:
                if _is_wanted(member.parts[depth:]):
                    archive.extract(member, draft.joinpath(*member.parts[depth:]))
            loaded = case.read(draft, inside=True)
            trust.mark_imported(draft)
            _check_store(draft / STORE)
            return slug(loaded.title)

        return settle(root, fill)


def _depth(members: list[Member]) -> int:
    """How many folders the case lies in: none or one."""
    found = [member.parts for member in members if member.parts[-1] == FILE]
    if len(found) > 1:
        raise BadInput("The archive holds more than one case.", hint="Pack each case by itself.")
    if not found or len(found[0]) > 2:
        raise BadInput(f"The archive holds no {FILE}.", hint="Pack the case folder itself, with all that is in it.")
    depth = len(found[0]) - 1
    if any(member.parts[:depth] != found[0][:depth] for member in members):
        raise BadInput("The archive holds more than a case folder.", hint="Pack the case folder alone.")
    return depth


def _is_wanted(parts: tuple[str, ...]) -> bool:
    if parts[0] == REPORT:
        return parts == (REPORT, RESULTS)
    if parts[0] == FITS:
        return _is_adapter_file(parts)
    if parts[0].casefold() == trust.IMPORTED:
        return False
    return not parts[0].startswith(f"{STORE}-") and not parts[-1].endswith(".lock")


def _check_store(store: Path) -> None:
    """A store is tables and nothing that runs when they are used."""
    if not store.exists():
        return
    try:
        with closing(sqlite3.connect(store)) as database:
            database.execute("PRAGMA trusted_schema=OFF")
            kinds = {kind for (kind,) in database.execute("SELECT type FROM sqlite_master")}
            newer = database.execute("PRAGMA user_version").fetchone()[0] > VERSION
            sound = database.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
    except sqlite3.Error as error:
        raise BadInput(f"The store in the archive is damaged: {error}.", hint="Export the case again.") from error
    if newer:
        raise BadInput("The case was written by a newer version of this program.", hint="Update finetune-advisor.")
    if not sound or not kinds <= {"table", "index"}:
        raise BadInput("The store in the archive is damaged.", hint="Export the case again.")
