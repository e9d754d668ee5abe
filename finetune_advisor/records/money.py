"""Figures about money, each with its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Price:
    """A dated figure from a named source; `basis` tells where it comes from."""

    name: str
    value: Decimal
    unit: str
    source: str
    checked: str
    basis: Literal["user", "source", "assumed", "measured"]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What an arm costs to run and to set up.

    `usd_per_1000` is with prompt caching, `usd_per_1000_uncached` without. `usd_one_off` is training and labour.
    `break_even_requests` pay the one-off cost back against the baseline by cheaper answers alone; None: never.
    """

    arm: str
    usd_per_1000: Decimal
    usd_per_1000_uncached: Decimal
    usd_per_month: Decimal
    usd_training: Decimal
    usd_one_off: Decimal
    break_even_requests: int | None
    parts: Mapping[str, Decimal]
    assumptions: tuple[Price, ...]


Driver = Literal["volume", "prices", "tokens", "hours", "training", "hosting", "value"]
"""What moves figures up and down together: how much is asked, prices by token and by hour, tokens (and seconds) per
request, hours of work, cost of one training, the hosting that is paid by the month, the worth of an answer."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How uncertain a driver is: what it is multiplied by at the low end, most likely (1), and at the high end.

    The ends are those that it will hardly pass; `unit` and `likely` name the figure itself, for showing it.
    """

    driver: Driver
    low: float
    high: float
    unit: str
    likely: float | None
    source: str
    basis: Literal["user", "source", "assumed", "measured"]


@dataclass(frozen=True, kw_only=True)
class Route:
    """One way to tune a base model, and until when, with its dated source.

    `who` says for whom it is open. `new_jobs_until` is the last day for new trainings, `answers_until` the last day on
    which the tuned model answers; None: no end is announced.
    """

    base: str
    provider: str
    methods: tuple[str, ...]
    who: str
    new_jobs_until: date | None
    answers_until: date | None
    note: str
    source: str
    checked: str
