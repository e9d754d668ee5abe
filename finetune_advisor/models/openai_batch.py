"""The Batch API: many requests in one file, answered within a day at half the price.

A batch carries a hash of its requests, so that whoever asks the same again, after a crash for example, finds it and
does not pay twice. Requests that a batch left out or failed to do are not charged; the next batch holds only those.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from finetune_advisor.errors import BadInput
from finetune_advisor.models import waiting
from finetune_advisor.models.connection import (
    FREE,
    Arrived,
    Ask,
    Connection,
    Lost,
    Outcome,
    Refused,
    Unavailable,
    refused,
)
from finetune_advisor.models.openai_replies import most_prompt_tokens
from finetune_advisor.models.openai_requests import Body
from finetune_advisor.records import Request

MOST_REQUESTS = 50_000
MOST_BYTES = 190_000_000
"""What one batch may hold: 50,000 requests and 200 MB, of which some are left for what is put around them."""

FIRST_LOOK = 5.0
LONGEST_LOOK = 60.0
MOST_SECONDS = 26 * 3600.0
"""Between two looks at a batch, and in all: it is given up by the provider after 24 hours."""

MARK = "finetune_advisor"
"""The key of a batch's metadata under which the hash of its requests stands."""

_MOST_PAGES = 20
_TRIES = 3
_Model = TypeVar("_Model", bound=BaseModel)
_LOST = Lost(reason="the batch did not get to it")


def groups(requests: Sequence[Request]) -> list[list[Request]]:
    """Requests in their order, as many together as one batch may hold."""
    made: list[list[Request]] = []
    room = 0
    for request in requests:
        # Characters that JSON escapes take two bytes.
        size = 2 * most_prompt_tokens(request)
        if not made or size > room or len(made[-1]) == MOST_REQUESTS:
            made.append([])
            room = MOST_BYTES
        made[-1].append(request)
        room -= size
    return made


def answers(connection: Connection, bodies: Sequence[Body], path: str) -> list[Outcome]:
    """The outcome of each request, in their order; waits until the batch is done.

    Args:
        connection: Where to.
        bodies: The requests.
        path: The address that they would be sent to one by one, for example "/v1/chat/completions".

    Raises:
        Unavailable: The batch failed, was cancelled, or is not done in time.
        BadInput: The provider does not take it.
    """
    lines = (_line(number, body, path) for number, body in enumerate(bodies))
    file = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
    gone: set[str] = set()
    for _ in range(_TRIES):
        job = _done(connection, _found(connection, file, gone) or _created(connection, file, path))
        lines = _lines(connection, job) if job else None
        if job is not None and lines is not None:
            return _outcomes(connection, job, lines, len(bodies))
        gone |= {job.id} if job else set()
    raise Unavailable(f"{connection.account.host} did not take the batch.", hint="Run again later.")


class _Counts(BaseModel):
    completed: int = 0


class _Error(BaseModel):
    code: str | None = None
    message: str | None = None


class _Errors(BaseModel):
    data: list[_Error] | None = None


class _Job(BaseModel):
    id: str
    status: str
    metadata: dict[str, Any] | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: float = 0
    completed_at: float | None = None
    errors: _Errors | None = None
    request_counts: _Counts | None = None

    @property
    def ended(self) -> bool:
        return self.status in ("completed", "expired", "failed", "cancelled")

    @property
    def useful(self) -> bool:
        """Whether it will bring answers, or has brought some."""
        if self.status in ("failed", "cancelled", "cancelling"):
            return False
        return not self.ended or bool(self.request_counts and self.request_counts.completed)


class _Page(BaseModel):
    data: list[_Job]
    has_more: bool | None = None


class _File(BaseModel):
    id: str


class _Answer(BaseModel):
    status_code: int
    body: Any = None


class _Line(BaseModel):
    custom_id: str
    response: _Answer | None = None
    error: _Error | None = None


def _line(number: int, body: Body, path: str) -> dict[str, Any]:
    return {"custom_id": str(number), "method": "POST", "url": path, "body": body}


def _hash(file: bytes) -> str:
    return hashlib.sha256(file).hexdigest()


def _found(connection: Connection, file: bytes, gone: Collection[str]) -> _Job | None:
    """The batch with these very requests, the newest of several; not one whose results are gone."""
    mark, after = _hash(file), ""
    for _ in range(_MOST_PAGES):
        page = _listed(connection, after)
        for job in page.data:
            if (job.metadata or {}).get(MARK) == mark and job.useful and job.id not in gone:
                return job
        if not page.has_more or not page.data:
            return None
        after = page.data[-1].id
    return None


def _listed(connection: Connection, after: str) -> _Page:
    place: dict[str, Any] = {"after": after} if after else {}
    return _parsed(connection, lambda client: client.batches.with_raw_response.list(limit=100, **place), _Page)


