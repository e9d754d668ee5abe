"""A server with the fine-tuning API of OpenAI and Azure and Azure's management API, as small as it can be."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]
Query = dict[str, list[str]]

RESULTS = "step,train_loss,valid_loss,full_valid_loss\n1,2.5,2.4,\n2,1.5,1.9,1.8\n3,1.0,,\n4,0.7,1.2,2.1\n"
PAGE = 2


@dataclass
class FineTuningServer:
    """What it holds, and what goes wrong: `refuse` answers a request by (method, end of path) with (status, error)."""

    url: str = ""
    files: dict[str, Json] = field(default_factory=dict[str, Json])
    data: dict[str, bytes] = field(default_factory=dict[str, bytes])
    jobs: dict[str, Json] = field(default_factory=dict[str, Json])
    bodies: list[Json] = field(default_factory=list[Json])
    deployments: dict[str, Json] = field(default_factory=dict[str, Json])
    requests: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    refuse: dict[tuple[str, str], list[tuple[int, Json]]] = field(
        default_factory=dict[tuple[str, str], list[tuple[int, Json]]]
    )
    loses: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    keeps_metadata: bool = True
    losses: tuple[float, float] = (1.8, 2.1)
    azure: bool = False
    plain_results: bool = False
    new_file_status: str = "processed"
    final_state: str = "Succeeded"
    next_link: str = ""

    def succeed(self, id: str = "ftjob-1") -> None:
        """Let a job have trained."""
        job = self.jobs[id]
        base = job["model"]
        tuned = f"{base}.ft-{id}" if self.azure else f"ft:{base}:org::{id}"
        job |= {
            "status": "succeeded",
            "fine_tuned_model": tuned,
            "finished_at": job["created_at"] + 600,
            "trained_tokens": 4321,
            "result_files": ["file-results"],
        }
        self.data["file-results"] = RESULTS.encode() if self.plain_results else base64.b64encode(RESULTS.encode())

    def posts(self, end: str) -> int:
        """How many requests made something there."""
        return sum(method == "POST" and path.endswith(end) for method, path in self.requests)

    def answer(self, method: str, path: str, query: Query, body: bytes, kind: str) -> tuple[int, Any]:
        """Status and content."""
        for (verb, end), replies in self.refuse.items():
            if method == verb and path.endswith(end) and replies:
                status, error = replies.pop(0)
                return status, {"error": error}
        parts = path.strip("/").split("/")
        if "Microsoft.CognitiveServices" in parts:
            return self._manage(method, parts[parts.index("deployments") + 1 :], body)
        place = parts.index("files") if "files" in parts else parts.index("jobs")
        if parts[place] == "files":
            return self._files(method, parts[place + 1 :], body, kind, query)
        return self._jobs(method, parts[place + 1 :], body, query)

    def _files(self, method: str, rest: list[str], body: bytes, kind: str, query: Query) -> tuple[int, Any]:
        if method == "POST":
            form = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
            part = next(p for p in form.iter_parts() if p.get_param("name", header="content-disposition") == "file")
            id = f"file-{len(self.files) + 1}"
            payload: Any = part.get_payload(decode=True)
            self.data[id] = payload
            self.files[id] = {
                "id": id,
                "object": "file",
                "bytes": len(self.data[id]),
                "created_at": 100,
                "filename": part.get_filename(),
                "purpose": "fine-tune",
                "status": self.new_file_status,
            }
            return 200, self.files[id]
        if not rest:
            return 200, _page(list(self.files.values()), query)
        if rest[-1] == "content":
            return 200, self.data[rest[0]]
        return 200, self.files[rest[0]]

    def _jobs(self, method: str, rest: list[str], body: bytes, query: Query) -> tuple[int, Any]:
        if not rest and method == "POST":
            return 200, self._create(json.loads(body))
        if not rest:
            return 200, _page(list(self.jobs.values())[::-1], query)
        if rest[0] not in self.jobs:
            return 404, {"error": {"message": "no such job", "code": "not_found"}}
        job = self.jobs[rest[0]]
        match rest[1:]:
            case ["events"]:
                return 200, _page(self._events(job), query)
            case ["checkpoints"]:
                return 200, _page(self._checkpoints(job), query)
            case ["cancel" | "pause" | "resume" as verb]:
                job["status"] = {"cancel": "cancelled", "pause": "paused", "resume": "running"}[verb]
            case _:
                pass
        return 200, job

    def _create(self, body: Json) -> Json:
        self.bodies.append(body)
        id = f"ftjob-{len(self.jobs) + 1}"
        self.jobs[id] = {
            "id": id,
            "object": "fine_tuning.job",
            "created_at": 1_000,
            "model": body["model"],
            "training_file": body["training_file"],
            "validation_file": body.get("validation_file"),
            "hyperparameters": {"n_epochs": 2},
            "organization_id": "org",
            "result_files": [],
            "seed": body["seed"],
            "status": "queued",
            "metadata": body["metadata"] if self.keeps_metadata else None,
        }
        return self.jobs[id]

    def _events(self, job: Json) -> list[Json]:
        said = ["Created fine-tuning job", "Step 1/4: training loss=2.50", "Step 2/4: training loss=1.50"]
        said += ["The job has successfully completed"] if job["status"] == "succeeded" else []
        return [
            {
                "id": f"ev-{number}",
                "object": "fine_tuning.job.event",
                "created_at": 1_000,
                "level": "info",
                "message": message,
            }
            for number, message in enumerate(said)
        ][::-1]

    def _checkpoints(self, job: Json) -> list[Json]:
        return [
            {
                "id": f"ftckpt-{step}",
                "object": "fine_tuning.job.checkpoint",
                "created_at": 1_100,
                "fine_tuned_model_checkpoint": f"ft:{job['model']}:org::{job['id']}:ckpt-step-{step}",
                "fine_tuning_job_id": job["id"],
                "step_number": step,
                "metrics": {"step": step, "train_loss": 1.0, "full_valid_loss": loss},
            }
            for step, loss in ((4, self.losses[1]), (2, self.losses[0]))
            if job["status"] == "succeeded"
        ]

    def _manage(self, method: str, rest: list[str], body: bytes) -> tuple[int, Any]:
        if not rest:
            return 200, {"value": list(self.deployments.values()), "nextLink": self.next_link}
        name = rest[0]
        if method == "PUT":
            self.deployments[name] = {
                **json.loads(body),
                "name": name,
                "systemData": {"createdAt": datetime(2026, 11, 22, 12, tzinfo=UTC).isoformat()},
            }
            self.deployments[name]["properties"]["provisioningState"] = "Creating"
            return 201, self.deployments[name]
        if method == "DELETE":
            return (200 if self.deployments.pop(name, None) else 204), None
        if name not in self.deployments:
            return 404, {"error": {"code": "ResourceNotFound", "message": "no such deployment"}}
        shown = json.loads(json.dumps(self.deployments[name]))
        self.deployments[name]["properties"]["provisioningState"] = self.final_state
        return 200, shown


def _page(rows: list[Json], query: Query) -> Json:
    after = query.get("after", [""])[0]
    start = next((i + 1 for i, row in enumerate(rows) if row["id"] == after), 0)
    shown = rows[start : start + PAGE]
    return {"object": "list", "data": shown, "has_more": start + PAGE < len(rows)}


@contextmanager
def serving(server: FineTuningServer) -> Generator[FineTuningServer]:
    """The server on this machine while the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            server.requests.append((self.command, parts.path))
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            kind = self.headers.get("content-type", "")
            status, content = server.answer(self.command, parts.path, parse_qs(parts.query), body, kind)
            lost = next((key for key in server.loses if key[0] == self.command and parts.path.endswith(key[1])), None)
            if lost:
                server.loses.remove(lost)
                self.close_connection = True
                return
            data = content if isinstance(content, bytes) else json.dumps(content).encode() if content else b""
            self.send_response(status)
            self.send_header(
                "content-type", "application/octet-stream" if isinstance(content, bytes) else "application/json"
            )
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = handle_any

        def log_message(self, format: str, *args: object) -> None:
            return

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
