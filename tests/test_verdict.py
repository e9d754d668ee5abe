"""The verdict: every branch of the rules on evidence made by the real statistics, and what must hold for any facts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_advisor import statistics
from finetune_advisor.errors import BadInput
from finetune_advisor.records import (
    ArmResult,
    Decision,
    Finding,
    Odds,
    Power,
    Price,
    Task,
    TaskKind,
    Verdict,
)
from finetune_advisor.verdict import Facts, Stop, decide
from verdict_facts import BETTER, CHEAP, EQUAL, RIGHT, UNCLEAR, arm, cost, facts, spread, two

D = Decimal
GO, NO_GO, NOT_YET = Decision.GO, Decision.NO_GO, Decision.NOT_YET


@pytest.mark.parametrize(
    ("arms", "changes", "decision", "says"),
    [
        (BETTER, {}, GO, "Fine-tune: lora scores 95%"),
        (BETTER, {"usd_per_right_answer": RIGHT}, GO, "Fine-tune"),
        (BETTER, {"needed_score": 0.9}, GO, "Fine-tune"),
        (BETTER, {"needed_score": 0.6}, NO_GO, "few-shot reaches the needed 60%"),
        (BETTER, {"needed_score": 0.6, "usd_per_right_answer": RIGHT}, GO, "Fine-tune"),
        (BETTER, {"needed_score": 0.6, "costs": CHEAP}, GO, "Fine-tune"),
        (BETTER, {"needed_score": 0.97}, NOT_YET, "tuning helps, but lora scores 95%, which is short of the 97%"),
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
        (
            EQUAL,
            {"goal": "cost", "costs": CHEAP, "needed_score": 0.9},
            NOT_YET,
            "tuning would save money, but lora scores 71%, which is short of the 90%",
        ),
        (EQUAL, {"goal": "cost"}, NO_GO, "saves nothing"),
        (EQUAL, {"goal": "cost", "costs": ()}, NOT_YET, "costs are not known"),
        (two(60, 8, 9, 23), {"goal": "cost", "costs": CHEAP}, NOT_YET, "not excluded"),
        (two(300, 10, 100, 90), {"goal": "cost", "costs": CHEAP}, NO_GO, "62%, not as good as the 80% of few-shot"),
        (BETTER, {"goal": "cost", "costs": CHEAP}, GO, "costs less"),
    ],
)
def test_every_rule_of_quality_and_cost(
    arms: Mapping[str, ArmResult], changes: dict[str, Any], decision: Decision, says: str
) -> None:
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
        (replace(facts(BETTER), arms=(BETTER["few-shot"],), costs=()), "no tuned arm was run"),
        (replace(facts(BETTER), arms=(BETTER["lora"],), costs=()), "nothing was run without tuning"),
        (facts(BETTER, comparisons=()), "the arms were not compared"),
        (replace(facts(BETTER), arms=(), comparisons=(), costs=()), "no tuned arm was run"),
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


def turning_points(verdict: Verdict, pattern: str) -> list[tuple[float, Decision]]:
    """The values and the answers of the flips that match, with commas, dollar signs and percent signs taken away."""
    text = pattern.replace("#", r"\$?([\d,.]+)%?") + r".*, the answer would be (GO|NO-GO|NOT YET)\."
    found = [re.fullmatch(text, flip) for flip in verdict.flips]
    return [(float(each[1].replace(",", "")), Decision(each[2])) for each in found if each]


def test_a_significant_but_small_gain_is_not_a_go() -> None:
    """1 point, 0.2 either way: at 90% a gain of 0.74 points is shown (1 - 1.28 x 0.197)."""
    verdict = decide(facts(two(5000, 100, 40, 860)))
    assert verdict.decision is NO_GO
    shown = dict((answer, value) for value, answer in turning_points(verdict, "If a gain of # points were worth"))
    assert shown[GO] == pytest.approx(0.74, abs=0.06)


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
    """By hand: 22 points x $0.05 = $0.011 a request; $600 over 12 months is $50 a month: 4,545 requests in the middle.

    Between the volumes from which it is a GO and under which it is a NO-GO lies that one; both are judged again.
    """
    costs = (cost("lora", "1", once="600"), cost("few-shot", "1"))
    paid = facts(BETTER, usd_per_right_answer=RIGHT, costs=costs)
    verdict = decide(paid)
    assert verdict.decision is GO
    assert "at the measured scores and the likely figures, tuning brings $720" in verdict.reasons[2]
    (open_under, first), (under, last) = turning_points(verdict, "If fewer than # requests a month came in")
    assert (first, last) == (NOT_YET, NO_GO)
    assert under < 4_545 < open_under < 10_000
    for volume, decision in ((open_under + 400, GO), (open_under - 1, NOT_YET), (under - 1, NO_GO)):
        assert decide(at_volume(paid, round(volume))).decision is decision


def at_volume(some: Facts, volume: int) -> Facts:
    costs = tuple(replace(each, usd_per_month=each.usd_per_1000 * volume / 1000) for each in some.costs)
    return replace(some, requests_per_month=volume, costs=costs)


def test_the_volume_from_which_a_saving_pays_is_said() -> None:
    """By hand: $0.0009 saved a request, $1,000 once: 12 x 10,000 x 0.0009 = $108 is too little; 92,593 a month pay."""
    costs = (cost("lora", "0.1", once="1000"), cost("few-shot", "1"))
    verdict = decide(facts(EQUAL, goal="cost", costs=costs))
    assert verdict.decision is NO_GO
    assert "If more than 93,000 requests a month came in (instead of 10,000), the answer would be GO." in verdict.flips


def test_what_a_right_answer_must_be_worth_is_said_where_nobody_told() -> None:
    """By hand: $100 / (22 points x 120,000 requests) = $0.00379 is where it pays in half of the draws."""
    some = facts(BETTER)
    ((value, answer),) = turning_points(decide(some), "If a right answer were worth less than #")
    assert answer is NO_GO and value < 0.00379
    assert decide(replace(some, usd_per_right_answer=D(str(value)))).decision is NO_GO
    assert decide(replace(some, usd_per_right_answer=D("0.00379"))).decision is NOT_YET


def test_the_quality_at_which_an_untuned_arm_would_do_is_said() -> None:
    """73 of 100 right: Jeffreys' posterior puts its 10% point at 67%."""
    some = facts(BETTER)
    ((enough, answer),) = turning_points(decide(some), "If # were good enough")
    assert (answer, enough) == (NO_GO, pytest.approx(67, abs=0.6))
    assert decide(replace(some, needed_score=enough / 100)).decision is NO_GO
    ((needed, answer),) = turning_points(decide(some), "If more than # were needed")
    assert answer is NOT_YET and 90 < needed < 95
    stated = decide(replace(some, needed_score=0.6))
    assert next(answer for _, answer in turning_points(stated, "If more than # were needed")) is NOT_YET


