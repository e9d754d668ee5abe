"""The emulator in the place of OpenAI and Azure OpenAI, for this process and those that it starts."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from finetune_advisor import models
from finetune_advisor.emulator.faults import FaultSettings
from finetune_advisor.emulator.serve import Options, Running, running
from finetune_advisor.tuning import deployments

KEY = "sk-emulated-0123456789abcdef"
BASE = "gpt-4.1-mini-2025-04-14"


def briefly(seconds: float) -> None:
    """A `models.waiting.wait` that keeps a test short."""
    time.sleep(min(seconds, 0.02))


@contextmanager
def provider(folder: Path, monkeypatch: pytest.MonkeyPatch, faults: FaultSettings | None = None) -> Generator[Running]:
    with running(folder, models.create("fake"), options=Options(key=KEY, faults=faults)) as server:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.azure_url)
        monkeypatch.setenv("AZURE_MANAGEMENT_ENDPOINT", server.azure_url)
        monkeypatch.setenv("AZURE_MANAGEMENT_TOKEN", KEY)
        monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", "sub")
        monkeypatch.setenv("AZURE_RESOURCE_GROUP", "group")
        yield server


def deploy(server: Running) -> deployments.Account:
    """The base model at Azure, where nothing answers that is not deployed."""
    account = deployments.account(server.azure_url)
    deployments.create(account, BASE, BASE)
    return account
