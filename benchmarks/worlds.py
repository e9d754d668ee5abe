"""Worlds in which it is known whether tuning is right: what a test set, a price list and a plan would show of them.

What is drawn, from priors that are wide, that favour neither answer, and that are not those of the verdict's model:

- Quality. The base prompt's score is uniform on 15% to 90%. Other untuned arms (0 to 3) differ from it by a normal
  shift of 0.5 on the logit scale, about 12 points at the middle. Tuned arms (1 or 2) differ from the best untuned one:
  in a third of the worlds by -10 to 10 points, uniformly; in the others by a normal shift with deviation 1 on the
  logit scale, about 22 points at the middle, and mean 0 (`lift` moves it: published tunings mostly help).
- Answers to 30, 100, 300 or 1,000 test examples, by a Gaussian copula: difficulty is shared by all arms (20 to 90% of
  the variance), in a quarter of the worlds also by groups of 1 to 5 near duplicates. A third are graded (Beta).
- Money. The value of a right answer, the hours and the prices are log-uniform; volume follows from a break-even gain
  that is log-uniform from 0.3 to 30 points. What is true lies around what is stated: half of the worlds by a
  triangular law between the stated ends, half by a two-piece log-normal law that passes each end in 2.5% of draws.
  Tokens are off by the same factor for all arms in half of the worlds, by a factor of each arm's own in the others.
- Goals: quality with known values of answers (half), quality without (a quarter), cost (a quarter). Half of the worlds
  need a score. What is right under each goal is what `finetune_advisor.verdict.aims` states, computed anew here.

Not covered: answers in the wrong form with a price of their own, leaks, discounting, the goals speed and privacy, a
test split that differs from the real requests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from finetune_advisor import statistics
from finetune_advisor.costs.parts import PARTS
from finetune_advisor.errors import require
from finetune_advisor.records import ArmResult, Cost, Driver, Spread, Task, TaskKind
from finetune_advisor.verdict import Facts

numpy = require("numpy", extra="all")
special = require("scipy.special", extra="all")

SIZES = (30, 100, 300, 1000)
DRIVERS: tuple[Driver, ...] = ("volume", "prices", "tokens", "hours", "training", "hosting", "value")
Kind = Literal["pays", "does not", "too close"]

CLOSE_POINTS = 0.02
"""Where tuned arms that score this much more or less would turn the truth round, it is too close to call."""

Scores = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Factors:
    """What is really to be multiplied: by driver, for all arms alike, and the tokens of each arm by its name."""

    shared: Mapping[Driver, float]
    tokens: Mapping[str, float]

    def product(self, drivers: tuple[Driver, ...], arm: str) -> float:
        """What these drivers multiply a figure of that arm by."""
        return math.prod(self.tokens[arm] if driver == "tokens" else self.shared[driver] for driver in drivers)


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What nobody sees: true mean scores, what each driver is really multiplied by, and what follows.

    `right_for` are the tuned arms that it is right to choose over everything but another tuned arm.
    """

    scores: Scores
    factors: Factors
    right_for: frozenset[str]

    @property
    def right(self) -> bool:
        """Whether tuning is right at all."""
        return bool(self.right_for)


@dataclass(frozen=True, kw_only=True)
class World:
    """What can be seen, and what is true."""

    seed: int
    facts: Facts
    truth: Truth
    kind: Kind


def judge(facts: Facts, scores: Scores, factors: Factors) -> Truth:
    """Whether tuning is right where these are the true scores and factors; what was measured plays no part."""
    if facts.goal == "cost":
        right = _saving(facts, scores, factors)
    elif facts.usd_gained is not None:
        right = _earning(facts, scores, factors)
    else:
        right = _better(facts, scores) if facts.needed_score is None else _reaching(facts, scores, factors)
    return Truth(scores=scores, factors=factors, right_for=frozenset(right))


def usd_cost(facts: Facts, arm: ArmResult, factors: Factors) -> float:
    """What an arm really costs over the horizon."""
    cost = facts.cost(arm)
    assert cost is not None
    paid = 0.0
    for name, usd in cost.parts.items():
        months = facts.horizon_months if PARTS[name].when == "month" else 1
        paid += float(usd) * months * factors.product(PARTS[name].drivers, arm.name)
    return paid


