"""Machines and deployments that are paid for by the month, and how many machines a load takes."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

HOURS_PER_MONTH = Decimal(730)
"""365 * 24 / 12: what makes $1.70 an hour Azure's $1,241 a month (providers 1.2)."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a load asks of machines that answer as fast as the measured one.

    `busy` is the share of its time in which each machine answers at that load, at most 1. Queues are not in it: close
    to 1, requests wait.
    """

    machines: int
    busy: Decimal
    requests_per_hour_each: Decimal | None


def load(seconds_per_request: Decimal, requests_per_hour: Decimal) -> Load:
    """How many machines it takes so that none has more than an hour of work in an hour.

    machines = ceil(requests per hour * seconds per request / 3600), at least one; busy = requests per hour * seconds
    per request / (3600 * machines).
    """
    work = requests_per_hour * seconds_per_request / 3600
    machines = max(1, int(work.to_integral_value(ROUND_CEILING)))
    capacity = 3600 / seconds_per_request if seconds_per_request else None
    return Load(machines=machines, busy=work / machines, requests_per_hour_each=capacity)
