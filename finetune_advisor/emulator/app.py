"""The emulator's URLs: OpenAI's under /v1, Azure's under /openai and /openai/v1, and Azure's management API."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from finetune_advisor.emulator.endpoints import ACCOUNT, Endpoints
from finetune_advisor.emulator.faults import Faults, FaultSettings
from finetune_advisor.emulator.gate import Door, Gate
from finetune_advisor.emulator.state import State
from finetune_advisor.errors import require

ROUTES = (
    ("GET", "/models", "models", "models"),
    ("GET", "/models/{model}", "models", "model"),
    ("DELETE", "/models/{model}", "models", "delete_model"),
    ("POST", "/files", "files", "create_file"),
    ("GET", "/files", "list", "files"),
    ("GET", "/files/{file_id}", "list", "file"),
    ("DELETE", "/files/{file_id}", "list", "delete_file"),
    ("GET", "/files/{file_id}/content", "list", "file_content"),
    ("POST", "/fine_tuning/jobs", "jobs", "create_job"),
    ("GET", "/fine_tuning/jobs", "list", "list_jobs"),
    ("GET", "/fine_tuning/jobs/{fine_tuning_job_id}", "list", "job"),
    ("POST", "/fine_tuning/jobs/{fine_tuning_job_id}/cancel", "list", "cancel_job"),
    ("POST", "/fine_tuning/jobs/{fine_tuning_job_id}/pause", "list", "pause_job"),
    ("POST", "/fine_tuning/jobs/{fine_tuning_job_id}/resume", "list", "resume_job"),
    ("GET", "/fine_tuning/jobs/{fine_tuning_job_id}/events", "list", "job_events"),
    ("GET", "/fine_tuning/jobs/{fine_tuning_job_id}/checkpoints", "list", "job_checkpoints"),
    ("POST", "/chat/completions", "chat", "chat"),
    ("POST", "/responses", "responses", "responses"),
    ("POST", "/embeddings", "embeddings", "embeddings"),
    ("POST", "/batches", "batches", "create_batch"),
    ("GET", "/batches", "list", "list_batches"),
    ("GET", "/batches/{batch_id}", "list", "batch"),
    ("POST", "/batches/{batch_id}/cancel", "list", "cancel_batch"),
)
"""Method, path as in OpenAI's specification, what faults call it, and the endpoint."""

DEPLOYED = ("/chat/completions", "/embeddings")
"""What Azure's older URLs have under a deployment."""

MANAGED = f"{ACCOUNT}/deployments"
MANAGEMENT = (
    ("GET", "", "list_deployments"),
    ("GET", "/{name}", "deployment"),
    ("PUT", "/{name}", "put_deployment"),
    ("DELETE", "/{name}", "delete_deployment"),
)


def app(state: State, endpoints: Endpoints, faults: Faults, gate: Gate) -> Any:
    """The Starlette application.

    Args:
        state: What is behind it.
        endpoints: What it does.
        faults: What goes wrong.
        gate: What requests pass.
    """
    applications = require("starlette.applications", extra="emulator")
    trusted = require("starlette.middleware.trustedhost", extra="emulator").TrustedHostMiddleware
    routes = [*_shapes(endpoints, gate), *_management(endpoints, gate), *_own(state, endpoints, faults)]
    made = applications.Starlette(routes=routes, exception_handlers={404: _nowhere, 405: _nowhere})
    # A web page in a browser on this machine could otherwise read answers through a name that points here.
    made.add_middleware(trusted, allowed_hosts=["127.0.0.1", "localhost"])
    return made


def _shapes(endpoints: Endpoints, gate: Gate) -> Iterator[Any]:
    for method, path, what, name in ROUTES:
        door = Door(what=what, method=method, handler=getattr(endpoints, name), template=path)
        azure = dataclasses.replace(door, azure=True)
        dated = dataclasses.replace(azure, dated=True)
        yield _route(f"/v1{path}", door, gate)
        yield _route(f"/openai/v1{path}", azure, gate)
        yield _route(f"/openai{path}", dated, gate)
        if path in DEPLOYED:
            yield _route(f"/openai/deployments/{{deployment}}{path}", dated, gate)


def _management(endpoints: Endpoints, gate: Gate) -> Iterator[Any]:
    for method, path, name in MANAGEMENT:
        handler = getattr(endpoints, name)
        door = Door(what="deployments", method=method, handler=handler, azure=True, dated=True, bearer=True)
        yield _route(MANAGED + path, door, gate)


def _route(path: str, door: Door, gate: Gate) -> Any:
    return require("starlette.routing", extra="emulator").Route(path, gate.endpoint(door), methods=[door.method])


def _own(state: State, endpoints: Endpoints, faults: Faults) -> list[Any]:
    """The emulator's own URLs, which no provider has and no key protects."""
    route = require("starlette.routing", extra="emulator").Route
    json = require("starlette.responses", extra="emulator").JSONResponse

    async def show(request: Any) -> Any:
        return json({**faults.settings.model_dump(), "requests": faults.requests, "counts": dict(faults.counts)})

    async def set_faults(request: Any) -> Any:
        try:
            faults.set(FaultSettings.model_validate_json(await request.body()))
        except ValidationError as error:
            return json({"error": {"message": error.errors()[0]["msg"], "code": "invalid_value"}}, 400)
        return await show(request)

    async def charges(request: Any) -> Any:
        booked = [{**dataclasses.asdict(charge), "at": charge.at.isoformat()} for charge in [*state.charges]]
        hosting = [dataclasses.asdict(one) for one in endpoints.deployments.list_charges()]
        return json({"charges": booked, "hosting": [{key: _plain(row[key]) for key in row} for row in hosting]})

    return [
        route("/emulator/faults", show, methods=["GET"]),
        route("/emulator/faults", set_faults, methods=["POST"]),
        route("/emulator/charges", charges, methods=["GET"]),
    ]


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Decimal) else value


async def _nowhere(request: Any, error: Any) -> Any:
    message = f"Invalid URL ({request.method} {request.url.path})"
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": "unknown_url"}}
    return require("starlette.responses", extra="emulator").JSONResponse(body, error.status_code)
