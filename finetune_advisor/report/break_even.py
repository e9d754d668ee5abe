"""Total cost by requests a month: from how many on which arm costs less, and how sure that point is.

Every part of a cost is multiplied by what drives it, as in `verdict.simulate`: a factor is drawn once a draw and shared
by both arms, but for tokens, which each has its own of; triangular between the ends of the range, most likely 1. The
number of requests itself is not drawn: it is the horizontal axis.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from finetune_advisor.costs.hosting import HOURS_PER_MONTH
from finetune_advisor.costs.parts import PARTS, Part
from finetune_advisor.records import Cost, Driver, Results, Spread
from finetune_advisor.report.answer import identity, label
from finetune_advisor.report.blocks import Block, Cell, Chart, Text
from finetune_advisor.report.formats import about, count, dollars, of_100, quantity

DRAWS = 2_000
POINTS = 9
"""At so many numbers of requests the totals stand in the chart's data."""

SAME = "cost the same"
YOURS = "your volume"
"""The names of the two guides, before their values."""

Bill = tuple[tuple[Driver, ...], Literal["once", "month", "request"]]
"""What moves a part of the cost, and what it is paid for."""

REQUEST: tuple[Driver, ...] = ("prices", "tokens")
"""What moves the cost of a request where a cost comes without its parts."""

OTHER = Part(title="Other", drivers=(), when="once")


@dataclass(frozen=True, kw_only=True)
class Line:
    """Dollars over the horizon: what does not depend on the requests, and what one more a month costs."""

    start: float
    slope: float

    def at(self, requests: float) -> float:
        """The total at so many requests a month."""
        return self.start + self.slope * requests


@dataclass(frozen=True, kw_only=True)
class Race:
    """Two arms, the one whose cost grows less with the requests first: likely lines, and lines by draw."""

    costs: tuple[Cost, Cost]
    likely: tuple[Line, Line]
    draws: tuple[tuple[Line, Line], ...]

    @property
    def point(self) -> float:
        """From how many requests a month on the first arm costs less: 0 where always, infinite where never."""
        return crossing(*self.likely)

    def points(self) -> list[float]:
        """The same for every draw, in order."""
        return sorted(crossing(*pair) for pair in self.draws)

    def totals(self, arm: int, requests: float) -> list[float]:
        """What the arm costs at so many requests a month, for every draw, in order."""
        return sorted(pair[arm].at(requests) for pair in self.draws)


def break_even(results: Results) -> tuple[Block, ...]:
    """Total cost of the best tuned and the best untuned arm, or one sentence why there is no such chart."""
    pair = _pair(results)
    if pair is None:
        return (Text(text="There is no break-even chart: it takes a tuned and an untuned arm, both with a cost."),)
    made = race(results, *pair)
    return (Text(text=_answer(results, made)), _chart(results, made), *_notes(results, made, *pair))


def _pair(results: Results) -> tuple[Cost, Cost] | None:
    costs = {cost.arm: cost for cost in results.costs}
    tuned = costs.get(results.verdict.best_tuned or "")
    untuned = costs.get(results.verdict.best_untuned or "")
    return (tuned, untuned) if tuned and untuned else None


def race(results: Results, one: Cost, other: Cost) -> Race:
    """Both arms' lines, likely and drawn; without draws where no figure of theirs has a range."""
    bills = {cost.arm: _bills(cost, results.requests_per_month) for cost in (one, other)}
    months = results.horizon_months
    costs = sorted((one, other), key=lambda cost: (_line(bills[cost.arm], {}, months).slope, cost is other))
    first, second = (bills[cost.arm] for cost in costs)
    return Race(
        costs=(costs[0], costs[1]),
        likely=(_line(first, {}, months), _line(second, {}, months)),
        draws=tuple(
            (_line(first, mine, months), _line(second, its, months))
            for mine, its in _factors(results, {*first, *second})
        ),
    )


def _bills(cost: Cost, volume: int) -> Mapping[Bill, float]:
    found: dict[Bill, float] = {}
    for bill, usd in _parts(cost, volume):
        found[bill] = found.get(bill, 0.0) + usd
    return {bill: usd for bill, usd in found.items() if usd}


