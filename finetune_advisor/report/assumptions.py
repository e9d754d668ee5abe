"""Which assumptions decide: what each does alone, how uncertain it is, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from finetune_advisor.records import Driver, Odds, Results, Spread, Swing
from finetune_advisor.report.blocks import Block, Cell, Chart, Heading, Table, Text
from finetune_advisor.report.formats import DASH, bare, gain, quantity, unit_words
from finetune_advisor.report.money import BASES

SHOWN = 12
"""How many assumptions the tornado shows, those that matter most."""

DRIVERS: Mapping[Driver, str] = {
    "volume": "Requests",
    "prices": "Prices by token and by hour",
    "tokens": "Tokens and seconds per request",
    "hours": "Hours of work",
    "training": "Cost of one training",
    "hosting": "Hosting by the month",
    "value": "Worth of an answer",
}


def assumptions(results: Results) -> tuple[Block, ...]:
    """The tornado and the ranges of the assumptions; nothing where no odds were drawn."""
    found = results.verdict.odds
    blocks = (*_tornado(found), *_ranges(found)) if found else ()
    return (Heading(level=2, text="Which assumptions decide?"), *blocks) if blocks else ()


def _tornado(found: Odds) -> tuple[Block, ...]:
    swings = sorted(found.swings, key=_width, reverse=True)[:SHOWN]
    if not swings:
        return ()
    likely = _likely(found)
    said = "; ".join(_said(each, found.unit) for each in swings)
    return (
        Text(text=_deciding(swings)),
        Chart(
            kind="tornado",
            title="What tuning brings when one assumption changes",
            rows=tuple(_swing_row(each, found.unit) for each in swings),
            alt=f"Bars around {gain(likely, found.unit)}, where all is as is most likely; the widest first. {said}.",
            guides={"most likely": likely},
        ),
    )


def _likely(found: Odds) -> float:
    """What tuning brings where every assumption is as is most likely.

    A driver multiplies costs or values, so the advantage is a straight line over it, but for a change of the best
    alternative: every swing tells the same value at its likely point, and the median is not moved by such a change.
    """
    known = [_at_likely(each) for each in found.swings if each.high != each.low]
    return median(known) if known else found.advantage_mean


def _at_likely(each: Swing) -> float:
    part = (each.likely - each.low) / (each.high - each.low)
    return each.advantage_at_low + part * (each.advantage_at_high - each.advantage_at_low)


def _width(each: Swing) -> float:
    return abs(each.advantage_at_high - each.advantage_at_low)


def _deciding(swings: list[Swing]) -> str:
    turning = [each for each in swings if min(_ends(each)) < 0 < max(_ends(each))]
    start = (
        "Each bar moves one assumption from its low to its high end and leaves the others as they are most likely. "
        "Right of zero tuning brings more than the best alternative, left of zero less. "
    )
    if not turning:
        return start + "No bar crosses zero: no single assumption turns the answer within its range."
    named = "; ".join(f"{_title(each)}{_even_at(each)}" for each in turning)
    return f"{start}A bar that crosses zero can turn the answer alone. These do: {named}."


def _title(each: Swing) -> str:
    return each.name[:1].upper() + each.name[1:]


def _ends(each: Swing) -> tuple[float, float]:
    return each.advantage_at_low, each.advantage_at_high


def _even_at(each: Swing) -> str:
    return "" if each.break_even is None else f" (even at {quantity(each.break_even, each.unit)})"


def _said(each: Swing, unit: str) -> str:
    low, high = quantity(each.low, each.unit), quantity(each.high, each.unit)
    at_low, at_high = (gain(end, unit) for end in _ends(each))
    return f"{_title(each)}: {at_low} at {low}, {at_high} at {high}{_even_at(each)}"


def _swing_row(each: Swing, unit: str) -> Mapping[str, Cell]:
    return {
        "assumption": _title(each),
        "unit": each.unit,
        "low": each.low,
        "likely": each.likely,
        "high": each.high,
        "advantage_at_low": each.advantage_at_low,
        "advantage_at_high": each.advantage_at_high,
        "advantage_unit": unit,
        "break_even": each.break_even,
    }


def _ranges(found: Odds) -> tuple[Block, ...]:
    if not found.spreads:
        return ()
    return (
        Heading(level=3, text="How uncertain the assumptions are"),
        Table(
            columns=("Assumption", "Low", "Likely", "High", "Unit", "Basis", "Source"),
            rows=tuple(_range_row(each) for each in sorted(found.spreads, key=lambda each: each.basis != "assumed")),
            align="lrrrlll",
            caption="The ends are those that a figure will hardly pass; what nobody stated is assumed, and comes first",
        ),
    )


def _range_row(each: Spread) -> tuple[str, ...]:
    ends = (_end(each, factor) for factor in (each.low, 1.0, each.high))
    unit = DASH if each.likely is None else unit_words(each.unit) or DASH
    return (DRIVERS[each.driver], *ends, unit, BASES[each.basis], each.source or DASH)


def _end(each: Spread, factor: float) -> str:
    return bare(factor, "times") if each.likely is None else bare(each.likely * factor, each.unit)
