"""Ten thousand futures: what the true scores, prices, volumes and hours may be, given what was measured and assumed.

Quality is drawn by the Bayesian bootstrap (Rubin 1981, Annals of Statistics 9:130) over the test examples, with the
same weights for all arms, so that what two arms share cancels out as in a paired test. Examples of a cluster keep one
weight. On top each arm has half an example that it gets right and half a one that it gets wrong: without an example
that speaks for doubt, an arm that is always right would be so for certain. For scores of 0 and 1 an arm's score then
has exactly Jeffreys' posterior, Beta(right + 1/2, wrong + 1/2).

Money is every part of every arm's cost times the factors of what drives it. A factor is drawn once a draw and shared
by all arms, but for tokens, which each arm has its own of: triangular between the ends of the spread, most likely 1.

Nothing here asks a model, a network or a clock: the same facts give the same draws.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from typing import Any, get_args

from finetune_advisor.costs.model import annuity
from finetune_advisor.costs.parts import PARTS
from finetune_advisor.errors import BadInput, require
from finetune_advisor.records import ArmResult, Cost, Driver
from finetune_advisor.verdict.facts import Facts

DRAWS = 10_000

BLOCKS = 256
"""More groups of examples than this are merged at random into so many; the spread of the mean stays what it is."""

PATTERNS = 64
"""Up to so many different rows of scores are drawn exactly, all examples with the same row at once."""

REQUEST: tuple[Driver, ...] = ("volume", "prices", "tokens")
"""What moves the cost of requests where a cost comes without its parts."""


@dataclass(frozen=True, kw_only=True)
class Bill:
    """What every arm pays for parts of the same kind, in dollars a month or once."""

    drivers: tuple[Driver, ...]
    monthly: bool
    usd: Any


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Possible truths, one a row, one column an arm in the order of the facts.

    Columns lie together in memory: most of the work is on a few columns of many rows.
    `malformed` is the share of answers that are wrong and in the wrong form, `silent` that of calls without an answer;
    both are empty where they cost what other wrong answers do.
    `factors` are what each driver is multiplied by: one a row, or one for every arm. `bills` is None where not every
    arm has a cost; `seconds` are those that were measured.
    """

    scores: Any
    malformed: Any
    silent: Any
    factors: Mapping[Driver, Any]
    bills: tuple[Bill, ...] | None
    seconds: Any

    def some(self, rows: Any) -> Draws:
        """The draws of these rows."""
        few = require("numpy", extra="all").asfortranarray
        factors = {driver: few(factor[rows]) for driver, factor in self.factors.items()}
        scores, malformed, silent = (few(each[rows]) for each in (self.scores, self.malformed, self.silent))
        return replace(self, scores=scores, malformed=malformed, silent=silent, factors=factors)

    def scaled(self, driver: Driver, by: Any) -> Draws:
        """The same draws with everything that this driver moves multiplied."""
        return replace(self, factors={**self.factors, driver: self.factors.get(driver, 1.0) * by})

    def certain(self) -> Draws:
        """The same draws of quality, everything else being as it is assumed."""
        return replace(self, factors={})

    def factor(self, *drivers: Driver) -> Any:
        """What these drivers multiply a figure by."""
        first, *others = [self.factors[driver] for driver in drivers if driver in self.factors] or [1.0]
        return math.prod(others, start=first)

    def seconds_per_request(self) -> Any:
        """Seconds that an answer takes: they follow the tokens."""
        return self.seconds * self.factor("tokens") + 0 * self.scores

    @cached_property
    def usd_monthly(self) -> Any:
        """What is paid a month; nothing where it is not known."""
        return self._paid(monthly=True)

    @cached_property
    def usd_once(self) -> Any:
        """What is paid at the start; nothing where it is not known."""
        return self._paid(monthly=False)

    def usd_cost(self, facts: Facts) -> Any:
        """What each arm costs over the horizon, in today's dollars."""
        return self.usd_monthly * months(facts) + self.usd_once

    def usd_net(self, facts: Facts) -> Any:
        """What each arm brings over the horizon, in today's dollars: its answers' worth less its cost."""
        right, wrong = _usd(facts.usd_per_right_answer), _usd(facts.usd_per_wrong_answer)
        answer = (right + wrong) * self.scores - wrong
        for usd, share in ((facts.usd_per_wrong_form, self.malformed), (facts.usd_per_no_answer, self.silent)):
            if usd is not None:
                answer = answer + (wrong - float(usd)) * share
        return months(facts) * facts.requests_per_month * self.factor("volume", "value") * answer - self.usd_cost(facts)

    def _paid(self, *, monthly: bool) -> Any:
        paid = require("numpy", extra="all").zeros_like(self.scores)
        for own in (False, True):
            bills = [each for each in self.bills or () if (each.monthly, "tokens" in each.drivers) == (monthly, own)]
            if bills:
                paid += self._bills(bills) * (self.factor("tokens") if own else 1.0)
        return paid

    def _bills(self, bills: list[Bill]) -> Any:
        """The sum of these bills without the factor of tokens, which may be each arm's own."""
        numpy = require("numpy", extra="all")
        one = numpy.ones((len(self.scores), 1))
        factors = [one * self.factor(*_but_tokens(bill.drivers)) for bill in bills]
        return (numpy.array([bill.usd for bill in bills]).T @ numpy.hstack(factors).T).T


