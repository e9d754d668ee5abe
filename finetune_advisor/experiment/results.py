"""From finished arms to `Results`: comparisons, costs, the verdict, and everything needed to repeat it."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import pvariance

import finetune_advisor
from finetune_advisor import metrics
from finetune_advisor.case import Case
from finetune_advisor.experiment.arms import ArmRun
from finetune_advisor.experiment.prepare import Prepared
from finetune_advisor.experiment.rejudging import rejudge
from finetune_advisor.experiment.weighing import compared
from finetune_advisor.records import (
    SCHEMA_VERSION,
    ArmAnswer,
    ArmResult,
    Decision,
    Disagreement,
    Failure,
    LearningCurve,
    Provenance,
    Refusal,
    Results,
    SideEffect,
    SplitSummary,
    Verdict,
)
from finetune_advisor.store import Lock, Stored

PACKAGES = ("torch", "transformers", "peft", "trl", "accelerate", "scikit-learn", "scipy", "numpy", "bm25s", "tiktoken")
SHOWN_DISAGREEMENTS = 40

_UNJUDGED = Verdict(
    decision=Decision.NOT_YET,
    headline="",
    reasons=(),
    flips=(),
    next_step="",
    cautions=(),
    best_tuned=None,
    best_untuned=None,
)
"""Stands in results that `rejudge` has not seen."""


@dataclass(frozen=True, kw_only=True)
class Further:
    """What was measured besides the arms' answers on the test split."""

    learning_curve: LearningCurve | None = None
    side_effects: tuple[SideEffect, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()


def assemble(
    case: Case,
    prepared: Prepared,
    locks: Sequence[Lock],
    runs: Sequence[ArmRun],
    skipped: Mapping[str, str],
    further: Further,
) -> Results:
    """Everything that follows from the arms' answers; the same answers give the same results on the same day.

    Args:
        case: What was asked.
        prepared: Its data and split.
        locks: All splits that were ever locked.
        runs: The finished arms.
        skipped: Why other arms were not run.
        further: The learning curve and the side effects.
    """
    found = compared(
        prepared.task,
        tuple(run.result for run in runs),
        binary=metrics.create(prepared.task.metric, **prepared.task.metric_options).binary,
        findings=prepared.findings,
        clusters=prepared.test_groups,
    )
    measured = Results(
        title=case.title,
        task=prepared.task,
        documents=prepared.documents,
        passages=len(prepared.passages),
        split=_summary(prepared, locks[-1]),
        findings=prepared.findings,
        answered=(),
        arms=found.arms,
        skipped=skipped,
        comparisons=found.comparisons,
        power=found.power,
        costs=(),
        requests_per_month=case.money.requests_per_month,
        needed_score=case.goal.needed_score,
        verdict=_UNJUDGED,
        disagreements=disagreements(runs, prepared),
        provenance=_provenance(prepared),
        notes=(*_notes(locks), *further.notes),
        learning_curve=further.learning_curve,
        side_effects=further.side_effects,
        clusters=prepared.test_groups,
        refusals=further.refusals,
    )
    return rejudge(case, measured)


def disagreements(runs: Sequence[ArmRun], prepared: Prepared) -> tuple[Disagreement, ...]:
    """The test examples on which the arms' scores differ most, at most `SHOWN_DISAGREEMENTS`, in the data's order."""
    columns = [run.result.scores for run in runs]
    spread = [pvariance(scores) if len(scores) > 1 else 0.0 for scores in zip(*columns, strict=True)]
    ranked = sorted((at for at, value in enumerate(spread) if value > 0), key=lambda at: -spread[at])
    shown = sorted(ranked[:SHOWN_DISAGREEMENTS])
    answers = [_answers(run, shown) for run in runs]
    return tuple(
        Disagreement(
            example_id=prepared.parts["test"][at].id,
            question=prepared.parts["test"][at].question,
            expected=prepared.parts["test"][at].answer,
            answers=tuple(column[nth] for column in answers),
        )
        for nth, at in enumerate(shown)
    )


def _answers(run: ArmRun, places: Sequence[int]) -> list[ArmAnswer]:
    """What an arm did with the test examples at these places; no others are read."""
    attempt, result = run.attempt, run.result
    names = [result.example_ids[at] for at in places]
    stored = attempt.session.store.answers(attempt.key, "test", names)
    return [_answer(result, at, stored[name]) for at, name in zip(places, names, strict=True)]


def _answer(result: ArmResult, at: int, stored: Stored) -> ArmAnswer:
    outcome = stored.outcome
    return ArmAnswer(
        arm=result.name,
        text="" if isinstance(outcome, Failure) else outcome.text,
        score=result.scores[at],
        format_ok=result.forms[at],
        failure=outcome.message if isinstance(outcome, Failure) else "",
        prompt=stored.request.messages,
        passages=stored.request.passages,
        prompt_tokens=outcome.usage.prompt_tokens,
        completion_tokens=outcome.usage.completion_tokens,
    )


def _summary(prepared: Prepared, lock: Lock) -> SplitSummary:
    split = prepared.split
    return SplitSummary(
        train=len(split.train),
        validation=len(split.validation),
        test=len(split.test),
        groups=split.groups,
        seed=split.seed,
        hash=split.hash,
        locked_at=lock.locked_at,
        label_counts=split.label_counts,
    )


def _notes(locks: Sequence[Lock]) -> tuple[str, ...]:
    if len(locks) < 2:
        return ()
    return (f"The test split was locked {len(locks)} times in this case; results on earlier splits were discarded.",)


def _provenance(prepared: Prepared) -> Provenance:
    return Provenance(
        schema=SCHEMA_VERSION,
        time=datetime.now(UTC),
        version=finetune_advisor.__version__,
        commit=_commit(),
        packages={name: found for name in PACKAGES if (found := installed(name))},
        machine=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        seed=prepared.seed,
        data_hash=prepared.data_hash,
        split_hash=prepared.split_hash,
        prices="",
    )


def installed(name: str) -> str:
    """The version of a package; empty where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _commit() -> str:
    """The commit of this program where it runs from a checkout; empty for an installed wheel."""
    root = Path(finetune_advisor.__file__).parents[1]
    if not (root / ".git").exists():
        return ""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()
