"""Plausible, fixed results of a small support-desk case, for every test that draws them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from finetune_advisor.records import (
    SCHEMA_VERSION,
    Answered,
    ArmAnswer,
    ArmResult,
    Choice,
    Comparison,
    Confusion,
    Cost,
    Decision,
    Disagreement,
    Finding,
    Interval,
    LossPoint,
    Message,
    Power,
    Price,
    Provenance,
    Results,
    SplitSummary,
    Task,
    TaskKind,
    TrainingRun,
    Verdict,
)
from sample_odds import HOSTILE, URDU, learning_curve, odds, prior, routes, side_effects

MODEL = "SmolLM2-135M-Instruct"
N = 60
LABELS = ("delivery_status", "refund_request", "change_address", "cancel_order", "warranty", "password_reset")

PRICES = (
    Price(
        name="cpu_machine",
        value=Decimal("0.096"),
        unit="usd_per_hour",
        source="https://example.org/prices",
        checked="2026-11-02",
        basis="source",
    ),
    Price(
        name="engineer",
        value=Decimal("85"),
        unit="usd_per_hour",
        source="",
        checked="2026-11-22",
        basis="assumed",
    ),
    Price(
        name="seconds per request",
        value=Decimal("0.31"),
        unit="seconds_per_request",
        source="this run",
        checked="2026-11-22",
        basis="measured",
    ),
    Price(
        name="volume",
        value=Decimal("40000"),
        unit="requests_per_month",
        source="case.toml",
        checked="2026-11-22",
        basis="user",
    ),
)

TRAINING = TrainingRun(
    adapter="runs/tuned/adapter",
    base=MODEL,
    options={"rank": 8, "learning_rate": 0.001, "epochs": 3},
    examples=240,
    steps=100,
    best_step=80,
    tokens=40256,
    trainable_parameters=2442240,
    seconds=112.6,
    losses=(
        *(
            LossPoint(step=s, loss=v, split="train")
            for s, v in ((1, 6.28), (10, 5.04), (25, 1.2), (50, 0.05), (100, 0.002))
        ),
        *(LossPoint(step=s, loss=v, split="validation") for s, v in ((20, 2.1), (40, 0.41), (80, 0.22), (100, 0.24))),
    ),
)


def arm(
    name: str,
    approach: str,
    right: int,
    *,
    format_failures: int = 0,
    failures: int = 0,
    **changes: Any,
) -> ArmResult:
    """An arm with so many right answers of 60; the interval is wide enough to look real."""
    share = right / N
    made = ArmResult(
        name=name,
        approach=approach,
        model=MODEL,
        settings={},
        tuned=approach.startswith("tuned"),
        simulated=False,
        metric="label",
        n=N,
        score=share,
        interval=Interval(low=max(0.0, share - 0.11), high=min(1.0, share + 0.08), method="Wilson"),
        example_ids=tuple(f"e{i:03}" for i in range(N)),
        scores=tuple(float(i < right) for i in range(N)),
        failures=failures,
        format_failures=format_failures,
        wrong=N - right - format_failures - failures,
        extras={"macro_f1": round(share * 0.97, 3)},
        prompt_tokens=98.0,
        cached_tokens=40.0,
        completion_tokens=6.2,
        seconds=0.08,
        prefill_seconds=0.05,
        model_details={"dtype": "bfloat16", "sha256": "b179c952"},
        confusions=(
            Confusion(
                field="",
                counts={
                    "refund": {"refund": right, "": format_failures},
                    "card": {"refund": N - right - format_failures},
                },
            ),
        ),
    )
    return replace(made, **changes)


def arms() -> tuple[ArmResult, ...]:
    shots = tuple(Choice(settings={"shots": k}, score=s, chosen=k == 8) for k, s in ((4, 0.55), (8, 0.73), (12, 0.71)))
    rates = tuple(
        Choice(settings={"learning_rate": r, "epochs": 3}, score=s, chosen=r == 0.001)
        for r, s in ((0.0003, 0.81), (0.001, 0.9))
    )
    return (
        arm("zero-shot", "zero_shot", 0, format_failures=55),
        arm("few-shot", "few_shot", 10, format_failures=12, prompt_tokens=296.0, cached_tokens=250.0, seconds=0.21),
        arm(
            "nearest examples",
            "nearest_shot",
            45,
            format_failures=2,
            choices=shots,
            prompt_tokens=316.0,
            seconds=0.24,
            settings={"shots": 8},
        ),
        arm("search in documents", "rag", 12, format_failures=20, failures=3, prompt_tokens=420.0, seconds=0.31),
        arm(
            "LoRA",
            "tuned",
            55,
            prompt_tokens=41.0,
            cached_tokens=0.0,
            seconds=0.05,
            training=TRAINING,
            choices=rates,
            touches=2,
        ),
        arm("LoRA + documents", "tuned_rag", 54, prompt_tokens=365.0, seconds=0.26, training=TRAINING),
        arm(
            "logistic regression on TF-IDF",
            "classical",
            41,
            model="",
            prompt_tokens=0.0,
            cached_tokens=0.0,
            completion_tokens=0.0,
            seconds=0.0004,
            model_details={},
        ),
    )


def cost(name: str, per_1000: str, one_off: str, break_even: int | None) -> Cost:
    value = Decimal(per_1000)
    return Cost(
        arm=name,
        usd_per_1000=value,
        usd_per_1000_uncached=value * 2,
        usd_per_month=value * 40,
        usd_training=Decimal("0.003") if Decimal(one_off) else Decimal(0),
        usd_one_off=Decimal(one_off),
        break_even_requests=break_even,
        parts=parts(value * 40, Decimal(one_off)),
        assumptions=PRICES,
    )


def parts(usd_per_month: Decimal, one_off: Decimal) -> Mapping[str, Decimal]:
    training = Decimal("0.003")
    reading = {"usd_per_month_reading": usd_per_month * 2 / 5, "usd_per_month_writing": usd_per_month * 3 / 5}
    if not one_off:
        return reading
    return {**reading, "usd_one_off_tuning": one_off - training, "usd_one_off_training": training}


def costs() -> tuple[Cost, ...]:
    return (
        cost("zero-shot", "0.0021", "0", None),
        cost("few-shot", "0.0056", "0", None),
        cost("nearest examples", "0.0064", "0", None),
        cost("search in documents", "0.0083", "0", None),
        cost("LoRA", "0.0013", "170", 33_333_334),
        cost("LoRA + documents", "0.0069", "170", None),
        cost("logistic regression on TF-IDF", "0.0000107", "0", None),
    )


def comparison(name: str, difference: float, gained: int, lost: int, p: float, adjusted: float) -> Comparison:
    return Comparison(
        arm=name,
        baseline="nearest examples",
        n=N,
        difference=difference,
        interval=Interval(low=difference - 0.1, high=difference + 0.1, method="paired bootstrap"),
        p_value=p,
        p_adjusted=adjusted,
        test="exact McNemar",
        gained=gained,
        lost=lost,
    )


def answer(name: str, text: str, score: float, *, format_ok: bool = True, failure: str = "") -> ArmAnswer:
    return ArmAnswer(
        arm=name,
        text=text,
        score=score,
        format_ok=format_ok,
        failure=failure,
        prompt=(
            Message(role="system", content="Answer with one label."),
            Message(role="user", content=f"Which label fits?\n\n{URDU}"),
        ),
        passages=("shipping.md#2",) if name == "search in documents" else (),
        prompt_tokens=98,
        completion_tokens=6,
    )


def disagreements() -> tuple[Disagreement, ...]:
    return (
        Disagreement(
            example_id="e007",
            question=URDU,
            expected="delivery_status",
            answers=(
                answer("zero-shot", "Sure! I would be happy to help you with that.", 0.0, format_ok=False),
                answer("nearest examples", "refund_request", 0.0),
                answer("search in documents", "", 0.0, failure="The prompt does not fit into 2,048 tokens."),
                answer("LoRA", "delivery_status", 1.0),
            ),
        ),
        Disagreement(
            example_id="e021",
            question=HOSTILE,
            expected="cancel_order",
            answers=(
                answer("zero-shot", HOSTILE, 0.0, format_ok=False),
                answer("nearest examples", "cancel_order", 1.0),
                answer("LoRA", "warranty", 0.0),
            ),
        ),
    )


def label_counts() -> Mapping[str, Mapping[str, int]]:
    return {
        part: {label: each - i for i, label in enumerate(LABELS)}
        for part, each in (("train", 42), ("validation", 12), ("test", 12))
    }


def verdict() -> Verdict:
    return Verdict(
        decision=Decision.NOT_YET,
        headline="Not yet: tuning looks better, but 60 test examples cannot show it.",
        reasons=(
            "LoRA scores 92% and the best arm without tuning, nearest examples, 75%.",
            "The difference of 17 points could be chance: p = 0.064 after correction for 3 comparisons.",
            "At 40,000 requests a month the one-off cost of $170 would take decades to come back.",
        ),
        flips=(
            "About 120 more labelled test examples that show the same difference would make this a GO.",
            "If another prompt brings nearest examples to 88%, it is a NO-GO.",
        ),
        next_step="Label 120 more test examples (about half a day), then run again.",
        cautions=("Two labels have fewer than 10 test examples.",),
        best_tuned="LoRA",
        best_untuned="nearest examples",
        odds=odds(),
        prior=prior(),
    )


def findings() -> tuple[Finding, ...]:
    many = tuple(
        Finding(
            file="train.jsonl",
            line=i,
            code="near_duplicate",
            severity="warning",
            message=f"Nearly the same as line {i + 1}.",
        )
        for i in range(1, 26)
    )
    return (
        *many,
        Finding(
            file="train.jsonl",
            line=12,
            code="contradictory_label",
            severity="error",
            message="Same prompt as line 40, other label.",
        ),
        Finding(file="test.jsonl", line=0, code="small_class", severity="info", message=f"A class is small: {HOSTILE}"),
    )


def answered() -> tuple[Answered, ...]:
    return (
        Answered(
            section="Goal",
            question="What should get better?",
            why="Form is learnt by tuning, facts are not.",
            answer="Tickets should reach the right team.",
            evidence="The task is classification with 6 labels.",
        ),
        Answered(
            section="Goal",
            question="Have you tried prompting?",
            why="A good prompt is the cheapest arm.",
            answer="Yes",
            evidence="Zero-shot 0%, nearest examples 75%.",
        ),
        Answered(
            section="Data",
            question="How many labelled examples are there?",
            why="Too few examples cannot show a difference.",
            answer="360",
            evidence="240 for training, 60 for validation, 60 for testing.",
        ),
    )


def split() -> SplitSummary:
    return SplitSummary(
        train=240,
        validation=60,
        test=N,
        groups=331,
        seed=7,
        hash="3f" * 32,
        locked_at=datetime(2026, 11, 22, 9, 30, tzinfo=UTC),
        label_counts=label_counts(),
    )


def provenance() -> Provenance:
    return Provenance(
        schema=SCHEMA_VERSION,
        time=datetime(2026, 11, 22, 10, 5, tzinfo=UTC),
        version="0.1.0",
        commit="0123abc",
        packages={"torch": "2.13.0", "transformers": "5.23.0"},
        machine="Linux x86_64, 2 cores, no GPU",
        seed=7,
        data_hash="ab" * 32,
        split_hash="3f" * 32,
        prices="5c9e7f1a2b3d",
    )


def sample_results(*, simulated: bool = False) -> Results:
    """A finished case of seven arms; with `simulated`, the zero-shot arm came from the fake model."""
    made = arms()
    first = replace(made[0], simulated=simulated, model="fake" if simulated else MODEL)
    return Results(
        title="Wer trägt was? Support desk of Blauwal & Söhne",
        task=Task(
            kind=TaskKind.CLASSIFICATION,
            metric="label",
            instruction="Which team should get this message?",
            labels=LABELS,
        ),
        documents=40,
        passages=112,
        split=split(),
        findings=findings(),
        answered=answered(),
        arms=(first, *made[1:]),
        skipped={"few-shot, 32 shots": "The prompt does not fit into the context window of 2,048 tokens."},
        comparisons=(
            comparison("LoRA", 0.167, 13, 3, 0.0213, 0.0639),
            comparison("zero-shot", -0.75, 0, 45, 5.7e-14, 1.7e-13),
            comparison("logistic regression on TF-IDF", -0.067, 5, 9, 0.424, 0.424),
        ),
        power=Power(n=N, smallest_difference=0.178, examples_for_3_points=1744, basis="20% of the examples disagree"),
        costs=costs(),
        requests_per_month=40_000,
        needed_score=0.8,
        verdict=verdict(),
        disagreements=disagreements(),
        provenance=provenance(),
        notes=("Token counts of the classical arm are zero by nature.",),
        learning_curve=learning_curve(),
        side_effects=side_effects(),
        routes=routes(),
    )


def without_new_facts(results: Results) -> Results:
    """The same results as they were before odds, learning curves, side effects and routes existed."""
    verdict = replace(results.verdict, odds=None, prior=None)
    return replace(results, verdict=verdict, learning_curve=None, side_effects=(), routes=())
