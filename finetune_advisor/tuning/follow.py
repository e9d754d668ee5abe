"""From the start of a training to its result, for whoever wants to wait for it."""

from __future__ import annotations

from typing import Protocol

from finetune_advisor.errors import AdvisorError
from finetune_advisor.models import waiting
from finetune_advisor.records import Progress, TrainingRun
from finetune_advisor.tuning.work import TuningStatus, TuningWork

EVERY_SECONDS = 10.0


class _Steps(Protocol):
    def prepare(self, work: TuningWork) -> None: ...
    def start(self, work: TuningWork) -> None: ...
    def watch(self, work: TuningWork) -> TuningStatus: ...
    def result(self, work: TuningWork) -> TrainingRun: ...


class TrainingFailed(AdvisorError):
    """A training that was started did not succeed."""


def follow(
    trainer: _Steps, work: TuningWork, progress: Progress, *, every_seconds: float = EVERY_SECONDS
) -> TrainingRun:
    """Prepare, start, watch to the end, and fetch the result; ending this process leaves the training alone.

    Args:
        trainer: Who trains.
        work: What is trained.
        progress: Called at every look with steps done and in total.
        every_seconds: From one look to the next.

    Raises:
        TrainingFailed: It failed or was cancelled.
    """
    trainer.prepare(work)
    trainer.start(work)
    return finish(trainer, work, progress, every_seconds=every_seconds)


def finish(
    trainer: _Steps, work: TuningWork, progress: Progress, *, every_seconds: float = EVERY_SECONDS
) -> TrainingRun:
    """Watch a started training to its end, and fetch the result; see `follow`."""
    while not (status := trainer.watch(work)).ended:
        progress("training", status.done, max(status.total, status.done, 1))
        waiting.wait(every_seconds)
    if status.state != "succeeded":
        raise TrainingFailed(status.message or f"The training was {status.state}.", hint=status.hint)
    progress("training", max(status.total, 1), max(status.total, 1))
    return trainer.result(work)
