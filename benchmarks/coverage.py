"""Do the intervals that a report prints hold the truth as often as they say, 95% of the time?

Run: python -m benchmarks.coverage [--draws 1000]

Prints Markdown tables for LOG.md. Binary scores are counted out exactly, everything else is simulated with a fixed
seed. At a single true value no interval of a count can be exact, so a figure is the mean over a stated range of true
values; the least over that range stands beside it. With 1,000 draws a simulated share is good to 1.4 points (95%).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from finetune_advisor.errors import require
from finetune_advisor.records import Interval, LearningPoint
from finetune_advisor.statistics import compare, interval, learning_curve
from finetune_advisor.statistics.intervals import grouped
from finetune_advisor.statistics.paired import paired_interval

SIZES = (20, 50, 200)
Generator = np.random.Generator
Draw = Callable[[Generator, int], Any]


@dataclass(frozen=True, kw_only=True)
class Population:
    """Scores of which a share is 0, a share is 1, and the rest follow a Beta distribution."""

    zeros: float
    ones: float
    a: float = 1.0
    b: float = 1.0

    @property
    def mean(self) -> float:
        """The true mean score."""
        return self.ones + (1 - self.zeros - self.ones) * self.a / (self.a + self.b)

    def draw(self, generator: Generator, n: int) -> Any:
        """So many independent scores."""
        kind = generator.random(n)
        graded = generator.beta(self.a, self.b, n)
        return np.where(kind < self.zeros, 0.0, np.where(kind < self.zeros + self.ones, 1.0, graded))


GRADED = {
    "symmetric": Population(zeros=0, ones=0, a=2, b=2),
    "low": Population(zeros=0, ones=0, a=2, b=5),
    "high": Population(zeros=0, ones=0, a=8, b=1),
    "very high": Population(zeros=0, ones=0, a=20, b=1),
    "at both ends": Population(zeros=0.4, ones=0.4, a=2, b=2),
    "mostly right": Population(zeros=0.2, ones=0.7, a=2, b=2),
    "nearly all right": Population(zeros=0.05, ones=0.9, a=2, b=2),
    "mostly wrong": Population(zeros=0.7, ones=0, a=2, b=5),
    "some right": Population(zeros=0, ones=0.3, a=6, b=2),
    "token F1": Population(zeros=0.3, ones=0.3, a=3, b=2),
    "0 and 1 only": Population(zeros=0.3, ones=0.7),
}
RARE_ZEROS = Population(zeros=0.02, ones=0, a=50, b=3)
"""Nearly all alike, 2% are zero: what no interval from the sample alone can cover."""


@dataclass(frozen=True, kw_only=True)
class Binary:
    """Coverage of the interval of a share, exactly.

    `mean` is over all true shares, `edge` over those within 0.1 of 0 or 1, `least` at any of them; `unseen` is given
    that 0% (or 100%) was observed, when all true shares are equally likely beforehand.
    """

    n: int
    mean: float
    edge: float
    least: float
    unseen: float


def binary(n: int) -> Binary:
    """Coverage of the binary interval at n examples."""
    made = [interval([1.0] * right + [0.0] * (n - right), binary=True) for right in range(n + 1)]
    low, high = np.array([i.low for i in made]), np.array([i.high for i in made])
    shares = (np.arange(2000) + 0.5)[:, None] / 2000
    chance = require("scipy.stats", extra="all").binom.pmf(np.arange(n + 1), n, shares)
    covered = (chance * ((low <= shares) & (shares <= high))).sum(axis=1)
    near = np.minimum(shares, 1 - shares)[:, 0] < 0.1
    # The posterior of the share after 0 of n, from a flat prior, is Beta(1, n + 1).
    unseen = 1 - (1 - made[0].high) ** (n + 1)
    return Binary(
        n=n,
        mean=float(covered.mean()),
        edge=float(covered[near].mean()),
        least=float(covered.min()),
        unseen=float(unseen),
    )


def holds(made: Interval, truth: float) -> bool:
    """Whether the truth lies in the interval, rounding apart."""
    return made.low - 1e-9 <= truth <= made.high + 1e-9


def graded(population: Population, n: int, draws: int, seed: int = 0) -> float:
    """Coverage of the interval of a graded mean."""
    generator = np.random.default_rng(seed)
    made = (interval(population.draw(generator, n).tolist(), binary=False) for _ in range(draws))
    return sum(holds(each, population.mean) for each in made) / draws


def unseen_graded(n: int, draws: int, seed: int = 0) -> float:
    """Coverage for populations of 1 with an unknown share of Beta(2, 2), given that only 1 was observed."""
    generator = np.random.default_rng(seed)
    made = interval([1.0] * n, binary=False)
    missed = generator.beta(1, n + 1, draws)
    return sum(holds(made, 1 - share / 2) for share in missed) / draws


def clusters(generator: Generator, n: int) -> list[int]:
    """Near duplicates: three of five groups have one example, the others two to five."""
    sizes = np.where(generator.random(n) < 0.6, 1, generator.integers(2, 6, n))
    return np.repeat(np.arange(n), sizes)[:n].tolist()


def alike(generator: Generator, own: Any, shared: Any, groups: Sequence[int]) -> Any:
    """Each example's own value or, for 80% of them, the one that its group shares."""
    joined, drawn = generator.random(len(own)) < 0.8, own.copy()
    drawn[joined] = shared[groups][joined]
    return drawn


