"""Trainings that outlive the process that started them, each for one tuned arm: estimate, start, watch, cancel.

They belong to the case's locked split and lie in its `fits`, where `run` finds what they left and measures it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from finetune_advisor import approaches, tuning
from finetune_advisor.approaches.tuned import Training
from finetune_advisor.case import Case
from finetune_advisor.errors import BadInput
from finetune_advisor.experiment.arms import Attempt, Session, plans, unfit
from finetune_advisor.experiment.charges import Budget
from finetune_advisor.experiment.prepare import Prepared
from finetune_advisor.records import Progress, Settings, TrainingRun, no_progress
from finetune_advisor.store import Store
from finetune_advisor.tuning import Trainer, TuningEstimate, TuningStatus, TuningWork
from finetune_advisor.tuning.follow import finish


@dataclass(frozen=True, kw_only=True)
class ArmTraining:
    """The training of one tuned arm with one setting.

    `trainer` is who trains, `work` what is trained on what; its folder is the arm's fit.
    """

    arm: str
    model: str
    settings: Settings
    trainer: Trainer
    work: TuningWork

    @property
    def started(self) -> bool:
        """Whether anything was done yet."""
        return self.work.folder.is_dir() and any(self.work.folder.iterdir())

    def estimate(self) -> TuningEstimate:
        """What it will take."""
        return self.trainer.estimate(self.work)

    def status(self) -> TuningStatus:
        """How it stands."""
        return self.trainer.watch(self.work) if self.started else TuningStatus(state="not started")

    def cancel(self) -> None:
        """End it."""
        self.trainer.cancel(self.work)


def trainings(
    case: Case, prepared: Prepared, store: Store, progress: Progress = no_progress
) -> tuple[ArmTraining, ...]:
    """The trainings of a case that a provider or a process of its own does; those done in the run itself are not here.

    Args:
        case: The case.
        prepared: Its data, on the locked split.
        store: Its store.
        progress: Told about searching.
    """
    session = Session(prepared=prepared, store=store, progress=progress)
    attempts = [
        Attempt(plan=plan, settings=settings, session=session)
        for plan in plans(case, prepared.models)
        if approaches.named(plan.approach).tuned and not unfit(plan, prepared)
        for settings in plan.grid
    ]
    found = (_training(attempt) for attempt in attempts)
    return tuple(each for each in found if each is not None)


def _training(attempt: Attempt) -> ArmTraining | None:
    approach, model = attempt.approach, attempt.plan.model
    # The rest hashes the model, which is not worth it for a training within the run.
    if model is None or not isinstance(approach, Training) or approach.trainer_for(model) == "lora":
        return None
    bench = attempt.bench
    trainer = approach.tuner(bench)
    if not isinstance(trainer, tuning.Trainer):
        return None
    work = approach.work(bench, approach.asking(bench))
    name = attempt.plan.model_name
    return ArmTraining(arm=attempt.plan.name, model=name, settings=attempt.settings, trainer=trainer, work=work)


def chosen(found: tuple[ArmTraining, ...], arm: str | None, folder: Path) -> ArmTraining:
    """The training of an arm; the only one where none is named.

    Raises:
        BadInput: There is none, several, or none of that name.
    """
    fitting = [each for each in found if arm in (None, each.arm)]
    if len(fitting) == 1:
        return fitting[0]
    if not found:
        raise BadInput(
            "No arm of this case is trained at a provider or by another trainer.",
            hint=f'finetune-advisor run {folder} trains by itself; settings = {{ trainer = "trl" }} names another.',
        )
    names = ", ".join(dict.fromkeys(each.arm for each in found))
    raise BadInput(f"{len(fitting)} trainings fit.", hint=f"Name one with --arm: {names}.")


def start(training: ArmTraining, budget: Budget) -> None:
    """Check and send the data, and start, where the budget allows for what it is expected to cost.

    Raises:
        OverBudget: It does not.
        AdvisorError: The data breaks a rule, or the provider refuses.
    """
    training.trainer.prepare(training.work)
    expected = training.estimate().usd
    if expected is not None:
        budget.once(training.work.what, expected)
    training.trainer.start(training.work)


def wait(training: ArmTraining, progress: Progress) -> TrainingRun:
    """Wait for the end of a started training and fetch the result; ending this process leaves it alone."""
    return finish(training.trainer, training.work, progress)
