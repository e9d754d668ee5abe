"""From draws to a decision: with what probability tuning is right, by the goal of the case.

GO where the probability reaches the confidence that was asked for, NO-GO where that of the opposite does, else NOT YET.
Two kinds of NO-GO are softened to NOT YET, as "do not" would be poor advice: where no arm reaches the needed score but
tuning would be right without that need, and where tuning brings no gain in quality but saves money at the same quality.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from finetune_advisor.errors import require
from finetune_advisor.records import Decision
from finetune_advisor.verdict.aims import Aim, aim
from finetune_advisor.verdict.facts import Facts, Pair, pairs
from finetune_advisor.verdict.simulate import Draws

_ROUNDING = 1e-9

Softened = Literal["", "short", "cheaper"]
"""Why a NO-GO became a NOT YET: every arm is short of the need, or tuning is only cheaper."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The decision on some draws, and the tuned arm that it is about: its column and its pair."""

    draws: Draws
    aim: Aim
    arm: int
    pair: Pair
    p_tuning: float
    decision: Decision
    softened: Softened = ""

    @property
    def facts(self) -> Facts:
        """What was judged."""
        return self.pair.facts

    @property
    def advantage(self) -> Any:
        """What tuning brings over the best alternative, draw by draw."""
        return self.aim.advantage(self.arm)

    @property
    def rival(self) -> int:
        """The column of the untuned arm that tuning has to beat."""
        return self.aim.rival


def judge(facts: Facts, draws: Draws) -> Judged:
    """The decision on these draws; the facts need at least one tuned arm that was compared with an untuned one."""
    the_aim, found = aim(facts, draws), {pair.tuned.name: pair for pair in pairs(facts)}
    columns = [at for at, arm in enumerate(facts.arms) if arm.name in found]
    shares = the_aim.right().mean(axis=0)
    arm = _chosen(facts, the_aim, shares, columns)
    p_tuning = float(shares[arm])
    decision = _decision(p_tuning, facts.confidence)
    judged = Judged(
        draws=draws,
        aim=the_aim,
        arm=arm,
        pair=found[facts.arms[arm].name],
        p_tuning=p_tuning,
        decision=decision,
    )
    softened = _softened(judged) if decision is Decision.NO_GO else ""
    return replace(judged, decision=Decision.NOT_YET, softened=softened) if softened else judged


def _decision(p_tuning: float, confidence: float) -> Decision:
    if p_tuning >= confidence - _ROUNDING:
        return Decision.GO
    return Decision.NO_GO if p_tuning <= 1 - confidence + _ROUNDING else Decision.NOT_YET


def _chosen(facts: Facts, the_aim: Aim, shares: Any, columns: Sequence[int]) -> int:
    """The tuned arm to decide on: the one most often right; of those past the confidence, the one that brings most.

    Where none does what is asked in more than a few draws, it is the one that comes nearest: with the highest score.
    """
    numpy = require("numpy", extra="all")
    if the_aim.eligible[:, columns].any(axis=1).mean() <= 1 - facts.confidence:
        return max(columns, key=lambda at: facts.arms[at].score)
    certain = numpy.round(shares.clip(1 - facts.confidence, facts.confidence), 2)
    brings = the_aim.measure.mean(axis=0)
    return max(columns, key=lambda at: (certain[at], brings[at]))


def _softened(judged: Judged) -> Softened:
    facts, draws, the_aim = judged.facts, judged.draws, judged.aim
    if facts.needed_score is not None:
        reached = the_aim.eligible.any(axis=1).mean() > 1 - facts.confidence
        if reached or judge(replace(facts, needed_score=None), draws).decision is not Decision.GO:
            return ""
        return "short"
    if the_aim.kind != "better" or draws.bills is None:
        return ""
    return "cheaper" if judge(replace(facts, goal="cost"), draws).decision is Decision.GO else ""
