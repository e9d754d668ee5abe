"""What "tuning is right" means, goal by goal, draw by draw.

An arm is usable where nothing rules it out and it answers in time. Among the usable arms:

* quality, with the worth of answers and all costs known: tuning reaches the needed score and brings more dollars than
  the best untuned arm, where that reaches it, and more than doing nothing;
* quality, without: it scores better than the best untuned arm by more than the worthwhile difference. Where a score is
  needed, reaching it is what counts: no untuned arm does, or tuning is cheaper than every one that does;
* cost: it is not worse than the best untuned arm by more than the margin, reaches the needed score, and is cheaper than
  every untuned arm of which the same is true;
* speed: the same, with seconds in place of dollars;
* privacy: as quality where a score is needed; without one, the best untuned arm less the margin is needed, be it one
  that may not be used.

The best untuned arm is the one that is best in most draws: who does not tune has to choose one too. Taking the best one
of each draw instead overrates the untuned arms, the more of them there are: in 6,000 worlds of benchmarks/worlds.py
with two to four of them, tuning was right 1.6 points more often than stated in dollars and 3.2 in scores, against 0.6
and 1.8 this way. Where arms only have to pass, each untuned arm that may pass counts: that was 0.4 off for cost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from finetune_advisor.errors import require
from finetune_advisor.verdict.facts import Facts
from finetune_advisor.verdict.simulate import Draws

Unit = Literal["usd", "score", "seconds"]
Kind = Literal["earning", "better", "reaching", "saving", "faster"]


@dataclass(frozen=True, kw_only=True)
class Aim:
    """The goal of a case in every draw; rows are draws, columns arms.

    `eligible` are the arms that do what is asked, `least` the score that this takes; the right one is that of the
    highest `objective`, or none where that is under 0 and `nothing` is a choice. `measure` is what choosing an arm
    brings, in `unit`: one that turns out not to do what is asked is switched off, and its one-off cost is lost.
    `rivals` marks the untuned arms that tuning has to beat, `rival` is the one of them that is best most often.
    `fallback` is what the best alternative to tuning brings, `hurdle` what tuning has to bring more.
    """

    kind: Kind
    unit: Unit
    eligible: Any
    least: Any
    objective: Any
    measure: Any
    fallback: Any
    tuned: Any
    rival: int
    rivals: Any
    hurdle: float = 0.0
    nothing: bool = False

    def right(self) -> Any:
        """For every draw and arm, whether tuning that arm is right; a tie is not, and untuned arms are never."""
        numpy = require("numpy", extra="all")
        rivals = self.eligible[:, self.rivals], self.objective[:, self.rivals]
        best = numpy.where(*rivals, -math.inf).max(axis=1, keepdims=True, initial=-math.inf)
        if self.nothing:
            best = best.clip(min=0)
        return self.eligible & self.tuned & (self.objective > best)

    def best(self) -> Any:
        """The share of draws in which each arm is the one to take; what is left over is doing nothing."""
        ranked = self._ranked()
        best = ranked.max(axis=1, keepdims=True)
        best = best.clip(min=0) if self.nothing else best
        hits = (ranked == best) & self.eligible
        rivals = hits.sum(axis=1, keepdims=True) + (self.nothing and best == 0)
        return (hits / rivals.clip(min=1)).mean(axis=0)

    def advantage(self, arm: int) -> Any:
        """What tuning that arm brings over the best alternative, in `unit`."""
        return self.measure[:, arm] - self.fallback

    def payoffs(self) -> Any:
        """What choosing each arm brings less the hurdle; a last column stands for doing nothing if it is a choice."""
        numpy = require("numpy", extra="all")
        brings = self.measure - self.hurdle * self.tuned
        return numpy.hstack([brings, numpy.zeros((len(brings), 1))]) if self.nothing else brings

    def _ranked(self) -> Any:
        numpy = require("numpy", extra="all")
        return numpy.where(self.eligible, self.objective, -math.inf)


def aim(facts: Facts, draws: Draws, rival: int | None = None) -> Aim:
    """The goal of the case in these draws, which also tell the rival where none is given."""
    if facts.goal == "cost":
        return _saving(facts, draws, rival)
    if facts.goal == "speed":
        return _faster(facts, draws, rival)
    if facts.goal == "privacy":
        return _reaching(facts, draws, _private_need(facts, draws), rival)
    if facts.usd_gained is not None and draws.bills is not None:
        return _earning(facts, draws, rival)
    if facts.needed_score is not None:
        return _reaching(facts, draws, facts.needed_score, rival)
    return _better(facts, draws, rival)


def _earning(facts: Facts, draws: Draws, rival: int | None) -> Aim:
    numpy = require("numpy", extra="all")
    net, least, tuned = draws.usd_net(facts), facts.needed_score or 0.0, _tuned(facts)
    eligible = _usable(facts, draws) & (draws.scores >= least)
    rival = _rival(facts, draws, eligible, net) if rival is None else rival
    fallback = numpy.where(eligible[:, [rival]], net[:, [rival]], 0).clip(min=0)
    return Aim(
        kind="earning",
        unit="usd",
        eligible=eligible,
        least=least,
        objective=net,
        measure=numpy.where(eligible, net, fallback - draws.usd_once),
        fallback=fallback[:, 0],
        tuned=tuned,
        rival=rival,
        rivals=[rival],
        nothing=True,
    )


def _better(facts: Facts, draws: Draws, rival: int | None) -> Aim:
    usable, tuned, hurdle = _usable(facts, draws), _tuned(facts), facts.worthwhile_difference
    answered = draws.scores * usable
    rival = _rival(facts, draws, usable, answered) if rival is None else rival
    fallback = answered[:, [rival]]
    return Aim(
        kind="better",
        unit="score",
        eligible=usable,
        least=fallback + hurdle,
        objective=draws.scores - hurdle * tuned,
        measure=answered,
        fallback=fallback[:, 0],
        tuned=tuned,
        rival=rival,
        rivals=[rival],
        hurdle=hurdle,
    )


def _reaching(facts: Facts, draws: Draws, least: Any, rival: int | None) -> Aim:
    usable, tuned, objective = _usable(facts, draws), _tuned(facts), _economy(facts, draws)
    answered, eligible = draws.scores * usable, usable & (draws.scores >= least)
    return Aim(
        kind="reaching",
        unit="score",
        eligible=eligible,
        least=least,
        objective=objective,
        measure=answered,
        fallback=_best(answered, ~tuned).clip(min=0)[:, 0],
        tuned=tuned,
        rival=_rival(facts, draws, eligible, objective) if rival is None else rival,
        rivals=~tuned,
    )


def _saving(facts: Facts, draws: Draws, rival: int | None) -> Aim:
    numpy = require("numpy", extra="all")
    found = _as_good_and(facts, draws, rival, "saving", "usd", -draws.usd_cost(facts))
    lost = found.fallback[:, None] - draws.usd_once
    return replace(found, measure=numpy.where(found.eligible, found.objective, lost))


def _faster(facts: Facts, draws: Draws, rival: int | None) -> Aim:
    return _as_good_and(facts, draws, rival, "faster", "seconds", -draws.seconds_per_request())


def _as_good_and(facts: Facts, draws: Draws, rival: int | None, kind: Kind, unit: Unit, objective: Any) -> Aim:
    eligible, least, fallback = _as_good(facts, draws, objective)
    tuned = _tuned(facts)
    return Aim(
        kind=kind,
        unit=unit,
        eligible=eligible,
        least=least,
        objective=objective,
        measure=objective,
        fallback=fallback[:, 0],
        tuned=tuned,
        rival=_rival(facts, draws, eligible, objective) if rival is None else rival,
        rivals=~tuned,
    )


def _as_good(facts: Facts, draws: Draws, objective: Any) -> tuple[Any, Any, Any]:
    """Who is as good as the best untuned arm and good enough, the score that this takes, and the best of the untuned.

    Where no untuned arm is good enough, the alternative is the best of those that are as good as the best one.
    """
    numpy = require("numpy", extra="all")
    usable, tuned = _usable(facts, draws), _tuned(facts)
    best = _best(numpy.where(usable, draws.scores, -math.inf), ~tuned) - facts.non_inferiority_margin
    as_good = usable & (draws.scores >= best)
    eligible = as_good & (draws.scores >= (facts.needed_score or 0.0))
    among = [_best(numpy.where(each, objective, -math.inf), ~tuned) for each in (eligible, as_good)]
    fallback = numpy.where(numpy.isfinite(among[0]), *among)
    least = numpy.maximum(best, facts.needed_score or 0.0)
    return eligible, least, numpy.where(numpy.isfinite(fallback), fallback, 0.0)


def _rival(facts: Facts, draws: Draws, eligible: Any, objective: Any) -> int:
    """The untuned arm that is most often the best of those that do what is asked; where none is, that scores best."""
    numpy = require("numpy", extra="all")
    columns = numpy.flatnonzero(~_tuned(facts))
    allowed = eligible[:, columns]
    ranked = numpy.where(allowed, objective[:, columns], -math.inf)
    wins = ((ranked == ranked.max(axis=1, keepdims=True)) & allowed).sum(axis=0)
    best = wins if wins.any() else draws.scores[:, columns].mean(axis=0)
    return int(columns[best.argmax()])


def _private_need(facts: Facts, draws: Draws) -> Any:
    if facts.needed_score is not None:
        return facts.needed_score
    return _best(draws.scores, ~_tuned(facts)) - facts.non_inferiority_margin


def _economy(facts: Facts, draws: Draws) -> Any:
    """What decides between arms that reach the need: dollars where known; else what is simpler goes first."""
    if draws.bills is None:
        return draws.scores - 2 * _tuned(facts)
    return draws.usd_net(facts) if facts.usd_gained is not None else -draws.usd_cost(facts)


def _usable(facts: Facts, draws: Draws) -> Any:
    numpy = require("numpy", extra="all")
    free = numpy.array([arm.name not in facts.ruled_out for arm in facts.arms])
    if facts.latency_seconds is None:
        return free & (draws.scores >= 0)
    return free & (draws.seconds_per_request() <= facts.latency_seconds)


def _tuned(facts: Facts) -> Any:
    return require("numpy", extra="all").array([arm.tuned for arm in facts.arms])


def _best(values: Any, columns: Any) -> Any:
    return values[:, columns].max(axis=1, keepdims=True, initial=-math.inf)
