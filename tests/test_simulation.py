"""The draws behind the verdict: closed forms that they have to meet, published figures, and what must hold for any."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal
from statistics import NormalDist, fmean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_advisor.costs.model import tco_usd
from finetune_advisor.costs.value import Worth
from finetune_advisor.errors import require
from finetune_advisor.records import ArmResult, Cost, Decision, Odds, Spread, Swing
from finetune_advisor.verdict import Facts, decide
from finetune_advisor.verdict.odds import LABELS
from finetune_advisor.verdict.rules import rule
from finetune_advisor.verdict.simulate import DRAWS, measured, simulate
from sample_costs import dollars
from verdict_facts import BETTER, RIGHT, UNCLEAR, arm, cost, facts, spread, two

numpy = require("numpy", extra="all")
D = Decimal
SAME_PRICE = (cost("lora", "1"), cost("few-shot", "1"))
PARTS = {
    "usd_per_month_input": D(60),
    "usd_per_month_hosting": D(25),
    "usd_per_month_labour": D(15),
    "usd_one_off_tuning": D(900),
    "usd_one_off_training": D(100),
}
WITH_PARTS = replace(cost("lora", "6", once="1000", fixed="40"), parts=PARTS)


def odds(some: Facts) -> Odds:
    found = rule(some).odds
    assert found is not None
    return found


def swing(some: Facts, name: str) -> Swing:
    return next(each for each in odds(some).swings if each.name == name)


@pytest.mark.parametrize(("right", "n"), [(0, 30), (30, 30), (19, 50), (970, 1000)])
def test_an_arms_score_has_jeffreys_posterior(right: int, n: int) -> None:
    some = facts({"lora": arm("lora", [1.0] * right + [0.0] * (n - right)), "few-shot": arm("few-shot", [0.0] * n)})
    drawn = simulate(some).scores[:, 0]
    exact = require("scipy.stats", extra="all").beta(right + 0.5, n - right + 0.5)
    assert require("scipy.stats", extra="all").kstest(drawn, exact.cdf).pvalue > 0.001


def test_what_two_arms_share_cancels_out_as_in_a_paired_test() -> None:
    """The spread of the difference by hand: (gained + lost)/n - d^2 over n, and half an example each way an arm."""
    some = facts(two(600, 60, 20, 320))
    drawn = simulate(some).scores
    error = math.sqrt((0.08 - 0.04**2) / 1000)
    assert float((drawn[:, 0] - drawn[:, 1]).std()) == pytest.approx(error, rel=0.03)
    assert float(drawn[:, 0].std()) > 1.5 * error


@pytest.mark.parametrize("worthwhile", [0.02, 0.03, 0.04, 0.05])
def test_the_probability_is_that_of_the_normal_distribution_where_examples_are_many(worthwhile: float) -> None:
    some = facts(two(600, 60, 20, 320), worthwhile_difference=worthwhile)
    expected = 1 - NormalDist(0.04, math.sqrt((0.08 - 0.04**2) / 1000)).cdf(worthwhile)
    assert odds(some).p_tuning == pytest.approx(expected, abs=0.02)


def test_graded_scores_and_many_arms_keep_their_spread_when_examples_are_merged_into_blocks() -> None:
    generator = numpy.random.default_rng(5)
    columns = generator.beta(2, 2, (3, 1500))
    arms = {name: arm(name, column.tolist()) for name, column in zip(("lora", "few-shot", "rag"), columns, strict=True)}
    drawn = simulate(facts(arms, costs=())).scores
    for at, column in enumerate(columns):
        assert float(drawn[:, at].std()) == pytest.approx(float(column.std()) / math.sqrt(1500), rel=0.15)


def test_examples_of_a_cluster_count_as_one() -> None:
    """Every example four times: with clusters no more is known than from one copy, without four times as much."""
    once = two(30, 12, 6, 22)
    fourfold = {name: arm(name, [score for score in each.scores for _ in range(4)]) for name, each in once.items()}
    clusters = tuple(at // 4 for at in range(280))
    spread_of = [
        float(numpy.subtract(*simulate(some).scores.T).std())
        for some in (facts(once), facts(fourfold, clusters=clusters), facts(fourfold))
    ]
    assert spread_of[1] == pytest.approx(spread_of[0], rel=0.03)
    assert spread_of[2] == pytest.approx(spread_of[0] / 2, rel=0.05)


def test_costs_at_the_likely_figures_are_the_total_cost_of_ownership() -> None:
    some = facts(BETTER, costs=(WITH_PARTS, cost("few-shot", "1")), discount_rate=0.08, horizon_months=24)
    usd = measured(some, simulate(some), 1).usd_cost(some)[0]
    assert usd == pytest.approx([float(tco_usd(each, 24, 0.08)) for each in some.costs])


@pytest.mark.parametrize(
    ("driver", "moved"),
    [("volume", 720), ("prices", 720), ("tokens", 720), ("hosting", 300), ("hours", 1080), ("training", 100)],
)
def test_a_driver_moves_its_own_parts_and_no_other(driver: Any, moved: int) -> None:
    some = facts(BETTER, costs=(WITH_PARTS, cost("few-shot", "1")))
    likely = measured(some, simulate(some), 1)
    more = likely.scaled(driver, 2).usd_cost(some) - likely.usd_cost(some)
    assert more[0, 0] == pytest.approx(moved)


def test_factors_are_triangular_shared_by_all_arms_and_tokens_are_each_arms_own() -> None:
    some = facts(BETTER, spreads=(spread("volume", 0.4, 2.5), spread("tokens", 0.5, 1.5), spread("hours", 1, 1)))
    factors = simulate(some).factors
    assert set(factors) == {"volume", "tokens"}
    assert (factors["volume"].shape, factors["tokens"].shape) == ((DRAWS, 1), (DRAWS, 2))
    assert float(factors["volume"].mean()) == pytest.approx((0.4 + 1 + 2.5) / 3, rel=0.01)
    assert float(factors["volume"].min()) >= 0.4
    assert float(factors["volume"].max()) <= 2.5


HALF = [1.0] * 10 + [0.0] * 10
FORMS = (True,) * 10 + (False,) * 6 + (True,) * 4


def net(some: Facts) -> list[float]:
    return measured(some, simulate(some), 1).usd_net(some)[0].tolist()


def test_an_answer_in_the_wrong_form_costs_what_is_said() -> None:
    """By hand: 10 of 20 right, 6 wrong in form, 4 wrong otherwise; $1, $0.10 and $0.50 a request."""
    arms = {"lora": replace(arm("lora", HALF), forms=FORMS), "few-shot": arm("few-shot", [0.0] * 20)}
    some = facts(
        arms,
        costs=(cost("lora", "0"), cost("few-shot", "0")),
        usd_per_right_answer=D(1),
        usd_per_wrong_answer=D("0.5"),
        usd_per_wrong_form=D("0.1"),
    )
    assert net(some) == pytest.approx([(10 - 0.6 - 2) / 20 * 120_000, -0.5 * 120_000])


SILENT = {
    "lora": replace(arm("lora", HALF), failures=4, format_failures=2, forms=FORMS),
    "few-shot": replace(arm("few-shot", HALF), failures=2),
}
UNFORMED = {name: replace(each, forms=()) for name, each in SILENT.items()}
KINDS = ("usd_per_right_answer", "usd_per_wrong_answer", "usd_per_wrong_form", "usd_per_no_answer")
FREE = facts(
    SILENT,
    costs=(cost("lora", "0"), cost("few-shot", "0")),
    usd_per_right_answer=D(1),
    usd_per_wrong_answer=D("0.5"),
    usd_per_wrong_form=D("0.1"),
    minimum_test_rows=20,
)


def test_no_answer_costs_what_is_said() -> None:
    """By hand: of 20, 10 right, 4 silent, 2 malformed, 4 wrong, beside 10 right, 2 silent, 8 wrong; $3 for silence."""
    some = replace(FREE, usd_per_no_answer=D(3))
    assert net(some) == pytest.approx([(10 - 4 * 3 - 0.2 - 2) / 20 * 120_000, (10 - 2 * 3 - 4) / 20 * 120_000])
    lost = (simulate(FREE).usd_net(FREE) - simulate(some).usd_net(some)).mean(axis=0)
    # Half an example each way is added to the 20 of each arm.
    assert lost == pytest.approx([4 / 21 * 2.5 * 120_000, 2 / 21 * 2.5 * 120_000], rel=0.02)


def test_what_answers_are_worth_agrees_with_the_cost_model() -> None:
    some = replace(FREE, usd_per_no_answer=D(3))
    priced = {name: dollars(str(getattr(some, name)), "usd_per_answer") for name in KINDS}
    assert net(some) == pytest.approx([120_000 * float(Worth(**priced).usd_per_request(a) or 0) for a in some.arms])


def test_no_answer_that_costs_what_a_wrong_one_does_changes_nothing() -> None:
    same = [odds(replace(FREE, usd_per_no_answer=usd)) for usd in (None, FREE.usd_per_wrong_answer)]
    assert same[0] == same[1]
    free = replace(FREE, usd_per_wrong_answer=None, usd_per_wrong_form=None, arms=tuple(UNFORMED.values()))
    assert odds(free) == odds(replace(free, usd_per_no_answer=D(0)))


def test_values_and_costs_too_small_to_matter_leave_the_break_even_accuracy_that_openai_published() -> None:
    """+20 for a success, 95% of failures cost 40 and 5% 1,000: 81.48% right answers at least (published results A5)."""
    failure = D("0.95") * 40 + D("0.05") * 1000
    arms = two(300, 100, 20, 80)
    paid = facts(arms, usd_per_right_answer=D(20), usd_per_wrong_answer=failure, costs=())
    paid = replace(paid, costs=(cost("lora", "0"), cost("few-shot", "0")))
    assert paid.floor == pytest.approx(0.8148, abs=5e-5)
    assert swing(paid, "score of lora").break_even == pytest.approx(0.8148, abs=5e-5)


def test_the_break_even_volume_of_the_tornado_pays_the_start_back_within_the_horizon() -> None:
    costs = (cost("lora", "2", once="600"), cost("few-shot", "1"))
    volume = replace(spread("volume", 0.5, 2), unit="requests a month", likely=10_000.0)
    some = facts(BETTER, usd_per_right_answer=RIGHT, costs=costs, spreads=(volume,))
    found = swing(some, "volume")
    assert found.break_even == pytest.approx(600 / (12 * (0.22 * 0.05 - 0.001)))
    assert (found.low, found.likely, found.high) == (5_000, 10_000, 20_000)
    assert found.advantage_at_low == pytest.approx(5_000 * 12 * (0.22 * 0.05 - 0.001) - 600)


def test_knowing_the_volume_is_worth_what_the_integral_says() -> None:
    """Quality all but certain: tuning brings a V - c; E max(0, a V - c) - max(0, a E V - c) over the triangle."""
    arms = {"lora": arm("lora", [1.0] * 40_000), "few-shot": arm("few-shot", [1.0, 0.0] * 20_000)}
    costs = (cost("lora", "1", once="3000"), cost("few-shot", "1"))
    some = facts(arms, usd_per_right_answer=RIGHT, costs=costs, spreads=(spread("volume", 0.5, 2),))
    factor = numpy.linspace(0.5, 2, 200_001)
    density = numpy.where(factor < 1, (factor - 0.5) / 0.75, (2 - factor) / 1.5)
    brings = 0.5 * 0.05 * 120_000 * factor - 3000
    mean = float((brings * density).sum() / density.sum())
    best = float((brings.clip(min=0) * density).sum() / density.sum())
    found = odds(some)
    assert found.advantage_mean == pytest.approx(mean, rel=0.03)
    assert found.loss == pytest.approx(best - max(0.0, mean), rel=0.05)
    known = next(each for each in found.worths if "requests" in each.name)
    assert known.usd_worth == pytest.approx(found.loss, rel=0.1)


def test_more_labels_are_worth_what_the_normal_linear_loss_says() -> None:
    """Raiffa & Schlaifer 1961: s* [phi(u) - u (1 - Phi(u))] with s* = s sqrt(k / (n + k)), u = |m| / s*."""
    some = facts(UNCLEAR, usd_per_right_answer=D("0.016"), costs=(cost("lora", "1", once="100"), cost("few-shot", "1")))
    found = odds(replace(some, usd_per_label=D("0.25")))
    labels = found.worths[0]
    slope = 0.016 * 120_000
    error = math.sqrt((0.18 - 0.06**2 + 0.01) / 100) * slope * math.sqrt(LABELS / (100 + LABELS))
    u = abs(found.advantage_mean) / error
    normal = NormalDist()
    assert labels.usd_worth == pytest.approx(error * (normal.pdf(u) - u * (1 - normal.cdf(u))), rel=0.08)
    assert labels.usd_price == 25
    assert 0 < labels.usd_worth < found.loss


def test_a_tie_gives_even_odds() -> None:
    assert odds(facts(two(60, 12, 12, 16), usd_per_right_answer=RIGHT, costs=SAME_PRICE)).p_tuning == pytest.approx(
        0.5, abs=0.03
    )


def test_of_an_arm_that_is_short_is_said_what_it_would_bring_and_what_is_lost() -> None:
    """By hand: 80% x $0.05 x 120,000 = $4,800, less $120 of requests and $100 once; the 40% do not reach 80%."""
    short = facts(two(40, 40, 0, 20), needed_score=0.97, usd_per_right_answer=RIGHT)
    chance, reaching, money = decide(short).reasons[1:]
    assert "less than 1 in 100; a GO takes 90. Without the needed 97% the answer would be GO" in chance
    assert reaching == "The chance of reaching the needed 97% is less than 1 in 100 for lora and for few-shot."
    assert "tuning would bring $4,580 more than the best alternative if its 80% were good enough" in money
    assert "the $100 paid once is lost" in money
    near = decide(replace(short, needed_score=0.83)).reasons[-1]
    assert "With all that is uncertain, tuning brings between -$100 and $4,99" in near


def test_an_arm_that_is_too_slow_is_not_called_short() -> None:
    arms = {**BETTER, "lora": replace(BETTER["lora"], seconds=3.0)}
    verdict = decide(facts(arms, needed_score=0.85, latency_seconds=2.0, usd_per_right_answer=RIGHT))
    assert verdict.decision is Decision.NO_GO
    assert "answers within 2 s" in verdict.reasons[1]
    assert "short" not in " ".join(verdict.reasons)


@pytest.mark.parametrize(("once", "p", "decision"), [("700", 1.0, Decision.GO), ("900", 0.0, Decision.NO_GO)])
def test_without_any_doubt_the_probability_is_all_or_nothing(once: str, p: float, decision: Decision) -> None:
    """20,000 examples, 66 points x $0.01 x 120,000 = $792 gained, and nothing else uncertain."""
    arms = two(4_000, 14_000, 800, 1_200)
    costs = (cost("lora", "1", once=once), cost("few-shot", "1"))
    verdict = decide(facts(arms, usd_per_right_answer=D("0.01"), costs=costs))
    assert verdict.odds is not None
    assert (verdict.odds.p_tuning, verdict.decision) == (p, decision)


def test_odds_of_all_arms_and_of_doing_nothing_add_up_to_one() -> None:
    arms = {**UNCLEAR, "rag": replace(UNCLEAR["few-shot"], name="rag", scores=UNCLEAR["few-shot"].scores[::-1])}
    costs = (*SAME_PRICE, cost("rag", "1"))
    earned = odds(facts(arms, usd_per_right_answer=D("0.0015"), costs=costs))
    assert 0.5 < sum(each.p_best for each in earned.arms) < 1
    assert sum(each.p_best for each in odds(facts(arms, costs=costs)).arms) == pytest.approx(1)


def test_more_untuned_arms_that_do_alike_do_not_make_the_best_one_better() -> None:
    """Who does not tune has to choose one of them: the luckiest of each draw is not to be had."""
    copies = {name: replace(UNCLEAR["few-shot"], name=name) for name in ("rag", "zero-shot", "other")}
    alone, among = (odds(facts(arms, costs=())) for arms in (UNCLEAR, {**UNCLEAR, **copies}))
    assert among.p_tuning == pytest.approx(alone.p_tuning, abs=0.01)
    lowest = min(each.p_best for each in among.arms if not each.tuned)
    assert lowest > 0.03


def test_arms_that_are_the_same_in_everything_share_the_odds() -> None:
    """Nothing but the cost counts, and that is the same."""
    arms: dict[str, ArmResult] = {**BETTER, "rag": replace(BETTER["few-shot"], name="rag")}
    some = facts(arms, goal="cost", costs=(cost("lora", "9"), cost("few-shot", "1"), cost("rag", "1")))
    shares = {each.arm: each.p_best for each in odds(replace(some, non_inferiority_margin=0.9)).arms}
    assert shares == {"lora": 0.0, "few-shot": 0.5, "rag": 0.5}


def test_the_same_facts_give_the_same_draws_and_another_seed_others() -> None:
    some = facts(UNCLEAR, spreads=(spread("volume", 0.5, 2),))
    one, two_, three = simulate(some), simulate(some), simulate(replace(some, seed=1))
    assert numpy.array_equal(one.scores, two_.scores)
    assert numpy.array_equal(one.factors["volume"], two_.factors["volume"])
    assert not numpy.array_equal(one.scores, three.scores)
    assert odds(some).p_tuning == pytest.approx(odds(replace(some, seed=1)).p_tuning, abs=0.03)


def test_an_assumption_that_is_uncertain_leaves_the_draws_of_quality_as_they_are() -> None:
    some = facts(UNCLEAR)
    wide = replace(some, spreads=(spread("volume", 0.1, 9), spread("tokens", 0.1, 9)))
    assert numpy.array_equal(simulate(some).scores, simulate(wide).scores)


volumes = st.integers(100, 200_000)


def at_volume(some: Facts, volume: int, usd_per_1000: dict[str, str]) -> Facts:
    costs = tuple(
        replace(each, usd_per_month=D(usd_per_1000[each.arm]) * volume / 1000, usd_per_1000=D(usd_per_1000[each.arm]))
        for each in some.costs
    )
    return replace(some, requests_per_month=volume, costs=costs)


@settings(max_examples=25, deadline=None)
@given(volumes, volumes, st.integers(10, 5_000), st.sampled_from(["quality", "cost"]))
def test_more_volume_never_lowers_the_odds_where_tuning_is_better_and_cheaper_a_request(
    one: int, other: int, once: int, goal: Any
) -> None:
    costs: tuple[Cost, ...] = (cost("lora", "1", once=str(once)), cost("few-shot", "2"))
    some = facts(
        two(500, 300, 0, 200),
        goal=goal,
        usd_per_right_answer=D("0.01"),
        costs=costs,
        spreads=(spread("volume", 0.5, 2),),
    )
    prices = {"lora": "1", "few-shot": "2"}
    less, more = (odds(at_volume(some, volume, prices)).p_tuning for volume in sorted((one, other)))
    assert less <= more


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from([0.0, 0.4, 1.0])] * 3), min_size=30, max_size=90), st.booleans())
def test_draws_are_scores_and_their_mean_is_the_one_measured_but_for_the_half_examples(
    rows: list[tuple[float, ...]], clustered: bool
) -> None:
    columns = list(zip(*rows, strict=True))
    arms = {name: arm(name, list(column)) for name, column in zip(("lora", "few-shot", "rag"), columns, strict=True)}
    some = facts(arms, costs=(), clusters=tuple(at // 2 for at in range(len(rows))) if clustered else ())
    draws = simulate(some).scores
    n = len(rows) / (2 if clustered else 1)
    assert float(draws.min()) >= 0 and float(draws.max()) <= 1
    expected = [(fmean(column) * n + 0.5) / (n + 1) for column in columns]
    assert draws.mean(axis=0) == pytest.approx(expected, abs=0.01)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.001, 0.05), st.integers(10, 3_000), st.floats(0.2, 1), st.floats(1, 3))
def test_figures_agree_with_each_other(value: float, once: int, low: float, high: float) -> None:
    costs = (cost("lora", "1", once=str(once)), cost("few-shot", "2"))
    volume: Spread = spread("volume", low, high)
    some = facts(UNCLEAR, usd_per_right_answer=D(str(round(value, 5))), costs=costs, spreads=(volume,))
    found = odds(some)
    tuned = next(each for each in found.arms if each.tuned)
    assert found.p_tuning == pytest.approx(tuned.p_best)
    assert found.advantage.low <= found.advantage_mean <= found.advantage.high
    assert found.loss >= max((each.usd_worth for each in found.worths[1:]), default=0) * 0.98 - 1e-6
    sizes = [abs(each.advantage_at_high - each.advantage_at_low) for each in found.swings]
    assert sizes == sorted(sizes, reverse=True)
