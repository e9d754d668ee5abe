"""A provider for the tests of the pages: the emulator, over HTTP; and the threads in which the pages ask it."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from finetune_advisor import models
from finetune_advisor.emulator.serve import Options, Running, running
from finetune_advisor.models import waiting
from finetune_advisor.pages.background import THREAD

KEY = "sk-emulated-0123456789abcdef"
BASE = "gpt-4.1-mini-2025-04-14"


@contextmanager
def emulated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Running]:
    """The provider, in the environment under the names of OpenAI and of Azure; nobody waits for it for long."""
    with running(folder, models.create("fake"), options=Options(key=KEY)) as server:
        monkeypatch.setattr(waiting, "wait", briefly)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.azure_url)
        monkeypatch.setenv("AZURE_MANAGEMENT_ENDPOINT", server.azure_url)
        monkeypatch.setenv("AZURE_MANAGEMENT_TOKEN", KEY)
        monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", "sub")
        monkeypatch.setenv("AZURE_RESOURCE_GROUP", "group")
        yield server


def briefly(seconds: float) -> None:
    time.sleep(min(seconds, 0.02))


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
