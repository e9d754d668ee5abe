"""Take files out of a zip archive that somebody else made. Nothing in it is believed before it has been looked at."""

from __future__ import annotations

import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from finetune_advisor.errors import BadInput

_BLOCK = 1 << 16
_LONGEST_PART = 255
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"|?*]' if os.name == "nt" else r"[\x00-\x1f\x7f]")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much an archive may hold: files, and bytes when unpacked."""

    files: int = 20_000
    bytes: int = 2 << 30


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file in an archive, with the parts of its path after they were found harmless."""

    info: zipfile.ZipInfo
    parts: tuple[str, ...]


@dataclass(kw_only=True)
class Archive:
    """An open archive; what is taken out of it counts against the limits, whatever its headers say."""

    file: zipfile.ZipFile
    limits: Limits
    taken: int = field(default=0, init=False)

    def members(self) -> list[Member]:
        """The files in it; folders, hidden files and what macOS adds do not count.

        Raises:
            BadInput: One of them is dangerous, or there are too many.
        """
        infos = self.file.infolist()
        if len(infos) > self.limits.files:
            raise BadInput(f"The archive holds {len(infos):,} files.", hint=f"At most {self.limits.files:,} are taken.")
        found = list(_members(infos))
        names = {"/".join(member.parts).casefold() for member in found}
        if len(names) < len(found):
            raise BadInput("The archive holds a file twice.", hint=_AGAIN)
        return found

    def extract(self, member: Member, target: Path) -> None:
        """Write one file.

        Raises:
            BadInput: Damaged, or more than the limits allow; part of the file may have been written.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        with _readable(), self.file.open(member.info) as source:
            self._copy(source, target)

    def _copy(self, source: IO[bytes], target: Path) -> None:
        with target.open("xb") as stream:
            while block := source.read(_BLOCK):
                self.taken += len(block)
                if self.taken > self.limits.bytes:
                    size = f"{self.limits.bytes / (1 << 20):,.0f} MiB"
                    raise BadInput(f"The archive unpacks to more than {size}.", hint="Leave large files out of it.")
                stream.write(block)


_AGAIN = "Export the case again, or pack its folder with an ordinary zip program."


@contextmanager
def opened(file: Path | IO[bytes], limits: Limits) -> Generator[Archive]:
    """Open an archive.

    Raises:
        BadInput: It is not there or no zip archive.
    """
    with _readable():
        try:
            archive = zipfile.ZipFile(file)
        except OSError as error:
            raise BadInput(f"The archive cannot be read: {error.strerror or error}.", hint=_AGAIN) from error
    with archive:
        yield Archive(file=archive, limits=limits)


@contextmanager
def _readable() -> Generator[None]:
    try:
        yield
    except _BROKEN as error:
        raise BadInput(f"The archive is damaged or no zip file: {error}.", hint=_AGAIN) from error


def _members(infos: Sequence[zipfile.ZipInfo]) -> Iterator[Member]:
    for info in infos:
        parts = _parts(info.filename)
        _check(info)
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
        if parts and not hidden and not info.is_dir():
            yield Member(info=info, parts=parts)


def _parts(name: str) -> tuple[str, ...]:
    """The parts of a member's path, wherever it was packed.

    Raises:
        BadInput: It leads out of the folder, or no file may be called so.
    """
    path = name.replace("\\", "/")
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    if path.startswith("/") or ".." in parts or re.match("[A-Za-z]:", path):
        raise BadInput(f"The archive holds {name!r}, which would land outside the case folder.", hint=_AGAIN)
    if any(_UNSAFE.search(part) or len(part.encode("utf-8", "replace")) > _LONGEST_PART for part in parts):
        raise BadInput(f"The archive holds {name!r}, which is no safe name for a file.", hint=_AGAIN)
    return parts


def _check(info: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise BadInput(f"The archive holds {info.filename!r}, which is a link or a device.", hint=_AGAIN)
    if info.flag_bits & _ENCRYPTED:
        raise BadInput("The archive is encrypted.", hint="Pack it without a password.")
    if info.compress_type not in _METHODS:
        raise BadInput("The archive is packed in a way that is not read here.", hint=_AGAIN)
