"""Deployments of tuned models at Azure, through its management API: made, listed with what they cost, deleted.

A deployment costs by the hour while it exists, used or not. Which subscription, resource group and token are used is
said by AZURE_SUBSCRIPTION_ID, AZURE_RESOURCE_GROUP and AZURE_MANAGEMENT_TOKEN; without the token, Entra ID is asked.
AZURE_OPENAI_RESOURCE names the resource where the first part of its endpoint's host does not, and
AZURE_MANAGEMENT_ENDPOINT stands for another address of the management API.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, cast
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from finetune_advisor.costs import prices
from finetune_advisor.errors import AdvisorError, BadInput, Missing, require
from finetune_advisor.models import waiting
from finetune_advisor.models.connection import Unavailable

MANAGEMENT = "https://management.azure.com"
API_VERSION = "2024-10-01"
DEVELOPER = "developertier"
DEVELOPER_LIFE = timedelta(hours=24)

TOKEN = "AZURE_MANAGEMENT_TOKEN"
LOOK_SECONDS = 10.0
LIMIT_SECONDS = 3600.0
TRIES = 8
MOST_DENIALS = 3
_DENIED = (401, 403)
_BUSY = (409, 429)

_FORMATS = {"gpt-oss": "Microsoft", "ministral": "Mistral AI", "llama": "Meta", "qwen": "Alibaba"}
"""Makers by the start of a model's name; all others are OpenAI's (microsoft/azure-skills, deployment.md)."""


class DeploymentFailed(AdvisorError):
    """Azure did not make the deployment."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """The Azure OpenAI resource whose deployments are meant, and the address of the management API."""

    subscription: str
    resource_group: str
    resource: str
    management: str = MANAGEMENT

    @property
    def url(self) -> str:
        """The address of its deployments."""
        parts = (
            ("subscriptions", self.subscription),
            ("resourceGroups", self.resource_group),
            ("providers/Microsoft.CognitiveServices/accounts", self.resource),
        )
        path = "/".join(f"{name}/{quote(value, safe='')}" for name, value in parts)
        return f"{self.management.rstrip('/')}/{path}/deployments"


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A tuned model that can be asked. `usd` is what it has cost by its existence until now, None where unknown.

    `ends` is when Azure will delete it by itself, None where it stays until somebody deletes it.
    """

    name: str
    model: str
    sku: str
    state: str
    created: datetime | None = None
    usd_per_hour: Decimal | None = None
    usd: Decimal | None = None
    ends: datetime | None = None


def account(endpoint: str) -> Account:
    """The resource behind an Azure OpenAI endpoint, in the subscription and group that the environment names.

    Args:
        endpoint: Such as ``https://NAME.openai.azure.com``; the first part of the host is the resource's name.

    Raises:
        Missing: A variable is not set.
    """
    named = {name: os.environ.get(name, "") for name in ("AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_GROUP")}
    unset = [name for name, value in named.items() if not value]
    if unset:
        raise Missing(
            f"To deploy a tuned model at Azure, {' and '.join(unset)} must be set.",
            hint="The Azure portal shows both on the overview page of the resource. Deploying can be left out with "
            "the option deploy = false.",
        )
    return Account(
        subscription=named["AZURE_SUBSCRIPTION_ID"],
        resource_group=named["AZURE_RESOURCE_GROUP"],
        resource=os.environ.get("AZURE_OPENAI_RESOURCE") or (urlsplit(endpoint).hostname or "").partition(".")[0],
        management=os.environ.get("AZURE_MANAGEMENT_ENDPOINT") or MANAGEMENT,
    )


def create(where: Account, name: str, model: str, *, sku: str = "standard", capacity: int = 1) -> Deployment:
    """Deploy a tuned model and wait until it answers; one that exists by that name and model is taken as it is.

    Args:
        where: The resource.
        name: What the deployment is to be called.
        model: The tuned model, such as ``gpt-4.1-mini-2025-04-14.ft-1234``.
        sku: ``standard``, ``globalstandard`` or ``developertier``.
        capacity: Quota in units of 1,000 tokens a minute.

    Raises:
        BadInput: The name belongs to another model, or Azure refuses what is asked.
        Missing: The token is missing, or may not do this.
        DeploymentFailed: Azure could not make it, or has not done so within an hour.
    """
    with _Management(where) as management:
        known = management.get(name)
        if known is not None and known.properties.model.name != model:
            raise BadInput(
                f"The deployment {name} exists already and serves {known.properties.model.name}.",
                hint="Give another name in the option deployment, or delete that deployment first.",
            )
        if known is None or known.state != "succeeded":
            management.put(name, _body(model, sku, capacity))
        return _deployment(management.made(name), datetime.now(UTC))


