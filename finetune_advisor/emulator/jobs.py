"""Fine-tuning jobs: checked, queued, trained one after the other, paused, gone on with after a restart.

Trainings run in a thread of this process and end at the next step where somebody pauses or cancels them. Every record
and every checkpoint lies on the disk, so that an emulator that was stopped or killed goes on where it was.

Epochs for "auto" are those of OpenAI's cookbook. What its other two hyperparameters come to, providers do not say; here
they are the defaults of the local trainer, which has no relation to theirs.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from openai.types.fine_tuning import FineTuningJob
from openai.types.fine_tuning.fine_tuning_job import Error

from finetune_advisor.datasets.tokens import default_epochs
from finetune_advisor.emulator import job_data, job_record, job_request, job_results
from finetune_advisor.emulator.job_data import InvalidFile, TrainingData
from finetune_advisor.emulator.job_record import ENDED, Record
from finetune_advisor.emulator.job_request import Hyperparameters
from finetune_advisor.emulator.job_training import MOST_CHECKPOINTS, JobTraining, measurements
from finetune_advisor.emulator.state import ApiError, Charge, State
from finetune_advisor.errors import AdvisorError
from finetune_advisor.records import LossPoint
from finetune_advisor.tuning.lora import Lora
from finetune_advisor.tuning.options import LoraOptions

FOLDER = "jobs"
FAULT = "server_error"
"""The code of an error that the client has no part in."""
_LOG = logging.getLogger(__name__)


class _Stopped(Exception):
    """The training is not wanted now, or not any more."""


class Jobs:
    """All jobs of an emulator.

    Args:
        state: Files, models, charges. Jobs that its folder knows and that have not ended are gone on with.

    Attributes:
        closing: Whether the work is being stopped.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._folder = state.folder / FOLDER
        self._records = {record.job.id: record for record in job_record.read_all(self._folder)}
        self._unchecked = _Worker(self._check)
        self._untrained = _Worker(self._attempt)
        self.closing = False
        for record in self._records.values():
            self._again(record)

    def create(self, body: Mapping[str, Any], *, azure: bool = False) -> FineTuningJob:
        """Start a job.

        Args:
            body: The request.
            azure: Whether it came in Azure's shape, which decides how the tuned model is called.

        Raises:
            ApiError: 400, with the parameter that is wrong.
        """
        request = job_request.parsed(body, self._state, azure=azure)
        model = job_request.model_to_tune(request.model, self._state)
        seed = secrets.randbelow(2**31) if request.seed is None else request.seed
        with self._state.lock:
            number = len(self._records) + 1
            record = job_record.new(request, model, self._state, number=number, azure=azure, seed=seed)
            self._state.next_job_fails = False
            self._records[record.job.id] = record
            self._write(record)
            shown = record.shown()
        self._unchecked.put(record.job.id)
        return shown

    def retrieve(self, id: str) -> FineTuningJob:
        """The job of that id.

        Raises:
            ApiError: 404.
        """
        with self._state.lock:
            return self._record(id).shown()

    def list(
        self, after: str | None = None, limit: int = 20, metadata: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """A page of jobs, the newest first.

        Args:
            after: The last id of the page before.
            limit: How many.
            metadata: Only jobs with all these entries.

        Raises:
            ApiError: 400 for an unknown `after` or a wrong limit.
        """
        with self._state.lock:
            jobs = [record.shown() for record in self._records.values()]
        wanted = (metadata or {}).items()
        return job_record.page([job for job in jobs if wanted <= (job.metadata or {}).items()], after, limit)

    def events(self, id: str, after: str | None = None, limit: int = 20) -> dict[str, Any]:
        """A page of what happened in a job, the newest first.

        Raises:
            ApiError: 404 for an unknown job, 400 for an unknown `after` or a wrong limit.
        """
        with self._state.lock:
            return job_record.page(self._record(id).events, after, limit)

    def checkpoints(self, id: str, after: str | None = None, limit: int = 10) -> dict[str, Any]:
        """A page of the checkpoints that a job has left, the newest first; each can be asked like any model.

        Raises:
            ApiError: 404 for an unknown job, 400 for an unknown `after` or a wrong limit.
        """
        with self._state.lock:
            record = self._record(id)
            done = record.job.status == "succeeded"
            return job_record.page(record.checkpoints if done else [], after, limit)

    def cancel(self, id: str) -> FineTuningJob:
        """End a job; what it has trained so far is of no use to anybody.

        Raises:
            ApiError: 404 for an unknown job, 400 for one that has ended.
        """
        with self._state.lock:
            record = self._live(id, "cancelled")
            record.paused = False
            record.job.finished_at = int(time.time())
            self._turn(record, "cancelled", "Fine-tuning job cancelled")
            return record.shown()

    def pause(self, id: str) -> FineTuningJob:
        """Stop a job at its next step, so that it can go on later from its last checkpoint.

        Raises:
            ApiError: 404 for an unknown job, 400 for one that has ended or is paused.
        """
        with self._state.lock:
            record = self._live(id, "paused")
            if record.paused or record.job.status == "validating_files":
                raise _refusal(record, "paused")
            record.paused = True
            self._turn(record, "queued", "Fine-tuning job paused")
            return record.shown()

    def resume(self, id: str) -> FineTuningJob:
        """Go on with a paused job.

        Raises:
            ApiError: 404 for an unknown job, 400 for one that is not paused.
        """
        with self._state.lock:
            record = self._live(id, "resumed")
            if not record.paused:
                raise _refusal(record, "resumed")
            record.paused = False
            self._turn(record, "queued", "Fine-tuning job resumed")
            self._untrained.put(id)
            return record.shown()

    def close(self) -> None:
        """Stop working; whoever opens the folder again goes on."""
        self.closing = True
        self._unchecked.close()
        self._untrained.close()

    def _record(self, id: str) -> Record:
        if id not in self._records:
            message = f"Could not find fine tune: {id}"
            raise ApiError(404, message, code="fine_tune_not_found", param="fine_tuning_job_id")
        return self._records[id]

    def _live(self, id: str, wanted: str) -> Record:
        record = self._record(id)
        if record.job.status in ENDED:
            raise _refusal(record, wanted)
        return record

    def _place(self, record: Record) -> Path:
        return self._folder / record.job.id

    def _write(self, record: Record) -> None:
        record.write(self._place(record))

    def _turn(self, record: Record, status: Literal["queued", "running", "succeeded", "cancelled"], why: str) -> None:
        record.job.status = status
        record.job.estimated_finish = None
        record.say(why)
        self._write(record)

    def _again(self, record: Record) -> None:
        """Go on with a job of an emulator that has ended."""
        if record.job.status == "validating_files":
            self._unchecked.put(record.job.id)
        elif record.job.status not in ENDED and not record.paused:
            if record.job.status == "running":
                self._turn(record, "queued", "The emulator was started again; the job goes on from its last checkpoint")
            self._untrained.put(record.job.id)

    def _check(self, id: str) -> None:
        record = self._records[id]
        try:
            train, _ = self._data(record)
        except (InvalidFile, ApiError, AdvisorError) as error:
            return self._fail(record, _explained(error))
        with self._state.lock:
            if record.job.status == "validating_files":
                record.resolve(_resolved(record, train.examples))
                self._turn(record, "queued", "Files validated, moving job to queued state")
                self._untrained.put(record.job.id)

    def _data(self, record: Record) -> tuple[TrainingData, TrainingData | None]:
        train = job_data.read(self._state.file(record.job.training_file), "training_file")
        if record.job.validation_file is None:
            return train, None
        return train, job_data.read(self._state.file(record.job.validation_file), "validation_file", least=1)

    def _attempt(self, id: str) -> None:
        """Train, if that is still wanted, and note how it ended."""
        with self._state.lock:
            record = self._records[id]
            if self.closing or record.paused or record.job.status != "queued":
                return
            self._turn(record, "running", "Fine-tuning job started")
        try:
            self._train(record)
        except _Stopped:
            return
        except (InvalidFile, ApiError, AdvisorError) as error:
            self._fail(record, _explained(error))
        except Exception as error:
            _LOG.exception("The training of %s failed", id)
            message = f"The training ended with {type(error).__name__}."
            self._fail(record, Error(code=FAULT, message=message, param=None))

    def _train(self, record: Record) -> None:
        train, validation = self._data(record)
        pairs = validation.pairs if validation else ()
        training = self._training(record, train, pairs)
        whole = len(pairs) <= training.options.validation_limit
        began: list[tuple[float, int]] = []

        def told(what: str, done: int, total: int) -> None:
            with self._state.lock:
                self._check_wanted(record, done, total)
                if not began:
                    began.append((time.time(), done))
                record.job.estimated_finish = _finish(*began[0], done, total)

        def saved(losses: Sequence[LossPoint], step: int | None) -> None:
            with self._state.lock:
                self._measured(record, losses, whole=whole)
                if step is not None:
                    record.add_checkpoint(step, MOST_CHECKPOINTS)
                self._write(record)

        run, adapter = training.run(told, saved)
        with self._state.lock:
            self._check_wanted(record, run.steps, run.steps)
            self._measured(record, run.losses, whole=whole)
            self._succeed(record, train, training, adapter, run.steps)

    def _training(self, record: Record, train: TrainingData, validation: Sequence[Any]) -> JobTraining:
        numbers = Hyperparameters.model_validate(record.job.hyperparameters.to_dict())
        options = Lora(
            rank=record.rank,
            alpha=2 * record.rank,
            epochs=int(numbers.n_epochs),
            batch_size=int(numbers.batch_size),
            learning_rate=LoraOptions.learning_rate * float(numbers.learning_rate_multiplier),
            seed=record.job.seed,
            max_steps=record.max_steps,
            max_length=self._state.base.context_window,
        )
        return JobTraining(
            source=self._state.base.source,
            options=options,
            train=train.pairs,
            validation=validation,
            folder=self._place(record) / "training",
            earlier=self._state.tuned.get(record.job.model),
        )

    def _check_wanted(self, record: Record, done: int, total: int) -> None:
        """End what is paused, cancelled, or to fail on purpose."""
        if self.closing or record.job.status != "running":
            raise _Stopped
        if record.fails and 2 * done >= total:
            raise AdvisorError("The job failed due to an internal error (on purpose: a fault of the emulator).")

    def _measured(self, record: Record, losses: Sequence[LossPoint], *, whole: bool) -> None:
        for step, found in sorted(measurements(losses, whole=whole).items()):
            if step not in record.metrics:
                record.metrics[step] = found
                said = [f"{name.partition('_')[0]} loss={found[name]:.4f}" for name in found if "full" not in name]
                record.say(f"Step {step}: {', '.join(said)}", data={"step": step, **found})

    def _succeed(
        self, record: Record, train: TrainingData, training: JobTraining, adapter: Path, last_step: int
    ) -> None:
        name, job = record.tuned_model, record.job
        self._publish(record, training, adapter, last_step)
        results = self._state.add_file("results.csv", "fine-tune-results", job_results.csv(record.metrics))
        job.result_files = [results.id]
        job.trained_tokens = train.tokens * int(job.hyperparameters.n_epochs or 1)
        job.finished_at = int(time.time())
        job.fine_tuned_model = name
        self._state.charges.append(Charge(what="training", model=job.model, training_tokens=job.trained_tokens))
        record.say(f"New fine-tuned model created: {name}")
        self._turn(record, "succeeded", "The job has successfully completed")

    def _publish(self, record: Record, training: JobTraining, adapter: Path, last_step: int) -> None:
        """Let the tuned model and its checkpoints answer; the last checkpoint is the tuned model itself."""
        record.add_checkpoint(last_step, MOST_CHECKPOINTS)
        record.checkpoints[-1].fine_tuned_model_checkpoint = record.tuned_model
        for one in record.checkpoints[:-1]:
            self._state.tuned[one.fine_tuned_model_checkpoint] = training.step_folder(one.step_number)
        self._state.tuned[record.tuned_model] = adapter

    def _fail(self, record: Record, error: Error) -> None:
        with self._state.lock:
            if record.job.status in ENDED:
                return
            record.job.error = error
            record.job.status = "failed"
            record.job.estimated_finish = None
            record.job.finished_at = int(time.time())
            record.say(f"The job failed: {error.message}", level="error")
            self._write(record)


class _Worker:
    """A thread that does one thing after the other, in the order in which they were asked for."""

    def __init__(self, work: Callable[[str], None]) -> None:
        self._work = work
        self._waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def put(self, id: str) -> None:
        self._waiting.put(id)

    def close(self) -> None:
        """Do what waits, and end."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (id := self._waiting.get()) is not None:
            self._work(id)


def _explained(error: InvalidFile | ApiError | AdvisorError) -> Error:
    if isinstance(error, AdvisorError):
        return Error(code=FAULT, message=error.message, param=None)
    return Error(code=error.code or "invalid_file", message=error.message, param=error.param)


def _finish(began: float, first: int, done: int, total: int) -> int | None:
    """When it will be done at the pace so far; None before the first step."""
    now = time.time()
    return int(now + (now - began) / (done - first) * (total - done)) if done > first else None


def _refusal(record: Record, wanted: str) -> ApiError:
    message = f"The job {record.job.id} is {record.shown().status} and cannot be {wanted}."
    return ApiError(400, message, code="invalid_state", param="fine_tuning_job_id")


def _resolved(record: Record, examples: int) -> Hyperparameters:
    """Numbers for "auto"."""
    asked = record.job.hyperparameters.to_dict()
    auto = {
        "n_epochs": default_epochs(examples),
        "batch_size": LoraOptions.batch_size,
        "learning_rate_multiplier": 1.0,
    }
    return Hyperparameters.model_validate({key: auto[key] if asked[key] == "auto" else asked[key] for key in auto})
