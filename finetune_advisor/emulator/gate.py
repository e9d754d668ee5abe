"""The way of a request through the emulator: key, fault, validation, work, charge, and an answer that may get lost."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from finetune_advisor.emulator.endpoints import Answer, Call, Handler
from finetune_advisor.emulator.faults import LOST, Faults
from finetune_advisor.emulator.spec import Spec
from finetune_advisor.emulator.state import ApiError, State, new_id
from finetune_advisor.emulator.validate import CHECKED, check
from finetune_advisor.errors import AdvisorError, require

LOG = logging.getLogger(__name__)

Endpoint = Callable[[Any], Awaitable[Any]]
"""What Starlette calls with its request; its types come with an optional library."""


@dataclass(frozen=True, kw_only=True)
class Door:
    """One endpoint in one URL shape.

    `what` is the name by which faults choose, `template` the path in OpenAI's specification ("" for none of its own),
    `dated` says that the URL has to carry an api-version, `bearer` that nothing but a bearer token opens.
    """

    what: str
    method: str
    handler: Handler
    template: str = ""
    azure: bool = False
    dated: bool = False
    bearer: bool = False


class Gate:
    """Lets requests through.

    Args:
        state: Where charges are booked.
        faults: What goes wrong.
        key: The only key that opens; "" for any.
        spec: What requests and answers are held against; None for nothing.
    """

    def __init__(self, state: State, faults: Faults, *, key: str = "", spec: Spec | None = None) -> None:
        self._state = state
        self._faults = faults
        self._key = key
        self._spec = spec

    def endpoint(self, door: Door) -> Endpoint:
        """An endpoint for Starlette."""

        async def answered(request: Any) -> Any:
            try:
                response = await self._through(door, request)
            except ApiError as error:
                response = _json(error.body(), error.status, error.headers)
            except AdvisorError as error:
                response = _json(_broken(error.message).body(), 500)
            except Exception:  # whatever it is, the server goes on, and the client hears of it as from any server
                LOG.exception("the emulator failed at %s %s", door.method, request.url.path)
                response = _json(_broken("The emulator failed; its log says how.").body(), 500)
            return response

        return answered

    async def _through(self, door: Door, request: Any) -> Any:
        self._admit(door, request)
        fault = self._faults.decide(door.what)
        refusal = self._faults.refusal(fault)
        if refusal:
            raise refusal
        call = await _call(door, request, fault)
        self._hold_request(door, call)
        answer = await require("starlette.concurrency", extra="emulator").run_in_threadpool(door.handler, call)
        self._hold_answer(door, answer)
        return await self._deliver(request, answer, fault)

    def _admit(self, door: Door, request: Any) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = token if scheme.lower() == "bearer" else ""
        if door.azure and not door.bearer:
            given = given or request.headers.get("api-key", "")
        right = self._key if self._key and not door.bearer else given
        if not given or not hmac.compare_digest(given.encode(), right.encode()):
            raise ApiError(401, "Incorrect API key provided, or none.", code="invalid_api_key")
        if door.dated and not request.query_params.get("api-version"):
            raise ApiError(404, "Resource not found: the URL has no api-version.", code="404")

    def _hold_request(self, door: Door, call: Call) -> None:
        # Azure's older URLs name the model in the path, so that their bodies do not have what the specification wants.
        if not self._spec or door.dated or call.body is None:
            return
        fault = self._spec.request_fault(door.method, door.template, call.body)
        if fault:
            if door.what in CHECKED:
                check(door.what, call.body)
            raise ApiError(400, f"Against the specification: {fault}", code="specification")

    def _hold_answer(self, door: Door, answer: Answer) -> None:
        """What the emulator says has to be right too; if it is not, a test has to see it."""
        if self._spec and answer.specified and isinstance(answer.body, dict):
            fault = self._spec.answer_fault(door.method, door.template, answer.body)
            if fault:
                LOG.error("answer to %s %s is against the specification: %s", door.method, door.template, fault)
                raise ApiError(500, f"The emulator's answer is against the specification: {fault}", type="server_error")

    async def _deliver(self, request: Any, answer: Answer, fault: str) -> Any:
        if fault in LOST:
            self._book(answer, delivered=False)
        if fault == "hang":
            await _given_up(request)
        if fault == "slow":
            await asyncio.sleep(self._faults.settings.slow_seconds)
        if fault not in LOST:
            self._book(answer, delivered=not await request.is_disconnected())
        return _response(answer, fault)

    def _book(self, answer: Answer, *, delivered: bool) -> None:
        if answer.charge:
            self._state.charges.append(replace(answer.charge, delivered=delivered))


class Cut:
    """A response that ends in the middle: the connection is closed when less came than was promised.

    Args:
        whole: What should have come.
        kind: Its media type.
    """

    def __init__(self, whole: bytes, kind: str) -> None:
        self._whole = whole
        self._kind = kind

    async def __call__(self, scope: object, receive: object, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        """Send the first half, and return, at which the server closes the connection."""
        headers = [(b"content-type", self._kind.encode()), (b"content-length", str(len(self._whole)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self._whole[: len(self._whole) // 2], "more_body": True})


async def _call(door: Door, request: Any, fault: str) -> Call:
    call = Call(path=request.path_params, query=request.query_params, fault=fault, azure=door.azure)
    if door.what == "files" and door.method == "POST":
        return replace(call, upload=await _upload(request))
    raw = await request.body()
    return replace(call, body=_parsed(raw)) if raw else call


async def _upload(request: Any) -> tuple[str, str, bytes]:
    try:
        async with request.form() as form:
            file, purpose = _part(form, "file"), _part(form, "purpose")
            return file.filename or "file", purpose, await file.read()
    except require("starlette.exceptions", extra="emulator").HTTPException as error:
        raise ApiError(400, f"The form cannot be read: {error.detail}") from None


def _part(form: Any, name: str) -> Any:
    value = form.get(name)
    if value is None or isinstance(value, str) != (name == "purpose"):
        raise ApiError(400, f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    return value


def _parsed(raw: bytes) -> object:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise ApiError(400, "We could not parse the JSON body of your request.") from None


async def _given_up(request: Any) -> None:
    while not await request.is_disconnected():
        await asyncio.sleep(0.05)


def _response(answer: Answer, fault: str) -> Any:
    payload, kind = _payload(answer)
    if fault == "cut" and payload:
        return Cut(payload, kind)
    if fault == "malformed":
        payload = payload[: len(payload) // 2]
    responses = require("starlette.responses", extra="emulator")
    headers = {"x-request-id": new_id("req_")}
    if answer.events and not payload:
        return responses.StreamingResponse(_lines(answer.events), media_type=kind, headers=headers)
    return responses.Response(payload, answer.status, headers, kind)


def _payload(answer: Answer) -> tuple[bytes, str]:
    if answer.events:
        return "".join(_lines(answer.events)).encode(), "text/event-stream"
    if isinstance(answer.body, bytes):
        return answer.body, "application/octet-stream"
    return (json.dumps(answer.body).encode() if answer.body is not None else b""), "application/json"


def _lines(events: Iterator[BaseModel]) -> Iterator[str]:
    """A stream of server-sent events."""
    for event in events:
        yield f"data: {event.model_dump_json(exclude_unset=True)}\n\n"
    yield "data: [DONE]\n\n"


def _json(body: dict[str, Any], status: int, headers: dict[str, str] | None = None) -> Any:
    responses = require("starlette.responses", extra="emulator")
    return responses.JSONResponse(body, status, {"x-request-id": new_id("req_"), **(headers or {})})


def _broken(message: str) -> ApiError:
    return ApiError(500, message, type="server_error")
