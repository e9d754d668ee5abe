"""What a cost is made of: every part by name, with what moves it and when it is paid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from finetune_advisor.records import Driver


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a cost.

    `drivers` say what it is multiplied by when the future is simulated; a part that "volume" drives is proportional to
    the requests per month. `when` says whether it is paid every month or once.
    """

    title: str
    drivers: tuple[Driver, ...]
    when: Literal["month", "once"]


def _request(title: str, *drivers: Driver) -> Part:
    return Part(title=f"{title}, per month", drivers=("volume", *drivers), when="month")


def _monthly(title: str, *drivers: Driver) -> Part:
    return Part(title=f"{title}, per month", drivers=drivers, when="month")


def _once(title: str, *drivers: Driver) -> Part:
    return Part(title=f"{title}, once", drivers=drivers, when="once")


PARTS: Mapping[str, Part] = {
    "usd_per_month_reading": _request("Machine time reading prompts", "prices", "tokens"),
    "usd_per_month_writing": _request("Machine time writing answers", "prices", "tokens"),
    "usd_per_month_input": _request("Prompt tokens", "prices", "tokens"),
    "usd_per_month_cached": _request("Cached prompt tokens", "prices", "tokens"),
    "usd_per_month_cache_writes": _request("Prompt tokens written to the cache", "prices", "tokens"),
    "usd_per_month_output": _request("Answer tokens", "prices", "tokens"),
    "usd_per_month_search": _request("Searching documents", "prices", "tokens"),
    "usd_per_month_judge": _request("Judging answers", "prices"),
    "usd_per_month_machines": _monthly("Machines that are always on", "hosting"),
    "usd_per_month_hosting": _monthly("Hosting of the tuned model", "hosting"),
    "usd_per_month_labour": _monthly("Upkeep labour", "hours"),
    "usd_per_month_monitoring": _monthly("Labour to monitor answers", "hours"),
    "usd_per_month_prompts": _monthly("Labour to maintain prompts", "hours"),
    "usd_per_month_retraining": _monthly("Retraining", "training"),
    "usd_per_month_retraining_labour": _monthly("Labour to retrain", "hours"),
    "usd_one_off_data": _once("Labour to prepare data", "hours"),
    "usd_one_off_labelling": _once("Labels", "hours"),
    "usd_one_off_evaluation": _once("Labour to evaluate", "hours"),
    "usd_one_off_tuning": _once("Labour to tune", "hours"),
    "usd_one_off_deployment": _once("Labour to deploy the tuned model", "hours"),
    "usd_one_off_training": _once("Training", "training"),
    "usd_one_off_renewal": _once("Training again when the base model retires", "training"),
    "usd_one_off_renewal_labour": _once("Labour when the base model retires", "hours"),
}
"""What `Cost.parts` may hold. The monthly parts add up to the monthly cost, the others to the one-off cost."""