def _but_tokens(drivers: tuple[Driver, ...]) -> list[Driver]:
    return [driver for driver in drivers if driver != "tokens"]


def months(facts: Facts) -> float:
    """What a dollar a month over the horizon is worth today."""
    return float(annuity(facts.horizon_months, facts.discount_rate))


def simulate(facts: Facts) -> Draws:
    """Draw what may be true; the same facts give the same draws.

    Raises:
        BadInput: A score is not from 0 to 1, or the parts of a cost are unknown or do not add up to it.
    """
    scores, malformed, silent = _quality(facts)
    numpy = require("numpy", extra="all")
    return Draws(
        scores=scores,
        malformed=malformed,
        silent=silent,
        factors=_factors(facts),
        bills=_bills(facts),
        seconds=numpy.array([arm.seconds for arm in facts.arms]),
    )


def measured(facts: Facts, draws: Draws, rows: int) -> Draws:
    """So many rows of what was measured and is most likely, to change one thing at a time in."""
    numpy = require("numpy", extra="all")
    scores, malformed, silent = _kinds(numpy.tile(_table(facts).mean(axis=0), (rows, 1)), facts)
    return replace(draws, scores=scores, malformed=malformed, silent=silent, factors={})


def _table(facts: Facts) -> Any:
    """One row an example: each arm's score, then, where that costs apart, how malformed and how silent it was."""
    numpy = require("numpy", extra="all")
    scores = numpy.array([arm.scores for arm in facts.arms]).T
    if not (scores >= 0).all() or not (scores <= 1).all():
        raise BadInput("A score is not from 0 to 1.", hint="0.8 is 80%.")
    if facts.usd_per_wrong_form is None and facts.usd_per_no_answer is None:
        return scores
    silent = numpy.array([_silent(arm) for arm in facts.arms]).T
    forms = numpy.array([arm.forms or (True,) * len(arm.scores) for arm in facts.arms], dtype=bool).T
    return numpy.hstack([scores, ((1 - scores) * ~forms - silent).clip(min=0), silent])


def _silent(arm: ArmResult) -> list[float]:
    """For every example, how likely it is one without an answer: which of those that scored nothing is not recorded.

    A call without an answer counts as one in the wrong form too.
    """
    forms = arm.forms or (False,) * len(arm.scores)
    nothing = [score == 0 and not form for score, form in zip(arm.scores, forms, strict=True)]
    return [each * arm.failures / max(1, sum(nothing)) for each in nothing]


def _kinds(columns: Any, facts: Facts) -> tuple[Any, Any, Any]:
    """Columns as the table has them: the scores, what is malformed, and what is silent."""
    arms = len(facts.arms)
    return columns[:, :arms], columns[:, arms : 2 * arms], columns[:, 2 * arms :]


