"""What the verdict rests on, and the one pair of arms that it is about."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from finetune_advisor.costs.value import break_even_quality
from finetune_advisor.errors import BadInput
from finetune_advisor.records import ArmResult, Comparison, Cost, Finding, Power, Spread, Task

LEVEL = 0.05
"""A p-value under this, after Holm's correction, counts as shown."""


@dataclass(frozen=True, kw_only=True)
class Stop:
    """A hard stop that was found outside the scores: what is wrong, and what mends it.

    `arms` are the arms that it rules out, the others stay in the race. A `final` stop of every tuned arm is a NO-GO,
    one that can be mended a NOT YET.
    """

    reason: str
    mend: str
    arms: tuple[str, ...]
    final: bool = False


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything that the verdict rests on.

    `comparisons` are of each arm with the best untuned one, adjusted already. `needed_score`, the worthwhile difference
    and the non-inferiority margin are shares from 0 to 1. The values of answers are amounts of 0 or more; a score is
    taken as the share of right answers. `usd_per_wrong_form` is what an answer in the wrong form costs and
    `usd_per_no_answer` a call without one, where that is not what a wrong answer costs. `spreads` say how uncertain
    the drivers of the costs are, `clusters` which test examples belong together, in the order of the arms' scores.
    `discount_rate` is by year.

    Raises:
        BadInput: A figure is outside its range, or the arms, their costs and the clusters do not fit together.
    """

    task: Task
    arms: tuple[ArmResult, ...]
    comparisons: tuple[Comparison, ...]
    power: Power | None
    costs: tuple[Cost, ...]
    findings: tuple[Finding, ...]
    requests_per_month: int
    goal: Literal["quality", "cost", "speed", "privacy"] = "quality"
    needed_score: float | None = None
    worthwhile_difference: float = 0.03
    non_inferiority_margin: float = 0.02
    usd_per_right_answer: Decimal | None = None
    usd_per_wrong_answer: Decimal | None = None
    usd_per_wrong_form: Decimal | None = None
    usd_per_no_answer: Decimal | None = None
    horizon_months: int = 12
    minimum_test_rows: int = 30
    confidence: float = 0.9
    discount_rate: float = 0.0
    spreads: tuple[Spread, ...] = ()
    clusters: tuple[int, ...] = ()
    latency_seconds: float | None = None
    stops: tuple[Stop, ...] = ()
    usd_per_label: Decimal | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        _check_ranges(self)
        _check_money(self)
        _check_arms(self)
        _check_spreads(self)

    @property
    def usd_gained(self) -> Decimal | None:
        """What turning a wrong answer into a right one is worth; None where nobody said."""
        if self.usd_per_right_answer is None and self.usd_per_wrong_answer is None:
            return None
        return (self.usd_per_right_answer or Decimal(0)) + (self.usd_per_wrong_answer or Decimal(0))

    @property
    def need(self) -> float:
        """The lowest acceptable score: the one that is needed, or `floor` where that is higher."""
        return max(self.needed_score or 0.0, self.floor)

    @property
    def floor(self) -> float:
        """The share of right answers at which giving answers earns nothing; 0 where values are not known."""
        return break_even_quality(self.usd_per_right_answer or Decimal(0), self.usd_per_wrong_answer or Decimal(0))

    @property
    def ruled_out(self) -> frozenset[str]:
        """Names of the arms that a stop takes out of the race."""
        return frozenset(name for stop in self.stops for name in stop.arms)

    def cost(self, arm: ArmResult) -> Cost | None:
        """What that arm costs, where it is known."""
        return next((cost for cost in self.costs if cost.arm == arm.name), None)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A tuned arm and the best untuned one, compared on the same examples."""

    facts: Facts
    tuned: ArmResult
    untuned: ArmResult
    comparison: Comparison

    @property
    def low(self) -> float:
        """Lower end of the interval of the difference."""
        return self.comparison.interval.low

    @property
    def high(self) -> float:
        """Upper end of the interval of the difference."""
        return self.comparison.interval.high

    @property
    def shown(self) -> bool:
        """Whether the tuned arm has been shown to be better at all."""
        return self.comparison.p_adjusted < LEVEL and self.low > 0


