"""A provider for the tests of the pages: the emulator, over HTTP; and the threads in which the pages ask it."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from at_provider import BASE, KEY, briefly, provider
from finetune_advisor.emulator.serve import Running
from finetune_advisor.models import waiting
from finetune_advisor.pages.background import THREAD

__all__ = ["BASE", "KEY", "emulated", "finish", "settled"]


@contextmanager
def emulated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Running]:
    """The provider, in the environment under the names of OpenAI and of Azure; nobody waits for it for long."""
    with provider(folder, monkeypatch) as server:
        monkeypatch.setattr(waiting, "wait", briefly)
        yield server


def finish() -> None:
    """Wait for what the pages have started."""
    for thread in threading.enumerate():
        if thread.name == THREAD:
            thread.join(60)
            assert not thread.is_alive()


def settled(at: Any, times: int = 1) -> Any:
    """The page when its threads are through, so many of them in turn: a browser would look again by itself."""
    for _ in range(times):
        assert not at.exception
        finish()
        at.run()
    assert not at.exception
    return at