def clustered(population: Population, n: int, draws: int, *, seed: int = 0, used: bool = True) -> float:
    """Coverage of the interval of a mean where 80% of the near duplicates score alike."""
    generator, inside = np.random.default_rng(seed), 0
    for _ in range(draws):
        groups = clusters(generator, n)
        scores = alike(generator, population.draw(generator, n), population.draw(generator, n), groups)
        whole = population.zeros + population.ones == 1
        made = interval(scores.tolist(), binary=whole, clusters=groups if used else None)
        inside += holds(made, population.mean)
    return inside / draws


@cache
def _counted(gained: int, lost: int, n: int) -> Interval:
    differences = [1.0] * gained + [-1.0] * lost + [0.0] * (n - gained - lost)
    return paired_interval(grouped(differences, None), exact=True)


def paired(low: float, high: float, n: int, draws: int, seed: int = 0) -> tuple[float, float]:
    """Coverage of the binary paired interval, and the same given that no example differed.

    The share of examples that differ lies anywhere from `low` to `high`, the direction is anything.
    """
    generator = np.random.default_rng(seed)
    changed, up = generator.uniform(low, high, draws), generator.random(draws)
    gained = generator.binomial(n, changed * up)
    lost = generator.binomial(n - gained, changed * (1 - up) / (1 - changed * up))
    truth = changed * (2 * up - 1)
    inside = [holds(_counted(int(g), int(x), n), t) for g, x, t in zip(gained, lost, truth, strict=True)]
    none = [each for each, g, x in zip(inside, gained, lost, strict=True) if g + x == 0]
    return float(np.mean(inside)), float(np.mean(none)) if len(none) >= 50 else float("nan")


def unchanged(n: int, draws: int, *, one_way: bool, seed: int = 0) -> float:
    """Coverage of the binary paired interval given that no example differed, all true shares equally likely before.

    Args:
        n: Examples.
        draws: Worlds.
        one_way: Whether those that do differ all gain; else any part of them gains.
        seed: Seed.
    """
    generator = np.random.default_rng(seed)
    changed, up = generator.beta(1, n + 1, draws), 1.0 if one_way else generator.random(draws)
    return float(np.mean(np.abs(changed * (2 * up - 1)) <= _counted(0, 0, n).high))


@dataclass(frozen=True, kw_only=True)
class Change:
    """What an arm does to a share of the examples: their score is drawn again."""

    share: float
    before: Population
    after: Population

    @property
    def truth(self) -> float:
        """The true mean difference."""
        return self.share * (self.after.mean - self.before.mean)

    def draw(self, generator: Generator, n: int) -> tuple[Any, Any]:
        """Scores after and before on the same examples."""
        before, after = self.before.draw(generator, n), self.after.draw(generator, n)
        same = generator.random(n) >= self.share
        after[same] = before[same]
        return after, before


CHANGES = {
    f"{share:.0%} redrawn, {name}": Change(share=share, before=before, after=after)
    for share in (0.1, 0.3, 1.0)
    for name, before, after in (
        ("graded", GRADED["at both ends"], GRADED["mostly right"]),
        ("Beta", GRADED["symmetric"], GRADED["some right"]),
    )
}


def paired_graded(change: Change, n: int, draws: int, seed: int = 0) -> float:
    """Coverage of the graded paired interval."""
    generator, inside = np.random.default_rng(seed), 0
    for _ in range(draws):
        after, before = change.draw(generator, n)
        inside += holds(paired_interval(grouped((after - before).tolist(), None), exact=False), change.truth)
    return inside / draws