def _created(connection: Connection, file: bytes, path: str) -> _Job | None:
    """A new batch; None where it may or may not have been made, so that it has to be looked for."""
    upload = ("requests.jsonl", file)
    stored = _parsed(
        connection, lambda client: client.files.with_raw_response.create(file=upload, purpose="batch"), _File
    )
    endpoint: Any = path
    outcome = connection.send(
        lambda client: client.batches.with_raw_response.create(
            completion_window="24h", endpoint=endpoint, input_file_id=stored.id, metadata={MARK: _hash(file)}
        ),
        check=lambda text: _model(text, _Job) is not None,
    )
    if isinstance(outcome, Refused):
        raise _not_taken(connection, outcome)
    return _model(outcome.text, _Job) if isinstance(outcome, Arrived) else None


def _done(connection: Connection, job: _Job | None) -> _Job | None:
    """The batch when it has ended."""
    seconds, until = FIRST_LOOK, waiting.clock() + MOST_SECONDS
    while job is not None and not job.ended:
        if waiting.clock() > until:
            raise Unavailable(f"The batch {job.id} is still not done.", hint="Run again later: it is found again.")
        waiting.wait(seconds)
        seconds = min(LONGEST_LOOK, seconds * 1.5)
        job = _looked_at(connection, job.id)
    if job is not None and job.status in ("failed", "cancelled"):
        raise _failed(connection, job)
    return job


def _looked_at(connection: Connection, name: str) -> _Job:
    return _parsed(connection, lambda client: client.batches.with_raw_response.retrieve(name), _Job)


def _failed(connection: Connection, job: _Job) -> Unavailable:
    said = "; ".join(error.message or error.code or "" for error in (job.errors.data if job.errors else None) or ())
    words = connection.account.scrubbed(said)[:300]
    ended = "failed" if job.status == "failed" else "was cancelled"
    return Unavailable(
        f"The batch {job.id} {ended}" + (f": {words}" if words else "."),
        hint="Run again: a new one is sent. Without batch in the model's options, requests are sent one by one.",
    )


def _outcomes(connection: Connection, job: _Job, lines: Sequence[_Line], number: int) -> list[Outcome]:
    outcomes: list[Outcome] = [_LOST] * number
    seconds = max(0.0, (job.completed_at or job.created_at) - job.created_at) / number
    for line in lines:
        if line.custom_id.isdecimal() and int(line.custom_id) < number:
            outcomes[int(line.custom_id)] = _outcome(connection, line, seconds)
    return outcomes


def _lines(connection: Connection, job: _Job) -> list[_Line] | None:
    """What the batch has written, answers and errors; None where its files have been deleted."""
    contents = [_content(connection, name) for name in (job.output_file_id, job.error_file_id) if name]
    if None in contents:
        return None
    return [_Line.model_validate_json(text) for content in contents for text in _rows(content or "")]


def _rows(content: str) -> list[str]:
    """Lines end at line feeds only: answers may hold other characters that count as ends of lines."""
    return [row for row in content.split("\n") if row.strip()]


def _content(connection: Connection, name: str) -> str | None:
    outcome = connection.send(
        lambda client: client.files.with_raw_response.content(name),
        safe=True,
        allowed=frozenset({404}),
        check=lambda text: all(_model(row, _Line) for row in _rows(text)),
    )
    return outcome.text if isinstance(outcome, Arrived) else None


def _outcome(connection: Connection, line: _Line, seconds: float) -> Outcome:
    if line.response is None or line.error is not None:
        return _LOST
    if line.response.status_code == 200:
        return Arrived(text=json.dumps(line.response.body), seconds=seconds)
    if line.response.status_code in FREE or line.response.status_code >= 500:
        return _LOST
    return refused(connection.account, line.response.status_code, line.response.body, {})


def _parsed(connection: Connection, ask: Ask, model: type[_Model]) -> _Model:
    """A reply that may be asked for again, as what it should be."""
    outcome = connection.send(ask, safe=True, check=lambda text: _model(text, model) is not None)
    if isinstance(outcome, Refused):
        raise _not_taken(connection, outcome)
    made = _model(outcome.text, model) if isinstance(outcome, Arrived) else None
    if made is None:
        raise Unavailable(f"{connection.account.host} does not answer about batches.", hint="Run again later.")
    return made


def _model(text: str, model: type[_Model]) -> _Model | None:
    try:
        return model.model_validate_json(text)
    except ValidationError:
        return None


def _not_taken(connection: Connection, outcome: Refused) -> BadInput:
    return BadInput(
        f"{connection.account.host} does not take the batch: {outcome.message}",
        hint="Without batch in the model's options, requests are sent one by one.",
    )
