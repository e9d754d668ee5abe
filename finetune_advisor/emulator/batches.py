"""Batches: files of requests that are answered in the background at half the price."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from openai.types import Batch

from finetune_advisor.emulator import uploads
from finetune_advisor.emulator.state import ApiError, Charge, State, new_id, write_json

LOG = logging.getLogger(__name__)

Row = dict[str, Any]
Ask = Callable[[str, object], tuple[Row, Charge]]
"""Answers one request of an endpoint such as "/v1/chat/completions"."""

DAY_SECONDS = 24 * 3600
ENDED = ("completed", "failed", "cancelled", "expired")
OFFERED = ("/v1/chat/completions", "/v1/responses", "/v1/embeddings")
MAX_REQUESTS = 50_000


class Batches:
    """All batches, each with a file of its own that a restart goes on from.

    Args:
        state: What is behind the emulator.
        ask: Answers one request.
    """

    def __init__(self, state: State, ask: Ask) -> None:
        self._state = state
        self._ask = ask
        self._closing = threading.Event()
        self._folder = state.folder / "batches"
        self._folder.mkdir(parents=True, exist_ok=True)
        read: list[Row] = [json.loads(path.read_text(encoding="utf-8")) for path in self._folder.glob("*.json")]
        self._rows = {row["id"]: row for row in sorted(read, key=lambda row: row["created_at"])}
        self._threads = [self._start(id) for id, row in self._rows.items() if row["status"] not in ENDED]

    def create(self, body: Mapping[str, Any]) -> Batch:
        """Take a file of requests and begin to answer them.

        Raises:
            ApiError: There is no such file, it is for something else, or the emulator has no such endpoint.
        """
        file = self._state.file(body["input_file_id"])
        if file.purpose != "batch":
            message = f"The file has the purpose {file.purpose}, not batch."
            raise ApiError(400, message, param="input_file_id", code="invalid_file")
        if body["endpoint"] not in OFFERED:
            message = f"The emulator's batches take {', '.join(OFFERED)}."
            raise ApiError(400, message, param="endpoint", code="invalid_value")
        row = _fresh(body)
        self._keep(row["id"], row)
        self._threads.append(self._start(row["id"]))
        return self.retrieve(row["id"])

    def retrieve(self, id: str) -> Batch:
        """How a batch stands.

        Raises:
            ApiError: There is no such batch.
        """
        return Batch.model_validate(self._row(id))

    def listed(self, query: Mapping[str, str]) -> Row:
        """A page of the batches, the newest first."""
        newest = [self.retrieve(id) for id in reversed(self._rows)]
        chosen, more = uploads.page(newest, query.get("after"), uploads.number(query, "limit", 20))
        return uploads.as_list([batch.model_dump(mode="json", exclude_unset=True) for batch in chosen], more=more)

    def cancel(self, id: str) -> Batch:
        """End a batch after the request that is being answered.

        Raises:
            ApiError: There is no such batch, or it has ended.
        """
        with self._state.lock:
            status = self._row(id)["status"]
            if status in ENDED:
                raise ApiError(409, f"The batch is {status} and cannot be cancelled.", code="conflict")
            self._keep(id, {"status": "cancelling", "cancelling_at": int(time.time())})
            return self.retrieve(id)

    def close(self) -> None:
        """Stop answering; unfinished batches go on when the emulator is started again."""
        self._closing.set()
        for thread in self._threads:
            thread.join()

    def _row(self, id: str) -> Row:
        if id not in self._rows:
            raise ApiError(404, f"No batch found with id '{id}'.", param="batch_id")
        return self._rows[id]

    def _keep(self, id: str, changes: Row) -> None:
        with self._state.lock:
            self._rows[id] = {**self._rows.get(id, {}), **changes}
            write_json(self._folder / f"{id}.json", self._rows[id])

    def _start(self, id: str) -> threading.Thread:
        thread = threading.Thread(target=self._run, args=(id,), name=id, daemon=True)
        thread.start()
        return thread

    def _run(self, id: str) -> None:
        row = self._row(id)
        try:
            requests = _requests(self._state.file(row["input_file_id"]).path, row["endpoint"])
        except ApiError as error:
            fault = {"code": error.code, "message": error.message, "param": error.param, "line": None}
            errors = {"object": "list", "data": [fault]}
            self._keep(id, {"status": "failed", "failed_at": int(time.time()), "errors": errors})
            return
        self._begin(id, len(requests))
        self._answer_all(id, requests)
        if not self._closing.is_set():
            self._finish(id)

    def _begin(self, id: str, total: int) -> None:
        with self._state.lock:
            begun = {"in_progress_at": int(time.time()), "request_counts": _counts(self._answered(id), total)}
            status = "cancelling" if self._cancelled(id) else "in_progress"
            self._keep(id, {**begun, "status": status})

    def _answer_all(self, id: str, requests: list[Row]) -> None:
        done = {line["custom_id"] for line in self._answered(id)}
        for request in requests:
            if self._closing.is_set() or self._cancelled(id):
                return
            if request["custom_id"] not in done:
                self._note(id, self._answer(request))

    def _cancelled(self, id: str) -> bool:
        return self._row(id)["status"] == "cancelling"

    def _answer(self, request: Row) -> Row:
        try:
            body, charge = self._ask(request["url"], request["body"])
        except ApiError as error:
            return _line(request, error.status, error.body())
        except Exception as error:  # one request of a batch must not end the others
            LOG.exception("the emulator failed at a request of a batch")
            return _line(request, 500, ApiError(500, f"The emulator failed: {error}", type="server_error").body())
        self._state.charges.append(replace(charge, half_price=True))
        return _line(request, 200, body)

    def _note(self, id: str, line: Row) -> None:
        with self._lines(id).open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")
        counts = dict(self._row(id)["request_counts"])
        counts["completed" if _good(line) else "failed"] += 1
        self._keep(id, {"request_counts": counts})

    def _finish(self, id: str) -> None:
        answered = self._answered(id)
        output = self._file(id, "output", [line for line in answered if _good(line)])
        faults = self._file(id, "error", [line for line in answered if not _good(line)])
        with self._state.lock:
            status = "cancelled" if self._cancelled(id) else "completed"
            self._keep(id, {"status": status, f"{status}_at": int(time.time()), **output, **faults})

    def _file(self, id: str, what: str, lines: list[Row]) -> Row:
        if not lines:
            return {}
        data = "".join(json.dumps(line) + "\n" for line in lines).encode()
        return {f"{what}_file_id": self._state.add_file(f"{id}_{what}.jsonl", "batch_output", data).id}

    def _answered(self, id: str) -> list[Row]:
        file = self._lines(id)
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        # Split at line feeds only: answers may hold other characters that count as ends of lines.
        return [json.loads(line) for line in text.split("\n") if line]

    def _lines(self, id: str) -> Path:
        return self._folder / f"{id}.jsonl"


def _fresh(body: Mapping[str, Any]) -> Row:
    now = int(time.time())
    kept = ("completion_window", "endpoint", "input_file_id", "metadata")
    return {
        **{key: body[key] for key in kept if key in body},
        "id": new_id("batch_"),
        "object": "batch",
        "status": "validating",
        "created_at": now,
        "expires_at": now + DAY_SECONDS,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
    }


def _requests(file: Path, endpoint: str) -> list[Row]:
    """The requests of a file.

    Raises:
        ApiError: A line is no request for that endpoint, or a custom_id is there twice.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise _invalid("The file is not UTF-8.") from None
    rows = [_request(line, number, endpoint) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not 1 <= len(rows) <= MAX_REQUESTS:
        raise _invalid(f"A batch has 1 to {MAX_REQUESTS} requests; this one has {len(rows)}.")
    if len({row["custom_id"] for row in rows}) < len(rows):
        raise _invalid("A custom_id is there twice.")
    return rows


def _request(line: str, number: int, endpoint: str) -> Row:
    try:
        row: object = json.loads(line)
    except ValueError:
        raise _invalid(f"Line {number} is not JSON.") from None
    if not isinstance(row, dict) or {"custom_id", "method", "url", "body"} - set(cast(Row, row)):
        raise _invalid(f"Line {number} is not an object with custom_id, method, url and body.")
    row = cast(Row, row)
    if row["method"] != "POST" or row["url"] != endpoint or not isinstance(row["custom_id"], str):
        raise _invalid(f"Line {number} does not POST to {endpoint}, or its custom_id is no text.")
    return row


def _invalid(message: str) -> ApiError:
    return ApiError(400, message, param="input_file_id", code="invalid_request")


def _line(request: Row, status: int, body: Row) -> Row:
    answer = {"status_code": status, "request_id": new_id("req_"), "body": body}
    return {"id": new_id("batch_req_"), "custom_id": request["custom_id"], "response": answer, "error": None}


def _good(line: Row) -> bool:
    return line["response"]["status_code"] == 200


def _counts(answered: list[Row], total: int) -> Row:
    good = sum(map(_good, answered))
    return {"total": total, "completed": good, "failed": len(answered) - good}
