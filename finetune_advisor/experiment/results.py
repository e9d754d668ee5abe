"""From finished arms to `Results`: comparisons, costs, the verdict, and everything needed to repeat it."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import pvariance
from typing import Any

import finetune_advisor
from finetune_advisor import metrics, questions, statistics, verdict
from finetune_advisor.case import Case
from finetune_advisor.costs import model as money
from finetune_advisor.costs import prices
from finetune_advisor.experiment.arms import ArmRun
from finetune_advisor.experiment.money import assume, spreads
from finetune_advisor.experiment.prepare import Prepared
from finetune_advisor.experiment.prior import prior
from finetune_advisor.experiment.stops import routes_of, stops
from finetune_advisor.records import (
    SCHEMA_VERSION,
    ArmAnswer,
    ArmResult,
    Comparison,
    Cost,
    Disagreement,
    Failure,
    LearningCurve,
    Power,
    Provenance,
    Results,
    SideEffect,
    SplitSummary,
    Verdict,
)
from finetune_advisor.store import Lock

PACKAGES = ("torch", "transformers", "peft", "trl", "accelerate", "scikit-learn", "scipy", "numpy", "bm25s", "tiktoken")
SHOWN_DISAGREEMENTS = 40


@dataclass(frozen=True, kw_only=True)
class Further:
    """What was measured besides the arms' answers on the test split."""

    learning_curve: LearningCurve | None = None
    side_effects: tuple[SideEffect, ...] = ()


def assemble(
    case: Case,
    prepared: Prepared,
    locks: Sequence[Lock],
    runs: Sequence[ArmRun],
    skipped: dict[str, str],
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
    today = datetime.now(UTC).date()
    weighed = _weighed(case, prepared, tuple(run.result for run in runs), today)
    said = _said(case)
    guess = prior(prepared.task.kind, said, examples=len(prepared.parts["train"]))
    split = _summary(prepared, locks[-1])
    evidence = questions.evidence(
        arms=weighed.arms,
        comparisons=weighed.comparisons,
        costs=weighed.costs,
        findings=prepared.findings,
        task=prepared.task,
        split=split,
        side_effects=further.side_effects,
    )
    return Results(
        title=case.title,
        task=prepared.task,
        documents=prepared.documents,
        passages=len(prepared.passages),
        split=split,
        findings=prepared.findings,
        answered=questions.answered(said, evidence),
        arms=weighed.arms,
        skipped=skipped,
        comparisons=weighed.comparisons,
        power=weighed.power,
        costs=weighed.costs,
        requests_per_month=case.money.requests_per_month,
        needed_score=case.goal.needed_score,
        verdict=replace(weighed.verdict, prior=guess),
        disagreements=disagreements(runs, prepared),
        provenance=_provenance(prepared, weighed.prices),
        notes=_notes(locks),
        learning_curve=further.learning_curve,
        side_effects=further.side_effects,
        routes=routes_of(case, today),
    )


@dataclass(frozen=True, kw_only=True)
class _Weighed:
    """The arms, compared, priced and judged; `prices` is the version of the price table."""

    arms: tuple[ArmResult, ...]
    comparisons: tuple[Comparison, ...]
    power: Power | None
    costs: tuple[Cost, ...]
    verdict: Verdict
    prices: str


def _weighed(case: Case, prepared: Prepared, arms: tuple[ArmResult, ...], today: date) -> _Weighed:
    baseline, binary = best([arm for arm in arms if not arm.tuned]), _binary(prepared)
    comparisons = compare(arms, baseline, binary=binary, clusters=prepared.test_groups)
    power = power_of(arms, baseline, binary=binary)
    table = prices.load(case.folder / case.money.prices if case.money.prices else None)
    assumptions = assume(case, table, today)
    costs = tuple(money.cost(arm, assumptions, baseline) for arm in arms)
    facts = verdict.Facts(
        task=prepared.task,
        arms=arms,
        comparisons=comparisons,
        power=power,
        costs=costs,
        findings=prepared.findings,
        clusters=prepared.test_groups,
        spreads=spreads(case),
        stops=stops(case, arms, today),
        **stated(case),
    )
    return _Weighed(
        arms=arms,
        comparisons=comparisons,
        power=power,
        costs=costs,
        verdict=verdict.decide(facts),
        prices=table.version,
    )


def _said(case: Case) -> dict[str, object]:
    """What the person stated, by question id; defaults are not answers."""
    money, goal = case.money.model_dump(exclude_unset=True), case.goal.model_dump(exclude_unset=True)
    return {**money, **goal, "goal": goal.get("kind"), **case.answers}


def best(arms: Sequence[ArmResult]) -> ArmResult | None:
    """The arm with the highest score; of equals the one that was listed first."""
    return max(arms, key=lambda arm: arm.score, default=None)


def compare(
    arms: Sequence[ArmResult], baseline: ArmResult | None, *, binary: bool, clusters: Sequence[int]
) -> tuple[Comparison, ...]:
    """Each arm against the best untuned one, example by example, with Holm's correction over all of them."""
    if baseline is None:
        return ()

    def against(arm: ArmResult) -> Comparison:
        sides = arm.name, arm.scores, baseline.name, baseline.scores
        return statistics.compare(*sides, binary=binary, clusters=clusters or None)

    return statistics.holm([against(arm) for arm in arms if arm.name != baseline.name])


def power_of(arms: Sequence[ArmResult], baseline: ArmResult | None, *, binary: bool) -> Power | None:
    """What the test set can show about the best tuned arm against the baseline, or about whichever of them there is."""
    tuned = best([arm for arm in arms if arm.tuned])
    one, other = tuned or baseline, baseline if tuned else None
    if one is None:
        return None
    return statistics.power(one.scores, other.scores if other else None, binary=binary, n=one.n)


def _binary(prepared: Prepared) -> bool:
    return metrics.create(prepared.task.metric, **prepared.task.metric_options).binary


def stated(case: Case) -> dict[str, Any]:
    """What a person stated about goal and money, by the names of `verdict.Facts`."""
    goal, money = case.goal, case.money
    return {
        "requests_per_month": money.requests_per_month,
        "goal": goal.kind,
        "needed_score": goal.needed_score,
        "worthwhile_difference": goal.worthwhile_difference,
        "non_inferiority_margin": goal.non_inferiority_margin,
        "confidence": goal.confidence,
        "latency_seconds": goal.latency_seconds,
        "usd_per_right_answer": money.usd_per_right_answer,
        "usd_per_wrong_answer": money.usd_per_wrong_answer,
        "usd_per_wrong_form": money.usd_per_wrong_form,
        "usd_per_label": money.usd_per_label,
        "horizon_months": money.horizon_months,
        "discount_rate": money.discount_rate,
    }


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
