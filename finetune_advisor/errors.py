"""The errors that a person may see, and the one way to load an optional library.

Every error carries one clear sentence, a hint that says what to do next, and a documented exit code.
The command line prints both and exits; no traceback reaches a person for any of these.
"""

from __future__ import annotations

import errno
import importlib
import os
from typing import Any, ClassVar


class AdvisorError(Exception):
    """Something went wrong that a person can mend.

    Args:
        message: One sentence that says what is wrong.
        hint: What to do about it, possibly a command to type.
    """

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class BadInput(AdvisorError):
    """A file, a setting or an option is not usable as given."""

    exit_code = 2


class Missing(AdvisorError):
    """A library, a model or a vocabulary is not on this machine."""

    exit_code = 3


class StoreProblem(AdvisorError):
    """The store is newer than this program, in use by another run, or does not fit the data any more."""

    exit_code = 4


class NoSpace(AdvisorError):
    """The disk is full."""

    exit_code = 5
    retryable = True


def is_disk_full(error: Exception) -> bool:
    """Whether that is what went wrong; safetensors and shutil put the system's words into errors of their own."""
    number = error.errno if isinstance(error, OSError) else None
    return number in (errno.ENOSPC, errno.EDQUOT) or os.strerror(errno.ENOSPC) in str(error)


def require(module: str, *, extra: str) -> Any:
    """Import an optional library, or say how to install it.

    The result is typed `Any` on purpose: none of these libraries has complete types, and each use is tested.

    Args:
        module: Dotted name, for example ``"torch"`` or ``"sklearn.svm"``.
        extra: The extra of this package that brings it.

    Raises:
        Missing: The library is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and not module.startswith(error.name.split(".")[0]):
            raise
        raise Missing(
            f"This needs {module.split('.')[0]}, which is not installed.",
            hint=f"pip install 'finetune-advisor[{extra}]'",
        ) from error
