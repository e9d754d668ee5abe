"""The decision in figures: probabilities, what each assumption does alone, and what knowing more is worth.

* `loss` is the expected value of perfect information: what the best choice in every draw brings more than the choice
  that is best on average (Raiffa & Schlaifer 1961, Applied Statistical Decision Theory, ch. 4).
* More labels are worth what the normal linear-loss formula of the same book (ch. 5) says: with mean advantage m and
  its spread s by quality, known from n examples, k more move the mean by s* = s sqrt(k / (n + k)), which is worth
  s* [phi(u) - u (1 - Phi(u))], u = |m| / s*.
* Knowing an assumption exactly is worth what deciding for each of its values brings more: the expected payoffs given
  the value are found by regression on it (Strong, Oakley & Brennan 2014, Medical Decision Making 34:311).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from statistics import NormalDist
from typing import Any

from finetune_advisor.errors import require
from finetune_advisor.records import ArmOdds, Driver, Interval, Odds, Spread, Swing, Worth
from finetune_advisor.verdict.aims import Aim, aim
from finetune_advisor.verdict.judge import Judged
from finetune_advisor.verdict.simulate import DRAWS, measured

LABELS = 100
"""The next step in labelling that is priced."""

KNOWN: dict[Driver, str] = {
    "volume": "knowing how many requests will come",
    "prices": "knowing the prices",
    "tokens": "knowing how long prompts and answers will be",
    "hours": "knowing the hours of work",
    "training": "knowing what a training costs",
    "hosting": "knowing what hosting costs",
    "value": "knowing what a right answer is worth",
}

_NAMES: dict[Driver, str] = {
    "volume": "volume",
    "prices": "prices",
    "tokens": "tokens per request",
    "hours": "hours of work",
    "training": "cost of a training",
    "hosting": "cost of hosting",
    "value": "worth of a right answer",
}

_NORMAL = NormalDist()
_ROUNDING = 1e-9


def odds(judged: Judged) -> Odds:
    """Everything that the draws say about the decision."""
    facts, advantage = judged.facts, judged.advantage
    return Odds(
        draws=DRAWS,
        seed=facts.seed,
        confidence=facts.confidence,
        p_tuning=judged.p_tuning,
        unit=judged.aim.unit,
        advantage_mean=float(advantage.mean()),
        advantage=_range(advantage[:, None])[0],
        loss=_gain(judged.aim.payoffs(), judged.aim.payoffs()),
        arms=_arms(judged),
        spreads=facts.spreads,
        swings=_swings(judged),
        worths=tuple(_worths(judged)) if judged.aim.unit == "usd" else (),
    )


def _arms(judged: Judged) -> tuple[ArmOdds, ...]:
    facts, draws, the_aim = judged.facts, judged.draws, judged.aim
    best, enough, scores = the_aim.best(), the_aim.eligible.mean(axis=0), _range(draws.scores)
    net = draws.usd_net(facts) if facts.usd_gained is not None and draws.bills is not None else None
    nets = None if net is None else _range(net)
    return tuple(
        ArmOdds(
            arm=arm.name,
            tuned=arm.tuned,
            score=scores[at],
            usd_net_mean=None if net is None else float(net[:, at].mean()),
            usd_net=None if nets is None else nets[at],
            p_best=float(best[at]),
            p_good_enough=float(enough[at]),
        )
        for at, arm in enumerate(facts.arms)
    )


def _range(values: Any) -> list[Interval]:
    """For each column, the range that 95 of 100 draws fall into."""
    numpy = require("numpy", extra="all")
    lows, highs = numpy.quantile(numpy.ascontiguousarray(values.T), [0.025, 0.975], axis=1)
    return [Interval(low=float(a), high=float(b), method="draws") for a, b in zip(lows, highs, strict=True)]


def _gain(payoffs: Any, known: Any) -> float:
    """What deciding by `known` payoffs brings more than taking the choice that is best on average."""
    return max(0.0, float(known.max(axis=1).mean() - payoffs.mean(axis=0).max()))


def _swings(judged: Judged) -> tuple[Swing, ...]:
    found = [_swing(judged, spread) for spread in judged.facts.spreads]
    swings = [_quality_swing(judged), *(swing for swing in found if swing is not None)]
    return tuple(sorted(swings, key=lambda each: -abs(each.advantage_at_high - each.advantage_at_low)))


def _swing(judged: Judged, spread: Spread) -> Swing | None:
    """The advantage at 0, 1, the low and the high end of one driver, with all others as is most likely."""
    numpy = require("numpy", extra="all")
    draws = measured(judged.facts, judged.draws, 4).scaled(
        spread.driver, numpy.array([[0.0], [1.0], [spread.low], [spread.high]])
    )
    the_aim = aim(judged.facts, draws, judged.rival)
    none, _, low, high = (float(value) for value in the_aim.advantage(judged.arm))
    if low == high == none:
        return None
    likely, factor = spread.likely or 1.0, _break_even(the_aim, judged.arm)
    return Swing(
        name=_NAMES[spread.driver],
        unit=spread.unit if spread.likely else "times",
        low=spread.low * likely,
        likely=likely,
        high=spread.high * likely,
        advantage_at_low=low,
        advantage_at_high=high,
        break_even=None if factor is None else factor * likely,
    )


def _quality_swing(judged: Judged) -> Swing:
    """The advantage over the interval of the tuned arm's score, that of the difference to the best untuned one."""
    pair, draws = judged.pair, measured(judged.facts, judged.draws, 4)
    low, likely, high = (pair.untuned.score + each for each in (pair.low, pair.comparison.difference, pair.high))
    for row, score in enumerate((0.0, 1.0, low, high)):
        draws.scores[row, judged.arm] = min(1.0, max(0.0, score))
    the_aim = aim(judged.facts, draws, judged.rival)
    _, _, at_low, at_high = (float(value) for value in the_aim.advantage(judged.arm))
    return Swing(
        name=f"score of {pair.tuned.name}",
        unit="score",
        low=max(0.0, low),
        likely=likely,
        high=min(1.0, high),
        advantage_at_low=at_low,
        advantage_at_high=at_high,
        break_even=_least_score(the_aim, judged.arm),
    )