def _quality(facts: Facts) -> tuple[Any, Any, Any]:
    numpy = require("numpy", extra="all")
    generator, arms, table = numpy.random.default_rng([facts.seed, 0]), len(facts.arms), _table(facts)
    shapes, sums, sizes = _units(table, facts.clusters, generator)
    weights = generator.standard_gamma(shapes, (DRAWS, len(sizes)))
    groups = len(set(facts.clusters)) or len(table)
    # Half the square of a normal number is a Gamma(1/2) one: the weight of half an example, or of half a cluster.
    pseudo = generator.standard_normal((2, DRAWS, arms)) ** 2 * (len(table) / groups / 2)
    total = (weights @ sizes)[:, None] + pseudo.sum(axis=0)
    drawn = weights @ sums
    drawn[:, :arms] += pseudo[0]
    return _kinds(numpy.asfortranarray(drawn / numpy.tile(total, drawn.shape[1] // arms)), facts)


def _units(table: Any, clusters: tuple[int, ...], generator: Any) -> tuple[Any, Any, Any]:
    """What gets one weight: the shape of its Gamma distribution, its sums of scores, its number of examples."""
    numpy = require("numpy", extra="all")
    if not clusters:
        patterns, counts = numpy.unique(table, axis=0, return_counts=True)
        if len(patterns) <= PATTERNS:
            return counts.astype(float), patterns, numpy.ones(len(patterns))
    groups = numpy.unique(numpy.array(clusters or range(len(table))), return_inverse=True)[1]
    number = int(groups.max()) + 1
    if number > BLOCKS:
        groups, number = generator.permutation(number)[groups] % BLOCKS, BLOCKS
    sums, sizes = numpy.zeros((number, table.shape[1])), numpy.bincount(groups, minlength=number)
    numpy.add.at(sums, groups, table)
    return 1.0, sums, sizes.astype(float)


def _factors(facts: Facts) -> dict[Driver, Any]:
    numpy = require("numpy", extra="all")
    found: dict[Driver, Any] = {}
    for spread in facts.spreads:
        if spread.low < spread.high:
            columns = len(facts.arms) if spread.driver == "tokens" else 1
            generator = numpy.random.default_rng([facts.seed, 1, get_args(Driver).index(spread.driver)])
            drawn = generator.triangular(spread.low, 1, spread.high, (DRAWS, columns))
            found[spread.driver] = numpy.asfortranarray(drawn)
    return found


def _bills(facts: Facts) -> tuple[Bill, ...] | None:
    numpy = require("numpy", extra="all")
    found: defaultdict[tuple[tuple[Driver, ...], bool], Any] = defaultdict(lambda: numpy.zeros(len(facts.arms)))
    for at, arm in enumerate(facts.arms):
        cost = facts.cost(arm)
        if cost is None:
            return None
        for drivers, monthly, usd in _parts(cost, facts.requests_per_month):
            found[drivers, monthly][at] += float(usd)
    return tuple(Bill(drivers=drivers, monthly=monthly, usd=usd) for (drivers, monthly), usd in found.items())


def _parts(cost: Cost, requests_per_month: int) -> list[tuple[tuple[Driver, ...], bool, Decimal]]:
    if not cost.parts:
        requests = cost.usd_per_1000 * requests_per_month / 1000
        return [(REQUEST, True, requests), ((), True, cost.usd_per_month - requests), ((), False, cost.usd_one_off)]
    unknown = sorted(set(cost.parts) - set(PARTS))
    if unknown:
        raise BadInput(f"The cost of {cost.arm} has an unknown part: {unknown[0]}.", hint=f"Known: {', '.join(PARTS)}.")
    parts = [(PARTS[name].drivers, PARTS[name].when == "month", usd) for name, usd in cost.parts.items()]
    _add_up(cost, sum(usd for _, monthly, usd in parts if monthly), cost.usd_per_month)
    _add_up(cost, sum(usd for _, monthly, usd in parts if not monthly), cost.usd_one_off)
    return parts


def _add_up(cost: Cost, parts: Decimal | int, total: Decimal) -> None:
    if not math.isclose(parts, total, rel_tol=1e-3, abs_tol=0.01):
        raise BadInput(
            f"The parts of what {cost.arm} costs add up to ${parts:,.2f}, not to the ${total:,.2f} that are given.",
            hint="Give parts that add up, or no parts.",
        )


def _usd(value: Decimal | None) -> float:
    return float(value or 0)
