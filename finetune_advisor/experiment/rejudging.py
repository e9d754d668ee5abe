"""The same measurements under other assumptions, in a moment: no store, no model, no data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from finetune_advisor import questions
from finetune_advisor.case import Case
from finetune_advisor.experiment.learning import repriced
from finetune_advisor.experiment.prior import prior
from finetune_advisor.experiment.stops import routes_of
from finetune_advisor.experiment.weighing import Evidence, weigh
from finetune_advisor.records import ArmResult, Results, SignOff


def rejudge(case: Case, results: Results) -> Results:
    """The same measurements under other assumptions: what `stored` would give, without store, model or data.

    Comparisons and power are kept: they rest on what was measured alone.

    Args:
        case: With the `[money]`, `[goal]`, `[uncertainty]`, `[answers]` and prices that are to count now.
        results: Of that case; nothing of them is changed.

    Raises:
        BadInput: A price is not known, or an assumption is not usable.
    """
    now = datetime.now(UTC)
    evidence = _evidence(results)
    weighed = weigh(case, evidence, now.date())
    hourly = weighed.assumptions.machine.usd_per_hour.value
    curve = results.learning_curve
    judged = replace(
        results,
        arms=evidence.arms,
        costs=weighed.costs,
        requests_per_month=case.money.requests_per_month,
        needed_score=case.goal.needed_score,
        verdict=weighed.verdict,
        provenance=replace(results.provenance, time=now, prices=weighed.prices),
        learning_curve=repriced(curve, case, hourly, results.provenance.seed) if curve else None,
        routes=routes_of(case, now.date()),
        horizon_months=case.money.horizon_months,
        sign_off=SignOff(**case.sign_off.model_dump()) if case.sign_off else None,
    )
    return _answered(case, judged)


def _answered(case: Case, judged: Results) -> Results:
    """With what the person said: beside what was measured, and as the guess that it would have been without that."""
    said, ranges = _said(case), case.uncertainty.model_dump()
    guess = prior(judged.task.kind, said, examples=judged.split.train)
    return replace(
        judged,
        answered=questions.answered(said, _shown(judged), questions.contradictions(said, judged), ranges),
        verdict=replace(judged.verdict, prior=guess),
    )


def _evidence(results: Results) -> Evidence:
    return Evidence(
        task=results.task,
        arms=_sharing(results.arms),
        comparisons=results.comparisons,
        power=results.power,
        findings=results.findings,
        clusters=results.clusters,
        refusals=results.refusals,
    )


def _sharing(arms: tuple[ArmResult, ...]) -> tuple[ArmResult, ...]:
    """The same arms with the same names of their examples: results that were read hold them once an arm.

    The verdict holds them against each other at every check, which takes a good part of its time where each is a copy.
    """
    ids = arms[0].example_ids if arms else ()
    return tuple(replace(arm, example_ids=ids) if arm.example_ids == ids else arm for arm in arms)


def _shown(results: Results) -> Mapping[str, str]:
    return questions.evidence(
        arms=results.arms,
        comparisons=results.comparisons,
        costs=results.costs,
        findings=results.findings,
        task=results.task,
        split=results.split,
        side_effects=results.side_effects,
        learning_curve=results.learning_curve,
    )


def _said(case: Case) -> dict[str, object]:
    """What the person stated, by question id; defaults are not answers."""
    money, goal = case.money.model_dump(exclude_unset=True), case.goal.model_dump(exclude_unset=True)
    return {**money, **goal, "goal": goal.get("kind"), **case.answers}
