"""Trainers by name. Plug-in point: entry-point group ``finetune_advisor.tuning``."""

from __future__ import annotations

from typing import Any, Protocol, cast, runtime_checkable

from finetune_advisor import plugins
from finetune_advisor.records import Progress, TrainingRun
from finetune_advisor.tuning.work import TuningEstimate, TuningStatus, TuningWork

__all__ = ["GROUP", "TABLE", "Trainer", "Tuner", "TuningEstimate", "TuningStatus", "TuningWork", "create", "takes"]

GROUP = "tuning"
TABLE = {
    "lora": "finetune_advisor.tuning.lora:Lora",
    "trl": "finetune_advisor.tuning.trl:Trl",
    "openai": "finetune_advisor.tuning.openai:OpenAITrainer",
    "azure": "finetune_advisor.tuning.azure:AzureTrainer",
    "autotrain": "finetune_advisor.tuning.autotrain:AutoTrain",
}


class Tuner(Protocol):
    """Trains on pairs of prompt and answer, with the loss on the answer only."""

    def tune(self, work: TuningWork, progress: Progress) -> TrainingRun:
        """Train, or go on where a killed training stopped, and leave what came out of it in the work's folder.

        Args:
            work: What to train on what, and where the adapter goes, or the file that names the tuned model.
            progress: Called with steps done and in total.
        """
        ...


@runtime_checkable
class Trainer(Tuner, Protocol):
    """A tuner whose training outlives the process that started it: at a provider, or in a process of its own.

    All that is known of a training lies in its folder, so that any process can watch, cancel or finish it.
    """

    def estimate(self, work: TuningWork) -> TuningEstimate:
        """Tokens that will be billed or read, time and money; nothing is sent anywhere."""
        ...

    def prepare(self, work: TuningWork) -> None:
        """Write the data as it will be sent into the folder, and check it by today's rules.

        Raises:
            BadInput: The data breaks a rule; the message names the first place.
        """
        ...

    def start(self, work: TuningWork) -> None:
        """Start the training once; a training that was started before, by whatever process, is found again."""
        ...

    def watch(self, work: TuningWork) -> TuningStatus:
        """How it stands now, with all events and checkpoints so far."""
        ...

    def cancel(self, work: TuningWork) -> None:
        """End it; what the provider has done by then may be charged."""
        ...

    def result(self, work: TuningWork) -> TrainingRun:
        """What a succeeded training left, put into the folder for `Model.with_adapter`.

        Raises:
            AdvisorError: It has not succeeded.
        """
        ...


def takes(name: str, option: str) -> bool:
    """Whether the trainer of that name has such an option.

    Raises:
        BadInput: Unknown name.
    """
    return option in getattr(plugins.load(GROUP, TABLE, name), "__dataclass_fields__", {})


def create(name: str, **options: Any) -> Tuner:
    """The trainer of that name.

    Raises:
        BadInput: Unknown name or option.
    """
    return cast(Tuner, plugins.create(GROUP, TABLE, name, options))