def running(where: Account, *, now: datetime | None = None) -> list[Deployment]:
    """The deployments of tuned models that exist, with what each costs by the hour and has cost until now.

    Args:
        where: The resource.
        now: The time until which the cost is counted; this moment where None.

    Raises:
        Missing: The token is missing, or may not do this.
    """
    with _Management(where) as management:
        found = [_deployment(each, now or datetime.now(UTC)) for each in management.list()]
    return [each for each in found if ".ft-" in each.model]


def delete(where: Account, name: str) -> None:
    """Delete a deployment, so that it costs nothing more; the tuned model itself stays and can be deployed again.

    Raises:
        Missing: The token is missing, or may not do this.
    """
    with _Management(where) as management:
        management.delete(name)


def usd_per_hour(model: str, sku: str) -> Decimal | None:
    """What a deployment of that model costs by its existence, None where no price is known."""
    if sku.lower() == DEVELOPER:
        return Decimal(0)
    try:
        price = prices.load().get(model.lower()).get("usd_per_hour_hosting")
    except BadInput:
        return None
    return price.value if price else None


class _Model(BaseModel):
    name: str


class _Properties(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    model: _Model
    provisioning_state: str = Field(default="", alias="provisioningState")


class _Sku(BaseModel):
    name: str = ""


class _System(BaseModel):
    created_at: datetime | None = Field(default=None, alias="createdAt")


class _Resource(BaseModel):
    """A deployment as Azure describes it."""

    name: str
    sku: _Sku = Field(default_factory=_Sku)
    properties: _Properties
    system: _System = Field(default_factory=_System, alias="systemData")

    @property
    def state(self) -> str:
        return self.properties.provisioning_state.lower()


class _Management:
    """Calls of the management API, each tried again where it may be."""

    def __init__(self, where: Account) -> None:
        httpx2 = require("httpx2", extra="all")
        self._where = where
        self._failed: type[Exception] = httpx2.TransportError
        self._client: Any = httpx2.Client(headers={"Authorization": f"Bearer {_token()}"}, timeout=60)

    def __enter__(self) -> _Management:
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.close()

    def get(self, name: str) -> _Resource | None:
        status, content = self._send("GET", self._url(name))
        return None if status == 404 else _resource(content)

    def put(self, name: str, body: Mapping[str, Any]) -> None:
        status, content = self._send("PUT", self._url(name), body)
        if status == 404:
            raise _refused(status, content, self._where)

    def made(self, name: str) -> _Resource:
        """The deployment once it is made."""
        end = waiting.clock() + LIMIT_SECONDS
        while waiting.clock() < end:
            found = self.get(name)
            if found is None or found.state in ("failed", "canceled", "cancelled"):
                break
            if found.state == "succeeded":
                return found
            waiting.wait(LOOK_SECONDS)
        raise DeploymentFailed(
            f"The deployment {name} of the tuned model was not made.",
            hint="Look at it in the Azure portal, then run the same again: the tuned model is kept.",
        )

    def list(self) -> Iterator[_Resource]:
        url = self._url()
        while url:
            status, content = self._send("GET", url)
            if status == 404:
                raise _refused(status, content, self._where)
            yield from (_resource(each) for each in cast("list[Any]", content.get("value") or []))
            url = str(content.get("nextLink") or "")
            # The token goes with every request, so it is sent to no other host than the one it is for.
            if url and urlsplit(url).netloc != urlsplit(self._where.management).netloc:
                raise AdvisorError("The list of deployments goes on at another address, which is not followed.")

    def delete(self, name: str) -> None:
        self._send("DELETE", self._url(name))

    def _url(self, name: str = "") -> str:
        place = f"/{quote(name, safe='')}" if name else ""
        return f"{self._where.url}{place}?api-version={API_VERSION}"

    def _send(self, method: Literal["GET", "PUT", "DELETE"], url: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        """Status and content. All three methods give the same when they are repeated, so a lost call is repeated."""
        status = denials = 0
        for turn in range(TRIES):
            if turn:
                waiting.wait(LOOK_SECONDS)
            status, content = self._once(method, url, body)
            denials += status in _DENIED
            if status == 404 or 200 <= status < 300:
                return status, content
            if denials == MOST_DENIALS or (status not in (0, *_BUSY, *_DENIED) and status < 500):
                raise _refused(status, content, self._where)
        raise Unavailable(
            f"Azure's management API gives no usable answer ({f'status {status}' if status else 'no connection'}).",
            hint="Run the same again later.",
        )

    def _once(self, method: str, url: str, body: Any) -> tuple[int, dict[str, Any]]:
        """Status and content; 0 where no whole answer came."""
        try:
            response = self._client.request(method, url, json=body)
        except self._failed:
            return 0, {}
        try:
            content: Any = response.json() if response.content else {}
        except ValueError:
            return (0 if response.is_success else response.status_code), {}
        return response.status_code, cast("dict[str, Any]", content) if isinstance(content, dict) else {}


def _token() -> str:
    token = os.environ.get(TOKEN)
    if token:
        return token
    try:
        identity = require("azure.identity", extra="azure")
        return cast(str, identity.DefaultAzureCredential().get_token(f"{MANAGEMENT}/.default").token)
    except Missing as error:
        raise Missing(
            f"Deployments at Azure need a token, and neither {TOKEN} is set nor azure-identity installed.",
            hint=f"pip install 'finetune-advisor[azure]' and az login, or set {TOKEN} to what "
            "`az account get-access-token` prints.",
        ) from error
    except Exception as error:
        # Every way in which Entra ID can fail is a class of its own there.
        raise Missing(f"Entra ID gave no token ({type(error).__name__}).", hint="az login") from error


def _resource(content: Mapping[str, Any]) -> _Resource:
    try:
        return _Resource.model_validate(content)
    except ValidationError as error:
        raise AdvisorError("Azure's management API answered something that is no deployment.") from error


def _refused(status: int, content: Mapping[str, Any], where: Account) -> AdvisorError:
    error = content.get("error")
    said = str(cast("dict[str, Any]", error).get("message") or "")[:300] if isinstance(error, dict) else ""
    if status in (401, 403):
        return Missing(
            f"Azure's management API refuses the token (status {status}).",
            hint="It needs the right Microsoft.CognitiveServices/accounts/deployments/write, which is not part of the "
            f"right to tune. A token in {TOKEN} holds for about an hour. {said}".strip(),
        )
    if status == 404:
        return BadInput(
            f"Azure knows no resource {where.resource} in the group {where.resource_group}.",
            hint=f"Check AZURE_SUBSCRIPTION_ID, AZURE_RESOURCE_GROUP and the endpoint. {said}".strip(),
        )
    return BadInput(f"Azure refuses the deployment (status {status}).", hint=said or "Check name, sku and quota.")


def _body(model: str, sku: str, capacity: int) -> dict[str, Any]:
    maker = next((maker for start, maker in _FORMATS.items() if model.lower().startswith(start)), "OpenAI")
    return {
        "sku": {"name": sku, "capacity": capacity},
        "properties": {"model": {"format": maker, "name": model, "version": "1"}},
    }


def _deployment(found: _Resource, now: datetime) -> Deployment:
    made = Deployment(
        name=found.name,
        model=found.properties.model.name,
        sku=found.sku.name,
        state=found.state,
        created=found.system.created_at,
        usd_per_hour=usd_per_hour(found.properties.model.name, found.sku.name),
    )
    if made.created is None:
        return made
    hours = Decimal(max(0.0, (now - made.created).total_seconds())) / 3600
    spent = None if made.usd_per_hour is None else (made.usd_per_hour * hours).quantize(Decimal("0.01"))
    ends = made.created + DEVELOPER_LIFE if made.sku.lower() == DEVELOPER else None
    return replace(made, usd=spent, ends=ends)
