"""The answer and what it rests on."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from finetune_advisor.records.evidence import Interval
from finetune_advisor.records.money import Spread


class Decision(StrEnum):
    """The three answers."""

    GO = "GO"
    NO_GO = "NO-GO"
    NOT_YET = "NOT YET"


@dataclass(frozen=True, kw_only=True)
class ArmOdds:
    """One arm over all draws: `p_best` is the share of draws in which no arm, nor doing nothing, is worth more.

    `usd_net` is what it brings over the horizon, discounted; None where the worth of an answer or a price is unknown.
    """

    arm: str
    tuned: bool
    score: Interval
    usd_net_mean: float | None
    usd_net: Interval | None
    p_best: float
    p_good_enough: float


@dataclass(frozen=True, kw_only=True)
class Swing:
    """What one assumption does alone, from its low to its high end, to what tuning brings over the alternative.

    `break_even` is the value of the assumption at which tuning and the alternative are worth the same; None: none.
    """

    name: str
    unit: str
    low: float
    likely: float
    high: float
    advantage_at_low: float
    advantage_at_high: float
    break_even: float | None


@dataclass(frozen=True, kw_only=True)
class Worth:
    """One more experiment: what knowing its result is worth on average, and what it costs where that is known."""

    name: str
    usd_worth: float
    usd_price: float | None


@dataclass(frozen=True, kw_only=True)
class Odds:
    """The decision under uncertainty, from `draws` draws with the seed.

    `p_tuning` is the share of draws in which tuning is right: its benefits outweigh its costs by the goal of the
    case. `confidence` is the probability that a GO needs; a NO-GO needs one under 1 - confidence. `advantage` is what
    tuning brings over the best alternative, in `unit`: dollars over the horizon, or score. `loss` is what the better
    choice, made now, is expected to cost against knowing everything.
    """

    draws: int
    seed: int
    confidence: float
    p_tuning: float
    unit: Literal["usd", "score", "seconds"]
    advantage_mean: float
    advantage: Interval
    loss: float
    arms: tuple[ArmOdds, ...]
    spreads: tuple[Spread, ...]
    swings: tuple[Swing, ...]
    worths: tuple[Worth, ...]


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What the questionnaire alone would have said: published lifts of tuning over the best untuned arm.

    `low`, `likely` and `high` are shares (0.1 is 10 points); `sources` name the published tables.
    """

    decision: Decision
    reason: str
    low: float
    likely: float
    high: float
    sources: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The answer, in words that anybody can act on."""

    decision: Decision
    headline: str
    reasons: tuple[str, ...]
    flips: tuple[str, ...]
    next_step: str
    cautions: tuple[str, ...]
    best_tuned: str | None
    best_untuned: str | None
    odds: Odds | None = None
    prior: Prior | None = None


@dataclass(frozen=True, kw_only=True)
class SignOff:
    """What people decided in the end, who, and when."""

    name: str
    role: str
    date: datetime.date
    decision: str
    remarks: str
