"""A training: what is to be done, what it will take, how it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal

from finetune_advisor.records import TrainingPair

State = Literal["not started", "waiting", "running", "paused", "succeeded", "failed", "cancelled"]


@dataclass(frozen=True, kw_only=True)
class TuningWork:
    """What is to be trained on what, and where everything about it is kept.

    `source` is the base model's `Model.source`. `validation` decides which checkpoint is best; never the test split.
    """

    source: str
    train: Sequence[TrainingPair]
    validation: Sequence[TrainingPair]
    folder: Path

    @property
    def what(self) -> str:
        """What a charge for it is called."""
        return f"the training {self.folder.name} of {self.source}"


@dataclass(frozen=True, kw_only=True)
class TuningEstimate:
    """What a training will take. `tokens` over all epochs, as billed; `usd` and `seconds` None where unknown.

    `assumed` says in sentences what the figures rest on.
    """

    tokens: int
    epochs: int
    usd: Decimal | None
    seconds: float | None
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TuningEvent:
    """Something that happened in a training, as its provider or trainer said it."""

    at: datetime
    message: str
    level: Literal["info", "warning", "error"] = "info"


@dataclass(frozen=True, kw_only=True)
class TuningCheckpoint:
    """A state of the model in between. `name` is what it can be asked by; "" where it cannot."""

    step: int
    name: str = ""
    train_loss: float | None = None
    validation_loss: float | None = None
    validation_accuracy: float | None = None


@dataclass(frozen=True, kw_only=True)
class TuningStatus:
    """How a training stands. `done` of `total` steps; `message` and `hint` say why it failed or waits."""

    state: State
    job: str = ""
    done: int = 0
    total: int = 0
    tokens: int | None = None
    tuned_model: str = ""
    events: tuple[TuningEvent, ...] = ()
    checkpoints: tuple[TuningCheckpoint, ...] = ()
    message: str = ""
    hint: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ("succeeded", "failed", "cancelled")