def pairs(facts: Facts) -> tuple[Pair, ...]:
    """Every tuned arm that was compared with an untuned one."""
    arms = {arm.name: arm for arm in facts.arms}
    return tuple(
        Pair(facts=facts, tuned=arms[each.arm], untuned=arms[each.baseline], comparison=each)
        for each in facts.comparisons
        if each.arm in arms and each.baseline in arms and arms[each.arm].tuned and not arms[each.baseline].tuned
    )


def best_name(facts: Facts, *, tuned: bool) -> str | None:
    """The name of the arm with the highest score among the tuned, or the untuned, ones."""
    arms = [arm for arm in facts.arms if arm.tuned == tuned]
    return max(arms, key=lambda arm: arm.score).name if arms else None


def _check_ranges(facts: Facts) -> None:
    shares = (facts.needed_score or 0.0, facts.worthwhile_difference, facts.non_inferiority_margin)
    if not all(0 <= share <= 1 for share in shares):
        raise BadInput("A needed score, worthwhile difference or margin is not from 0 to 1.", hint="0.8 is 80%.")
    if not 0.5 < facts.confidence < 1:
        raise BadInput(
            f"A confidence of {facts.confidence} is not between 0.5 and 1.",
            hint="0.9 means: go if it is right with a probability of 90%.",
        )
    if facts.latency_seconds is not None and not facts.latency_seconds > 0:
        raise BadInput("The time that an answer may take is not above 0.", hint="Give it in seconds.")


def _check_money(facts: Facts) -> None:
    if facts.requests_per_month < 1 or facts.horizon_months < 1:
        raise BadInput(
            "The volume is under one request a month or the horizon under a month.",
            hint="Without requests there is nothing to decide on: give at least 1 of each.",
        )
    if not 0 <= facts.discount_rate < math.inf:
        raise BadInput("The discount rate is negative.", hint="Give it by year; 0.08 is 8%.")
    others = (facts.usd_per_wrong_form, facts.usd_per_no_answer, facts.usd_per_label)
    values = (facts.usd_per_right_answer, facts.usd_per_wrong_answer, *others)
    if not all(value is None or (value.is_finite() and value >= 0) for value in values):
        raise BadInput(
            "The value of an answer or the price of a label is negative.",
            hint="Give what a wrong answer costs as an amount of 0 or more.",
        )
    for cost in facts.costs:
        if not all(usd.is_finite() and usd >= 0 for usd in (cost.usd_per_1000, cost.usd_per_month, cost.usd_one_off)):
            raise BadInput(f"A cost of {cost.arm} is negative.", hint="Give amounts of 0 or more.")


def _check_arms(facts: Facts) -> None:
    names = [arm.name for arm in facts.arms]
    if len(set(names)) < len(names):
        raise BadInput("Two arms have the same name.", hint="Give each arm a name of its own.")
    asked = facts.arms[0].example_ids if facts.arms else ()
    for arm in facts.arms:
        lengths = {len(arm.scores), *([len(arm.forms)] if arm.forms else []), len(facts.clusters or arm.scores)}
        # Mostly all arms have the very same tuple, which need not be compared.
        alike = arm.example_ids is asked or arm.example_ids == asked
        if not arm.scores or len(lengths) > 1 or not alike:
            raise BadInput(
                f"{arm.name} has no scores, or not for the same test examples as {names[0]}.",
                hint="Every arm needs one score for every test example, in the same order.",
            )
    strangers = sorted({cost.arm for cost in facts.costs} - set(names))
    if strangers:
        raise BadInput(
            f"There is a cost for {strangers[0]}, but no such arm was measured.",
            hint=f"Measured: {', '.join(names) or 'none'}.",
        )


def _check_spreads(facts: Facts) -> None:
    drivers = [spread.driver for spread in facts.spreads]
    if len(set(drivers)) < len(drivers):
        raise BadInput("Two spreads are for the same driver.", hint="Give one for each.")
    for spread in facts.spreads:
        if not 0 <= spread.low <= 1 <= spread.high < math.inf:
            raise BadInput(
                f"The spread of {spread.driver} from {spread.low} to {spread.high} does not hold the likely value, 1.",
                hint="Its ends are what the likely figure is multiplied by: 0.5 and 2 are half and twice as much.",
            )
