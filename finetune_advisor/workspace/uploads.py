"""Files that a person puts into a case."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path, PurePosixPath

from finetune_advisor.case import FILE
from finetune_advisor.datasets.extract import SUFFIXES as DOCUMENTS
from finetune_advisor.datasets.replace import alone, replace, writing
from finetune_advisor.datasets.rows import SUFFIXES as DATA
from finetune_advisor.errors import BadInput
from finetune_advisor.workspace import unzip
from finetune_advisor.workspace.folders import free, hyphenated
from finetune_advisor.workspace.unzip import Limits

FOLDER = "documents"
MAX_BYTES = 200 << 20
_ARCHIVE = ".zip"


def add_file(folder: Path, name: str, data: bytes, *, max_bytes: int = MAX_BYTES) -> Path:
    """Put an uploaded file into a case folder under a safe name.

    A data file never takes the place of another one: its name gets a number, unless the same file is there already.
    A document goes into `documents/` and takes the place of an older one of its name; of a zip file, the documents do.

    Args:
        folder: The case folder.
        name: What the file was called; only its last part counts.
        data: Its contents.
        max_bytes: The most that is taken, of a zip file when unpacked.

    Returns:
        The file, or the folder of documents.

    Raises:
        BadInput: No case there, empty, too large, of an unknown kind, or a zip file that is dangerous or damaged.
    """
    suffix = PurePosixPath(name.replace("\\", "/")).suffix.lower()
    _check(folder, name, data, suffix, max_bytes)
    with alone(folder / FOLDER), writing(folder):
        if suffix == _ARCHIVE:
            return _add_archive(folder / FOLDER, data, max_bytes)
        return _add(folder, _safe(name), suffix, data)


def _check(folder: Path, name: str, data: bytes, suffix: str, max_bytes: int) -> None:
    known = (*DATA, *DOCUMENTS, _ARCHIVE)
    if not (folder / FILE).is_file():
        raise BadInput(f"There is no case in {folder}.", hint="Make one first.")
    if suffix not in known:
        raise BadInput(f"{name} is of a kind that is not used.", hint=f"Known: {', '.join(known)} (of documents).")
    if not data:
        raise BadInput(f"{name} is empty.", hint="Give a file with something in it.")
    if len(data) > max_bytes:
        raise BadInput(f"{name} is larger than {max_bytes / (1 << 20):,.0f} MiB.", hint="Copy it into the folder.")


def _safe(name: str) -> str:
    return hyphenated(PurePosixPath(name.replace("\\", "/")).stem) or "file"


def _add(folder: Path, stem: str, suffix: str, data: bytes) -> Path:
    if suffix in DOCUMENTS:
        (folder / FOLDER).mkdir(exist_ok=True)
        path = folder / FOLDER / f"{stem}{suffix}"
    else:
        path = folder / f"{stem}{suffix}"
        if path.is_file() and path.read_bytes() == data:
            return path
        path = free(folder, stem, suffix)
    replace(path, data)
    return path


def _add_archive(target: Path, data: bytes, max_bytes: int) -> Path:
    """All documents of an archive, once every one of them was taken out without trouble."""
    with tempfile.TemporaryDirectory() as temporary, unzip.opened(io.BytesIO(data), Limits(bytes=max_bytes)) as archive:
        found = [member for member in archive.members() if member.parts[-1].lower().endswith(DOCUMENTS)]
        if not found:
            raise BadInput("The zip file holds no documents.", hint=f"Known: {', '.join(DOCUMENTS)}.")
        for member in found:
            archive.extract(member, Path(temporary).joinpath(*member.parts))
        for member in found:
            path = target.joinpath(*member.parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            replace(path, Path(temporary).joinpath(*member.parts).read_bytes())
    return target