def paired_clustered(share: float, gain: float, n: int, draws: int, *, seed: int = 0, used: bool = True) -> float:
    """Coverage of the binary paired interval where 80% of the near duplicates change alike."""
    generator, inside = np.random.default_rng(seed), 0
    for _ in range(draws):
        differences, groups = _changed_alike(generator, n, share, gain)
        made = paired_interval(grouped(differences.tolist(), groups if used else None), exact=True)
        inside += holds(made, gain)
    return inside / draws


def false_alarms(share: float, n: int, draws: int, *, seed: int = 0, used: bool = True) -> float:
    """How often the test of two equal arms has p < 0.05 where 80% of the near duplicates change alike."""
    generator, alarms = np.random.default_rng(seed), 0
    for _ in range(draws):
        differences, groups = _changed_alike(generator, n, share, 0.0)
        after, before = np.maximum(differences, 0).tolist(), np.maximum(-differences, 0).tolist()
        made = compare("a", after, "b", before, binary=True, clusters=groups if used else None)
        alarms += made.p_value < 0.05
    return alarms / draws


def _changed_alike(generator: Generator, n: int, share: float, gain: float) -> tuple[Any, list[int]]:
    groups = clusters(generator, n)
    up = (share + gain) / 2
    own, shared = generator.choice([1.0, -1.0, 0.0], size=(2, n), p=[up, share - up, 1 - share])
    return alike(generator, own, shared, groups), groups


@dataclass(frozen=True, kw_only=True)
class World:
    """A learning curve whose error at 400 examples is `error`, a share `floor` of which no example takes away."""

    error: float
    floor: float
    exponent: float
    noise: float

    def at(self, examples: float) -> float:
        """The true mean error at so many examples."""
        return self.error * (self.floor + (1 - self.floor) * (examples / 400) ** -self.exponent)

    def points(self, generator: Generator, seeds: int) -> list[LearningPoint]:
        """Trainings on 100, 200 and 400 examples."""
        return [
            LearningPoint(
                examples=n, seed=s, score=float(np.clip(1 - self.at(n) - generator.normal(0, self.noise), 0, 1))
            )
            for s in range(seeds)
            for n in (100, 200, 400)
        ]


FLOORS, EXPONENTS, NOISES = (0.0, 0.3, 0.7), (0.05, 0.2, 0.5, 0.9), (0.005, 0.015, 0.03)
WORLDS = [
    world
    for error, floor, exponent, noise in product((0.15, 0.4), FLOORS, EXPONENTS, NOISES)
    if (world := World(error=error, floor=floor, exponent=exponent, noise=noise)).at(100) <= 0.95
]


@dataclass(frozen=True, kw_only=True)
class Forecasts:
    """Shares of worlds: forecasts at twice and four times the examples that held, and the log-log line's at twice.

    `wrong` is the share of what `more_helps` said that was wrong, `told` the share of worlds where it said anything.
    """

    twice: float
    four_times: float
    line: float
    told: float
    wrong: float


def forecasts(worlds: Sequence[World], draws: int, *, seeds: int = 3, seed: int = 0) -> Forecasts:
    """Coverage of learning-curve forecasts, on average over the worlds."""
    generator = np.random.default_rng(seed)
    rows = np.array([_forecast(world, generator, seeds) for world in worlds for _ in range(draws)], dtype=float)
    twice, four_times, line, told, wrong = rows.mean(axis=0)
    return Forecasts(twice=twice, four_times=four_times, line=line, told=told, wrong=wrong / max(told, 1e-9))


def _forecast(world: World, generator: Generator, seeds: int) -> tuple[bool, bool, bool, bool, bool]:
    points = world.points(generator, seeds)
    curve = learning_curve(points, arm="", ahead=(800, 1600), worthwhile=0.03, seed=int(generator.integers(2**31)))
    near, far = (each.low <= 1 - world.at(each.examples) <= each.high for each in curve.forecasts)
    helps = world.at(400) - world.at(800) >= 0.03
    told = curve.more_helps is not None
    return near, far, _line_holds(points, world.at(800)), told, told and curve.more_helps != helps