def _parts(cost: Cost, volume: int) -> Iterator[tuple[Bill, float]]:
    if not (cost.parts and volume):
        requests = cost.usd_per_1000 / 1000
        yield (REQUEST, "request"), float(requests)
        yield ((), "month"), float(cost.usd_per_month - requests * volume)
        yield ((), "once"), float(cost.usd_one_off)
        return
    for name, usd in cost.parts.items():
        part = PARTS.get(name, OTHER)
        drivers: tuple[Driver, ...] = tuple(driver for driver in part.drivers if driver != "volume")
        by_request = drivers != part.drivers
        yield (drivers, "request" if by_request else part.when), float(usd / volume if by_request else usd)


def _line(bills: Mapping[Bill, float], factors: Mapping[Driver, float], months: int) -> Line:
    sums = {"once": 0.0, "month": 0.0, "request": 0.0}
    for (drivers, paid), usd in bills.items():
        sums[paid] += usd * math.prod(factors.get(driver, 1.0) for driver in drivers)
    return Line(start=sums["once"] + months * sums["month"], slope=months * sums["request"])


def _factors(results: Results, bills: set[Bill]) -> Iterator[tuple[Mapping[Driver, float], Mapping[Driver, float]]]:
    """For each draw, what each driver is multiplied by for the one arm and for the other."""
    odds, drivers = results.verdict.odds, {driver for bill in bills for driver in bill[0]}
    spreads = [each for each in odds.spreads if each.driver in drivers and each.low < each.high] if odds else []
    if odds is None or not spreads:
        return
    chance = random.Random(odds.seed)
    for _ in range(DRAWS):
        shared: dict[Driver, float] = {each.driver: _drawn(chance, each) for each in spreads}
        own: dict[Driver, float] = {each.driver: _drawn(chance, each) for each in spreads if each.driver == "tokens"}
        yield shared, {**shared, **own}


def _drawn(chance: random.Random, each: Spread) -> float:
    return chance.triangular(each.low, each.high, 1.0)


def crossing(first: Line, second: Line) -> float:
    """From how many requests a month on the first line is the lower one: 0 where always, infinite where never."""
    extra, saved = first.start - second.start, second.slope - first.slope
    if saved > 0:
        return max(0.0, extra / saved)
    return 0.0 if saved == 0 and extra <= 0 else math.inf


def _ends(ordered: list[float]) -> tuple[float, float]:
    """The ends between which 95 of 100 lie."""
    last = len(ordered) - 1
    return ordered[round(0.025 * last)], ordered[round(0.975 * last)]


def _answer(results: Results, made: Race) -> str:
    first, second = (label(results, cost.arm) for cost in made.costs)
    if not made.point:
        return f"By cost alone, “{first}” is the cheaper one at any number of requests a month.{_everywhere(made)}"
    if math.isinf(made.point):
        return f"By cost alone, “{second}” is the cheaper one at any number of requests a month.{_everywhere(made)}"
    return (
        f"By cost alone, “{first}” is the cheaper one from {about(made.point)} requests a month on, “{second}” below "
        f"that.{_between(made)}"
    )


def _everywhere(made: Race) -> str:
    """In how many draws the same arm is the cheaper one at any number of requests."""
    if not made.draws:
        return ""
    pairs = made.draws if not made.point else tuple((second, first) for first, second in made.draws)
    holds = sum(low.start <= high.start and low.slope <= high.slope for low, high in pairs) / len(pairs)
    if holds == 1:
        return " That holds in every draw of the uncertain figures."
    return f" That holds in {of_100(holds)} draws of the uncertain figures; in the others the lines cross somewhere."


def _between(made: Race) -> str:
    """Where the point lies over all draws."""
    if not made.draws:
        return ""
    points = made.points()
    low, high = _ends(points)
    if math.isinf(high):
        never = of_100(sum(map(math.isinf, points)) / len(points))
        return f" The point is uncertain: it may be as low as {about(low)}, and in {never} draws there is none."
    return f" In 95 of 100 draws of the uncertain figures the point lies between {about(low)} and {about(high)}."