def usd_net(facts: Facts, arm: ArmResult, score: float, factors: Factors) -> float:
    """What an arm with that true score really brings over the horizon."""
    right, wrong = float(facts.usd_per_right_answer or 0), float(facts.usd_per_wrong_answer or 0)
    served = facts.requests_per_month * facts.horizon_months * factors.product(("volume", "value"), arm.name)
    return (right * score - wrong * (1 - score)) * served - usd_cost(facts, arm, factors)


def _earning(facts: Facts, scores: Scores, factors: Factors) -> list[str]:
    """Enough, and worth more than every untuned arm that is enough and than doing nothing."""
    net = {arm.name: usd_net(facts, arm, scores[arm.name], factors) for arm in facts.arms}
    enough = [arm for arm in facts.arms if scores[arm.name] >= (facts.needed_score or 0.0)]
    least = max([0.0, *(net[arm.name] for arm in enough if not arm.tuned)])
    return [arm.name for arm in enough if arm.tuned and net[arm.name] > least]


def _better(facts: Facts, scores: Scores) -> list[str]:
    """Better than the best untuned arm by what is worthwhile."""
    least = _best_untuned(facts, scores) + facts.worthwhile_difference
    return [arm.name for arm in facts.arms if arm.tuned and scores[arm.name] > least]


def _reaching(facts: Facts, scores: Scores, factors: Factors) -> list[str]:
    """Enough, where no untuned arm is or all that are cost more."""
    return _cheapest(facts, facts.needed_score or 0.0, scores, factors)


def _saving(facts: Facts, scores: Scores, factors: Factors) -> list[str]:
    """As good as the best untuned arm and enough, and cheaper than every untuned arm of which the same is true."""
    least = max(_best_untuned(facts, scores) - facts.non_inferiority_margin, facts.needed_score or 0.0)
    return _cheapest(facts, least, scores, factors)


def _cheapest(facts: Facts, least: float, scores: Scores, factors: Factors) -> list[str]:
    usd = {arm.name: usd_cost(facts, arm, factors) for arm in facts.arms}
    enough = [arm for arm in facts.arms if scores[arm.name] >= least]
    rival = min((usd[arm.name] for arm in enough if not arm.tuned), default=math.inf)
    return [arm.name for arm in enough if arm.tuned and usd[arm.name] < rival]


def _best_untuned(facts: Facts, scores: Scores) -> float:
    return max(scores[arm.name] for arm in facts.arms if not arm.tuned)


def world(seed: int, lift: float = 0.0) -> World:
    """The world of that number; the test sizes take turns. `lift` is the mean shift of tuning on the logit scale."""
    generator, n = numpy.random.default_rng([seed, 6]), SIZES[seed % len(SIZES)]
    scores = _true_scores(generator, lift)
    binary = bool(generator.random() < 2 / 3)
    clusters = _clusters(generator, n) if generator.random() < 1 / 4 else ()
    rows = answers(generator, list(scores.values()), n, clusters, binary=binary)
    arms = tuple(arm(name, column, clusters, binary=binary) for name, column in zip(scores, rows, strict=True))
    facts = _facts(generator, arms, binary, clusters)
    truth = judge(facts, scores, _true_factors(generator, facts))
    return World(seed=seed, facts=facts, truth=truth, kind=_kind(facts, truth))


def _true_scores(generator: Any, lift: float) -> dict[str, float]:
    base = float(generator.uniform(0.15, 0.9))
    shifts = generator.normal(0, 0.5, generator.integers(0, 4))
    untuned = [base, *(_shifted(base, shift) for shift in shifts)]
    close, best = generator.random() < 1 / 3, max(untuned)
    tuned = [_tuned(generator, best, lift, close=close) for _ in range(generator.integers(1, 3))]
    named = {f"untuned {at}": score for at, score in enumerate(untuned)}
    return named | {f"tuned {at}": score for at, score in enumerate(tuned)}


