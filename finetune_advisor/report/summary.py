"""The numbers on the first page: the chance that tuning is right, what it brings, and how long the prices hold."""

from __future__ import annotations

import math
from collections.abc import Iterator

from finetune_advisor.costs.prices import STALE_DAYS
from finetune_advisor.records import Decision, Odds, Results, Worth
from finetune_advisor.report.blocks import Block, Callout, KeyFigure, KeyFigures, Text
from finetune_advisor.report.dates import hold_until, oldest, stale
from finetune_advisor.report.formats import count, day, dollars, gain, of_100

_ROUNDING = 1e-6

RIGHT = {
    "usd": "the benefits of tuning outweigh its costs",
    "score": "tuning reaches what was asked of its quality",
    "seconds": "tuning reaches what was asked of its speed",
}


def key_figures(results: Results) -> tuple[Block, ...]:
    """The probability, the money and the age of the prices; nothing where no odds were drawn."""
    odds = results.verdict.odds
    if odds is None:
        return ()
    return (
        KeyFigures(figures=(_chance(odds), _advantage(odds), *_prices(results))),
        *_overruled(odds, results.verdict.decision),
    )


def chance(odds: Odds) -> str:
    """The probability that tuning is right, as so many of 100, never rounded onto a limit that it does not reach."""
    if alone_says(odds) != Decision.NOT_YET:
        return of_100(odds.p_tuning)
    least, most = (
        math.floor(100 * (1 - odds.confidence) + _ROUNDING) + 1,
        math.ceil(100 * odds.confidence - _ROUNDING) - 1,
    )
    return of_100(min(most, max(least, 100 * odds.p_tuning)) / 100)


def _chance(odds: Odds) -> KeyFigure:
    needed, at_most = (f"{100 * share:.3g}" for share in (odds.confidence, 1 - odds.confidence))
    return KeyFigure(
        name="Chance that tuning is right",
        value=chance(odds),
        note=(
            f"In {chance(odds)} simulated draws {RIGHT[odds.unit]}; a GO needs {needed}, a NO-GO {at_most} or fewer. "
            f"{count(odds.draws)} draws."
        ),
    )


def _advantage(odds: Odds) -> KeyFigure:
    low, high = gain(odds.advantage.low, odds.unit), gain(odds.advantage.high, odds.unit)
    ends = f"{100 * odds.advantage.level:.3g} of 100 draws lie between {low} and {high}."
    if odds.unit == "usd":
        return KeyFigure(
            name="What tuning brings, net",
            value=gain(odds.advantage_mean, odds.unit),
            note=f"On average over the horizon, beyond the best alternative and after all costs; {ends}",
        )
    return KeyFigure(
        name="What tuning brings",
        value=gain(odds.advantage_mean, odds.unit),
        note=f"On average, beyond the best alternative; {ends} The money was not judged.",
    )


def _prices(results: Results) -> Iterator[KeyFigure]:
    first = oldest(results)
    if first:
        yield KeyFigure(
            name="The prices are out of date since" if stale(results) else "The prices hold until",
            value=day(hold_until(first)),
            note=f"{STALE_DAYS} days after the oldest of them was checked, on {day(first)}.",
        )
    elif results.costs:
        yield KeyFigure(
            name="How long the prices hold",
            value="not known",
            note="None of them comes from a dated source: they were given by you, measured here, or assumed.",
        )


def _overruled(odds: Odds, decision: Decision) -> Iterator[Block]:
    alone = alone_says(odds)
    if alone != decision:
        yield Text(
            text=f"By this chance alone the answer would be {alone.value}. What stands against it is said under “Why”."
        )


def alone_says(odds: Odds) -> Decision:
    """The answer that the probability alone would give."""
    if odds.p_tuning >= odds.confidence - _ROUNDING:
        return Decision.GO
    return Decision.NO_GO if odds.p_tuning <= 1 - odds.confidence + _ROUNDING else Decision.NOT_YET


def by_gain(odds: Odds) -> list[Worth]:
    """Further experiments, the one that brings most beyond its price first, those of unknown price last."""
    return sorted(odds.worths, key=lambda each: (each.usd_price is None, (each.usd_price or 0.0) - each.usd_worth))


def next_worth(results: Results) -> tuple[Block, ...]:
    """What the best further experiment is worth against its price, in one sentence."""
    worths = by_gain(results.verdict.odds) if results.verdict.odds else []
    if not worths:
        return ()
    best = worths[0]
    if all(map(worthless, worths)):
        return (Text(text="To know more before deciding is worth nothing: it would hardly change the choice."),)
    text = f"What it is worth to know more before deciding: “{best.name}” is worth {dollars(best.usd_worth)} on average"
    if best.usd_price is None:
        return (Text(text=f"{text}; what it costs is not known."),)
    poor = " No experiment that was looked at is worth its price." if best.usd_worth <= best.usd_price else ""
    return (Text(text=f"{text} and costs {dollars(best.usd_price)}.{poor}"),)


def worthless(each: Worth) -> bool:
    """Whether knowing its result is worth less than a cent."""
    return each.usd_worth < 0.005


def out_of_date(results: Results) -> tuple[Block, ...]:
    """A caution that names the prices that were stale when the results were made."""
    names = stale(results)
    if not names:
        return ()
    text = f"Checked more than {STALE_DAYS} days before this run: {', '.join(names)}. Check them before you decide."
    return (Callout(kind="caution", title="Prices out of date", text=text),)
