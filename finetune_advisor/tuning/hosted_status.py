"""What OpenAI and Azure say about a fine-tuning job, in this project's words: state, steps, checkpoints, losses."""

from __future__ import annotations

import base64
import binascii
import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

from finetune_advisor.records import LossPoint
from finetune_advisor.tuning.work import State, TuningCheckpoint, TuningEvent, TuningStatus

_STATES: Mapping[str, State] = {
    "validating_files": "waiting",
    "queued": "waiting",
    "created": "waiting",
    "pending": "waiting",
    "notrunning": "waiting",
    "running": "running",
    "resumed": "running",
    "pausing": "running",
    "paused": "paused",
    "succeeded": "succeeded",
    "failed": "failed",
    "cancelled": "cancelled",
    "canceled": "cancelled",
    "cancelling": "running",
}
"""OpenAI's words, Azure's further ones and those that both use without having documented them."""

_STEP = re.compile(r"\bStep (\d+)(?:/(\d+))?", re.IGNORECASE)
_SHOWN = 500


def state_of(job: FineTuningJob) -> State:
    """How the job stands; an unknown word counts as waiting, for nothing is known to have ended."""
    return _STATES.get(str(job.status).lower(), "waiting")


def status_of(
    job: FineTuningJob, events: Sequence[FineTuningJobEvent], checkpoints: Sequence[FineTuningJobCheckpoint]
) -> TuningStatus:
    """All that is known of a job.

    Args:
        job: The job.
        events: Its events, in any order.
        checkpoints: Its checkpoints, in any order.
    """
    ordered = sorted(events, key=lambda event: event.created_at)
    done, total = _steps(job, ordered, checkpoints)
    message, hint = _why(job)
    return TuningStatus(
        state=state_of(job),
        job=job.id,
        done=done,
        total=total,
        tokens=job.trained_tokens,
        tuned_model=job.fine_tuned_model or "",
        events=tuple(map(_event, ordered)),
        checkpoints=checkpoints_of(checkpoints),
        message=message,
        hint=hint,
    )


def checkpoints_of(found: Iterable[FineTuningJobCheckpoint]) -> tuple[TuningCheckpoint, ...]:
    """Checkpoints by step, the first one first."""
    return tuple(map(_checkpoint, sorted(found, key=lambda each: each.step_number)))


def best_of(found: Sequence[FineTuningJobCheckpoint]) -> FineTuningJobCheckpoint | None:
    """The checkpoint with the lowest loss on the whole validation part, the later one of two equals.

    None where there is no such loss: then nothing says that another than the last one is better.
    """
    measured = [each for each in found if _loss(each.metrics.full_valid_loss) is not None]
    return min(measured, key=lambda each: (each.metrics.full_valid_loss, -each.step_number), default=None)


def losses_of_file(data: bytes) -> tuple[LossPoint, ...]:
    """The losses of a job's results file; OpenAI sends it as base64, Azure as it is.

    Where the loss on the whole validation part was taken, the noisier one on single batches is left out.
    """
    rows = list(csv.DictReader(io.StringIO(_text(data))))
    whole = any(_number(row.get("full_valid_loss")) is not None for row in rows)
    return tuple(_points((_row(row) for row in rows), "full_valid_loss" if whole else "valid_loss"))


def losses_of_events(events: Iterable[FineTuningJobEvent]) -> tuple[LossPoint, ...]:
    """The losses that a job's events tell, for a job without a results file."""
    rows = [data for data in map(_data, sorted(events, key=lambda event: event.created_at)) if data]
    whole = any(_number(row.get("full_valid_loss")) is not None for row in rows)
    return tuple(_points(rows, "full_valid_loss" if whole else "valid_loss"))


def _steps(
    job: FineTuningJob, events: Sequence[FineTuningJobEvent], checkpoints: Sequence[FineTuningJobCheckpoint]
) -> tuple[int, int]:
    told = [_step(event) for event in events]
    done = max([step for step, _ in told] + [each.step_number for each in checkpoints], default=0)
    total = max((total for _, total in told), default=0)
    return (max(done, total) if state_of(job) == "succeeded" else done), max(total, done)


def _step(event: FineTuningJobEvent) -> tuple[int, int]:
    """Step and total of steps that an event tells, 0 for what it does not tell."""
    data = _data(event)
    told = _STEP.search(event.message or "")
    step = _number(data.get("step")) or (float(told[1]) if told else 0.0)
    total = _number(data.get("total_steps")) or (float(told[2]) if told and told[2] else 0.0)
    return int(step), int(total)


def _event(event: FineTuningJobEvent) -> TuningEvent:
    level = "warning" if event.level == "warn" else "error" if event.level == "error" else "info"
    return TuningEvent(at=_time(event.created_at), message=(event.message or "")[:_SHOWN], level=level)


def _checkpoint(found: FineTuningJobCheckpoint) -> TuningCheckpoint:
    metrics = found.metrics
    whole = _loss(metrics.full_valid_loss)
    accuracy = metrics.valid_mean_token_accuracy if whole is None else metrics.full_valid_mean_token_accuracy
    return TuningCheckpoint(
        step=found.step_number,
        name=found.fine_tuned_model_checkpoint or "",
        train_loss=_loss(metrics.train_loss),
        validation_loss=_loss(metrics.valid_loss) if whole is None else whole,
        validation_accuracy=_loss(accuracy),
    )


def _why(job: FineTuningJob) -> tuple[str, str]:
    state = state_of(job)
    if state == "failed":
        said = f": {job.error.message[:_SHOWN]}" if job.error and job.error.message else "."
        return f"The fine-tuning job {job.id} failed{said}", _hint(job.error.code if job.error else "")
    if state == "cancelled":
        return f"The fine-tuning job {job.id} was cancelled.", "Start it again where that was not meant."
    if state == "paused":
        return "The job is paused.", "It can be resumed or cancelled."
    if state == "running" and job.estimated_finish:
        return f"It is expected to finish at {_time(job.estimated_finish):%Y-%m-%d %H:%M} UTC.", ""
    return ("The job waits for its turn.", "") if state == "waiting" else ("", "")


def _hint(code: str) -> str:
    hints = {
        "invalid_training_file": "Look at the line that is named, mend the data and start again.",
        "exceeded_quota": "Raise the limit in the provider's billing settings, then start again.",
    }
    return hints.get(code or "", "Mend what is named and start again; a failed job is not charged.")


def _points(rows: Iterable[Mapping[str, Any]], validation: str) -> Iterable[LossPoint]:
    for row in rows:
        step, train, held_out = (_number(row.get(name)) for name in ("step", "train_loss", validation))
        if step is None:
            continue
        if _loss(train) is not None:
            yield LossPoint(step=int(step), loss=cast(float, train), split="train")
        if _loss(held_out) is not None:
            yield LossPoint(step=int(step), loss=cast(float, held_out), split="validation")


def _row(row: Mapping[str | Any, Any]) -> Mapping[str, Any]:
    return {str(key).strip(): value for key, value in row.items()}


def _text(data: bytes) -> str:
    try:
        plain = base64.b64decode(b"".join(data.split()), validate=True)
    except binascii.Error:
        plain = data
    return plain.decode("utf-8-sig", "replace")


def _data(event: FineTuningJobEvent) -> Mapping[str, Any]:
    data: Any = event.data
    return cast("Mapping[str, Any]", data) if isinstance(data, dict) else {}


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _loss(value: float | None) -> float | None:
    """A loss or an accuracy; a negative one stands for none."""
    number = _number(value)
    return number if number is not None and number >= 0 else None


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