def test_a_probability_that_would_be_enough_is_said_where_none_is() -> None:
    verdict = decide(facts(UNCLEAR))
    assert verdict.odds is not None
    said = next(flip for flip in verdict.flips if "probability" in flip)
    assert said.startswith(f"If a probability of {int(100 * verdict.odds.p_tuning)}% were enough (90% asked for)")
    assert decide(facts(UNCLEAR, confidence=int(100 * verdict.odds.p_tuning) / 100)).decision is GO


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
    assert re.search(r"reaches down to 8\d\.\d%, under the 92% that is needed", text)
    assert "At the lower end of what may be true tuning would lose" in text


SLOW = {**BETTER, "lora": replace(BETTER["lora"], seconds=3.0)}
FAST = {**EQUAL, "lora": replace(EQUAL["lora"], seconds=0.02)}
AS_GOOD = two(60, 8, 9, 23)
FAST_UNCLEAR = {**AS_GOOD, "lora": replace(AS_GOOD["lora"], seconds=0.02)}


@pytest.mark.parametrize(
    ("arms", "changes", "decision", "says"),
    [
        (FAST, {"goal": "speed"}, GO, "answers in 0.02 s, few-shot in 0.1 s"),
        (EQUAL, {"goal": "speed"}, NO_GO, "not faster than few-shot"),
        (AS_GOOD, {"goal": "speed"}, NO_GO, "not faster"),
        (FAST_UNCLEAR, {"goal": "speed"}, NOT_YET, "tuning may be faster"),
        (SLOW, {"latency_seconds": 2.0}, NO_GO, "lora takes 3 s to answer, and 2 s are allowed"),
        (SLOW, {"latency_seconds": 4.0}, GO, "Fine-tune"),
        (EQUAL, {"goal": "privacy"}, NO_GO, "few-shot reaches"),
        (EQUAL, {"goal": "privacy", "costs": CHEAP}, GO, "for less than few-shot"),
        (BETTER, {"goal": "privacy", "needed_score": 0.85}, GO, "only tuning reaches what is needed"),
        (BETTER, {"goal": "privacy", "needed_score": 0.85, "usd_per_right_answer": D("0.0001")}, GO, "only tuning"),
        (two(300, 100, 5, 95), {"goal": "cost", "needed_score": 0.75}, GO, "only tuning reaches what is needed"),
        (BETTER, {"confidence": 0.999999}, GO, "Fine-tune"),
        (UNCLEAR, {"confidence": 0.6}, GO, "Fine-tune"),
        (two(60, 6, 12, 22), {"confidence": 0.6}, NO_GO, "few-shot does better"),
    ],
)
def test_every_rule_of_speed_privacy_and_confidence(
    arms: Mapping[str, ArmResult], changes: dict[str, Any], decision: Decision, says: str
) -> None:
    verdict = decide(facts(arms, **changes))
    assert (verdict.decision, says in verdict.headline) == (decision, True), verdict


