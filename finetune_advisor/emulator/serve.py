"""Start the emulator: for good from the command line, or for as long as a test lasts."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from finetune_advisor.emulator.app import app
from finetune_advisor.emulator.endpoints import Endpoints
from finetune_advisor.emulator.faults import Faults, FaultSettings
from finetune_advisor.emulator.gate import Gate
from finetune_advisor.emulator.spec import Spec
from finetune_advisor.emulator.state import State
from finetune_advisor.errors import BadInput, require
from finetune_advisor.models import Model

HOST = "127.0.0.1"
"""Nobody else can reach it, and there is no setting that lets them."""

PORT = 8765
LAST_SECONDS = 1
"""What requests get to finish in when the emulator ends; hanging ones never would."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the emulator behaves.

    Args:
        faults: What goes wrong; None for nothing.
        key: The only API key that it takes; "" for any.
        spec: OpenAI's openapi.yaml to hold requests and answers against; None for none.
        max_steps: The most training steps of a job; 0 for no limit.
        rank: LoRA rank of trainings.
    """

    faults: FaultSettings | None = None
    key: str = ""
    spec: Path | None = None
    max_steps: int = 0
    rank: int = 8


@dataclass(frozen=True, kw_only=True)
class Running:
    """A running emulator.

    `url` is the base URL for OpenAI's client, `azure_url` the endpoint for Azure's and of the management API.
    """

    url: str
    azure_url: str
    state: State
    faults: Faults


def serve(folder: Path, base: Model, *, port: int = PORT, options: Options | None = None) -> None:
    """Run the emulator until it is interrupted.

    Args:
        folder: Where files, trainings and tuned models are kept, and found again.
        base: The local model that answers and is trained.
        port: Where it listens on this machine.
        options: How it behaves.

    Raises:
        BadInput: The port or the folder is in use.
    """
    with _listening(port) as listener, _server(folder, base, options or Options()) as (server, _, _):
        server.run(sockets=[listener])


@contextmanager
def running(folder: Path, base: Model, *, port: int = 0, options: Options | None = None) -> Generator[Running]:
    """The emulator in a thread of this process while the context lasts.

    Args:
        folder: As for `serve`.
        base: As for `serve`.
        port: As for `serve`; 0 for any free one.
        options: As for `serve`.
    """
    with _listening(port) as listener, _server(folder, base, options or Options()) as (server, state, faults):
        azure_url = f"http://{HOST}:{listener.getsockname()[1]}"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="emulator", daemon=True)
        thread.start()
        try:
            yield Running(url=f"{azure_url}/v1", azure_url=azure_url, state=state, faults=faults)
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def _listening(port: int) -> Generator[socket.socket]:
    # Already listening before the server runs: whoever connects early waits, rather than being refused.
    try:
        listener = socket.create_server((HOST, port))
    except OSError as error:
        raise BadInput(f"Port {port} cannot be used: {error.strerror}.", hint="Give another --port.") from error
    with listener:
        yield listener


@contextmanager
def _server(folder: Path, base: Model, options: Options) -> Generator[tuple[Any, State, Faults]]:
    uvicorn = require("uvicorn", extra="emulator")
    folder = folder.resolve()
    with _owned(folder):
        state = State(folder, base, max_steps=options.max_steps, rank=options.rank)
        faults = Faults(options.faults)
        gate = Gate(state, faults, key=options.key, spec=Spec(options.spec) if options.spec else None)
        endpoints = Endpoints(state)
        config = uvicorn.Config(
            app(state, endpoints, faults, gate),
            log_level="critical",
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=LAST_SECONDS,
        )
        try:
            yield uvicorn.Server(config), state, faults
        finally:
            endpoints.close()


@contextmanager
def _owned(folder: Path) -> Generator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(folder / "emulator.lock", timeout=0):
            yield
    except filelock.Timeout:
        raise BadInput(f"Another emulator is at work in {folder}.", hint="End it, or give another folder.") from None
