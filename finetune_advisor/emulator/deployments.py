"""Azure's deployments, in the shape of its management API; a tuned model's one costs by the hour while it exists."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from finetune_advisor.costs import prices
from finetune_advisor.emulator.job_request import base_of
from finetune_advisor.emulator.state import LISTED, ApiError, State
from finetune_advisor.errors import BadInput

FILE = "deployments.json"
ACCOUNT = (
    "/subscriptions/emulator/resourceGroups/emulator/providers/Microsoft.CognitiveServices/accounts/finetune-advisor"
)
KIND = "Microsoft.CognitiveServices/accounts/deployments"
READY_SECONDS = 2.0
DEVELOPER = "developer"
"""Deployments of this type cost nothing by the hour, and have no guarantees."""


class _Sku(BaseModel):
    name: str
    capacity: int | None = None


class _Model(BaseModel):
    format: Literal["OpenAI"]
    name: str
    version: str | None = None


class _Properties(BaseModel):
    model_config = ConfigDict(extra="ignore")

    model: _Model


class _Wanted(BaseModel):
    model_config = ConfigDict(extra="ignore")

    sku: _Sku
    properties: _Properties


class _Deployment(_Wanted):
    """One deployment, from its creation to its end; times in seconds since 1970."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{2,64}$")]
    account: str
    created: float
    deleted: float | None = None


@dataclass(frozen=True, kw_only=True)
class Hosting:
    """What the existence of a tuned model's deployment costs; `usd` is None where no price is known."""

    deployment: str
    model: str
    hours: Decimal
    usd: Decimal | None
    exists: bool


class Deployments:
    """All deployments of an emulator, kept in its folder.

    Args:
        state: Knows the models.
        ready_seconds: How long it takes until a new one answers.
        clock: Seconds since 1970.
    """

    def __init__(
        self, state: State, *, ready_seconds: float = READY_SECONDS, clock: Callable[[], float] = time.time
    ) -> None:
        self._state = state
        self._ready_seconds = ready_seconds
        self._clock = clock
        self._file = state.folder / FILE
        text = self._file.read_bytes() if self._file.is_file() else b"[]"
        self._all = TypeAdapter(list[_Deployment]).validate_json(text)

    def put(self, name: str, body: Mapping[str, Any], account: str = ACCOUNT) -> tuple[int, dict[str, Any]]:
        """Create or replace a deployment.

        Args:
            name: What it will be called.
            body: The request.
            account: The path of the resource that it belongs to.

        Returns:
            201 for a new one and 200 else, and the resource.

        Raises:
            ApiError: 400 for a body or a model that is not usable.
        """
        wanted = self._checked(name, body, account)
        with self._state.lock:
            before = self._named(name)
            same = before is not None and (before.sku, before.properties) == (wanted.sku, wanted.properties)
            if before is not None and not same:
                before.deleted = self._clock()
            if not same:
                self._all.append(wanted)
                self._write()
            return (200 if before else 201), self._resource(before if before and same else wanted)

    def get(self, name: str) -> dict[str, Any]:
        """The resource of that name.

        Raises:
            ApiError: 404.
        """
        found = self._named(name)
        if found is None:
            raise ApiError(404, f"The deployment '{name}' was not found.", code="ResourceNotFound")
        return self._resource(found)

    def list(self) -> dict[str, Any]:
        """All that exist."""
        return {"value": [self._resource(one) for one in self._all if one.deleted is None]}

    def delete(self, name: str) -> int:
        """Delete a deployment, which ends what it costs; 200, or 204 where there was none."""
        with self._state.lock:
            found = self._named(name)
            if found is None:
                return 204
            found.deleted = self._clock()
            self._write()
            return 200

    def model_of(self, name: str) -> str:
        """The model that answers under a deployment's name.

        Raises:
            ApiError: 404 where there is none, which Azure also says of one that was created a moment ago.
        """
        found = self._named(name)
        if found is None or not self._ready(found):
            message = (
                "The API deployment for this resource does not exist. "
                "If it was created within the last minutes, please wait a moment and try again."
            )
            raise ApiError(404, message, code="DeploymentNotFound")
        return found.properties.model.name

    def list_charges(self) -> tuple[Hosting, ...]:
        """What the deployments of tuned models have cost up to now, those that were deleted included."""
        return tuple(self._hosting(one) for one in self._all if one.properties.model.name not in LISTED)

    def _checked(self, name: str, body: Mapping[str, Any], account: str) -> _Deployment:
        try:
            wanted = _Deployment.model_validate({**body, "name": name, "account": account, "created": self._clock()})
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ApiError(400, f"{where}: {first['msg']}.", code="InvalidRequestContent") from error
        model = wanted.properties.model
        known = model.name in LISTED or model.name in self._state.tuned
        if not known or model.name in self._state.retired or base_of(model.name) in self._state.retired:
            message = f"The model 'Format:OpenAI,Name:{model.name},Version:{model.version}' is not supported."
            raise ApiError(400, message, code="DeploymentModelNotSupported")
        return wanted

    def _named(self, name: str) -> _Deployment | None:
        return next((one for one in self._all if one.name == name and one.deleted is None), None)

    def _ready(self, deployment: _Deployment) -> bool:
        return self._clock() - deployment.created >= self._ready_seconds

    def _resource(self, deployment: _Deployment) -> dict[str, Any]:
        state = "Succeeded" if self._ready(deployment) else "Creating"
        return {
            "id": f"{deployment.account}/deployments/{deployment.name}",
            "type": KIND,
            "name": deployment.name,
            "systemData": {"createdAt": datetime.fromtimestamp(deployment.created, UTC).isoformat()},
            "sku": deployment.sku.model_dump(exclude_none=True),
            "properties": {
                "model": deployment.properties.model.model_dump(exclude_none=True),
                "provisioningState": state,
            },
        }

    def _hosting(self, deployment: _Deployment) -> Hosting:
        end = self._clock() if deployment.deleted is None else deployment.deleted
        hours = Decimal(str(end - deployment.created)) / 3600
        model = deployment.properties.model.name
        per_hour = _usd_per_hour(model, deployment)
        return Hosting(
            deployment=deployment.name,
            model=model,
            hours=hours,
            usd=None if per_hour is None else per_hour * hours,
            exists=deployment.deleted is None,
        )

    def _write(self) -> None:
        fresh = self._file.with_suffix(".new")
        rows = [one.model_dump(mode="json") for one in self._all]
        fresh.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
        os.replace(fresh, self._file)


def _usd_per_hour(model: str, deployment: _Deployment) -> Decimal | None:
    """Azure's price for hosting, on the day of the deployment; None where none is known."""
    if deployment.sku.name.lower().startswith(DEVELOPER):
        return Decimal(0)
    day = datetime.fromtimestamp(deployment.created, UTC).date()
    try:
        price = prices.load().get(f"azure:ft:{base_of(model)}", day).get("usd_per_hour_hosting")
    except BadInput:
        return None
    return price.value if price else None
