"""Published cases have to come out right: each with its source, put through the cost model and the verdict.

Papers print means, not answers. What was assumed to make evidence of them: every answer is right or wrong (for graded
metrics such as BLEU and ROUGE the widest spread that a mean allows), errors of two arms are independent, and the
number of test examples is the published one or, where that is not known, `ASSUMED`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from finetune_advisor import statistics
from finetune_advisor.costs import model, prices
from finetune_advisor.costs.model import Extra
from finetune_advisor.records import ArmResult, Decision, Interval, Task, TaskKind, TrainingRun
from finetune_advisor.verdict import Facts, decide

D = Decimal
GO, NO_GO, NOT_YET = Decision.GO, Decision.NO_GO, Decision.NOT_YET
ASSUMED = 1000
"""Test examples where the published number is not known."""


def arm(name: str, score: float, n: int = ASSUMED, **changes: Any) -> ArmResult:
    """An arm with simulated answers of the published mean; those whose name starts with FT are tuned."""
    right = round(score * n)
    scores = [1.0] * right + [0.0] * (n - right)
    random.Random(name).shuffle(scores)
    values: dict[str, Any] = {"seconds": 0.1, "prefill_seconds": 0.05} | changes
    return ArmResult(
        name=name,
        approach="tuned" if name.startswith("FT") else "few_shot",
        model="m",
        settings={},
        tuned=name.startswith("FT"),
        simulated=False,
        metric="label",
        n=n,
        score=right / n,
        interval=Interval(low=0, high=1),
        example_ids=tuple(map(str, range(n))),
        scores=tuple(scores),
        failures=0,
        format_failures=0,
        wrong=n - right,
        extras={},
        prompt_tokens=100,
        cached_tokens=0,
        completion_tokens=5,
        **values,
    )


def facts(scores: Mapping[str, float], n: int = ASSUMED, **changes: Any) -> Facts:
    """Each arm compared with the best untuned one; nothing is said about money unless in `changes`."""
    arms = [arm(name, score, n) for name, score in scores.items()]
    best = max((each for each in arms if not each.tuned), key=lambda each: each.score)
    rest = [each for each in arms if each is not best]
    compared = [statistics.compare(a.name, a.scores, best.name, best.scores, binary=True) for a in rest]
    tuned = next(each for each in arms if each.tuned)
    given: dict[str, Any] = {
        "task": Task(kind=TaskKind.CLASSIFICATION, metric="label"),
        "arms": tuple(arms),
        "comparisons": statistics.holm(compared),
        "power": statistics.power(tuned.scores, best.scores, binary=True, n=n),
        "costs": (),
        "findings": (),
        "requests_per_month": 10_000,
    }
    return Facts(**given | changes)


def test_openais_guide_breaks_even_at_81_percent() -> None:
    """OpenAI, Optimizing LLM accuracy: +20 a success, -40 an escalation, -1,000 a lost customer (1 failure in 20)."""
    failure = D("0.95") * 40 + D("0.05") * 1000
    paid = facts({"prompt": 0.7, "FT": 0.8}, usd_per_right_answer=D(20), usd_per_wrong_answer=failure)
    assert paid.floor == pytest.approx(0.8148, abs=5e-5)
    assert 815 * 20 - D("175.75") * 40 - D("9.25") * 1000 == 20
    assert 815 * D(20) - 185 * failure == 20


FLOPS_TUNED, FLOPS_TRAINING = 11e9 * 103, 3 * 11e9 * 1000 * 8 * 103
SHOTS = 41 * 98
"""Liu et al. 2022: 103 tokens a query, 41 demonstrations of 98; an encoder-decoder uses each weight for half of the
tokens, so N FLOPs a token to answer and 3 N to train; 2 N for GPT-3. A trillion FLOPs stand for a second and a dollar.
"""


def flops(parameters: float, tokens: int) -> float:
    return 2 * parameters * tokens


@pytest.mark.parametrize(("parameters", "queries"), [(175e9, 18.9), (13e9, 257), (6.7e9, 503)])
def test_t_few_breaks_even_with_few_shot_gpt_3_after_few_queries(parameters: float, queries: float) -> None:
    """Liu et al. 2022, arXiv 2205.05638, Table 1; the break-even is computed in published results A1."""
    run = TrainingRun(
        adapter="",
        base="",
        options={},
        examples=50,
        steps=1000,
        best_step=1000,
        tokens=1000 * 8 * 103,
        trainable_parameters=1,
        seconds=FLOPS_TRAINING / 1e12,
    )
    tuned = arm("FT", 0.724, seconds=FLOPS_TUNED / 1e12, prefill_seconds=0.0, training=run)
    few_shot = arm("GPT-3", 0.666, seconds=flops(parameters, SHOTS + 103) / 1e12, prefill_seconds=0.0)
    hour = prices.given("FLOPs", "3600", "usd_per_hour")
    machine = model.MachinePricing(usd_per_hour=hour, utilisation=prices.given("all", "1", "share"))
    priced = model.cost(tuned, model.MoneyAssumptions(requests_per_month=1000, machine=machine), few_shot)
    assert priced.break_even_requests is not None
    assert 0 <= priced.break_even_requests - queries < 1


@pytest.mark.parametrize(("parameters", "queries"), [(175e9, 738), (13e9, 17_532), (6.7e9, 109_782)])
def test_a_cached_prefix_moves_the_break_even_by_orders_of_magnitude(parameters: float, queries: int) -> None:
    """The same with the 41 demonstrations read once (published results A1)."""
    more = Extra(
        usd_per_request=D(FLOPS_TUNED - flops(parameters, 103)),
        usd_fixed_per_month=D(0),
        usd_one_off=D(FLOPS_TRAINING - flops(parameters, SHOTS)),
    )
    assert more.usd_one_off / -more.usd_per_request == pytest.approx(queries, abs=1)
    found = more.break_even_requests(1000)
    assert found is not None and abs(found - queries) <= 1


ICELANDIC = {"zero-shot": 0.62, "few-shot": 0.70, "FT GPT-3.5": 0.78, "FT GPT-4": 0.87, "FT GPT-4 + RAG": 0.83}
"""OpenAI, Optimizing LLM accuracy: BLEU on the Icelandic errors corpus; the number of test examples is not given."""


def test_the_icelandic_table_is_a_go_for_the_tuned_model_without_retrieval() -> None:
    found = decide(facts(ICELANDIC))
    assert (found.decision, found.best_tuned, found.best_untuned) == (GO, "FT GPT-4", "few-shot")


def test_the_icelandic_order_is_kept() -> None:
    given = facts(ICELANDIC)
    ranked = sorted(given.arms, key=lambda each: -each.score)
    assert [each.name for each in ranked] == ["FT GPT-4", "FT GPT-4 + RAG", "FT GPT-3.5", "few-shot", "zero-shot"]
    differences = {each.arm: each.interval for each in given.comparisons}
    assert all(differences[name].low > 0 for name in ICELANDIC if name.startswith("FT"))
    assert differences["zero-shot"].high < 0


def test_the_icelandic_table_on_the_guides_twenty_questions_would_tell_nothing() -> None:
    assert decide(facts(ICELANDIC, n=20)).decision is NOT_YET


@pytest.mark.parametrize(
    ("base", "rag", "tuned", "tuned_rag"),
    [(0.481, 0.875, 0.588, 0.830), (0.353, 0.585, 0.392, 0.520), (0.456, 0.876, 0.566, 0.826)],
    ids=["Mistral 7B", "Llama2 7B", "Orca2 7B"],
)
def test_new_facts_are_for_retrieval_as_ovadia_found(base: float, rag: float, tuned: float, tuned_rag: float) -> None:
    """Ovadia et al. 2023, arXiv 2312.05934: 910 questions on current events, the better of the two ways to tune."""
    found = decide(facts({"zero-shot": base, "RAG": rag, "FT": tuned, "FT + RAG": tuned_rag}, n=910))
    assert (found.decision, found.best_untuned) == (NO_GO, "RAG")
    without = decide(facts({"zero-shot": base, "FT": tuned}, n=910))
    assert without.decision in (GO, NOT_YET), "without retrieval among the arms, tuning would have looked better"


@pytest.mark.parametrize("rag", [0.78, 0.80, 0.82])
def test_in_agriculture_tuning_alone_is_no_go_over_retrieval(rag: float) -> None:
    """Balaguer et al. 2024, arXiv 2401.08406: GPT-4 75%, tuned 81%. That RAG alone has 80% is not verified."""
    found = decide(facts({"GPT-4": 0.75, "RAG": rag, "FT": 0.81}))
    assert (found.decision is GO, found.best_untuned) == (False, "RAG")


def test_in_agriculture_tuning_and_retrieval_add_up() -> None:
    """The same: 86% with both, 5 points over tuning alone."""
    found = decide(facts({"GPT-4": 0.75, "FT": 0.81, "FT + RAG": 0.86}))
    assert (found.decision, found.best_tuned) == (GO, "FT + RAG")


@pytest.mark.parametrize(
    ("task", "base", "gpt35", "gpt4", "tuned", "decision"),
    [
        ("conllpp", 0.148, 0.810, 0.742, 0.986, GO),
        ("bc5cdr", 0.177, 0.732, 0.890, 0.972, GO),
        ("viggo", 0.044, 0.372, 0.374, 0.483, GO),
        ("webnlg", 0.091, 0.581, 0.583, 0.681, GO),
        ("jigsaw", 0.475, 0.735, 0.754, 0.849, GO),
        ("drop", 0.011, 0.119, 0.393, 0.705, GO),
        ("wikisql", 0.265, 0.887, 0.909, 0.669, NO_GO),
        ("magicoder", 0.201, 0.683, 0.829, 0.335, NO_GO),
        ("mmlu", 0.402, 0.504, 0.774, 0.561, NO_GO),
        ("arc_combined", 0.573, 0.926, 0.947, 0.915, NO_GO),
    ],
)
def test_lora_land_is_a_go_for_form_and_none_for_knowledge(
    task: str, base: float, gpt35: float, gpt4: float, tuned: float, decision: Decision
) -> None:
    """LoRA Land, arXiv 2405.00732, Table 12, Mistral-7B: against its base and prompted hosted models."""
    found = decide(facts({"base": base, "GPT-3.5": gpt35, "GPT-4": gpt4, "FT": tuned}))
    assert found.decision is decision, task
    over_base_alone = decide(facts({"base": base, "FT": tuned}))
    assert over_base_alone.decision is GO, "over a base that fails on form, tuning always looks right"
