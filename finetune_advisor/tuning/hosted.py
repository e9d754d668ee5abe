"""Fine-tuning at a provider: what OpenAI and Azure OpenAI have in common.

A job belongs to the account, not to the process that started it. `job.json` in the training's folder says which one it
is, and the job's metadata say whose training it is, so that neither a kill nor a lost answer makes a second one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar

from filelock import FileLock
from openai.types.fine_tuning import FineTuningJob
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint
from pydantic import BaseModel, Field, ValidationError

from finetune_advisor.costs import prices
from finetune_advisor.costs.pricing import MTOK
from finetune_advisor.costs.tunable import routes
from finetune_advisor.datasets.tokens import default_epochs
from finetune_advisor.errors import AdvisorError, BadInput
from finetune_advisor.models import TUNED_MODEL
from finetune_advisor.models.accounts import Account
from finetune_advisor.models.cache import writing_to
from finetune_advisor.records import Price, Progress, TrainingPair, TrainingRun
from finetune_advisor.tuning.chat_files import ChatFile, base_of, chat_file, check, example_limit
from finetune_advisor.tuning.follow import follow
from finetune_advisor.tuning.hosted_api import FineTuningApi, is_over
from finetune_advisor.tuning.hosted_options import HostedOptions
from finetune_advisor.tuning.hosted_status import best_of, losses_of_events, losses_of_file, state_of, status_of
from finetune_advisor.tuning.record import TrainingFolder, training_key, write_json
from finetune_advisor.tuning.work import TuningEstimate, TuningStatus, TuningWork

DATA = "data"
"""The folder in a training's folder with the files as they are sent."""

JOB = "job.json"

UNDECIDING = ("metadata", "wandb_project", "every_seconds", "key_env", "entra", "api_version")
"""Options that change nothing in what a training gives."""


class _Job(BaseModel):
    """What `job.json` holds: whose job it is, its id, the ids of its files."""

    key: str = ""
    job: str = ""
    files: dict[str, str] = Field(default_factory=dict[str, str])


