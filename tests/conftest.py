"""What every test gets: no network, and a cache of the tool's own that tests share."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from finetune_advisor import models

LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@pytest.fixture(autouse=True)
def no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only addresses on this machine can be reached, unless a test is marked `network`."""
    if "network" in request.keywords:
        return
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in LOOPBACK:
            raise AssertionError(f"a test tried to reach {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model of `oracle.py` by its name in a case."""
    monkeypatch.setitem(models.TABLE, "oracle", "oracle:Oracle")
