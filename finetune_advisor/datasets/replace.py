"""Replace a file at once or not at all, while others who want to do the same wait."""

from __future__ import annotations

import os
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from finetune_advisor.errors import BadInput, NoSpace, is_disk_full


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Turn what the system says against writing a file or folder into sentences.

    Raises:
        NoSpace: The disk is full.
        BadInput: It cannot be written for another reason.
    """
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise NoSpace(f"The disk is full: {path} could not be written.", hint="Free some space first.") from error
        reason = error.strerror or str(error)
        raise BadInput(f"{path} cannot be written: {reason}.", hint="Check the folder and its permissions.") from error


@contextmanager
def alone(path: Path) -> Generator[None]:
    """Hold a file for reading, changing and writing it; whoever comes second waits."""
    lock = FileLock(path.parent / f".{path.name}.lock")
    with writing(path):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def replace(path: Path, content: bytes) -> None:
    """Write a file in place of an old one, whose permissions it keeps; a reader sees the one or the other, whole.

    Raises:
        NoSpace: The disk is full; the old file is as it was.
        BadInput: The folder cannot be written.
    """
    temporary = path.parent / f".{uuid.uuid4().hex}"
    with writing(path):
        try:
            with temporary.open("xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            if path.exists():
                temporary.chmod(path.stat().st_mode)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