@dataclass(frozen=True, kw_only=True)
class HostedTrainer(HostedOptions, ABC):
    """Trains at a provider by its fine-tuning API. See `HostedOptions` for what can be set."""

    prefix: ClassVar[str] = ""
    """Before a model's name in the tables of prices and of what can be tuned."""
    bom: ClassVar[bool] = False
    undeciding: ClassVar[tuple[str, ...]] = UNDECIDING

    @abstractmethod
    def account(self) -> Account:
        """Whose server trains, and with which key."""

    def tune(self, work: TuningWork, progress: Progress) -> TrainingRun:
        """Train and wait for the end, or go on waiting for a training that was started before.

        Args:
            work: What to train; the losses and the best checkpoint are taken on its validation.
            progress: Called with steps done and in total.

        Raises:
            BadInput: The data or an option breaks a rule of the provider.
            Missing: The key, or a right, is not there.
            TrainingClosed: The provider starts no trainings for this organisation.
            TrainingFailed: The job failed or was cancelled.
        """
        known = self._finished(work)
        return known or follow(self, work, progress, every_seconds=self.every_seconds)

    def estimate(self, work: TuningWork) -> TuningEstimate:
        """Billed tokens by the rule of OpenAI's cookbook, and what they cost at the dated price of training."""
        model = self.model(work)
        limit = example_limit(model)
        lengths = chat_file("train", work.train, self.method).tokens(model)
        billed = sum(lengths if limit is None else (min(limit, length) for length in lengths))
        epochs = default_epochs(len(work.train)) if self.epochs == "auto" else self.epochs
        price = self.price(model, self.training_unit())
        return TuningEstimate(
            tokens=billed * epochs,
            epochs=epochs,
            usd=None if price is None else price.value * billed * epochs / MTOK,
            seconds=None,
            assumed=tuple(self._assumed(model, epochs, price)),
        )

    def prepare(self, work: TuningWork) -> None:
        """Write the files as they will be sent, and hold them against the provider's rules.

        Raises:
            BadInput: A rule is broken; the message names the first line that breaks it.
        """
        files = self._files(work)
        for file in files:
            check(file, self.model(work))
        with writing_to(work.folder):
            for file in files:
                file.write(work.folder / DATA)

    def start(self, work: TuningWork) -> None:
        """Start the job, unless one of this training is there that has not failed.

        Raises:
            TrainingClosed: The provider starts no trainings for this organisation.
            BadInput: The provider refuses the files or an option.
            Missing: The key, or a right, is not there.
        """
        key = self.key(work)
        with writing_to(work.folder):
            work.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(work.folder / "job.lock"):
                if self._finished(work) is None:
                    self._start(FineTuningApi(self.account()), work, key)

    def watch(self, work: TuningWork) -> TuningStatus:
        """The job with all its events and checkpoints; a connection that breaks is tried again first.

        Raises:
            Unavailable: The provider does not answer.
        """
        api = FineTuningApi(self.account())
        id = self._job_id(api, work)
        if not id:
            return TuningStatus(state="not started")
        job = api.job(id)
        if job is None:
            return TuningStatus(state="failed", job=id, message=f"The provider does not know the job {id} any more.")
        status = status_of(job, api.events(id), api.checkpoints(id))
        return replace(status, message=self.account().scrubbed(status.message))

    def cancel(self, work: TuningWork) -> None:
        """End the job; what was trained by then may be charged. A job that has ended is left as it is."""
        api = FineTuningApi(self.account())
        id = self._job_id(api, work)
        try:
            if id and not _ended(api.job(id)):
                api.cancel(id)
        except BadInput:
            # It may have ended, or its first cancellation may have been done, in between.
            if not _ended(api.job(id)):
                raise

    def pause(self, work: TuningWork) -> None:
        """Let the job rest; it can be resumed."""
        api = FineTuningApi(self.account())
        api.pause(self._started(api, work).id)

    def resume(self, work: TuningWork) -> None:
        """Let a paused job go on."""
        api = FineTuningApi(self.account())
        api.resume(self._started(api, work).id)

    def result(self, work: TuningWork) -> TrainingRun:
        """What the job gave: tokens as billed, losses, the tuned model's name in TUNED_MODEL.

        Raises:
            AdvisorError: It has not succeeded.
        """
        known = self._finished(work)
        if known is not None:
            return known
        api = FineTuningApi(self.account())
        job = self._started(api, work)
        if state_of(job) != "succeeded" or not job.fine_tuned_model:
            raise AdvisorError(f"The job {job.id} has not succeeded: it is {job.status}.", hint="Wait for its end.")
        found = api.checkpoints(job.id)
        chosen = self.chosen(found)
        named = {"model": chosen.fine_tuned_model_checkpoint if chosen else job.fine_tuned_model, "job": job.id}
        named |= self.publish(work, named["model"])
        run = self._run(api, work, job, found, named["model"])
        write_json(work.folder / TUNED_MODEL, {**named, "base": job.model, "step": run.best_step, "steps": run.steps})
        TrainingFolder(work.folder, self.key(work)).finish(run)
        return run

    def key(self, work: TuningWork) -> str:
        """What the training is found by: a hash of all that decides what it gives, and of the server."""
        options = {name: value for name, value in asdict(self).items() if name not in self.undeciding}
        decides = {**options, "server": self.account().host}
        return training_key(self.model(work), decides, work.train, self._validation(work))

    def model(self, work: TuningWork) -> str:
        """What is trained: the tuned model to go on from, or the base."""
        return self.continue_from or work.source

    def price(self, model: str, unit: str) -> Price | None:
        """The price in force today of tuning that model, or of hosting what comes out of it."""
        base = base_of(model)
        bases = [base, *(route.base.removeprefix(self.prefix) for route in routes(f"{self.prefix}{base}"))]
        for name in dict.fromkeys(bases):
            try:
                found = prices.load().get(f"{self.prefix}ft:{name}").get(unit)
            except BadInput:
                continue
            if found:
                return found
        return None

    def chosen(self, found: Sequence[FineTuningJobCheckpoint]) -> FineTuningJobCheckpoint | None:
        """The checkpoint to use instead of the job's last state, None to use that."""
        best = best_of(found)
        last = max((each.step_number for each in found), default=0)
        return best if best and best.step_number < last and best.fine_tuned_model_checkpoint else None

    @abstractmethod
    def publish(self, work: TuningWork, model: str) -> dict[str, str]:
        """Make the tuned model answer; what TUNED_MODEL says of it beside its name."""

    def training_unit(self) -> str:
        """The unit of the price of training."""
        return "usd_per_mtok_training"

    def hosting(self, model: str) -> Iterator[str]:
        """What the tuned model costs by its existence, in sentences."""
        yield from ()

    def _start(self, api: FineTuningApi, work: TuningWork, key: str) -> None:
        record = _read(work.folder)
        known = api.job(record.job) if record.job and record.key == key else None
        if known is not None and not is_over(known):
            return
        found = api.find(key)
        if found is None:
            (work.folder / TUNED_MODEL).unlink(missing_ok=True)
            found = self._create(api, work, _Job(key=key))
        write_json(work.folder / JOB, _read(work.folder).model_copy(update={"key": key, "job": found.id}).model_dump())

    def _create(self, api: FineTuningApi, work: TuningWork, record: _Job) -> FineTuningJob:
        for file in self._files(work):
            record.files[file.part] = api.file(f"finetune-advisor-{record.key[:16]}-{file.name}", file.data)
            write_json(work.folder / JOB, record.model_dump())
        body = {"model": self.model(work), "training_file": record.files["train"], **self.job_body(record.key)}
        if "validation" in record.files:
            body["validation_file"] = record.files["validation"]
        return api.create(record.key, body)

    def _files(self, work: TuningWork) -> list[ChatFile]:
        train = chat_file("train", work.train, self.method, bom=self.bom)
        held_out = self._validation(work)
        return [train, chat_file("validation", held_out, self.method, bom=self.bom)] if held_out else [train]

    def _validation(self, work: TuningWork) -> Sequence[TrainingPair]:
        return work.validation[: self.validation_limit or None]

    def _finished(self, work: TuningWork) -> TrainingRun | None:
        known = TrainingFolder(work.folder, self.key(work)).finished()
        return replace(known, adapter=str(work.folder)) if known else None

    def _job_id(self, api: FineTuningApi, work: TuningWork) -> str:
        known = _read(work.folder).job
        if known:
            return known
        found = api.find(self.key(work))
        return found.id if found else ""

    def _started(self, api: FineTuningApi, work: TuningWork) -> FineTuningJob:
        id = self._job_id(api, work)
        job = api.job(id) if id else None
        if job is None:
            raise AdvisorError("This training has not been started.", hint="Start it first.")
        return job

    def _run(
        self,
        api: FineTuningApi,
        work: TuningWork,
        job: FineTuningJob,
        found: Sequence[FineTuningJobCheckpoint],
        model: str,
    ) -> TrainingRun:
        events = api.events(job.id)
        losses = losses_of_file(api.results(job)) or losses_of_events(events)
        told = status_of(job, events, found).done
        steps = max([told, *(point.step for point in losses)])
        chosen = next((each.step_number for each in found if each.fine_tuned_model_checkpoint == model), steps)
        estimated = self.estimate(work).tokens
        return TrainingRun(
            adapter=str(work.folder),
            base=job.model,
            options=asdict(self),
            examples=len(work.train),
            steps=steps,
            best_step=chosen,
            tokens=estimated if job.trained_tokens is None else job.trained_tokens,
            trainable_parameters=0,
            seconds=float((job.finished_at or job.created_at) - job.created_at),
            losses=losses,
            job=job.id,
            tuned_model=model,
            estimated_tokens=estimated,
        )

    def _assumed(self, model: str, epochs: int, price: Price | None) -> Iterator[str]:
        if self.epochs == "auto":
            yield (
                f"The provider chooses the epochs; {epochs} are counted, by the rule of OpenAI's cookbook of 2023. "
                "Today's choice may differ."
            )
        yield "Tokens are counted by the cookbook's rule, and tools as their JSON text; examples count up to the limit."
        if self.method == "dpo":
            yield "For preference tuning, prompt and both answers are counted once in each epoch."
        if price is None:
            yield f"No price of training {base_of(model)} is in force today, so no amount is given."
        else:
            yield f"Training costs {price.value} USD per million tokens: {price.source} (checked {price.checked})."
        for route in routes(f"{self.prefix}{base_of(model)}"):
            yield f"Who may tune: {route.who}. {route.note}"
        yield from self.hosting(model)


def _ended(job: FineTuningJob | None) -> bool:
    return job is None or state_of(job) in ("succeeded", "failed", "cancelled")


def _read(folder: Path) -> _Job:
    try:
        return _Job.model_validate_json((folder / JOB).read_bytes())
    except (OSError, ValidationError):
        return _Job()