def _chart(results: Results, made: Race) -> Chart:
    marks = _marks(results, made)
    end = _end(marks)
    months = "1 month" if results.horizon_months == 1 else f"{results.horizon_months} months"
    return Chart(
        kind="break_even",
        title=f"Total cost over {months} by requests a month",
        rows=tuple(_row(results, made, arm, end * i / (POINTS - 1)) for arm in (0, 1) for i in range(POINTS)),
        alt=f"{_answer(results, made)} {_now(results, made)}",
        guides={name: at for name, (at, _, _) in marks.items()},
        bands={name: (low, min(high, end)) for name, (_, low, high) in marks.items() if low < high},
    )


def _marks(results: Results, made: Race) -> Mapping[str, tuple[float, float, float]]:
    """The point and the case's own volume, each with the ends of its range."""
    found: dict[str, tuple[float, float, float]] = {}
    volume, point = results.requests_per_month, made.point
    if volume:
        low, high = _volume_ends(results)
        found[f"{YOURS}: {count(volume)}"] = (volume, low * volume, high * volume)
    if 0 < point < math.inf:
        low, high = _ends(made.points()) if made.draws else (point, point)
        found[f"{SAME}: {about(point)}"] = (point, low, high)
    return found


def _volume_ends(results: Results) -> tuple[float, float]:
    spreads = results.verdict.odds.spreads if results.verdict.odds else ()
    return next(((each.low, each.high) for each in spreads if each.driver == "volume"), (1.0, 1.0))


def _end(marks: Mapping[str, tuple[float, float, float]]) -> float:
    """Far enough to the right to see both sides of every mark, but not all of a band without an end."""
    return max((max(1.6 * at, min(1.1 * high, 4 * at)) for at, _, high in marks.values()), default=1_000_000.0)


def _row(results: Results, made: Race, arm: int, requests: float) -> Mapping[str, Cell]:
    low, high = _ends(made.totals(arm, requests)) if made.draws else (None, None)
    return {
        **identity(results, made.costs[arm].arm),
        "requests_per_month": round(requests),
        "usd_total": made.likely[arm].at(requests),
        "low": low,
        "high": high,
    }


def _now(results: Results, made: Race) -> str:
    volume = results.requests_per_month
    said = " and ".join(
        f"“{label(results, cost.arm)}” {_total(made, at, volume)}" for at, cost in enumerate(made.costs)
    )
    return f"At {count(volume)} requests a month it is {said}."


def _total(made: Race, arm: int, volume: int) -> str:
    likely = dollars(made.likely[arm].at(volume))
    if not made.draws:
        return likely
    low, high = _ends(made.totals(arm, volume))
    return f"{likely} ({dollars(low)} to {dollars(high)})"


def _notes(results: Results, made: Race, *pair: Cost) -> tuple[Block, ...]:
    said = [_basis(results, made), *(_capacity(results, cost) for cost in pair)]
    return (Text(text=" ".join(filter(None, said))),)


def _basis(results: Results, made: Race) -> str:
    start = f"{_now(results, made)} Not discounted; better answers are not counted as money here. "
    if not made.draws:
        return f"{start}There are no bands: no range is known for what these costs rest on."
    return (
        f"{start}Shaded is where 95 of 100 of {count(DRAWS)} draws lie. What makes both dearer moves both lines, so "
        "the point can be surer than the lines."
    )


def _capacity(results: Results, cost: Cost) -> str:
    """Whether the machines that were measured can answer that many requests at all."""
    figures = {price.unit: price.value for price in cost.assumptions}
    if "machines" not in figures:
        return ""
    machines, busy, each = (figures[unit] for unit in ("machines", "share_busy", "requests_per_machine_hour"))
    named = "one machine" if machines == 1 else f"{count(float(machines))} machines"
    text = (
        f"“{label(results, cost.arm)}” answers at most {count(float(each))} requests an hour on one machine at the "
        f"measured speed; the busiest hour takes {named}, busy {quantity(float(busy), 'share')} of it."
    )
    point = cost.break_even_requests
    if not point:
        return text
    months = point / (float(each) * float(HOURS_PER_MONTH))
    return f"{text} To pay back keeps one machine busy for {months:,.1f} months." if months >= 1 else text