def _tuned(generator: Any, best: float, lift: float, *, close: bool) -> float:
    if close:
        return min(0.99, max(0.01, best + float(generator.uniform(-0.1, 0.1))))
    return _shifted(best, generator.normal(lift, 1))


def _shifted(score: float, shift: float) -> float:
    return float(special.expit(special.logit(score) + shift))


def _clusters(generator: Any, n: int) -> tuple[int, ...]:
    sizes = generator.integers(1, 6, n)
    return tuple(int(group) for group in numpy.repeat(numpy.arange(n), sizes)[:n])


def answers(generator: Any, means: list[float], n: int, clusters: tuple[int, ...], *, binary: bool) -> Any:
    """One row of scores an arm; the expectation of each row is exactly its mean, whatever is shared."""
    shared, alike = generator.uniform(0.2, 0.9), generator.uniform(0.5, 0.95)
    noise = _noise(generator, len(means) + 1, n, clusters, alike)
    latent = math.sqrt(shared) * noise[0] + math.sqrt(1 - shared) * noise[1:]
    column = numpy.array(means)[:, None]
    if binary:
        return (latent < special.ndtri(column)).astype(float)
    concentration = math.exp(generator.uniform(math.log(0.5), math.log(10)))
    return special.betaincinv(column * concentration, (1 - column) * concentration, special.ndtr(latent))


def _noise(generator: Any, rows: int, n: int, clusters: tuple[int, ...], alike: float) -> Any:
    own = generator.standard_normal((rows, n))
    if not clusters:
        return own
    of_group = generator.standard_normal((rows, max(clusters) + 1))[:, list(clusters)]
    return math.sqrt(alike) * of_group + math.sqrt(1 - alike) * own


def arm(name: str, column: Any, clusters: tuple[int, ...] = (), *, binary: bool = True) -> ArmResult:
    """An arm with these scores; its name says whether it is tuned."""
    scores = tuple(float(score) for score in column)
    return ArmResult(
        name=name,
        approach="tuned" if name.startswith("tuned") else "few_shot",
        model=name,
        settings={},
        tuned=name.startswith("tuned"),
        simulated=False,
        metric="label" if binary else "token_f1",
        n=len(scores),
        score=math.fsum(scores) / len(scores),
        interval=statistics.interval(scores, binary=binary, clusters=clusters or None),
        example_ids=tuple(map(str, range(len(scores)))),
        scores=scores,
        failures=0,
        format_failures=0,
        wrong=sum(score < 0.5 for score in scores),
        extras={},
        prompt_tokens=0,
        cached_tokens=0,
        completion_tokens=0,
        seconds=0,
        prefill_seconds=0,
        forms=(True,) * len(scores),
    )


def _facts(generator: Any, arms: tuple[ArmResult, ...], binary: bool, clusters: tuple[int, ...]) -> Facts:
    best = max((arm for arm in arms if not arm.tuned), key=lambda arm: arm.score)
    tuned = max((arm for arm in arms if arm.tuned), key=lambda arm: arm.score)
    others = [arm for arm in arms if arm is not best]
    groups = clusters or None
    compared = [
        statistics.compare(a.name, a.scores, best.name, best.scores, binary=binary, clusters=groups) for a in others
    ]
    valued = generator.random() < 0.5
    right = Decimal(str(round(_log_uniform(generator, 0.01, 1), 4)))
    wrong = Decimal(str(round(_log_uniform(generator, 0.1, 1) * float(right), 4)))
    months = int(generator.choice([6, 12, 24]))
    # Of the value of a right answer, which sets the scale of the one-off costs too; a saving needs dear answers.
    price = _log_uniform(generator, 0.001, 0.1) if valued else _log_uniform(generator, 0.03, 1)
    costs, volume = _costs(generator, arms, (float(right), price * float(right)), months)
    return Facts(
        task=Task(kind=TaskKind.CLASSIFICATION if binary else TaskKind.QA, metric=best.metric),
        arms=arms,
        comparisons=statistics.holm(compared),
        power=statistics.power(tuned.scores, best.scores, binary=binary, n=best.n),
        costs=costs,
        findings=(),
        requests_per_month=volume,
        goal="quality" if valued or generator.random() < 0.5 else "cost",
        needed_score=round(float(generator.uniform(0.3, 0.9)), 2) if generator.random() < 0.5 else None,
        usd_per_right_answer=right if valued else None,
        usd_per_wrong_answer=wrong if valued and generator.random() < 0.5 else None,
        horizon_months=months,
        spreads=tuple(_spread(generator, driver) for driver in DRIVERS),
        clusters=clusters,
    )