def outside(*names: str, final: bool = False) -> Stop:
    return Stop(reason="the data may not leave the house.", mend="Run a model of your own.", arms=names, final=final)


def test_a_stop_leaves_the_other_arms_in_the_race_and_ends_it_where_none_is_left() -> None:
    arms = {**BETTER, "lora-open": replace(UNCLEAR["lora"], name="lora-open")}
    costs = (*facts(arms).costs, cost("lora-open", "1"))
    verdict = decide(facts(arms, costs=costs, stops=(outside("lora"),)))
    assert verdict.best_tuned == "lora-open"
    assert "lora left out of the choice: the data may not leave the house." in verdict.cautions
    none_left = decide(facts(arms, costs=costs, stops=(outside("lora", "lora-open"),)))
    assert (none_left.decision, none_left.odds, none_left.flips) == (NOT_YET, None, ("Run a model of your own.",))
    final = decide(facts(arms, costs=costs, stops=(outside("lora", final=True), outside("lora-open", final=True))))
    assert final.decision is NO_GO
    assert final.headline == "Do not fine-tune: the data may not leave the house."
    one_final = decide(facts(arms, costs=costs, stops=(outside("lora", final=True), outside("lora-open"))))
    assert one_final.decision is NOT_YET


def test_for_privacy_the_arm_that_may_not_be_used_still_sets_what_is_needed() -> None:
    arms = {
        **two(60, 10, 5, 25),
        "api": replace(two(60, 10, 5, 25)["few-shot"], name="api", scores=(1.0,) * 90 + (0.0,) * 10, score=0.9),
    }
    stopped = facts(arms, goal="privacy", stops=(outside("api"),), costs=())
    verdict = decide(stopped)
    assert verdict.decision is NO_GO
    assert "short of the 8" in verdict.headline
    assert decide(replace(stopped, needed_score=0.5)).headline.startswith("Do not fine-tune: few-shot reaches")


