"""The verdict: every branch of the rules on evidence made by the real statistics, and what must hold for any facts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_advisor import statistics
from finetune_advisor.errors import BadInput
from finetune_advisor.records import (
    ArmResult,
    Comparison,
    Cost,
    Decision,
    Finding,
    Interval,
    Power,
    Price,
    Task,
    TaskKind,
    Verdict,
)
from finetune_advisor.verdict import Facts, decide

D = Decimal
GO, NO_GO, NOT_YET = Decision.GO, Decision.NO_GO, Decision.NOT_YET


def arm(name: str, scores: list[float], **changes: Any) -> ArmResult:
    plain = ArmResult(
        name=name,
        approach="tuned" if name.startswith("lora") else "few_shot",
        model="m",
        settings={},
        tuned=name.startswith("lora"),
        simulated=False,
        metric="label",
        n=len(scores),
        score=sum(scores) / len(scores),
        interval=statistics.interval(scores, binary=True),
        example_ids=tuple(map(str, range(len(scores)))),
        scores=tuple(scores),
        failures=0,
        format_failures=0,
        wrong=scores.count(0.0),
        extras={},
        prompt_tokens=100,
        cached_tokens=0,
        completion_tokens=5,
        seconds=0.1,
        prefill_seconds=0.05,
    )
    return replace(plain, **changes)


def cost(name: str, usd_per_1000: str, once: str = "0", fixed: str = "0", assumptions: tuple[Price, ...] = ()) -> Cost:
    return Cost(
        arm=name,
        usd_per_1000=D(usd_per_1000),
        usd_per_1000_uncached=D(usd_per_1000),
        usd_per_month=D(usd_per_1000) * 10 + D(fixed),
        usd_training=D(once),
        usd_one_off=D(once),
        break_even_requests=None,
        parts={},
        assumptions=assumptions,
    )


def facts(arms: Mapping[str, ArmResult], **changes: Any) -> Facts:
    """Facts as an experiment makes them: every arm compared with the best untuned one, 10,000 requests a month."""
    best = max((each for each in arms.values() if not each.tuned), key=lambda each: each.score)
    rest = [each for each in arms.values() if each.name != best.name]
    compared = [statistics.compare(a.name, a.scores, best.name, best.scores, binary=True) for a in rest]
    plain = Facts(
        task=Task(kind=TaskKind.CLASSIFICATION, metric="label"),
        arms=tuple(arms.values()),
        comparisons=statistics.holm(compared),
        power=statistics.power(rest[0].scores, best.scores, binary=True, n=best.n),
        costs=(cost("lora", "1", once="100"), cost("few-shot", "1")),
        findings=(),
        requests_per_month=10_000,
    )
    return replace(plain, **changes)


def two(both: int, gained: int, lost: int, neither: int) -> dict[str, ArmResult]:
    """A tuned and an untuned arm by the four counts of a paired test."""
    tuned = [1.0] * (both + gained) + [0.0] * (lost + neither)
    untuned = [1.0] * both + [0.0] * gained + [1.0] * lost + [0.0] * neither
    return {"lora": arm("lora", tuned), "few-shot": arm("few-shot", untuned)}


BETTER = two(70, 25, 3, 2)
"""95% against 73% of 100."""
EQUAL = two(700, 10, 10, 280)
"""71% each of 1,000: a gain of 3 points is excluded."""
UNCLEAR = two(60, 12, 6, 22)
"""72% against 66% of 100: neither shown nor excluded."""
CHEAP = (cost("lora", "0.1", once="10"), cost("few-shot", "1"))
RIGHT = D("0.05")


@pytest.mark.parametrize(
    ("arms", "changes", "decision", "says"),
    [
        (BETTER, {}, GO, "Fine-tune: lora scores 95%"),
        (BETTER, {"usd_per_right_answer": RIGHT}, GO, "Fine-tune"),
        (BETTER, {"needed_score": 0.9}, GO, "Fine-tune"),
        (BETTER, {"needed_score": 0.6}, NO_GO, "few-shot reaches the needed 60%"),
        (BETTER, {"needed_score": 0.6, "usd_per_right_answer": RIGHT}, GO, "Fine-tune"),
        (BETTER, {"needed_score": 0.6, "costs": CHEAP}, GO, "Fine-tune"),
        (BETTER, {"needed_score": 0.97}, NOT_YET, "95% is short of the 97% that is needed"),
        (BETTER, {"usd_per_right_answer": D("0.0001")}, NO_GO, "does not pay"),
        (BETTER, {"usd_per_right_answer": D("0.0035")}, NOT_YET, "whether it pays is open"),
        (BETTER, {"usd_per_right_answer": D(1), "usd_per_wrong_answer": D(200)}, NO_GO, "does not pay"),
        (BETTER, {"usd_per_right_answer": D(1), "usd_per_wrong_answer": D(30)}, NOT_YET, "short of the 96.8%"),
        (BETTER, {"costs": ()}, GO, "Fine-tune"),
        (EQUAL, {}, NO_GO, "few-shot does as well"),
        (EQUAL, {"costs": ()}, NO_GO, "few-shot does as well"),
        (EQUAL, {"costs": CHEAP}, NOT_YET, "but it is cheaper"),
        (UNCLEAR, {}, NOT_YET, "too small to tell"),
        (two(66, 5, 1, 28), {"worthwhile_difference": 0.05}, NOT_YET, "too small to tell"),
        (EQUAL, {"goal": "cost", "costs": CHEAP}, GO, "costs less than few-shot"),
        (EQUAL, {"goal": "cost", "costs": CHEAP, "needed_score": 0.9}, NOT_YET, "71% is short of the 90%"),
        (EQUAL, {"goal": "cost"}, NO_GO, "saves nothing"),
        (EQUAL, {"goal": "cost", "costs": ()}, NOT_YET, "costs are not known"),
        (UNCLEAR, {"goal": "cost", "costs": CHEAP, "non_inferiority_margin": 0.01}, NOT_YET, "not excluded"),
        (two(300, 10, 100, 90), {"goal": "cost", "costs": CHEAP}, NO_GO, "saves nothing"),
        (BETTER, {"goal": "cost", "costs": CHEAP}, GO, "costs less"),
    ],
)
def test_every_rule(arms: Mapping[str, ArmResult], changes: dict[str, Any], decision: Decision, says: str) -> None:
    verdict = decide(facts(arms, **changes))
    assert (verdict.decision, says in verdict.headline) == (decision, True), verdict
    assert (verdict.best_tuned, verdict.best_untuned) == ("lora", "few-shot")
    assert verdict.reasons and verdict.next_step


def leak(severity: Literal["error", "warning"], code: str = "leak_exact") -> Finding:
    return Finding(file="test.jsonl", line=3, code=code, severity=severity, message="")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (facts({**BETTER, "lora": replace(BETTER["lora"], simulated=True)}), "no real model answered for lora"),
        (facts(EQUAL | {"few-shot": replace(EQUAL["few-shot"], simulated=True)}), "no real model answered"),
        (facts(BETTER, findings=(leak("error"),)), "found 1 such leak"),
        (facts(BETTER, findings=(leak("error", "examples_in_corpus"),)), "found 1 such leak"),
        (facts({**BETTER, "lora": replace(BETTER["lora"], touches=3)}), "used 3 times for lora"),
        (facts({**BETTER, "few-shot": replace(BETTER["few-shot"], touches=2)}), "used 2 times for few-shot"),
        (facts(two(14, 12, 0, 2)), "only 28 of at least 30"),
        (replace(facts(BETTER), arms=(BETTER["few-shot"],)), "no tuned arm was run"),
        (replace(facts(BETTER), arms=(BETTER["lora"],)), "nothing was run without tuning"),
        (facts(BETTER, comparisons=()), "the arms were not compared"),
        (replace(facts(BETTER), arms=(), comparisons=()), "no tuned arm was run"),
    ],
)
def test_hard_stops_decide_nothing_and_say_what_mends_them(changed: Facts, says: str) -> None:
    verdict = decide(changed)
    assert verdict.decision is NOT_YET
    assert says in verdict.headline
    assert verdict.next_step in verdict.flips


def test_an_underpowered_difference_says_how_many_more_examples_are_needed() -> None:
    changed = facts(UNCLEAR)
    needed = re.search(r"about ([\d,]+) would show a difference of 3 points", decide(changed).next_step)
    assert changed.power is not None and needed is not None
    assert int(needed[1].replace(",", "")) == changed.power.examples_for_3_points
    five = decide(replace(changed, worthwhile_difference=0.05)).next_step
    scaled = re.search(r"about ([\d,]+) would show a difference of 5 points", five)
    assert scaled is not None
    disagree = sum(a != b for a, b in zip(UNCLEAR["lora"].scores, UNCLEAR["few-shot"].scores, strict=True)) / 100
    exact = statistics.required_examples(0.05, disagree)
    assert int(scaled[1].replace(",", "")) == pytest.approx(exact, rel=0.1)


def test_a_significant_but_small_gain_is_not_a_go() -> None:
    verdict = decide(facts(two(5000, 100, 40, 860)))
    assert verdict.decision is NO_GO
    assert "If a gain of 0.6 points were worth having, the answer would be GO." in verdict.flips


def test_that_no_language_model_is_the_best_alternative_is_said_plainly() -> None:
    arms = {**EQUAL, "few-shot": replace(EQUAL["few-shot"], approach="classical")}
    verdict = decide(facts(arms))
    assert "no language model at all" in verdict.headline
    assert any("uses no language model at all" in reason for reason in verdict.reasons)


def test_a_baseline_that_fails_on_form_is_a_caution_and_the_first_thing_to_mend() -> None:
    arms = {**BETTER, "few-shot": replace(BETTER["few-shot"], format_failures=20, wrong=7)}
    verdict = decide(facts(arms))
    assert verdict.decision is GO
    assert "lost most of its points to form: 20 of 100" in verdict.cautions[0]
    assert "91.2%" in verdict.cautions[0]
    assert "constrained output" in verdict.next_step


def test_the_volume_under_which_tuning_does_not_pay_is_the_one_where_the_money_turns() -> None:
    """By hand: 22 points x $0.05 = $0.011 a request; $1,200 over 12 months is $100 a month: 9,091 requests."""
    paid = facts(BETTER, usd_per_right_answer=RIGHT, costs=(cost("lora", "1", once="1200"), cost("few-shot", "1")))
    verdict = decide(paid)
    assert verdict.decision is GO
    assert "If fewer than 9,091 requests a month came in, the answer would be NOT YET." in verdict.flips
    assert "Over 12 months tuning brings $120 all told" in verdict.reasons[2]
    below = replace(paid, requests_per_month=9_090, costs=tuple(at_volume(each, 9_090) for each in paid.costs))
    assert decide(below).decision is NOT_YET


def at_volume(each: Cost, volume: int) -> Cost:
    return replace(each, usd_per_month=each.usd_per_1000 * volume / 1000)


def test_the_volume_from_which_a_saving_pays_is_said() -> None:
    """By hand: $0.0009 saved a request, $1,000 once: 12 x 10,000 x 0.0009 = $108 is too little; 92,593 a month pay."""
    costs = (cost("lora", "0.1", once="1000"), cost("few-shot", "1"))
    verdict = decide(facts(EQUAL, goal="cost", costs=costs))
    assert verdict.decision is NO_GO
    assert "If more than 92,593 requests a month came in, the answer would be GO." in verdict.flips


def test_what_a_right_answer_must_be_worth_is_said_where_nobody_told() -> None:
    """By hand: $100 / (22 points x 120,000 requests) = $0.00379 a right answer."""
    flips = decide(facts(BETTER)).flips
    assert "If a right answer were worth less than $0.0037, the answer would be NOT YET." in flips
    assert not any("worth more" in flip for flip in flips)


def test_the_quality_at_which_an_untuned_arm_would_do_is_said() -> None:
    verdict = decide(facts(BETTER))
    assert "If 63.5% were good enough, so that few-shot alone would do, the answer would be NO-GO." in verdict.flips
    assert "If more than 95% were needed, the answer would be NOT YET." in verdict.flips


def test_values_of_answers_set_the_lowest_quality_as_openai_published_it() -> None:
    """+20 for a success, -88 for a failure: 81.48% right answers are needed at least (published results A5)."""
    paid = facts(BETTER, usd_per_right_answer=D(20), usd_per_wrong_answer=D(88))
    assert paid.floor == pytest.approx(0.8148, abs=5e-5)
    assert decide(paid).decision is GO
    weak = facts(two(300, 60, 5, 135), usd_per_right_answer=D(20), usd_per_wrong_answer=D(88))
    assert decide(weak).decision is NO_GO


def test_to_save_money_the_cheapest_arm_that_is_as_good_is_taken_and_has_to_undercut_untuned_ones_too() -> None:
    arms = {**EQUAL, "lora-small": replace(EQUAL["lora"], name="lora-small")}
    costs = (*CHEAP, cost("lora-small", "0.05", once="1"))
    assert decide(facts(arms, goal="cost", costs=costs)).best_tuned == "lora-small"
    rival = {**arms, "zero-shot": replace(EQUAL["few-shot"], name="zero-shot")}
    verdict = decide(facts(rival, goal="cost", costs=(*costs, cost("zero-shot", "0.01"))))
    assert verdict.decision is NO_GO
    assert "zero-shot" in verdict.headline


def test_cautions_name_assumed_prices_missing_labour_and_unanswered_requests() -> None:
    guess = Price(name="cpu", value=D("0.10"), unit="usd_per_hour", source="", checked="", basis="assumed")
    arms = {**BETTER, "zero-shot": replace(UNCLEAR["few-shot"], name="zero-shot", failures=4, touches=2)}
    costs = (cost("lora", "1", assumptions=(guess,)), cost("few-shot", "1"))
    text = " ".join(decide(facts(arms, costs=costs, findings=(leak("warning", "leak_near"),))).cautions)
    assert "cpu (0.10 usd_per_hour)" in text
    assert "No hours of work were counted" in text
    assert "zero-shot gave no answer to 4 of 100" in text
    assert "zero-shot has been run 2 times" in text
    assert "found 1 examples" in text
    worked = replace(guess, name="labour", unit="hours", value=D(8), basis="user")
    counted = decide(facts(BETTER, costs=(cost("lora", "1", assumptions=(worked,)), cost("few-shot", "1"))))
    assert "No hours" not in " ".join(counted.cautions)


def test_a_go_that_may_lose_money_or_miss_the_need_is_cautioned() -> None:
    text = " ".join(decide(facts(BETTER, needed_score=0.92, usd_per_right_answer=D("0.005"))).cautions)
    assert "reaches down to 88.8%, under the 92% that is needed" in text
    assert "At the lower end of the interval tuning would lose" in text


@pytest.mark.parametrize(
    "changes",
    [
        {"needed_score": 1.1},
        {"worthwhile_difference": -0.1},
        {"requests_per_month": -1},
        {"horizon_months": 0},
        {"usd_per_right_answer": D(-1)},
    ],
)
def test_impossible_facts_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        facts(BETTER, **changes)


shares = st.floats(0, 1)
usd = st.decimals(0, 10_000, places=6)
counts = st.integers(1, 5000)


@st.composite
def any_arm(draw: st.DrawFn, name: str) -> ArmResult:
    n = draw(st.integers(1, 500))
    low, score, high = sorted(draw(st.tuples(shares, shares, shares)))
    made = arm(name, [1.0], tuned=draw(st.booleans()), simulated=draw(st.sampled_from([False, False, False, True])))
    made = replace(made, format_failures=draw(st.integers(0, n)), touches=draw(st.sampled_from([1, 1, 1, 2])))
    return replace(made, n=n, score=score, interval=Interval(low=low, high=high))


@st.composite
def any_facts(draw: st.DrawFn) -> Facts:
    names = draw(st.lists(st.sampled_from("abcde"), unique=True, max_size=4))
    arms = tuple(draw(any_arm(name)) for name in names)
    baseline = max((each for each in arms if not each.tuned), key=lambda each: each.score, default=None)
    compared: list[Comparison] = []
    for each in arms if baseline else ():
        assert baseline is not None
        low, difference, high = sorted(draw(st.tuples(*[st.floats(-1, 1)] * 3)))
        compared.append(
            Comparison(
                arm=each.name,
                baseline=baseline.name,
                n=draw(counts),
                difference=difference,
                interval=Interval(low=low, high=high),
                p_value=0.01,
                p_adjusted=draw(st.sampled_from([0.001, 0.049, 0.05, 0.8])),
                test="",
                gained=1,
                lost=1,
            )
        )
    priced = draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    return Facts(
        task=Task(kind=TaskKind.CLASSIFICATION, metric="label"),
        arms=arms,
        comparisons=tuple(compared),
        power=draw(
            st.none()
            | st.builds(Power, n=counts, smallest_difference=shares, examples_for_3_points=counts, basis=st.just("x"))
        ),
        costs=tuple(cost(name, str(draw(usd)), str(draw(usd)), str(draw(usd))) for name in priced),
        findings=draw(st.sampled_from([(), (), (leak("warning"),), (leak("error"),)])),
        requests_per_month=draw(st.integers(0, 10**9)),
        goal=draw(st.sampled_from(["quality", "cost"])),
        needed_score=draw(st.none() | shares),
        worthwhile_difference=draw(shares),
        non_inferiority_margin=draw(shares),
        usd_per_right_answer=draw(st.none() | usd),
        usd_per_wrong_answer=draw(st.none() | usd),
        horizon_months=draw(st.integers(1, 120)),
    )


@given(any_facts())
def test_any_facts_get_the_same_well_founded_verdict_every_time(some: Facts) -> None:
    verdict = decide(some)
    assert verdict == decide(some)
    assert all(flip.startswith("If ") for flip in verdict.flips) or verdict.next_step in verdict.flips
    if verdict.decision is not NOT_YET:
        assert_founded(some, verdict)


def assert_founded(some: Facts, verdict: Verdict) -> None:
    arms = {each.name: each for each in some.arms}
    tuned, untuned = arms[verdict.best_tuned or ""], arms[verdict.best_untuned or ""]
    compared = next(each for each in some.comparisons if each.arm == tuned.name)
    assert not any(each.simulated for each in some.arms)
    assert tuned.touches == untuned.touches == 1
    assert compared.n >= some.minimum_test_rows
    if verdict.decision is GO and some.goal == "quality":
        assert compared.p_adjusted < 0.05 and compared.interval.low > 0
    if verdict.decision is GO:
        assert tuned.score >= (some.needed_score or 0)


@given(st.integers(0, 300), st.integers(0, 60), st.integers(0, 60), st.integers(0, 300))
def test_an_inconclusive_comparison_is_never_a_rejection(both: int, gained: int, lost: int, neither: int) -> None:
    if both + gained + lost + neither < 30:
        return
    some = facts(two(both, gained, lost, neither))
    low, high = some.comparisons[0].interval.low, some.comparisons[0].interval.high
    if low <= 0 and high >= some.worthwhile_difference:
        assert decide(some).decision is NOT_YET
