"""From finished arms to `Results`: comparisons, costs, the verdict, and everything needed to repeat it."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import pvariance

import finetune_advisor
from finetune_advisor import metrics, questions, statistics, verdict
from finetune_advisor.case import Case
from finetune_advisor.costs import model as money
from finetune_advisor.costs import prices
from finetune_advisor.experiment.arms import ArmRun
from finetune_advisor.experiment.money import assume
from finetune_advisor.experiment.prepare import Prepared
from finetune_advisor.records import (
    SCHEMA_VERSION,
    ArmAnswer,
    ArmResult,
    Comparison,
    Cost,
    Disagreement,
    Failure,
    Power,
    Provenance,
    Results,
    SplitSummary,
)
from finetune_advisor.store import Lock

PACKAGES = ("torch", "transformers", "peft", "trl", "accelerate", "scikit-learn", "scipy", "numpy", "bm25s", "tiktoken")
SHOWN_DISAGREEMENTS = 40


def assemble(
    case: Case, prepared: Prepared, locks: Sequence[Lock], runs: Sequence[ArmRun], skipped: dict[str, str]
) -> Results:
    """Everything that follows from the arms' answers; the same answers give the same results.

    Args:
        case: What was asked.
        prepared: Its data and split.
        locks: All splits that were ever locked.
        runs: The finished arms.
        skipped: Why other arms were not run.
    """
    arms = tuple(run.result for run in runs)
    baseline = best([arm for arm in arms if not arm.tuned])
    comparisons = compare(arms, baseline, prepared)
    power = _power(arms, baseline, prepared)
    table = prices.load(case.folder / case.money.prices if case.money.prices else None)
    assumptions = assume(case, table)
    costs = tuple(money.cost(arm, assumptions, baseline) for arm in arms)
    decided = verdict.decide(_facts(case, prepared, arms, comparisons, power, costs))
    split = _summary(prepared, locks[-1])
    evidence = questions.evidence(
        arms=arms, comparisons=comparisons, costs=costs, findings=prepared.findings, task=prepared.task, split=split
    )
    return Results(
        title=case.title,
        task=prepared.task,
        documents=prepared.documents,
        passages=len(prepared.passages),
        split=split,
        findings=prepared.findings,
        answered=questions.answered(_said(case), evidence),
        arms=arms,
        skipped=skipped,
        comparisons=comparisons,
        power=power,
        costs=costs,
        requests_per_month=case.money.requests_per_month,
        needed_score=case.goal.needed_score,
        verdict=decided,
        disagreements=disagreements(runs, prepared),
        provenance=_provenance(prepared, table.version),
        notes=_notes(locks),
    )


def _said(case: Case) -> dict[str, object]:
    """What the person stated, by question id; defaults are not answers."""
    money, goal = case.money.model_dump(exclude_unset=True), case.goal.model_dump(exclude_unset=True)
    return {**money, **goal, "goal": goal.get("kind"), **case.answers}


def best(arms: Sequence[ArmResult]) -> ArmResult | None:
    """The arm with the highest score; of equals the one that was listed first."""
    return max(arms, key=lambda arm: arm.score, default=None)


def compare(arms: Sequence[ArmResult], baseline: ArmResult | None, prepared: Prepared) -> tuple[Comparison, ...]:
    """Each arm against the best untuned one, example by example, with Holm's correction over all of them."""
    if baseline is None:
        return ()
    binary = _binary(prepared)
    others = [arm for arm in arms if arm.name != baseline.name]
    return statistics.holm(
        [statistics.compare(a.name, a.scores, baseline.name, baseline.scores, binary=binary) for a in others]
    )


def _binary(prepared: Prepared) -> bool:
    return metrics.create(prepared.task.metric, **prepared.task.metric_options).binary


def _power(arms: Sequence[ArmResult], baseline: ArmResult | None, prepared: Prepared) -> Power | None:
    tuned = best([arm for arm in arms if arm.tuned])
    one, other = tuned or baseline, baseline if tuned else None
    if one is None:
        return None
    return statistics.power(one.scores, other.scores if other else None, binary=_binary(prepared), n=one.n)


def _facts(
    case: Case,
    prepared: Prepared,
    arms: tuple[ArmResult, ...],
    comparisons: tuple[Comparison, ...],
    power: Power | None,
    costs: tuple[Cost, ...],
) -> verdict.Facts:
    return verdict.Facts(
        task=prepared.task,
        arms=arms,
        comparisons=comparisons,
        power=power,
        costs=costs,
        findings=prepared.findings,
        requests_per_month=case.money.requests_per_month,
        goal=case.goal.kind,
        needed_score=case.goal.needed_score,
        worthwhile_difference=case.goal.worthwhile_difference,
        non_inferiority_margin=case.goal.non_inferiority_margin,
        usd_per_right_answer=case.money.usd_per_right_answer,
        usd_per_wrong_answer=case.money.usd_per_wrong_answer,
        horizon_months=case.money.horizon_months,
    )


def disagreements(runs: Sequence[ArmRun], prepared: Prepared) -> tuple[Disagreement, ...]:
    """The test examples on which the arms' scores differ most, at most `SHOWN_DISAGREEMENTS`, in the data's order."""
    columns = [run.result.scores for run in runs]
    spread = [pvariance(scores) if len(scores) > 1 else 0.0 for scores in zip(*columns, strict=True)]
    ranked = sorted((at for at, value in enumerate(spread) if value > 0), key=lambda at: -spread[at])
    answers = [_answers(run) for run in runs]
    return tuple(
        Disagreement(
            example_id=prepared.parts["test"][at].id,
            question=prepared.parts["test"][at].question,
            expected=prepared.parts["test"][at].answer,
            answers=tuple(column[at] for column in answers),
        )
        for at in sorted(ranked[:SHOWN_DISAGREEMENTS])
    )


def _answers(run: ArmRun) -> list[ArmAnswer]:
    scored = zip(run.attempt.answers("test"), run.attempt.scores("test"), strict=True)
    return [
        ArmAnswer(
            arm=run.result.name,
            text="" if isinstance(stored.outcome, Failure) else stored.outcome.text,
            score=score.value,
            format_ok=score.format_ok,
            failure=stored.outcome.message if isinstance(stored.outcome, Failure) else "",
            prompt=stored.request.messages,
            passages=stored.request.passages,
            prompt_tokens=stored.outcome.usage.prompt_tokens,
            completion_tokens=stored.outcome.usage.completion_tokens,
        )
        for stored, score in scored
    ]


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


def _provenance(prepared: Prepared, price_version: str) -> Provenance:
    return Provenance(
        schema=SCHEMA_VERSION,
        time=datetime.now(UTC),
        version=finetune_advisor.__version__,
        commit=_commit(),
        packages={name: found for name in PACKAGES if (found := _version(name))},
        machine=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        seed=prepared.seed,
        data_hash=prepared.data_hash,
        split_hash=prepared.split_hash,
        prices=price_version,
    )


def _version(name: str) -> str:
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
