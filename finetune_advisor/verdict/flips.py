"""What would change the answer: one assumption changed at a time, and the same draws judged again.

Each assumption is a dial. Where its far end gives another answer, the place where the answer turns is found by
bisection on a part of the draws, rounded outwards to what a person can remember, and judged again on all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from typing import Literal

from finetune_advisor.records import Decision, Driver
from finetune_advisor.verdict.facts import Facts
from finetune_advisor.verdict.judge import Judged, judge
from finetune_advisor.verdict.simulate import DRAWS, Draws
from finetune_advisor.verdict.words import dollars, months, percent, points, seconds

FEW = 1_000
"""Draws on which a turning point is searched."""

FINE = {"ratio": 0.005, "share": 0.0005, "whole": 1.0}
"""How closely it is searched, before it is rounded."""

GOALS: dict[Literal["quality", "cost", "speed"], str] = {
    "quality": "better answers",
    "cost": "lower cost at the same quality",
    "speed": "faster answers at the same quality",
}

WHAT: dict[Driver, str] = {
    "prices": "prices",
    "tokens": "prompts and answers",
    "hours": "hours of work",
    "training": "costs of training",
    "hosting": "costs of hosting",
}

_Ends = tuple[float, float]
Turned = Callable[[Draws, float], tuple[Facts, Draws]]
Answer = Callable[[float], Decision]


@dataclass(frozen=True, kw_only=True)
class Dial:
    """An assumption that can be turned from `now`, None where nothing is assumed, to either end.

    `less` and `more` say in words that it is turned down or up, with a place for the value as `show` writes it. On the
    way to an end `stops` places are looked at, for the answer may turn more than once.
    """

    now: float | None
    low: float
    high: float
    scale: Literal["ratio", "share", "whole"]
    turned: Turned
    show: Callable[[float], str]
    less: str
    more: str
    stops: int = 1

    def decision(self, value: float, draws: Draws) -> Decision:
        """What would be decided at that value."""
        return judge(*self.turned(draws, value)).decision


def flips(judged: Judged) -> tuple[str, ...]:
    """For every assumption whose change changes the answer: where it turns, and the new answer."""
    few = judge(judged.facts, judged.draws.some(slice(None, None, DRAWS // FEW)))
    found = [each for dial in dials(judged) for each in _of_dial(judged, dial, few)]
    return (*dict.fromkeys(found), *_goals(judged), *_confidence(judged))


def _of_dial(judged: Judged, dial: Dial, few: Judged) -> Iterator[str]:
    @cache
    def sought(value: float) -> Decision:
        return few.decision if value == dial.now else dial.decision(value, few.draws)

    @cache
    def shown(value: float) -> Decision:
        return dial.decision(value, judged.draws)

    for end in (dial.low, dial.high):
        for ends, others in _turns(judged, dial, end, sought):
            found = _turning_point(dial, ends, others, sought, shown)
            if found is not None:
                words = (dial.less if end == dial.low else dial.more).format(dial.show(found[0]))
                yield f"If {words}, the answer would be {found[1].value}."


def _turns(judged: Judged, dial: Dial, end: float, sought: Answer) -> Iterator[tuple[_Ends, frozenset[Decision]]]:
    """Between which values the answer turns on the way to that end, and into what: first to another, then to the last.

    Where nothing is assumed now, only the last turn counts: what would be so from there to the end.
    """
    path = _path(dial, end)
    answers = [sought(value) for value in path]
    here, last = (judged.decision if dial.now is None else answers[0]), answers[-1]
    changed = [at for at, each in enumerate(answers) if each is not here]
    if dial.now is not None and changed:
        yield (path[changed[0] - 1], path[changed[0]]), frozenset(Decision) - {here}
    before = [at for at, each in enumerate(answers) if each is not last]
    if last is not here and before and (dial.now is None or len(changed) > 0):
        yield (path[before[-1]], path[before[-1] + 1]), frozenset({last})


def _path(dial: Dial, end: float) -> list[float]:
    if dial.now is None and end == dial.low:
        return _path(dial, dial.high)[::-1]
    start = dial.low if dial.now is None else dial.now
    if start == end:
        return [start]
    return [start + (end - start) * step / dial.stops for step in range(dial.stops)] + [end]


def _turning_point(
    dial: Dial, ends: _Ends, others: frozenset[Decision], sought: Answer, shown: Answer
) -> tuple[float, Decision] | None:
    """The first value at which the answer is one of the others, and which one; None where no value can be shown."""
    kept, turned = ends
    for _ in range(_halvings(dial, ends)):
        middle = math.sqrt(kept * turned) if dial.scale == "ratio" else (kept + turned) / 2
        kept, turned = (kept, middle) if sought(middle) in others else (middle, turned)
    for nudges in range(4):
        value = rounded(turned + nudges * _nudge(dial, turned, ends[1]), dial.scale, up=ends[1] > ends[0])
        if dial.low <= value <= dial.high and (found := shown(value)) in others:
            return value, found
    return None


def _halvings(dial: Dial, ends: _Ends) -> int:
    width = abs(math.log(ends[1] / ends[0]) if dial.scale == "ratio" else ends[1] - ends[0])
    return max(0, math.ceil(math.log2(width / FINE[dial.scale])))


def _nudge(dial: Dial, turned: float, end: float) -> float:
    size = {"ratio": 0.02 * turned, "share": 0.003, "whole": 1.0}[dial.scale]
    return math.copysign(size, end - turned)


def rounded(value: float, scale: Literal["ratio", "share", "whole"], *, up: bool) -> float:
    """Two significant digits for a ratio, tenths of a point for a share, else a whole number; away from the start."""
    unit = {"share": Decimal("0.001"), "whole": Decimal(1)}.get(scale, Decimal(1).scaleb(_exponent(value) - 1))
    steps = round(Decimal(repr(value)) / unit, 6)
    return float((math.ceil(steps) if up else math.floor(steps)) * unit)


def _exponent(value: float) -> int:
    return Decimal(repr(value)).adjusted()


def dials(judged: Judged) -> list[Dial]:
    """Every assumption that this goal rests on."""
    facts, kind = judged.facts, judged.aim.kind
    found = [_need(facts)]
    if kind == "better":
        found.append(_gain(facts))
    if kind in ("saving", "faster") or (facts.goal == "privacy" and facts.needed_score is None):
        found.append(_margin(facts))
    if facts.latency_seconds is not None:
        found.append(_latency(facts, facts.latency_seconds))
    return [*found, *_money(judged)] if judged.draws.bills is not None else found


def _money(judged: Judged) -> Iterator[Dial]:
    facts, kind = judged.facts, judged.aim.kind
    if kind in ("earning", "saving", "reaching"):
        yield _volume(facts)
        yield _horizon(facts)
        for driver, what in WHAT.items():
            if any(driver in bill.drivers for bill in judged.draws.bills or ()):
                yield _driver(facts, driver, what)
    if facts.goal == "quality":
        yield _right(facts)
        if facts.usd_per_right_answer is not None:
            yield _wrong(facts, float(facts.usd_per_right_answer))


def _need(facts: Facts) -> Dial:
    return _share(facts, "needed_score", percent, "{} were good enough", "more than {} were needed", stops=10)


def _gain(facts: Facts) -> Dial:
    less, more = "a gain of {} were worth having", "only a gain of {} or more were worth having"
    return _share(facts, "worthwhile_difference", points, less, more)


def _margin(facts: Facts) -> Dial:
    less, more = "a loss of no more than {} were acceptable", "a loss of up to {} were acceptable"
    return _share(facts, "non_inferiority_margin", points, less, more)


def _share(facts: Facts, field: str, show: Callable[[float], str], less: str, more: str, stops: int = 1) -> Dial:
    now: float | None = getattr(facts, field)
    return Dial(
        now=now,
        low=0.0,
        high=1.0,
        scale="share",
        turned=lambda draws, share: (replace(facts, **{field: share}), draws),
        show=show,
        less=less + _instead(now, show),
        more=more + _instead(now, show),
        stops=stops,
    )


def _latency(facts: Facts, limit: float) -> Dial:
    return Dial(
        now=limit,
        low=limit / 100,
        high=limit * 100,
        scale="ratio",
        turned=lambda draws, value: (replace(facts, latency_seconds=value), draws),
        show=seconds,
        less="an answer had to come within {}" + _instead(limit, seconds),
        more="an answer could take {}" + _instead(limit, seconds),
    )


def _volume(facts: Facts) -> Dial:
    now, show = facts.requests_per_month, "{:,.0f}".format
    return Dial(
        now=now,
        low=min(now, max(1.0, now / 1000)) / 1.001,
        high=now * 1000.0,
        scale="ratio",
        turned=lambda draws, value: (facts, draws.scaled("volume", value / now)),
        show=show,
        less="fewer than {} requests a month came in" + _instead(now, show),
        more="more than {} requests a month came in" + _instead(now, show),
    )


def _horizon(facts: Facts) -> Dial:
    now = facts.horizon_months
    return Dial(
        now=now,
        low=1.0,
        high=max(120.0, 2.0 * now),
        scale="whole",
        turned=lambda draws, value: (replace(facts, horizon_months=max(1, round(value))), draws),
        show=lambda value: months(round(value)),
        less="only {} were counted" + _instead(now, str),
        more="{} were counted" + _instead(now, str),
    )


def _driver(facts: Facts, driver: Driver, what: str) -> Dial:
    return Dial(
        now=1.0,
        low=0.1,
        high=10.0,
        scale="ratio",
        turned=lambda draws, value: (facts, draws.scaled(driver, value)),
        show=lambda value: f"{value:.2g} times",
        less=f"{what} were less than {{}} what is reckoned with",
        more=f"{what} were more than {{}} what is reckoned with",
    )


def _right(facts: Facts) -> Dial:
    now = float(facts.usd_per_right_answer) if facts.usd_per_right_answer else None
    return Dial(
        now=now,
        low=1e-6 if now is None else now / 1000,
        high=1e4 if now is None else now * 1000,
        scale="ratio",
        turned=lambda draws, value: (replace(facts, usd_per_right_answer=_usd(value)), draws),
        show=dollars,
        less="a right answer were worth less than {}" + _instead(now, dollars),
        more="a right answer were worth more than {}" + _instead(now, dollars),
    )


def _wrong(facts: Facts, right: float) -> Dial:
    now = float(facts.usd_per_wrong_answer or 0)
    return Dial(
        now=now or right / 1000,
        low=now / 1000 or right / 1001,
        high=1000 * (now or right),
        scale="ratio",
        turned=lambda draws, value: (replace(facts, usd_per_wrong_answer=_usd(value)), draws),
        show=dollars,
        less="a wrong answer cost less than {}" + _instead(now, dollars),
        more="a wrong answer cost more than {}" + _instead(now, dollars),
    )


def _instead(now: float | None, show: Callable[[float], str]) -> str:
    return "" if now is None else f" (instead of {show(now)})"


def _usd(value: float) -> Decimal:
    return Decimal(repr(value))


def _goals(judged: Judged) -> Iterator[str]:
    facts = judged.facts
    for goal, aim in GOALS.items():
        known = {"quality": True, "cost": judged.draws.bills is not None, "speed": all(judged.draws.seconds > 0)}[goal]
        if known and goal != facts.goal and not (goal == "quality" and facts.goal == "privacy"):
            found = judge(replace(facts, goal=goal), judged.draws).decision
            if found is not judged.decision:
                yield f"If the aim were {aim}, the answer would be {found.value}."


def _confidence(judged: Judged) -> Iterator[str]:
    likelier = max(judged.p_tuning, 1 - judged.p_tuning)
    level = math.floor(100 * likelier) / 100
    if judged.decision is Decision.NOT_YET and 0.5 < level < judged.facts.confidence:
        found = judge(replace(judged.facts, confidence=level), judged.draws).decision
        if found is not judged.decision:
            asked = percent(judged.facts.confidence)
            yield f"If a probability of {percent(level)} were enough ({asked} asked for), it would be {found.value}."
