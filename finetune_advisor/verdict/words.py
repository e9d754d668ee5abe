"""The sentences of the verdict that more than one rule says, and its numbers as people read them."""

from __future__ import annotations

import math
from decimal import Decimal

from finetune_advisor.records import ArmResult, Cost
from finetune_advisor.verdict.facts import Facts, Pair

WITHOUT_MODEL = "classical"
"""The approach that asks no language model at all."""


def percent(share: float) -> str:
    """A share as a percentage, to a tenth of a point where that is not zero."""
    return f"{100 * share:.1f}".removesuffix(".0") + "%"


def points(difference: float) -> str:
    """A size of difference in percentage points."""
    number = f"{100 * difference:.1f}".removesuffix(".0")
    return f"{number} point{'' if number == '1' else 's'}"


def signed(difference: float) -> str:
    """A difference in percentage points with its sign."""
    text = f"{100 * difference:+.1f}".removesuffix(".0")
    return "0" if text in ("+0", "-0") else text


def dollars(value: Decimal | float) -> str:
    """Money: two digits below a dollar, cents up to a hundred, whole dollars above."""
    amount = Decimal(str(value))
    size, sign = abs(amount), "-" if amount < 0 else ""
    if size >= 100 or not size:
        return f"{sign}${size:,.0f}"
    return f"{sign}${size:.{2 if size >= 1 else max(2, 1 - size.adjusted())}f}"


def seconds(value: float) -> str:
    """A time, to two digits below ten seconds."""
    return f"{value:.2g} s" if value < 10 else f"{value:,.0f} s"


def months(number: int) -> str:
    """A number of months."""
    return "1 month" if number == 1 else f"{number} months"


def chance(p: float) -> str:
    """A probability as a number out of a hundred."""
    if p > 0.995:
        return "more than 99 in 100"
    return "less than 1 in 100" if p < 0.005 else f"{100 * p:.0f} in 100"


def compared(pair: Pair) -> str:
    """Both scores, their difference with its interval, and whether a language model is in the better alternative."""
    each = pair.comparison
    p = "below 0.001" if each.p_adjusted < 0.001 else f"{each.p_adjusted:.3f}"
    text = (
        f"On the same {each.n:,} test examples {pair.tuned.name} scores {percent(pair.tuned.score)} and "
        f"{pair.untuned.name}, the best without tuning, {percent(pair.untuned.score)}: a difference of "
        f"{signed(each.difference)} points (95% interval {signed(pair.low)} to {signed(pair.high)}, adjusted p {p})."
    )
    return text + (f" {pair.untuned.name} uses no language model at all." if plain(pair.untuned) else "")


def plain(arm: ArmResult) -> bool:
    """Whether the arm does without a language model."""
    return arm.approach == WITHOUT_MODEL


def called(arm: ArmResult) -> str:
    """Its name, and that it asks no language model where it asks none."""
    return f"{arm.name} (no language model at all)" if plain(arm) else arm.name


def strength(pair: Pair) -> str:
    """What the examples say where the difference is shown, what they cannot say where it is not."""
    each, power = pair.comparison, pair.facts.power
    if pair.shown or power is None:
        return f"Tuning scored higher on {each.gained} of {each.n} test examples and lower on {each.lost}."
    return (
        f"A test of {power.n} examples shows differences of {points(power.smallest_difference)} or more; "
        "a smaller one may be there unseen."
    )


def costs(facts: Facts, arm: ArmResult, other: ArmResult) -> str:
    """What one arm costs beside another."""
    mine, theirs = facts.cost(arm), facts.cost(other)
    if mine is None or theirs is None:
        return "What the arms cost is not known, so the money was not judged."
    volume = f"At {facts.requests_per_month:,} requests a month"
    return f"{volume} {arm.name} costs {_priced(mine)}, {other.name} {_priced(theirs)}."


def _priced(cost: Cost) -> str:
    once = f" and {dollars(cost.usd_one_off)} once" if cost.usd_one_off else ""
    return f"{dollars(cost.usd_per_month)} a month{once}"


def label_more(pair: Pair, difference: float) -> str:
    """How many more test examples would show that difference."""
    power, n = pair.facts.power, pair.comparison.n
    if power is None or difference < 0.001:
        return "Label more test examples and run again."
    usual = power.examples_for_3_points
    # The number that is needed falls with the square of the difference (formulas A16).
    scaled = math.ceil(power.n * (power.smallest_difference / difference) ** 2)
    needed = usual if math.isclose(difference, 0.03) else scaled
    if needed <= n:
        return f"Label {n:,} more test examples, twice as many as now: the true difference lies close to the limit."
    more = f"Label about {needed - n:,} more test examples:"
    return f"{more} about {needed:,} would show a difference of {points(difference)}."


def lost_to_form(arm: ArmResult) -> bool:
    """Whether most of the points that an arm missed were answers in the wrong form."""
    missed = arm.n * (1 - arm.score)
    return arm.format_failures >= max(1, 0.05 * arm.n) and arm.format_failures > missed / 2