def _least_score(the_aim: Aim, arm: int) -> float | None:
    if the_aim.kind == "earning":
        root = _break_even(the_aim, arm)
        return None if root is None or root > 1 else max(root, float(the_aim.least))
    least = require("numpy", extra="all").broadcast_to(the_aim.least, (4, 1))
    return float(least[0, 0]) if 0 <= least[0, 0] <= 1 else None


def _break_even(the_aim: Aim, arm: int) -> float | None:
    """Where between the first two rows, at 0 and at 1, or beyond, tuning is worth as much as the best alternative.

    What tuning brings more than any one alternative is a straight line; more than the best one, the lowest of them.
    """
    numpy = require("numpy", extra="all")
    rivals = [at for at in numpy.arange(len(the_aim.tuned))[the_aim.rivals] if the_aim.eligible[1, at]]
    lines = [the_aim.objective[:2, arm] - the_aim.objective[:2, at] for at in rivals]
    lines += [the_aim.objective[:2, arm]] if the_aim.nothing else []
    lines = [(float(at_0), float(at_1 - at_0)) for at_0, at_1 in lines]
    roots = [-start / slope for start, slope in lines if slope and -start / slope > 0]
    none = 1e-6 * max([1.0, *(abs(start) for start, _ in lines)])
    lowest = [root for root in roots if abs(_lowest(lines, root)) <= none]
    return min(lowest, key=lambda root: abs(math.log(root)), default=None)


def _lowest(lines: list[tuple[float, float]], at: float) -> float:
    return min(start + slope * at for start, slope in lines)


def _worths(judged: Judged) -> Iterator[Worth]:
    price = judged.facts.usd_per_label
    yield Worth(
        name=f"{LABELS} more labelled test examples",
        usd_worth=_labels_worth(judged),
        usd_price=None if price is None else float(price * Decimal(LABELS)),
    )
    choices = _two_best(judged)
    payoffs = judged.aim.payoffs()[:, choices]
    for driver, factor in judged.draws.factors.items():
        known = factor[:, choices[:2]] if factor.shape[1] > 1 else factor
        yield Worth(name=KNOWN[driver], usd_worth=_gain(payoffs, _expected(payoffs, known)), usd_price=None)


def _two_best(judged: Judged) -> list[int]:
    """The columns of the tuned arm, of the untuned one that it has to beat, and of doing nothing where that is one."""
    return [judged.arm, judged.rival, *([len(judged.facts.arms)] if judged.aim.nothing else [])]


def _labels_worth(judged: Judged) -> float:
    by_quality = aim(judged.facts, judged.draws.certain(), judged.rival).advantage(judged.arm)
    n = judged.pair.comparison.n
    moved = float(by_quality.std()) * math.sqrt(LABELS / (n + LABELS))
    if moved == 0:
        return 0.0
    u = abs(float(judged.advantage.mean())) / moved
    return moved * (_NORMAL.pdf(u) - u * (1 - _NORMAL.cdf(u)))


def _expected(payoffs: Any, factor: Any) -> Any:
    """The expected payoffs given the factor: least squares on its first three powers, for every column of it."""
    numpy = require("numpy", extra="all")
    centred = (factor - factor.mean(axis=0)) / factor.std(axis=0)
    terms = numpy.hstack([numpy.ones((len(payoffs), 1)), centred, centred**2, centred**3])
    return terms @ numpy.linalg.solve(terms.T @ terms, terms.T @ payoffs)


def likely_advantage(judged: Judged) -> float:
    """What tuning brings over the best alternative at the measured scores and the likely figures."""
    return float(aim(judged.facts, measured(judged.facts, judged.draws, 1), judged.rival).advantage(judged.arm)[0])


def likely_advantage_if_enough(judged: Judged) -> float:
    """The same if the tuned arm's own score were good enough; untuned arms that reach it are then alternatives too."""
    own = replace(judged.facts, needed_score=max(0.0, judged.pair.tuned.score - _ROUNDING))
    return float(aim(own, measured(own, judged.draws, 1)).advantage(judged.arm)[0])