@pytest.mark.parametrize(
    "changes",
    [
        {"needed_score": 1.1},
        {"worthwhile_difference": -0.1},
        {"requests_per_month": -1},
        {"requests_per_month": 0},
        {"horizon_months": 0},
        {"usd_per_right_answer": D(-1)},
        {"usd_per_wrong_form": D(-1)},
        {"usd_per_no_answer": D(-1)},
        {"usd_per_label": D("NaN")},
        {"costs": (cost("lora", "-1"),)},
        {"costs": (cost("lora", "1"), cost("stranger", "1"))},
        {"costs": (replace(cost("lora", "1"), parts={"usd_per_month_magic": D(10)}), cost("few-shot", "1"))},
        {"costs": (replace(cost("lora", "1"), parts={"usd_per_month_input": D(11)}), cost("few-shot", "1"))},
        {"arms": (BETTER["lora"], BETTER["lora"])},
        {"arms": (BETTER["lora"], replace(BETTER["few-shot"], scores=()))},
        {"arms": (BETTER["lora"], EQUAL["few-shot"])},
        {"arms": (BETTER["lora"], replace(BETTER["few-shot"], scores=(73.0,) * 100))},
        {"clusters": (1, 2, 3)},
        {"confidence": 90},
        {"confidence": 0.5},
        {"discount_rate": -0.1},
        {"latency_seconds": 0.0},
        {"spreads": (spread("volume", 1.1, 2),)},
        {"spreads": (spread("volume", 0.5, 2), spread("volume", 0.5, 2))},
    ],
)
def test_impossible_facts_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(BadInput) as error:
        decide(replace(facts(BETTER), **changes))
    assert error.value.message.endswith(".") and error.value.hint


def test_arms_that_answer_alike_are_a_tie_and_no_error() -> None:
    alike = two(70, 0, 0, 30)
    assert decide(facts(alike)).decision is NO_GO
    paid = decide(facts(alike, usd_per_right_answer=RIGHT, costs=(cost("lora", "1"), cost("few-shot", "1"))))
    assert paid.decision is NOT_YET
    assert paid.odds is not None and paid.odds.p_tuning == pytest.approx(0.5, abs=0.02)


def test_an_arm_of_unknown_cost_leaves_the_money_unjudged_and_says_so() -> None:
    verdict = decide(facts(BETTER, costs=(cost("lora", "1"),), usd_per_right_answer=RIGHT))
    assert verdict.odds is not None and verdict.odds.unit == "score"
    assert "What few-shot costs is not known, so no money was judged." in verdict.cautions


shares = st.floats(0, 1)
usd = st.decimals(0, 10_000, places=6)
counts = st.integers(1, 5000)


