"""Where downloaded and converted model files lie.

A folder in the cache is either absent or complete: it is built beside its place under a lock and then renamed,
so that a killed build or two programs at once leave nothing half done.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import filelock
import platformdirs

from finetune_advisor.errors import BadInput, NoSpace, is_disk_full

VARIABLE = "FINETUNE_ADVISOR_CACHE"


def cache_folder() -> Path:
    """The folder named by FINETUNE_ADVISOR_CACHE, else this user's cache folder."""
    return Path(os.environ.get(VARIABLE) or platformdirs.user_cache_dir("finetune_advisor", appauthor=False))


def built_once(name: str, build: Callable[[Path], None]) -> Path:
    """The cached folder of that name, built first where it is not there yet.

    Args:
        name: The folder's name in the cache; it says which version of what it holds.
        build: Fills the empty folder that it is given.

    Raises:
        NoSpace: The disk is full.
        BadInput: The cache folder cannot be written.
    """
    folder = cache_folder() / name
    if folder.is_dir():
        return folder
    with writing_to(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder.with_name(f"{name}.lock")):
            if not folder.is_dir():
                _build(folder, build)
    return folder


def _build(folder: Path, build: Callable[[Path], None]) -> None:
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        build(partial)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def writing_to(folder: Path) -> Generator[None]:
    """Turn a full disk and a folder that may not be written into errors that a person can act on.

    Raises:
        NoSpace: The disk is full.
        BadInput: The folder cannot be written.
    """
    try:
        yield
    except PermissionError as error:
        hint = f"Allow writing there, or name another folder in the environment variable {VARIABLE}."
        raise BadInput(f"The folder {folder} cannot be written.", hint=hint) from error
    except Exception as error:
        if not is_disk_full(error):
            raise
        hint = f"Free about 1 GB there, or name another folder in the environment variable {VARIABLE}."
        raise NoSpace(f"The disk that holds {folder} is full.", hint=hint) from error
