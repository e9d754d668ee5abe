"""Folders of cases: safe names in any script, and folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import unicodedata
import uuid
from collections.abc import Callable
from pathlib import Path

from finetune_advisor.datasets.replace import alone, writing
from finetune_advisor.errors import AdvisorError

SAMPLE = "sample"
_LONGEST = 80
_DEVICES = {"con", "prn", "aux", "nul", *(f"{name}{digit}" for name in ("com", "lpt") for digit in range(1, 10))}
"""Names that Windows keeps for itself."""


def slug(title: str) -> str:
    """A folder's name from a title: letters, marks and digits of any script, the rest as hyphens.

    It never starts with a dot, is never empty, and fits every file system.
    """
    name = hyphenated(title.casefold())
    return f"{name or 'new'}-case" if not name or name in _DEVICES | {SAMPLE} else name


def hyphenated(text: str) -> str:
    """Letters, marks and digits of any script, underscores, and hyphens in the place of everything else."""
    kept = (sign if unicodedata.category(sign)[0] in "LMN" or sign == "_" else " " for sign in _composed(text))
    return "-".join("".join(kept).split()).encode("utf-8")[:_LONGEST].decode("utf-8", "ignore").strip("-")


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text.encode("utf-8", "ignore").decode("utf-8"))


def settle(root: Path, fill: Callable[[Path], str]) -> Path:
    """Make a folder that appears with all that is in it, under a name that nobody has taken.

    Args:
        root: Where; made where it is not there.
        fill: Given an empty folder, fills it and says how it should be called.

    Raises:
        AdvisorError: What `fill` raises, or the disk; nothing is left behind.
    """
    draft = root / f".new-{uuid.uuid4().hex}"
    try:
        with writing(root):
            draft.mkdir(parents=True)
            name = fill(draft)
        with alone(root / "cases"), writing(root):
            return draft.rename(free(root, name))
    except AdvisorError as error:
        # People do not know the folder by its passing name.
        message = error.message.replace(f"{draft}{os.sep}", "").replace(str(draft), "the case")
        raise type(error)(message, hint=error.hint.replace(str(draft), "CASE")) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def free(folder: Path, name: str, suffix: str = "") -> Path:
    """The first of name, name-2, name-3 that is not taken."""
    path, count = folder / f"{name}{suffix}", 1
    while path.exists() or path.is_symlink():
        count += 1
        path = folder / f"{name}-{count}{suffix}"
    return path
