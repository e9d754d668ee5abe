"""Simulated worlds: their truth is right where it can be reckoned by hand, and the verdict is seldom wrong in them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

import verdict_facts
from benchmarks import verdicts, worlds
from finetune_advisor import verdict
from finetune_advisor.records import ArmResult, Cost, Decision, Task, TaskKind
from finetune_advisor.verdict import Facts

CERTAIN = dict.fromkeys(worlds.DRIVERS, 1.0)


def arm(name: str) -> ArmResult:
    """What was measured says nothing: the truth must not depend on it."""
    return verdict_facts.arm(name, [0.0, 1.0], tuned=name.startswith("tuned"))


def cost(name: str, usd_per_month: int, usd_one_off: int) -> Cost:
    return Cost(
        arm=name,
        usd_per_1000=Decimal(usd_per_month),
        usd_per_1000_uncached=Decimal(usd_per_month),
        usd_per_month=Decimal(usd_per_month),
        usd_training=Decimal(0),
        usd_one_off=Decimal(usd_one_off),
        break_even_requests=None,
        parts={"usd_per_month_input": Decimal(usd_per_month), "usd_one_off_tuning": Decimal(usd_one_off)},
        assumptions=(),
    )


def truth(
    scores: Mapping[str, float],
    costs: Mapping[str, tuple[int, int]],
    factors: Mapping[str, float] | None = None,
    tokens: Mapping[str, float] | None = None,
    **facts: Any,
) -> frozenset[str]:
    """For which tuned arms tuning is right; 1,000 requests a month over 10 months."""
    made = Facts(
        task=Task(kind=TaskKind.CLASSIFICATION, metric="label"),
        arms=tuple(arm(name) for name in scores),
        comparisons=(),
        power=None,
        costs=tuple(cost(name, *usd) for name, usd in costs.items()),
        findings=(),
        requests_per_month=1000,
        horizon_months=10,
        **facts,
    )
    shared: Any = {**CERTAIN, **(factors or {})}
    own = {name: 1.0 for name in scores} | dict(tokens or {})
    return worlds.judge(made, scores, worlds.Factors(shared=shared, tokens=own)).right_for


# A point of score is worth 1% of 10,000 requests at $1: $100. Tuning gains 10 points and costs $900 more.
PAYS: dict[str, Any] = {
    "scores": {"plain": 0.6, "tuned": 0.7},
    "costs": {"plain": (10, 0), "tuned": (10, 900)},
    "usd_per_right_answer": Decimal(1),
}


@pytest.mark.parametrize(
    ("changes", "right"),
    [
        ({}, True),
        ({"costs": {"plain": (10, 0), "tuned": (10, 1100)}}, False),
        ({"factors": {"hours": 1.2}}, False),
        ({"factors": {"value": 0.8}}, False),
        ({"factors": {"volume": 0.8}}, False),
        ({"tokens": {"tuned": 3.0}}, False),
        ({"tokens": {"tuned": 3.0, "plain": 3.0}}, True),
        ({"needed_score": 0.71}, False),
        ({"needed_score": 0.65, "costs": {"plain": (10, 0), "tuned": (10, 6000)}}, True),
        ({"scores": {"plain": 0.6, "other": 0.65, "tuned": 0.7}, "costs": {**PAYS["costs"], "other": (10, 0)}}, False),
        ({"usd_per_wrong_answer": Decimal(3)}, False),
    ],
)
def test_where_answers_have_a_value_tuning_is_right_where_it_brings_most(changes: dict[str, Any], right: bool) -> None:
    assert truth(**{**PAYS, **changes}) == ({"tuned"} if right else set[str]())


def test_where_answers_have_none_the_gain_has_to_be_worthwhile() -> None:
    costs = {"plain": (10, 0), "tuned 0": (10, 0), "tuned 1": (10, 0)}
    assert truth({"plain": 0.6, "tuned 0": 0.64, "tuned 1": 0.62}, costs) == {"tuned 0"}
    assert truth({"plain": 0.6, "tuned 0": 0.64, "tuned 1": 0.62}, costs, worthwhile_difference=0.05) == set()


def test_a_needed_score_counts_before_the_gain() -> None:
    costs = {"plain": (10, 0), "tuned": (5, 0)}
    assert truth({"plain": 0.6, "tuned": 0.61}, costs, needed_score=0.605) == {"tuned"}
    assert truth({"plain": 0.6, "tuned": 0.7}, costs, needed_score=0.8) == set()
    assert truth({"plain": 0.6, "tuned": 0.55}, costs, needed_score=0.5) == {"tuned"}
    assert truth({"plain": 0.6, "tuned": 0.9}, {"plain": (5, 0), "tuned": (10, 0)}, needed_score=0.5) == set()


def test_to_save_money_an_arm_has_to_be_as_good_and_cheaper() -> None:
    costs = {"plain": (100, 0), "weak": (1, 0), "tuned": (10, 500)}
    facts: dict[str, Any] = {"goal": "cost", "non_inferiority_margin": 0.02}
    assert truth({"plain": 0.7, "weak": 0.5, "tuned": 0.69}, costs, **facts) == {"tuned"}
    assert truth({"plain": 0.7, "weak": 0.5, "tuned": 0.67}, costs, **facts) == set()
    assert truth({"plain": 0.7, "weak": 0.69, "tuned": 0.7}, costs, **facts) == set()
    assert truth({"plain": 0.7, "weak": 0.5, "tuned": 0.7}, costs, factors={"hours": 1.9}, **facts) == set()


def test_answers_have_the_means_that_were_drawn() -> None:
    generator = worlds.numpy.random.default_rng(0)
    draw = worlds.answers
    for binary in (True, False):
        rows = draw(generator, [0.2, 0.9], 40_000, (), binary=binary)
        assert rows.mean(axis=1) == pytest.approx([0.2, 0.9], abs=0.01)
        assert rows.min() >= 0
        assert rows.max() <= 1
        assert worlds.numpy.corrcoef(rows)[0, 1] > 0.05


def test_near_duplicates_are_answered_alike() -> None:
    generator = worlds.numpy.random.default_rng(0)
    pairs = tuple(at // 2 for at in range(20_000))
    (row,) = worlds.answers(generator, [0.5], 20_000, pairs, binary=True)
    assert worlds.numpy.corrcoef(row[::2], row[1::2])[0, 1] > 0.3


def test_a_world_is_the_same_every_time_and_unlike_the_others() -> None:
    assert worlds.world(8) == worlds.world(8)
    assert worlds.world(8).facts.arms != worlds.world(12).facts.arms


def test_the_verdict_is_seldom_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_flips(_: object) -> tuple[str, ...]:
        return ()

    # They are most of the work, and decide nothing.
    monkeypatch.setattr(verdict, "flips", no_flips)
    outcomes = verdicts.simulate(150)
    found = verdicts.tally(outcomes)
    # About 1 in 100 is wrong either way over thousands of worlds; these 150 are always the same ones.
    assert found.wrong_go + found.wrong_no_go <= 8
    assert found.go >= 15
    assert found.no_go >= 15
    stated = sum(each.said[verdicts.FINETUNE_ADVISOR].p or 0.0 for each in outcomes) / len(outcomes)
    assert stated == pytest.approx(sum(each.right for each in outcomes) / len(outcomes), abs=0.1)
    text = verdicts.table(verdicts.summary(outcomes))
    assert "NOT YET" in text
    assert "stated p from" in text


def test_calibration_compares_with_the_arm_that_was_named() -> None:
    def outcome(p: float, *right: str) -> verdicts.Outcome:
        said = verdicts.Said(decision=Decision.NOT_YET, arm="tuned 0", p=p)
        return verdicts.Outcome(
            seed=0,
            n=30,
            goal="value",
            kind="pays",
            right=bool(right),
            right_for=frozenset(right),
            said={verdicts.FINETUNE_ADVISOR: said},
        )

    (low, high) = verdicts.calibration([outcome(0.55, "tuned 0"), outcome(0.58, "tuned 1"), outcome(1.0, "tuned 0")])
    assert (low.low, low.worlds, low.stated, low.observed) == (0.5, 2, pytest.approx(0.565), 0.5)
    assert (high.low, high.worlds, high.observed) == (0.9, 1, 1.0)


def test_a_wrong_go_is_one_for_an_arm_that_is_not_worth_it() -> None:
    def outcome(decision: Decision, *right: str) -> verdicts.Outcome:
        said = verdicts.Said(decision=decision, arm="tuned 0")
        return verdicts.Outcome(
            seed=0, n=30, goal="cost", kind="pays", right=bool(right), right_for=frozenset(right), said={"rule": said}
        )

    found = verdicts.tally(
        [
            outcome(Decision.GO, "tuned 0"),
            outcome(Decision.GO, "tuned 1"),
            outcome(Decision.NO_GO, "tuned 1"),
            outcome(Decision.NO_GO),
            outcome(Decision.NOT_YET, "tuned 0"),
        ],
        "rule",
    )
    assert (found.wrong_go, found.wrong_no_go, found.not_yet) == (1, 1, 1)
