"""Plausible, fixed odds, learning curve, side effects and routes of the small support-desk case."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from finetune_advisor.records import (
    ArmOdds,
    Decision,
    Forecast,
    Interval,
    LearningCurve,
    LearningPoint,
    Odds,
    Prior,
    Route,
    SideEffect,
    Spread,
    Swing,
    Worth,
)

HOSTILE = '<script>alert("x")</script> [a](javascript:alert(1)) </script> =1+1 `tick` *star* | pipe'
URDU = "میرا آرڈر ابھی تک نہیں پہنچا، براہِ کرم بتائیں کہ وہ کہاں ہے؟"


def arm_odds(name: str, low: float, high: float, net: tuple[float, float, float] | None, p_best: float) -> ArmOdds:
    return ArmOdds(
        arm=name,
        tuned=name.startswith("LoRA"),
        score=Interval(low=low, high=high),
        usd_net_mean=net[0] if net else None,
        usd_net=Interval(low=net[1], high=net[2]) if net else None,
        p_best=p_best,
        p_good_enough=max(0.0, min(1.0, (high - 0.8) / (high - low))),
    )


def swing(name: str, unit: str, ends: tuple[float, float, float], at: tuple[float, float], even: float | None) -> Swing:
    low, likely, high = ends
    return Swing(
        name=name,
        unit=unit,
        low=low,
        likely=likely,
        high=high,
        advantage_at_low=at[0],
        advantage_at_high=at[1],
        break_even=even,
    )


def spreads() -> tuple[Spread, ...]:
    return (
        Spread(
            driver="volume",
            low=0.5,
            high=2.0,
            unit="requests_per_month",
            likely=40_000,
            source="the case",
            basis="user",
        ),
        Spread(driver="prices", low=0.7, high=1.3, unit="", likely=None, source=HOSTILE, basis="source"),
        Spread(driver="tokens", low=0.9, high=1.15, unit="tokens_per_request", likely=104, source="", basis="measured"),
        Spread(driver="hours", low=0.5, high=4.0, unit="hours", likely=2, source=URDU, basis="assumed"),
        Spread(driver="value", low=0.5, high=2.0, unit="usd", likely=0.02, source="the case", basis="user"),
    )


def odds() -> Odds:
    return Odds(
        draws=10_000,
        seed=7,
        confidence=0.9,
        p_tuning=0.8612,
        unit="usd",
        advantage_mean=1236.0,
        advantage=Interval(low=-312.4, high=2794.1),
        loss=58.3,
        arms=(
            arm_odds("zero-shot", 0.0, 0.06, (-4.1, -4.9, 310.0), 0.0),
            arm_odds("nearest examples", 0.64, 0.84, (7193.0, 6120.0, 8090.0), 0.071),
            arm_odds("LoRA", 0.82, 0.97, (8629.0, 7702.0, 9311.0), 0.8124),
            arm_odds("LoRA + documents", 0.8, 0.96, (8350.0, 7480.0, 9205.0), 0.0521),
            arm_odds("logistic regression on TF-IDF", 0.56, 0.79, (6558.0, 5370.0, 7590.0), 0.0045),
            arm_odds("search in documents", 0.11, 0.31, None, 0.0),
        ),
        spreads=spreads(),
        swings=(
            swing("Hours of work", "hours", (1, 2, 8), (1321, 726), 16.5),
            swing("Requests", "requests_per_month", (20_000, 40_000, 80_000), (533, 2641), 9_700),
            swing("Score of LoRA", "share", (0.82, 0.92, 0.97), (-231, 1702), 0.84),
            swing("Score of nearest examples", "share", (0.64, 0.75, 0.84), (2297, 372), None),
            swing("Worth of a right answer", "usd", (0.01, 0.02, 0.04), (533, 2641), 0.0049),
            swing(HOSTILE, "usd_per_hour", (0.05, 0.096, 0.2), (1237, 1234), None),
            swing(URDU, "times", (0.9, 1, 1.1), (1230, 1241), None),
        ),
        worths=(
            Worth(name=HOSTILE, usd_worth=12.0, usd_price=None),
            Worth(name="Train twice more, with other seeds", usd_worth=21.4, usd_price=31.0),
            Worth(name="Label 120 more test examples", usd_worth=263.0, usd_price=180.0),
        ),
    )


def prior() -> Prior:
    return Prior(
        decision=Decision.NO_GO,
        reason="Six labels and 240 examples: prompting with near examples does as well in most published cases.",
        low=-0.02,
        likely=0.06,
        high=0.14,
        sources=("A published table of 31 classification tasks, 2024", HOSTILE),
    )


def learning_curve() -> LearningCurve:
    scores = {60: (0.62, 0.7, 0.66), 120: (0.79, 0.83, 0.76), 240: (0.88, 0.91, 0.9)}
    return LearningCurve(
        arm="LoRA",
        part="validation",
        points=tuple(
            LearningPoint(examples=examples, seed=seed, score=score)
            for examples, each in scores.items()
            for seed, score in enumerate(each, start=1)
        ),
        forecasts=(
            Forecast(examples=60, score=0.66, low=0.62, high=0.7),
            Forecast(examples=240, score=0.9, low=0.87, high=0.92),
            Forecast(examples=480, score=0.94, low=0.9, high=0.97),
            Forecast(examples=960, score=0.96, low=0.9, high=0.99),
        ),
        method="a power law with a ceiling, fitted 1,000 times",
        more_helps=True,
        usd_per_example=Decimal("1.5"),
    )


def side_effects() -> tuple[SideEffect, ...]:
    return (
        SideEffect(
            arm="LoRA",
            ability="general",
            n=12,
            base=8 / 12,
            tuned=7 / 12,
            interval=Interval(low=-0.3, high=0.14),
            lost=(),
        ),
        SideEffect(
            arm="LoRA",
            ability="refusal",
            n=12,
            base=11 / 12,
            tuned=4 / 12,
            interval=Interval(low=-0.83, high=-0.27),
            lost=(HOSTILE, URDU),
        ),
        SideEffect(
            arm="LoRA",
            ability="format",
            n=12,
            base=3 / 12,
            tuned=0.0,
            interval=Interval(low=-0.51, high=0.04),
            lost=("Answer with JSON only.",),
        ),
        SideEffect(
            arm="LoRA", ability="language", n=12, base=0.5, tuned=0.5, interval=Interval(low=-0.2, high=0.2), lost=()
        ),
    )


def routes() -> tuple[Route, ...]:
    return (
        Route(
            base="SmolLM2-135M-Instruct",
            provider="own machine",
            methods=("LoRA", "full"),
            who="everybody",
            new_jobs_until=None,
            answers_until=None,
            note="The weights are open.",
            source="https://example.org/licence",
            checked="2026-11-02",
        ),
        Route(
            base="gpt-4.1-mini",
            provider="OpenAI",
            methods=("supervised",),
            who="organisations that have tuned before",
            new_jobs_until=date(2027, 1, 6),
            answers_until=date(2027, 1, 14),
            note=HOSTILE,
            source="https://example.org/deprecations",
            checked="2026-06-01",
        ),
        Route(
            base="gpt-3.5-turbo",
            provider=URDU,
            methods=(),
            who="",
            new_jobs_until=date(2026, 5, 7),
            answers_until=None,
            note="",
            source="",
            checked="",
        ),
    )
