"""What would change the answer: one assumption changed at a time, and the same rules asked again."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Literal

from finetune_advisor.records import ArmResult, Cost, Decision
from finetune_advisor.verdict.facts import Facts, Pair
from finetune_advisor.verdict.rules import rule
from finetune_advisor.verdict.words import dollars, percent, points

_Change = tuple[str, Facts]


def flips(pair: Pair, decision: Decision) -> tuple[str, ...]:
    """Every change of one assumption after which the rules decide otherwise, with the threshold and the new answer."""
    changes = [*_needs(pair), *_volumes(pair), *_values(pair), *_gains(pair), _goal(pair)]
    found = {condition: rule(facts).decision for condition, facts in changes}
    return tuple(f"If {what}, the answer would be {new.value}." for what, new in found.items() if new != decision)


def _needs(pair: Pair) -> list[_Change]:
    facts, least = pair.facts, pair.untuned.interval.low
    found: list[_Change] = []
    for share, remark in (
        (_down(least), f", so that {pair.untuned.name} alone would do"),
        (_down(pair.tuned.score), ""),
    ):
        if facts.needed_score is None or share < facts.needed_score:
            found.append((f"{percent(share)} were good enough{remark}", replace(facts, needed_score=share)))
    for share in (_up(least), _up(pair.tuned.score)):
        if share < 1 and (facts.needed_score is None or share >= facts.needed_score):
            found.append((f"more than {percent(share)} were needed", replace(facts, needed_score=share + 0.001)))
    return found


def _volumes(pair: Pair) -> list[_Change]:
    facts, other = pair.facts, _other(pair)
    more = pair.extra(other)
    gain = (facts.usd_gained or Decimal(0)) * Decimal(str(pair.comparison.difference))
    least = (
        more.least_requests_per_month(gain if facts.goal == "quality" else Decimal(0), facts.horizon_months)
        if more
        else 0
    )
    if not least:
        return []
    if least <= facts.requests_per_month:
        return [(f"fewer than {least:,} requests a month came in", _at(facts, least - 1))]
    return [(f"more than {least:,} requests a month came in", _at(facts, least + 1))]


def _values(pair: Pair) -> list[_Change]:
    facts, more, difference = pair.facts, pair.extra(pair.untuned), Decimal(str(pair.comparison.difference))
    if more is None or difference <= 0 or not facts.served:
        return []
    per_answer = more.usd(facts.requests_per_month, facts.horizon_months) / (difference * facts.served)
    value = per_answer - (facts.usd_per_wrong_answer or Decimal(0))
    if value <= 0:
        return []
    under, over = _two_digits(value, ROUND_FLOOR), _two_digits(value, ROUND_CEILING)
    now, found = facts.usd_per_right_answer, list[_Change]()
    if now is None or under < now:
        found.append((f"a right answer were worth less than {dollars(under)}", _worth(facts, under * Decimal("0.999"))))
    if now is None or over > now:
        found.append((f"a right answer were worth more than {dollars(over)}", _worth(facts, over * Decimal("1.001"))))
    return found


def _gains(pair: Pair) -> list[_Change]:
    facts = pair.facts
    return [
        (f"a gain of {points(gain)} were worth having", replace(facts, worthwhile_difference=gain))
        for gain in (_down(pair.low), _down(pair.high))
        if 0 < gain < facts.worthwhile_difference
    ]


def _goal(pair: Pair) -> _Change:
    goal: Literal["quality", "cost"] = "cost" if pair.facts.goal == "quality" else "quality"
    aim = "lower cost at the same quality" if goal == "cost" else "better answers"
    return f"the aim were {aim}", replace(pair.facts, goal=goal)


def _other(pair: Pair) -> ArmResult:
    return pair.untuned if pair.facts.goal == "quality" else pair.rival


def _at(facts: Facts, requests_per_month: int) -> Facts:
    """The same facts at another volume, the monthly costs following it."""
    more = requests_per_month - facts.requests_per_month
    costs = tuple(_moved(cost, more) for cost in facts.costs)
    return replace(facts, requests_per_month=requests_per_month, costs=costs)


def _moved(cost: Cost, more: int) -> Cost:
    return replace(cost, usd_per_month=cost.usd_per_month + cost.usd_per_1000 * more / 1000)


def _worth(facts: Facts, usd: Decimal) -> Facts:
    return replace(facts, usd_per_right_answer=usd)


def _two_digits(value: Decimal, rounding: str) -> Decimal:
    return value.quantize(Decimal(1).scaleb(value.adjusted() - 1), rounding)


def _down(share: float) -> float:
    return math.floor(round(1000 * share, 6)) / 1000


def _up(share: float) -> float:
    return math.ceil(round(1000 * share, 6)) / 1000
