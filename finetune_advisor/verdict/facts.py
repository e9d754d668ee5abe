"""What the verdict rests on, and the one pair of arms that it is about."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from finetune_advisor.costs.model import Extra, break_even_quality, extra
from finetune_advisor.errors import BadInput
from finetune_advisor.records import ArmResult, Comparison, Cost, Finding, Power, Spread, Task

LEVEL = 0.05
"""A p-value under this, after Holm's correction, counts as shown."""

_ROUNDING = 1e-9


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
    taken as the share of right answers. `usd_per_wrong_form` is what an answer in the wrong form costs, where that is
    not what a wrong answer costs. `spreads` say how uncertain the drivers of the costs are, `clusters` which test
    examples belong together, in the order of the arms' scores. `discount_rate` is by year.

    Raises:
        BadInput: A figure is outside its range.
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
        shares = (self.needed_score or 0.0, self.worthwhile_difference, self.non_inferiority_margin)
        if not all(0 <= share <= 1 for share in shares):
            raise BadInput("A needed score, worthwhile difference or margin is not from 0 to 1.", hint="0.8 is 80%.")
        if self.requests_per_month < 0 or self.horizon_months < 1:
            raise BadInput("The volume is negative or the horizon is under a month.", hint="Mend [money] in the case.")
        if min(self.usd_per_right_answer or 0, self.usd_per_wrong_answer or 0) < 0:
            raise BadInput("The value of an answer is negative.", hint="Give what a wrong answer costs as an amount.")

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
    def served(self) -> int:
        """Requests over the horizon."""
        return self.requests_per_month * self.horizon_months

    def cost(self, arm: ArmResult) -> Cost | None:
        """What that arm costs, where it is known."""
        return next((cost for cost in self.costs if cost.arm == arm.name), None)

    def usd_total(self, arm: ArmResult) -> Decimal | None:
        """What that arm costs over the horizon, everything counted; None where it is not known."""
        cost = self.cost(arm)
        return None if cost is None else cost.usd_per_month * self.horizon_months + cost.usd_one_off

    def cheaper(self, arm: ArmResult, other: ArmResult) -> bool:
        """Whether one arm costs less than the other over the horizon; not where either is unknown."""
        one, two = self.usd_total(arm), self.usd_total(other)
        return one is not None and two is not None and one < two

    def cheapest(self, arms: list[ArmResult]) -> ArmResult | None:
        """The arm that costs least over the horizon, those of unknown cost last; of equals the best."""
        return min(arms, key=self._rank, default=None)

    def _rank(self, arm: ArmResult) -> tuple[bool, Decimal, float]:
        total = self.usd_total(arm)
        return total is None, total or Decimal(0), -arm.score


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

    @property
    def helps(self) -> bool:
        """Whether it has been shown to be better, and by enough to be worth it."""
        return self.shown and self.comparison.difference >= self.facts.worthwhile_difference - _ROUNDING

    @property
    def as_good(self) -> bool:
        """Whether a loss of the non-inferiority margin or more is excluded."""
        return self.low > -self.facts.non_inferiority_margin

    @property
    def worse(self) -> bool:
        """Whether a loss beyond the non-inferiority margin has been shown."""
        return self.high < -self.facts.non_inferiority_margin

    @property
    def good_enough(self) -> bool:
        """Whether the tuned arm reaches the score that is needed."""
        return self.tuned.score >= self.facts.need

    def extra(self, other: ArmResult) -> Extra | None:
        """What the tuned arm costs more than another; None where a cost is not known."""
        one, two = self.facts.cost(self.tuned), self.facts.cost(other)
        return extra(one, two, self.facts.requests_per_month) if one and two else None

    def net_usd(self, difference: float) -> Decimal | None:
        """What tuning brings over the horizon at that difference; None where a price or a value is not known."""
        facts, more = self.facts, self.extra(self.untuned)
        if more is None or facts.usd_gained is None:
            return None
        gain = Decimal(str(difference)) * facts.usd_gained * facts.served
        return gain - more.usd(facts.requests_per_month, facts.horizon_months)

    @property
    def net(self) -> Decimal | None:
        """What tuning brings over the horizon at the measured difference."""
        return self.net_usd(self.comparison.difference)

    @property
    def rival(self) -> ArmResult:
        """The cheapest untuned arm that is as good as the best untuned one: what tuning has to undercut."""
        as_good = {
            each.arm for each in self.facts.comparisons if each.interval.low > -self.facts.non_inferiority_margin
        }
        others = [arm for arm in self.facts.arms if not arm.tuned and arm.name in as_good]
        return self.facts.cheapest([self.untuned, *others]) or self.untuned


def pair_of(facts: Facts) -> Pair | None:
    """The pair to decide on: the best tuned arm or, to save money, the cheapest that does as well."""
    arms = {arm.name: arm for arm in facts.arms}
    pairs = [
        Pair(facts=facts, tuned=arms[each.arm], untuned=arms[each.baseline], comparison=each)
        for each in facts.comparisons
        if each.arm in arms and each.baseline in arms and arms[each.arm].tuned and not arms[each.baseline].tuned
    ]
    pools = _saving(pairs) if facts.goal == "cost" else []
    pool = next(filter(None, pools), None)
    if pool is not None:
        return min(pool, key=lambda pair: facts.usd_total(pair.tuned) or Decimal(0))
    return max(pairs, key=lambda pair: pair.tuned.score, default=None)


def _saving(pairs: list[Pair]) -> list[list[Pair]]:
    """Pairs whose tuned arm is cheaper, the best-founded ones first: good enough, as good, not shown to be worse."""
    cheaper = [pair for pair in pairs if not pair.worse and pair.facts.cheaper(pair.tuned, pair.rival)]
    as_good = [pair for pair in cheaper if pair.as_good]
    return [[pair for pair in as_good if pair.good_enough], as_good, cheaper]


def best_name(facts: Facts, *, tuned: bool) -> str | None:
    """The name of the arm with the highest score among the tuned, or the untuned, ones."""
    arms = [arm for arm in facts.arms if arm.tuned == tuned]
    return max(arms, key=lambda arm: arm.score).name if arms else None