@st.composite
def any_facts(draw: st.DrawFn) -> Facts:
    """Arms with any answers to the same few examples, compared by the real statistics; anything else may be as well."""
    n = draw(st.integers(1, 60))
    names = draw(st.lists(st.sampled_from(["lora", "lora-2", "few-shot", "rag"]), unique=True, max_size=4))
    answers = st.lists(st.sampled_from([0.0, 1.0, draw(shares)]), min_size=n, max_size=n)
    arms = {name: draw(any_arm(name, draw(answers))) for name in names}
    untuned = [each for each in arms.values() if not each.tuned]
    baseline = max(untuned, key=lambda each: each.score, default=None)
    others = [each for each in arms.values() if baseline and each.name != baseline.name]
    compared = [
        statistics.compare(a.name, a.scores, baseline.name, baseline.scores, binary=False) for a in others if baseline
    ]
    priced = draw(st.just(names) | st.lists(st.sampled_from(names), unique=True)) if names else []
    return Facts(
        task=Task(kind=TaskKind.CLASSIFICATION, metric="label"),
        arms=tuple(arms.values()),
        comparisons=statistics.holm(compared),
        power=draw(
            st.none()
            | st.builds(Power, n=counts, smallest_difference=shares, examples_for_3_points=counts, basis=st.just("x"))
        ),
        costs=tuple(cost(name, str(draw(usd)), str(draw(usd)), str(draw(usd))) for name in priced),
        findings=draw(st.sampled_from([(), (), (leak("warning"),), (leak("error"),)])),
        requests_per_month=draw(st.integers(1, 10**9)),
        goal=draw(st.sampled_from(["quality", "quality", "cost", "speed", "privacy"])),
        needed_score=draw(st.none() | shares),
        worthwhile_difference=draw(shares),
        non_inferiority_margin=draw(shares),
        usd_per_right_answer=draw(st.none() | usd),
        usd_per_wrong_answer=draw(st.none() | usd),
        horizon_months=draw(st.integers(1, 120)),
        minimum_test_rows=draw(st.sampled_from([1, 30])),
        confidence=draw(st.sampled_from([0.6, 0.9, 0.95])),
        latency_seconds=draw(st.none() | st.sampled_from([0.05, 0.1, 1.0])),
        stops=draw(st.sampled_from([(), (), (outside("lora"),), (outside("lora", "lora-2", final=True),)])),
        spreads=draw(st.sampled_from([(), (spread("volume", 0.5, 2), spread("tokens", 0.9, 1.5))])),
    )


@st.composite
def any_arm(draw: st.DrawFn, name: str, scores: list[float]) -> ArmResult:
    made = arm(name, scores, simulated=draw(st.sampled_from([False, False, False, True])))
    seconds, touches = draw(st.sampled_from([0.0, 0.1, 0.2])), draw(st.sampled_from([1, 1, 1, 2]))
    return replace(made, seconds=seconds, touches=touches, format_failures=draw(st.integers(0, len(scores))))


@settings(max_examples=60, deadline=None)
@given(any_facts())
def test_any_facts_get_the_same_well_founded_verdict_every_time(some: Facts) -> None:
    verdict = decide(some)
    assert verdict == decide(some)
    assert all(flip.startswith("If ") for flip in verdict.flips) or verdict.next_step in verdict.flips
    if verdict.odds is not None:
        assert_founded(some, verdict, verdict.odds)


def assert_founded(some: Facts, verdict: Verdict, odds: Odds) -> None:
    arms = {each.name: each for each in some.arms}
    tuned, untuned = arms[verdict.best_tuned or ""], arms[verdict.best_untuned or ""]
    assert not any(each.simulated for each in some.arms)
    assert tuned.touches == untuned.touches == 1
    assert tuned.n >= some.minimum_test_rows
    assert 0 <= sum(each.p_best for each in odds.arms) <= 1 + 1e-9
    assert odds.loss >= 0 and odds.advantage.low <= odds.advantage.high
    if verdict.decision is GO:
        assert odds.p_tuning >= some.confidence - 1e-9
        assert next(each for each in odds.arms if each.arm == tuned.name).p_good_enough >= some.confidence - 1e-9
    if verdict.decision is NO_GO:
        assert odds.p_tuning <= 1 - some.confidence + 1e-9


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 300), st.integers(0, 60), st.integers(0, 60), st.integers(0, 300))
def test_an_inconclusive_comparison_is_never_a_rejection(both: int, gained: int, lost: int, neither: int) -> None:
    """What is as large as is worthwhile is not rejected, and what is shown to be smaller is never a go."""
    if both + gained + lost + neither < 30:
        return
    some = facts(two(both, gained, lost, neither))
    compared = some.comparisons[0]
    if compared.difference >= some.worthwhile_difference:
        assert decide(some).decision is not NO_GO
    if compared.interval.high < some.worthwhile_difference:
        assert decide(some).decision is not GO
