"""Small arms, trainings and prices with figures that are easy to reckon with by hand."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import verdict_facts
from finetune_advisor.costs import model, prices
from finetune_advisor.costs.caching import CachingRule
from finetune_advisor.records import ArmResult, Price, TrainingRun

D = Decimal

FIVE_MINUTES = CachingRule(
    provider="anthropic",
    minimum_tokens=1024,
    read_share=0.1,
    write_share=1.25,
    lifetime_seconds=300,
    source="formula C11",
    checked="2026-11-22",
    basis="source",
)
ONE_HOUR = replace(FIVE_MINUTES, write_share=2.0, lifetime_seconds=3600)


def arm(name: str = "few-shot", **changes: Any) -> ArmResult:
    """An arm that is right on 80 of 100 examples and takes neither tokens nor time."""
    measured = verdict_facts.arm(name, [1.0] * 80 + [0.0] * 20, approach="few_shot", tuned=False)
    idle = replace(measured, prompt_tokens=0, completion_tokens=0, seconds=0, prefill_seconds=0)
    return replace(idle, **changes)


def run(*, tokens: int = 0, seconds: float = 0) -> TrainingRun:
    return TrainingRun(
        adapter="",
        base="",
        options={},
        examples=10,
        steps=1,
        best_step=1,
        tokens=tokens,
        trainable_parameters=1,
        seconds=seconds,
    )


def dollars(value: str, unit: str = "usd_per_hour") -> Price:
    return prices.given("test", value, unit)


def machine(usd_per_hour: str = "0.10", utilisation: str = "1", *, always_on: bool = False) -> model.MachinePricing:
    return model.MachinePricing(
        usd_per_hour=dollars(usd_per_hour), utilisation=dollars(utilisation, "share"), always_on=always_on
    )


def tokens(full: str, cached: str | None, output: str, training: str | None = None) -> model.TokenPricing:
    return model.TokenPricing(
        usd_per_mtok_input=dollars(full, "usd_per_mtok_input"),
        usd_per_mtok_cached=dollars(cached, "usd_per_mtok_cached") if cached else None,
        usd_per_mtok_output=dollars(output, "usd_per_mtok_output"),
        usd_per_mtok_training=dollars(training, "usd_per_mtok_training") if training else None,
    )


def money(
    pricing: model.Pricing | None = None, volume: int = 10_000, labour: model.Labour | None = None
) -> model.MoneyAssumptions:
    return model.MoneyAssumptions(
        requests_per_month=volume,
        machine=machine(),
        pricing={"m": pricing} if pricing else {},
        labour=labour or model.Labour(),
    )


def work(hours: dict[model.Work, str]) -> model.Labour:
    return model.Labour(
        usd_per_hour=dollars("80"),
        hours={name: dollars(value, "hours") for name, value in hours.items()},
    )
