"""What was measured, priced and judged by the assumptions of a case: the same for results of our own and of others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from finetune_advisor import statistics, verdict
from finetune_advisor.case import Case
from finetune_advisor.costs import model as money
from finetune_advisor.experiment.money import assume, price_table, spreads
from finetune_advisor.experiment.stops import stops
from finetune_advisor.records import ArmResult, Comparison, Cost, Finding, Power, Refusal, Task, Verdict, highest
from finetune_advisor.verdict import Stop

Unpriced = Callable[[ArmResult, money.MoneyAssumptions], str]
"""Why an arm has no cost; empty where it has one."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was measured, as a verdict takes it: nothing in it depends on an assumption."""

    task: Task
    arms: tuple[ArmResult, ...]
    comparisons: tuple[Comparison, ...]
    power: Power | None
    findings: tuple[Finding, ...]
    clusters: tuple[int, ...]
    refusals: tuple[Refusal, ...] = ()


def _refused(refusal: Refusal) -> Stop:
    return Stop(reason=refusal.reason, mend=refusal.hint, arms=(refusal.arm,))


def compared(
    task: Task, arms: tuple[ArmResult, ...], *, binary: bool, findings: tuple[Finding, ...], clusters: tuple[int, ...]
) -> Evidence:
    """The arms, each compared with the best untuned one.

    Args:
        task: What was asked.
        arms: All arms, on the same test examples.
        binary: Whether every score is 0 or 1.
        findings: What the audit of the data found.
        clusters: Which test examples belong together; none where each stands for itself.
    """
    baseline = highest(arm for arm in arms if not arm.tuned)
    return Evidence(
        task=task,
        arms=arms,
        comparisons=compare(arms, baseline, binary=binary, clusters=clusters),
        power=power_of(arms, baseline, binary=binary),
        findings=findings,
        clusters=clusters,
    )


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """The evidence, priced and judged. `unpriced` says by arm why its cost is not known."""

    assumptions: money.MoneyAssumptions
    costs: tuple[Cost, ...]
    unpriced: Mapping[str, str]
    verdict: Verdict
    prices: str


def weigh(case: Case, evidence: Evidence, today: date, unpriced: Unpriced = lambda arm, assumptions: "") -> Weighed:
    """What the evidence costs and says under the assumptions of a case.

    Args:
        case: With the assumptions.
        evidence: What was measured.
        today: From when prices and providers' dates are looked at.
        unpriced: Says why an arm has no cost; empty where it has one.
    """
    table = price_table(case)
    assumptions = assume(case, table, today)
    reasons = {arm.name: why for arm in evidence.arms if (why := unpriced(arm, assumptions))}
    priced = [arm for arm in evidence.arms if arm.name not in reasons]
    baseline = highest(arm for arm in evidence.arms if not arm.tuned)
    against = baseline if baseline in priced else None
    costs = tuple(money.cost(arm, assumptions, against) for arm in priced)
    facts = verdict.Facts(
        task=evidence.task,
        arms=evidence.arms,
        comparisons=evidence.comparisons,
        power=evidence.power,
        costs=costs,
        findings=evidence.findings,
        clusters=evidence.clusters,
        spreads=spreads(case),
        stops=(*stops(case, evidence.arms, today), *map(_refused, evidence.refusals)),
        **stated(case),
    )
    return Weighed(
        assumptions=assumptions,
        costs=costs,
        unpriced=reasons,
        verdict=verdict.decide(facts),
        prices=table.version,
    )


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
    tuned = highest(arm for arm in arms if arm.tuned)
    one, other = tuned or baseline, baseline if tuned else None
    if one is None:
        return None
    return statistics.power(one.scores, other.scores if other else None, binary=binary, n=one.n)


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
        "usd_per_no_answer": money.usd_per_no_answer,
        "usd_per_label": money.usd_per_label,
        "horizon_months": money.horizon_months,
        "discount_rate": money.discount_rate,
    }
