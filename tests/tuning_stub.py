"""A server that answers as OpenAI and Azure do where jobs are made and deployments: enough for a recipe's program."""

from __future__ import annotations

import base64
import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

REFUSAL = {"error": {"message": "winding down", "code": "training_not_available", "type": "x", "param": None}}


@dataclass
class Seen:
    """What was asked of the server, and whether it refuses jobs."""

    url: str = ""
    refuse: bool = False
    calls: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    bodies: dict[str, Any] = field(default_factory=dict[str, Any])
    uploads: list[bytes] = field(default_factory=list[bytes])
    looks: int = 0


@contextmanager
def serving(refuse: bool = False) -> Generator[Seen]:
    """The server on a free port of this machine."""
    seen = Seen(refuse=refuse)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.respond()

        def do_POST(self) -> None:
            self.respond()

        def do_PUT(self) -> None:
            self.respond()

        def do_DELETE(self) -> None:
            self.respond()

        def respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = reply(seen, self.command, self.path.partition("?")[0], body)
            sent = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    seen.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def reply(seen: Seen, method: str, path: str, body: bytes) -> tuple[int, Any]:
    """Status and body for one request."""
    plain = path.removeprefix("/openai").removeprefix("/v1")
    seen.calls.append((method, plain))
    if method == "POST" and plain == "/files":
        seen.uploads.append(body)
    elif body:
        seen.bodies[plain] = json.loads(body)
    if method == "POST" and plain == "/fine_tuning/jobs" and seen.refuse:
        return 403, REFUSAL
    if plain.endswith("/content"):
        return 200, base64.b64encode(b"step,train_loss\n1,0.5\n")
    if "/deployments/" in plain:
        return 200, {"properties": {"provisioningState": "Creating" if method == "PUT" else "Succeeded"}}
    return 200, found(seen, method, plain)


def found(seen: Seen, method: str, path: str) -> dict[str, Any]:
    """What lies at an address."""
    if path.startswith("/files"):
        made = {"bytes": 1, "created_at": 0, "filename": "f", "object": "file", "purpose": "fine-tune"}
        return {**made, "id": f"file-{len(seen.uploads)}", "status": "processed"}
    if path.endswith("/events"):
        event = {"id": "e1", "object": "fine_tuning.job.event", "created_at": 0, "level": "info", "message": "step 1"}
        return {"object": "list", "data": [event], "has_more": False}
    if path == "/chat/completions":
        message = {"role": "assistant", "content": "blue", "refusal": None}
        choice = {"index": 0, "finish_reason": "stop", "logprobs": None, "message": message}
        return {"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    return job(seen, cancelled=path.endswith("/cancel"), looked=method == "GET")


def job(seen: Seen, *, cancelled: bool, looked: bool) -> dict[str, Any]:
    """The job, which is done at the second look."""
    seen.looks += looked
    done = seen.looks > 1
    return {
        "id": "ftjob-1",
        "object": "fine_tuning.job",
        "created_at": 0,
        "error": None,
        "fine_tuned_model": "ft:m:org::1" if done else None,
        "finished_at": None,
        "hyperparameters": {},
        "model": "m",
        "organization_id": "o",
        "result_files": ["file-r"] if done else [],
        "seed": 0,
        "status": "cancelled" if cancelled else "succeeded" if done else "running",
        "trained_tokens": 123 if done else None,
        "training_file": "file-1",
        "validation_file": None,
    }