def _costs(
    generator: Any, arms: tuple[ArmResult, ...], usd: tuple[float, float], months: int
) -> tuple[tuple[Cost, ...], int]:
    """Stated costs, and the stated volume at which tuning has to gain 0.3 to 30 points to pay for its one-off costs.

    `usd` is what a right answer is worth and what a request costs about.
    """
    once = {
        "usd_one_off_tuning": _log_uniform(generator, 200, 10_000),
        "usd_one_off_deployment": _log_uniform(generator, 100, 5_000),
        "usd_one_off_training": _log_uniform(generator, 1, 500),
    }
    volume = max(1, round(sum(once.values()) / (_log_uniform(generator, 0.003, 0.3) * usd[0] * months)))
    return tuple(_cost(generator, arm, once, volume, usd[1]) for arm in arms), volume


def _cost(generator: Any, arm: ArmResult, once: dict[str, float], volume: int, usd_per_request: float) -> Cost:
    usd = volume * usd_per_request * _log_uniform(generator, 0.1 if arm.tuned else 0.5, 2)
    monthly = {"usd_per_month_input": usd * 0.7, "usd_per_month_output": usd * 0.3}
    requests = sum(monthly.values())
    if arm.tuned:
        monthly["usd_per_month_hosting"] = 0.02 * sum(once.values()) * generator.random()
        monthly["usd_per_month_labour"] = 0.02 * sum(once.values()) * generator.random()
    one_off = {"usd_one_off_evaluation": 500.0, **(once if arm.tuned else {})}
    return Cost(
        arm=arm.name,
        usd_per_1000=_decimal(requests / volume * 1000),
        usd_per_1000_uncached=_decimal(requests / volume * 1000),
        usd_per_month=_decimal(sum(monthly.values())),
        usd_training=_decimal(one_off.get("usd_one_off_training", 0.0)),
        usd_one_off=_decimal(sum(one_off.values())),
        break_even_requests=None,
        parts={name: _decimal(value) for name, value in {**monthly, **one_off}.items()},
        assumptions=(),
    )


def _spread(generator: Any, driver: Driver) -> Spread:
    low, high = float(generator.uniform(0.5, 0.95)), float(generator.uniform(1.05, 2))
    return Spread(driver=driver, low=low, high=high, unit="", likely=None, source="drawn", basis="user")


def _true_factors(generator: Any, facts: Facts) -> Factors:
    triangular, alike = generator.random() < 0.5, generator.random() < 0.5
    shared: dict[Driver, float] = {
        each.driver: _factor(generator, each, triangular=triangular) for each in facts.spreads
    }
    tokens = next(each for each in facts.spreads if each.driver == "tokens")
    own = {arm.name: _factor(generator, tokens, triangular=triangular) for arm in facts.arms}
    return Factors(shared=shared, tokens=dict.fromkeys(own, shared["tokens"]) if alike else own)


def _factor(generator: Any, spread: Spread, *, triangular: bool) -> float:
    if triangular:
        return float(generator.triangular(spread.low, 1, spread.high))
    step = generator.standard_normal() / 1.96
    return float(spread.high**step if step > 0 else spread.low**-step)


def _kind(facts: Facts, truth: Truth) -> Kind:
    tuned = {arm.name for arm in facts.arms if arm.tuned}
    for step in (-CLOSE_POINTS, CLOSE_POINTS):
        moved = {name: score + step * (name in tuned) for name, score in truth.scores.items()}
        if judge(facts, moved, truth.factors).right != truth.right:
            return "too close"
    return "pays" if truth.right else "does not"


def _log_uniform(generator: Any, low: float, high: float) -> float:
    return math.exp(generator.uniform(math.log(low), math.log(high)))


def _decimal(value: float) -> Decimal:
    return Decimal(repr(value))
