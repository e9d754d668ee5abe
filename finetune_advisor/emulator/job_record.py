"""All that is known of one fine-tuning job, as clients see it and as it lies on the disk."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from openai import BaseModel as ApiModel
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint
from pydantic import BaseModel

from finetune_advisor.emulator.job_request import Hyperparameters, JobRequest, base_of
from finetune_advisor.emulator.state import ApiError, State, new_id

FILE = "job.json"
ORGANISATION = "emulator"
ENDED = ("succeeded", "failed", "cancelled")

Metrics = dict[str, float]
"""What was measured at a step, by OpenAI's names; what was not measured is not in it."""


class Record(BaseModel):
    """One job.

    Attributes:
        number: Of two jobs, the later one has the higher.
        job: As the API shows it, but for the pause.
        azure: Whether names are made as Azure makes them.
        suffix: What the client wants in the name of the tuned model.
        rank: LoRA rank of the training.
        max_steps: The most steps of the training; 0 for no limit.
        fails: It was settled at the start that this job is to fail, for practice.
        paused: Whether it waits for `resume`; `job.status` is "queued" then.
        events: From the oldest to the newest.
        checkpoints: The same.
        metrics: Measurements by step.
    """

    number: int
    job: FineTuningJob
    azure: bool
    suffix: str
    rank: int
    max_steps: int
    fails: bool
    paused: bool = False
    events: list[FineTuningJobEvent]
    checkpoints: list[FineTuningJobCheckpoint]
    metrics: dict[int, Metrics]

    def shown(self) -> FineTuningJob:
        """The job as it is now. OpenAI's types do not know its status "paused", which its reference shows."""
        return self.job.model_copy(deep=True, update={"status": "paused"} if self.paused else None)

    def say(
        self, message: str, *, level: Literal["info", "warn", "error"] = "info", data: Metrics | None = None
    ) -> None:
        """Add an event; one with data is of the type "metrics"."""
        row = {
            "id": new_id("ftevent-"),
            "object": "fine_tuning.job.event",
            "created_at": int(time.time()),
            "level": level,
            "message": message,
            "type": "message" if data is None else "metrics",
            "data": data or {},
        }
        self.events.append(FineTuningJobEvent.model_validate(row))

    def add_checkpoint(self, step: int, most: int) -> None:
        """Add a checkpoint where it is not known yet; only so many of the newest are kept."""
        if any(one.step_number == step for one in self.checkpoints):
            return
        row = {
            "id": new_id("ftckpt_"),
            "object": "fine_tuning.job.checkpoint",
            "created_at": int(time.time()),
            "fine_tuning_job_id": self.job.id,
            "fine_tuned_model_checkpoint": f"{self.tuned_model}:ckpt-step-{step}",
            "step_number": step,
            "metrics": {"step": step, **self.metrics.get(step, {})},
        }
        self.checkpoints.append(FineTuningJobCheckpoint.model_validate(row))
        self.say(f"Checkpoint created at step {step}")
        del self.checkpoints[:-most]

    def resolve(self, numbers: Hyperparameters) -> None:
        """Show these hyperparameters, in both of their places."""
        self.job = FineTuningJob.model_validate({**self.job.to_dict(), **_hyperparameters(numbers)})

    @property
    def tuned_model(self) -> str:
        """The name of what comes out: ft:BASE:ORGANISATION:SUFFIX:ID, or BASE.ft-ID-SUFFIX at Azure."""
        base, id = base_of(self.job.model), self.job.id.removeprefix("ftjob-")
        if self.azure:
            return f"{base}.ft-{id}-{self.suffix}".removesuffix("-")
        return f"ft:{base}:{ORGANISATION}:{self.suffix}:{id[-8:]}"

    def write(self, folder: Path) -> None:
        """Put it into the folder, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        fresh = folder / f"{FILE}.new"
        fresh.write_text(self.model_dump_json(exclude_unset=True), encoding="utf-8")
        os.replace(fresh, folder / FILE)


def new(request: JobRequest, model: str, state: State, *, number: int, azure: bool, seed: int) -> Record:
    """The record of a job that was just asked for."""
    row: dict[str, Any] = {
        "id": new_id("ftjob-"),
        "object": "fine_tuning.job",
        "created_at": int(time.time()),
        "status": "validating_files",
        "model": model,
        "training_file": request.training_file,
        "validation_file": request.validation_file,
        "organization_id": f"org-{ORGANISATION}",
        "seed": seed,
        "result_files": [],
        "integrations": [one.model_dump(mode="json", exclude_unset=True) for one in request.integrations or ()],
        "metadata": request.metadata,
        **dict.fromkeys(("error", "fine_tuned_model", "finished_at", "trained_tokens", "estimated_finish")),
        **_hyperparameters(request.wanted),
    }
    job = FineTuningJob.model_validate(row)
    record = Record(
        number=number,
        job=job,
        azure=azure,
        suffix=request.suffix or "",
        rank=state.rank,
        max_steps=state.max_steps,
        fails=state.next_job_fails,
        events=[],
        checkpoints=[],
        metrics={},
    )
    record.say(f"Created fine-tuning job: {job.id}")
    files = f"training file: {job.training_file}"
    record.say(f"Validating {files}" + (f" and validation file: {job.validation_file}" if job.validation_file else ""))
    return record


def read_all(folder: Path) -> list[Record]:
    """The jobs whose folders lie in this one, from the oldest to the newest."""
    found = [Record.model_validate_json(file.read_bytes()) for file in folder.glob(f"*/{FILE}")]
    return sorted(found, key=lambda record: record.number)


def page(items: Sequence[ApiModel], after: str | None, limit: int) -> dict[str, Any]:
    """One page of a list, the newest first, as the API sends it.

    Args:
        items: All of them, the oldest first.
        after: The last id of the page before; "" or None for the first page.
        limit: How many, from 1 to 100.

    Raises:
        ApiError: 400 where there is no such id, or for a limit that is out of range.
    """
    if not 1 <= limit <= 100:
        raise ApiError(400, f"The limit has to be from 1 to 100, not {limit}.", code="invalid_value", param="limit")
    rows = [item.to_dict(mode="json") for item in reversed(items)]
    ids = [str(row["id"]) for row in rows]
    if after and after not in ids:
        raise ApiError(400, f"There is nothing with the id {after}.", code="invalid_value", param="after")
    start = ids.index(after) + 1 if after else 0
    end = start + limit
    return {"object": "list", "data": rows[start:end], **_ends(ids[start:end]), "has_more": end < len(rows)}


def _ends(ids: Sequence[str]) -> dict[str, str | None]:
    return {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}


def _hyperparameters(numbers: Hyperparameters) -> Mapping[str, Any]:
    shown = numbers.model_dump(mode="json")
    return {
        "hyperparameters": shown,
        "method": {"type": "supervised", "supervised": {"hyperparameters": shown}},
    }