def _line_holds(points: Sequence[LearningPoint], truth: float) -> bool:
    """Whether Student's interval around the regression of log error on log size holds the error at 800 examples."""
    sizes = np.log([point.examples for point in points])
    design = np.column_stack([np.ones_like(sizes), sizes])
    errors = np.log(np.maximum([1 - point.score for point in points], 1e-4))
    ahead = np.array([1.0, np.log(800)])
    found = np.linalg.lstsq(design, errors, rcond=None)[0]
    degrees = len(points) - 2
    spread = ahead @ np.linalg.inv(design.T @ design) @ ahead * ((errors - design @ found) ** 2).sum() / degrees
    t = float(require("scipy.special", extra="all").stdtrit(degrees, 0.975))
    return bool(abs(np.log(truth) - ahead @ found) <= t * np.sqrt(spread))


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table under a title; shares in percent."""
    lines = [f"\n### {title}\n", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    return f"{100 * value:.1f}" if isinstance(value, float) else str(value)


def one_mean(draws: int) -> str:
    """Tables of the interval of one arm's mean score."""
    exact = [(r.n, r.mean, r.edge, r.least, r.unseen) for r in map(binary, (6, 12, *SIZES))]
    head = ("n", "all true shares", "within 0.1 of an end", "least", "given 0% or 100% observed")
    populations = [
        (name, *(graded(each, n, draws) for n in SIZES))
        for name, each in {**GRADED, "2% zeros, rest alike": RARE_ZEROS}.items()
    ]
    populations.append(("given all 1 observed", *(unseen_graded(n, draws) for n in SIZES)))
    groups = [
        (f"{name}{said}", *(clustered(GRADED[name], n, draws, used=used) for n in SIZES))
        for name in ("0 and 1 only", "symmetric", "mostly right")
        for said, used in (("", True), (", clusters ignored", False))
    ]
    sizes = ("population", *(f"n = {n}" for n in SIZES))
    return "\n".join([
        table("One mean, binary (exact)", head, exact),
        table("One mean, graded", sizes, populations),
        table("One mean, near duplicates", sizes, groups),
    ])  # fmt: skip


def differences(draws: int) -> str:
    """Tables of the interval of a paired difference."""
    bands = ((0.02, 0.1), (0.1, 0.3), (0.3, 0.6), (0.0, 1.0))
    sides = (6, 12, *SIZES)
    counted = [(f"{a:.0%} to {b:.0%} differ", *(paired(a, b, n, 20 * draws)[0] for n in sides)) for a, b in bands]
    counted += [
        (f"given none differed, {said}", *(unchanged(n, 20 * draws, one_way=one_way) for n in sides))
        for said, one_way in (("all changes one way", True), ("any direction", False))
    ]
    redrawn = [(name, *(paired_graded(each, n, draws) for n in SIZES)) for name, each in CHANGES.items()]
    groups = [
        (f"{share:.0%} differ, gain {gain:.0%}{said}",
         *(paired_clustered(share, gain, n, draws, used=used) for n in SIZES))
        for share, gain in ((0.2, 0.0), (0.3, 0.1), (0.5, 0.2))
        for said, used in (("", True), (", clusters ignored", False))
    ]  # fmt: skip
    groups += [
        (f"test: p < 0.05 though equal, 30% differ{said}",
         *(false_alarms(0.3, n, draws // 4, used=used) for n in SIZES))
        for said, used in (("", True), (", clusters ignored", False))
    ]  # fmt: skip
    return "\n".join([
        table("Paired difference, binary", ("worlds", *(f"n = {n}" for n in sides)), counted),
        table("Paired difference, graded", ("worlds", *(f"n = {n}" for n in SIZES)), redrawn),
        table("Paired difference, near duplicates", ("worlds", *(f"n = {n}" for n in SIZES)), groups),
    ])  # fmt: skip


def curves(draws: int) -> str:
    """Table of the learning curve's forecasts: 100, 200 and 400 examples, forecast for 800 and 1,600."""
    pools = {
        "all worlds": WORLDS,
        **{f"floor {f:.0%} of the error": [w for w in WORLDS if w.floor == f] for f in FLOORS},
        **{f"exponent {b}": [w for w in WORLDS if w.exponent == b] for b in EXPONENTS},
        **{f"noise {s}": [w for w in WORLDS if w.noise == s] for s in NOISES},
    }
    rows: list[Sequence[object]] = []
    for name, worlds in pools.items():
        for seeds in (2, 3):
            found = forecasts(worlds, max(1, draws // len(worlds)), seeds=seeds)
            rows.append((name, seeds, found.twice, found.four_times, found.line, found.told, found.wrong))
    head = ("worlds", "seeds", "at 2x", "at 4x", "log-log line at 2x", "more_helps said", "of it wrong")
    return table("Learning curve", head, rows)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    draws = parser.parse_args().draws
    for tables in (one_mean, differences, curves):
        print(tables(draws), flush=True)


if __name__ == "__main__":
    main()
