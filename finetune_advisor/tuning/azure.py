"""Fine-tuning at Azure OpenAI: the job in the resource, then the deployment without which nobody can ask the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

from finetune_advisor.errors import BadInput
from finetune_advisor.models.accounts import Account
from finetune_advisor.tuning import deployments
from finetune_advisor.tuning.chat_files import base_of
from finetune_advisor.tuning.hosted import UNDECIDING, HostedTrainer
from finetune_advisor.tuning.work import TuningWork

TrainingType = Literal["standard", "global", "developer"]

_TYPES: Mapping[str, str] = {"standard": "Standard", "global": "GlobalStandard", "developer": "developerTier"}
_UNITS: Mapping[str, str] = {
    "standard": "usd_per_mtok_training_regional",
    "global": "usd_per_mtok_training",
    "developer": "usd_per_mtok_training_developer",
}
_SKUS: Mapping[str, str] = {"standard": "standard", "global": "globalstandard", "developer": deployments.DEVELOPER}
_HOURS_PER_MONTH = 730


@dataclass(frozen=True, kw_only=True)
class AzureTrainer(HostedTrainer):
    """Trains at Azure OpenAI and deploys what comes out; a deployment costs by the hour until it is deleted.

    The job's last state is used, never an earlier checkpoint.

    Args:
        training_type: "standard" (in the resource's region), "global" or "developer" (cheapest, may be interrupted).
        deploy: Whether to deploy the tuned model after the training.
        deployment: The deployment's name; made from the model's where empty.
        sku: Kind of deployment: "standard", "globalstandard" or "developertier", which costs nothing by the hour and
            ends by itself after 24 hours; as the training type where empty.
        capacity: Of the deployment, in 1,000 tokens a minute.
        key_env: The environment variable with the key; the endpoint stands in AZURE_OPENAI_ENDPOINT.
        api_version: Of Azure's older addresses; "" for its v1 ones.
        entra: Whether to log in by Entra ID instead of a key.
    """

    training_type: TrainingType = "standard"
    deploy: bool = True
    deployment: str = ""
    sku: str = ""
    capacity: int = 1
    key_env: str = "AZURE_OPENAI_API_KEY"
    api_version: str = ""
    entra: bool = False

    prefix: ClassVar[str] = "azure:"
    bom: ClassVar[bool] = True
    most_suffix: ClassVar[int] = 18
    undeciding: ClassVar[tuple[str, ...]] = (*UNDECIDING, "deploy", "deployment", "sku", "capacity")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.training_type not in _TYPES:
            raise BadInput(f"There is no training type {self.training_type!r}.", hint=f"Known: {', '.join(_TYPES)}.")
        if "." in self.suffix:
            raise BadInput(f"The suffix {self.suffix!r} has a dot, which Azure does not take.", hint="Leave it out.")

    def account(self) -> Account:
        """Whose server trains, and with which key."""
        return Account(provider="azure", key_env=self.key_env, api_version=self.api_version, entra=self.entra)

    def job_body(self, key: str) -> dict[str, Any]:
        """What the job is created with beside model and files, the training type included."""
        return {**super().job_body(key), "extra_body": {"trainingType": _TYPES[self.training_type]}}

    def training_unit(self) -> str:
        """The unit of the price of this type of training."""
        return _UNITS[self.training_type]

    def hosting(self, model: str) -> Iterator[str]:
        """What the deployment costs by its existence."""
        if self._sku() == deployments.DEVELOPER:
            yield "The deployment costs nothing by the hour and ends by itself after 24 hours."
            return
        price = self.price(model, "usd_per_hour_hosting")
        if price is None:
            yield "What the deployment costs by the hour is not known; it costs while it exists, used or not."
            return
        yield (
            f"Beside this, a deployment costs {price.value} USD an hour while it exists, used or not: "
            f"{price.value * _HOURS_PER_MONTH:,.0f} USD a month ({price.source}, checked {price.checked})."
        )

    def chosen(self, found: Sequence[FineTuningJobCheckpoint]) -> FineTuningJobCheckpoint | None:
        """None: the job's last state is what is deployed."""
        return None

    def publish(self, work: TuningWork, model: str) -> dict[str, str]:
        """Deploy the tuned model, where that is wanted; again, where its deployment was deleted or has ended.

        Raises:
            Missing: The management API's token, subscription or group is not there.
            DeploymentFailed: Azure did not make the deployment.
        """
        if not self.deploy:
            return {"provider": "azure"}
        where = deployments.account(self.account().url)
        name = self.deployment or self._deployment_name(work)
        deployments.create(where, name, model, sku=self._sku(), capacity=self.capacity)
        return {"provider": "azure", "deployment": name}

    def _sku(self) -> str:
        return (self.sku or _SKUS[self.training_type]).lower()

    def _deployment_name(self, work: TuningWork) -> str:
        return f"{base_of(self.model(work))[:40]}-ft-{self.key(work)[:8]}".replace(".", "-")
