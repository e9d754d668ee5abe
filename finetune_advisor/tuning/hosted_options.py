"""What can be set about a training at OpenAI or Azure OpenAI."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from finetune_advisor.errors import BadInput
from finetune_advisor.tuning.chat_files import Method

Auto = Literal["auto"]

TAG = "finetune_advisor"
"""The key in a job's metadata under which its training can be found again."""

_MOST_METADATA = 15
_METADATA_KEY, _METADATA_VALUE = 64, 512


@dataclass(frozen=True, kw_only=True)
class HostedOptions:
    """Options of a training that a provider runs; "auto" leaves a number to the provider.

    Args:
        method: "supervised", or "dpo" for pairs of a better and a worse answer (direct preference optimization).
        epochs: Passes over the data.
        batch_size: Examples in a step.
        learning_rate_multiplier: Of the provider's own learning rate.
        beta: With "dpo": how closely the tuned model keeps to its base, above 0 and up to 2.
        seed: Decides the order of the data, as far as the provider keeps to it.
        suffix: Put into the tuned model's name.
        wandb_project: A project at Weights & Biases that the provider reports to, where the account is linked.
        metadata: Notes kept with the job, 15 at most.
        continue_from: A tuned model to go on from, instead of its base.
        validation_limit: The most validation examples that are sent; 0 for all.
        every_seconds: From one look at the job to the next, while it is waited for.
    """

    method: Method = "supervised"
    epochs: int | Auto = "auto"
    batch_size: int | Auto = "auto"
    learning_rate_multiplier: float | Auto = "auto"
    beta: float | Auto = "auto"
    seed: int = 0
    suffix: str = ""
    wandb_project: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    continue_from: str = ""
    validation_limit: int = 0
    every_seconds: float = 10.0

    most_suffix: ClassVar[int] = 64

    def __post_init__(self) -> None:
        if self.method not in ("supervised", "dpo"):
            raise BadInput(f"There is no tuning method {self.method!r}.", hint="Known: supervised, dpo.")
        _check_whole("epochs", self.epochs, 50)
        _check_whole("batch_size", self.batch_size, 256)
        _check_above_zero("learning_rate_multiplier", self.learning_rate_multiplier, math.inf)
        _check_above_zero("beta", self.beta, 2)
        if self.beta != "auto" and self.method != "dpo":
            raise BadInput("beta belongs to preference tuning.", hint='Leave it out, or set method = "dpo".')
        self._check_suffix()
        self._check_metadata()

    def method_body(self) -> dict[str, Any]:
        """The job's `method` as the API takes it, with those numbers only that were set."""
        named = {
            "n_epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate_multiplier": self.learning_rate_multiplier,
            "beta": self.beta,
        }
        numbers = {name: value for name, value in named.items() if value != "auto"}
        return {"type": self.method, self.method: {"hyperparameters": numbers}}

    def job_body(self, key: str) -> dict[str, Any]:
        """What a job is created with beside model and files; `key` lets it be found again."""
        body: dict[str, Any] = {
            "method": self.method_body(),
            "seed": self.seed,
            "metadata": {**self.metadata, TAG: key},
        }
        if self.suffix:
            body["suffix"] = self.suffix
        if self.wandb_project:
            body["integrations"] = [{"type": "wandb", "wandb": {"project": self.wandb_project}}]
        return body

    def _check_suffix(self) -> None:
        if len(self.suffix) > self.most_suffix:
            raise BadInput(f"The suffix {self.suffix!r} is longer than {self.most_suffix} characters.")

    def _check_metadata(self) -> None:
        notes = self.metadata.items()
        long = [name for name, text in notes if len(name) > _METADATA_KEY or len(text) > _METADATA_VALUE]
        if long or len(self.metadata) > _MOST_METADATA or TAG in self.metadata:
            raise BadInput(
                "The metadata cannot be kept with the job.",
                hint=f"At most {_MOST_METADATA} notes, names of {_METADATA_KEY} and texts of {_METADATA_VALUE} "
                f"characters, and none named {TAG}.",
            )


def _check_whole(name: str, value: object, most: int) -> None:
    if value != "auto" and (type(value) is not int or not 1 <= value <= most):
        raise BadInput(f"{name} cannot be {value!r}.", hint=f'Give a whole number from 1 to {most}, or "auto".')


def _check_above_zero(name: str, value: object, most: float) -> None:
    fits = type(value) in (int, float) and 0 < float(str(value)) <= most
    if value != "auto" and not fits:
        limit = "" if math.isinf(most) else f", at most {most:g}"
        raise BadInput(f"{name} cannot be {value!r}.", hint=f'Give a number above 0{limit}, or "auto".')
