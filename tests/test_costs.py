"""The cost model: published worked examples, formulas C10 to C12, and what must hold for any numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, cast, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_advisor.costs import model, prices
from finetune_advisor.costs.caching import CachingRule
from finetune_advisor.errors import BadInput
from finetune_advisor.records import ArmResult
from sample_costs import FIVE_MINUTES, ONE_HOUR, arm, dollars, machine, money, run, tokens, work

TABLE = prices.load()
D = Decimal

figures = st.floats(0, 1e6, allow_nan=False)
usd = st.decimals(0, 1000, places=4)


def test_few_shot_on_the_cheap_frontier_model_costs_what_the_worked_example_says() -> None:
    """Providers, section 0, point 4. At so many requests the prompt is always cached, as the example takes it to be."""
    few_shot = arm(prompt_tokens=2000, cached_tokens=1800, completion_tokens=100)
    priced = model.cost(few_shot, money(model.pricing(TABLE, "gpt-6-luna"), volume=100_000_000))
    assert priced.usd_per_1000_uncached == D("0.250")
    assert float(priced.usd_per_1000) == pytest.approx(0.088)


def test_a_fine_tuned_model_with_a_short_prompt_costs_what_the_worked_example_says() -> None:
    priced = model.cost(arm(prompt_tokens=200, completion_tokens=100), money(tokens("0.30", "0.15", "1.20")))
    assert priced.usd_per_1000 == priced.usd_per_1000_uncached == D("0.180")


@pytest.mark.parametrize(("shared", "discounted"), [(1023, False), (1024, True)])
def test_a_prefix_under_the_providers_minimum_gets_no_cache_discount(shared: int, discounted: bool) -> None:
    priced = model.cost(arm(prompt_tokens=1100, cached_tokens=shared), money(tokens("1", "0.1", "1")))
    assert (priced.usd_per_1000 < priced.usd_per_1000_uncached) is discounted


def test_without_a_cached_price_cached_tokens_cost_the_full_price() -> None:
    priced = model.cost(arm(prompt_tokens=2000, cached_tokens=1800), money(tokens("1", None, "1")))
    assert priced.usd_per_1000 == priced.usd_per_1000_uncached == D(2)


def test_a_published_training_costs_what_its_author_paid() -> None:
    """CodeLlama-7B, 1:29:58 on a g5.2xlarge at $1.212 an hour: $1.8 in the author's words (published results A7)."""
    assumptions = replace(
        money(), machine=machine(str(TABLE.get("a10g", date(2026, 11, 22))["usd_per_hour"].value), "0.25")
    )
    tuned = arm("lora", tuned=True, training=run(seconds=5398))
    assert round(model.cost(tuned, assumptions).usd_training, 2) == D("1.82")


def test_a_provider_charges_training_by_token() -> None:
    """86,120 billed tokens, the OpenAI cookbook's toy file over 20 epochs, at $3 per million."""
    tuned = arm("ft", tuned=True, training=run(tokens=86_120, seconds=600))
    assert model.cost(tuned, money(tokens("0.30", "0.15", "1.20", "3.00"))).usd_training == D("0.25836")


def test_machine_time_is_priced_over_utilisation_and_caching_saves_the_reading_of_the_shared_prefix() -> None:
    measured = arm(prompt_tokens=500, cached_tokens=400, seconds=1.0, prefill_seconds=0.2)
    priced = model.cost(measured, money(machine("3.60", "0.5"), volume=1000))
    assert priced.usd_per_1000 == D("2.0")
    assert priced.usd_per_1000_uncached == D("3.6")
    assert priced.parts["usd_per_month_reading"] == D("0.4")
    assert priced.parts["usd_per_month_writing"] == D("1.6")


def test_an_arm_without_a_model_costs_its_measured_seconds_on_the_default_machine() -> None:
    priced = model.cost(arm("classical", model="", seconds=0.36), money(tokens("5", "1", "9")))
    assert priced.usd_per_1000 == D("0.01")


def test_break_even_is_formula_c10() -> None:
    """F / (C_fs - C_ft) with p_in 1, 20% of u + k = 2,000 tokens fresh, c_r 0.1; q_in 0.5 on 200 tokens."""
    few_shot = arm("few-shot", prompt_tokens=2000, cached_tokens=1600)
    tuned = arm("ft", model="ft", tuned=True, prompt_tokens=200, training=run(tokens=3_000_000))
    assumptions = replace(money(), pricing={"m": tokens("1", "0.1", "1"), "ft": tokens("0.5", "0.1", "1", "3")})
    fixed, saved = 9.0, (400 + 160 - 100) / 1e6
    assert model.cost(tuned, assumptions, few_shot).break_even_requests == math.ceil(fixed / saved) == 19_566


def test_break_even_never_comes_where_the_arm_is_dearer_or_upkeep_eats_the_saving() -> None:
    cheap, dear = arm("a", prompt_tokens=100), arm("b", prompt_tokens=200, tuned=True)
    assert model.cost(dear, money(tokens("1", None, "1")), cheap).break_even_requests is None
    saving = arm("c", prompt_tokens=50, tuned=True, training=run(tokens=10))
    assert model.cost(saving, money(tokens("1", None, "1", "1")), cheap).break_even_requests == 1
    upkeep = money(tokens("1", None, "1", "1"), labour=work({"upkeep": "1"}))
    assert model.cost(saving, upkeep, cheap).break_even_requests is None
    assert model.cost(saving, upkeep, saving).break_even_requests is None


def test_upkeep_delays_the_break_even_by_what_it_eats_of_the_saving() -> None:
    slow, fast = arm("a", seconds=72), arm("b", seconds=36, tuned=True, training=run(seconds=36_000))
    machine_only = replace(money(volume=100_000), machine=machine("1"))
    with_upkeep = replace(machine_only, labour=work({"upkeep": "6.25"}))
    assert model.cost(fast, machine_only, slow).break_even_requests == 1000
    assert model.cost(fast, with_upkeep, slow).break_even_requests == 2000


def test_shared_labour_counts_for_every_arm_and_the_rest_for_tuned_arms_only() -> None:
    assumptions = replace(
        money(labour=work({"data": "10", "evaluation": "5", "tuning": "3", "deployment": "2", "upkeep": "1"})),
        trainings=model.TrainingPlan(retrain_every_months=6),
    )
    untuned = model.cost(arm(), assumptions)
    tuned = model.cost(arm("lora", tuned=True, training=run(seconds=36_000)), assumptions)
    assert (untuned.usd_one_off, untuned.usd_per_month) == (D(1200), D(0))
    assert tuned.usd_one_off == D(1600) + D("1.00")
    assert round(tuned.usd_per_month, 6) == D("80.166667")


def everything(pricing: model.Pricing) -> model.MoneyAssumptions:
    """Assumptions in which no kind of cost is zero."""
    hours: dict[model.Work, str] = {name: "2" for name in get_args(model.Work)}
    return replace(
        money(pricing, labour=work(hours)),
        labels=model.Labels(number=dollars("100", "labels"), usd_each=dollars("0.5", "usd_per_label")),
        trainings=model.TrainingPlan(
            runs=dollars("3", "runs"), failed_share=dollars("0.25", "share"), retrain_every_months=3
        ),
        search=model.Search(seconds=dollars("0.1", "seconds_per_search")),
        judging=model.Judging(share=dollars("0.1", "share"), usd_each=dollars("0.02", "usd_per_judged_request")),
        batch_share=dollars("0.5", "share"),
        hosting_usd_per_month=dollars("10", "usd_per_month"),
        retires={"m": dollars("6", "months")},
    )


def loaded(**changes: Any) -> ArmResult:
    """An arm in which nothing measured is zero."""
    figures: dict[str, Any] = {
        "prompt_tokens": 3000,
        "cached_tokens": 1500,
        "completion_tokens": 7,
        "seconds": 0.3,
        "prefill_seconds": 0.1,
        "settings": {"retriever": "hybrid"},
    }
    return arm(**(figures | changes))


PRICINGS = [machine("2", "0.3"), machine("2", "0.3", always_on=True), tokens("1", "0.1", "2", "3")]


@pytest.mark.parametrize("tuned", [False, True])
@pytest.mark.parametrize("pricing", PRICINGS)
def test_parts_add_up_and_have_titles_and_drivers(pricing: model.Pricing, tuned: bool) -> None:
    training = run(tokens=999, seconds=100) if tuned else None
    priced = model.cost(loaded(tuned=tuned, training=training), everything(pricing))
    by_time = {when: [n for n in priced.parts if model.PARTS[n].when == when] for when in ("month", "once")}
    assert float(sum(priced.parts[n] for n in by_time["month"])) == pytest.approx(float(priced.usd_per_month))
    assert float(sum(priced.parts[n] for n in by_time["once"])) == pytest.approx(float(priced.usd_one_off))
    assert set(priced.parts) <= set(model.PARTS)


def test_every_part_of_the_table_can_be_paid_for() -> None:
    training = run(tokens=999, seconds=100)
    arms = [loaded(tuned=True, training=training), loaded(approach="classical")]
    cold = replace(everything(tokens("1", "0.1", "2", "3")), requests_per_month=1000)
    every = [everything(pricing) for pricing in PRICINGS]
    every[2] = replace(cold, pricing={"m": replace(tokens("1", "0.1", "2", "3"), caching=FIVE_MINUTES)})
    paid = {name for each in arms for one in every for name, usd in model.cost(each, one).parts.items() if usd}
    assert paid == set(model.PARTS)


@given(st.integers(1, 10**7), st.integers(1, 50))
def test_the_parts_that_volume_drives_and_only_they_follow_it(volume: int, times: int) -> None:
    one, more = (
        model.cost(loaded(), replace(everything(tokens("1", "0.1", "2")), requests_per_month=each))
        for each in (volume, volume * times)
    )
    for name, part in model.PARTS.items():
        if name in one.parts:
            factor = times if "volume" in part.drivers else 1
            assert float(more.parts[name]) == pytest.approx(float(one.parts[name]) * factor), name


def test_every_figure_that_went_in_is_listed_with_its_basis() -> None:
    tuned = arm("lora", tuned=True, seconds=1, training=run(seconds=60))
    priced = model.cost(tuned, money(model.pricing(TABLE, "l4"), labour=work({"tuning": "4"})))
    by_unit = {(price.unit, price.basis): price for price in priced.assumptions}
    assert by_unit["usd_per_hour", "source"].checked == "2026-11-22"
    shares = [price.value for price in priced.assumptions if (price.unit, price.basis) == ("share", "assumed")]
    assert D("0.5") in shares
    assert by_unit["seconds_per_request", "measured"].source == "mean of 100 test requests"
    assert by_unit["hours", "user"].value == 4
    assert by_unit["requests_per_month", "user"].value == 10_000


def test_zero_volume_costs_upkeep_only() -> None:
    priced = model.cost(
        arm(tuned=True, seconds=5), money(volume=0, labour=work({"upkeep": "1"})), arm("base", seconds=9)
    )
    assert priced.usd_per_month == D(80)
    assert priced.usd_per_1000 > 0
    assert priced.break_even_requests is None


@pytest.mark.parametrize(
    ("parameters", "tokens_of_prompt", "queries", "queries_cached"),
    [("175e9", 103, 18.9, 738), ("13e9", 103, 257, 17_532), ("6.7e9", 103, 503, 109_782)],
)
def test_t_few_pays_back_after_the_published_number_of_queries(
    parameters: str, tokens_of_prompt: int, queries: float, queries_cached: int
) -> None:
    """Liu et al. 2022, table 1, in FLOPs: 2N a token to answer in context, N a token for T0 11B, 3N to train it.

    41 demonstrations of 98 tokens stand before a query of 103; computed once and cached, they are the rival's set-up
    (published results A1).
    """
    demonstrations, flops = 41 * 98, {"rival": 2 * D(parameters), "t-few": D("11e9")}
    paid = {name: tokens(str(each * 10**6), "0", "0", str(3 * D("11e9") * 10**6)) for name, each in flops.items()}
    assumptions = replace(money(), pricing=paid)
    few = arm("t-few", tuned=True, prompt_tokens=tokens_of_prompt, training=run(tokens=1000 * 8 * tokens_of_prompt))
    rival = arm("rival", prompt_tokens=demonstrations + tokens_of_prompt)
    assert model.cost(few, assumptions, rival).break_even_requests == math.ceil(queries)
    cached = model.cost(replace(rival, cached_tokens=demonstrations), assumptions)
    cached = replace(cached, usd_one_off=demonstrations * flops["rival"])
    found = model.extra(model.cost(few, assumptions), cached, 10_000).break_even_requests(10_000)
    assert found == pytest.approx(queries_cached, abs=1)


def often(rule: CachingRule, share: float) -> int:
    """The volume at which that share of requests finds the cache warm: share = 1 - exp(-rate * lifetime)."""
    per_second = -math.log(1 - share) / rule.lifetime_seconds
    return round(per_second * 86_400 * 365.25 / 12)


@pytest.mark.parametrize(
    ("rule", "uses", "pays"),
    [(FIVE_MINUTES, 1, False), (FIVE_MINUTES, 2, True), (ONE_HOUR, 2, False), (ONE_HOUR, 3, True)],
)
def test_the_five_minute_cache_pays_from_the_second_use_and_the_hour_from_the_third(
    rule: CachingRule, uses: int, pays: bool
) -> None:
    """1.25 + 0.1 < 2 and 2 + 0.2 < 3, but 2 + 0.1 > 2 (formula C11): of so many uses all but the first are warm."""
    shared = arm(prompt_tokens=5000, cached_tokens=5000)
    cached = replace(tokens("1", None, "1"), caching=rule)
    priced = model.cost(shared, money(cached, volume=often(rule, 1 - 1 / uses)))
    assert (priced.usd_per_1000 < priced.usd_per_1000_uncached) is pays


def test_a_cache_is_warm_as_often_as_requests_come_within_its_lifetime() -> None:
    """1 - exp(-rate * lifetime) of 2,000 tokens at a tenth of the price, the rest written again at 1.25 times it."""
    cached = replace(tokens("1", None, "1"), caching=FIVE_MINUTES)
    shared = arm(prompt_tokens=2500, cached_tokens=2000)
    priced = model.cost(shared, money(cached, volume=often(FIVE_MINUTES, 0.75)))
    assert float(priced.usd_per_1000) == pytest.approx(0.5 + 2 * (0.75 * 0.1 + 0.25 * 1.25), rel=1e-3)
    warm = next(price for price in priced.assumptions if "cached" in price.name and price.unit == "share")
    assert float(warm.value) == pytest.approx(0.75, rel=1e-3) and warm.source == "formula C11"


def test_requests_that_can_wait_cost_half() -> None:
    half = {f"usd_per_mtok_{kind}_batch": dollars("0.5", f"usd_per_mtok_{kind}_batch") for kind in ("input", "output")}
    plain = tokens("1", None, "1")
    asked = arm(prompt_tokens=1000, completion_tokens=1000)
    waiting = replace(money(replace(plain, **half)), batch_share=dollars("0.6", "share"))
    assert model.cost(asked, money(plain)).usd_per_1000 == D(2)
    assert model.cost(asked, waiting).usd_per_1000 == D("1.4")
    assert model.cost(asked, replace(money(plain), batch_share=dollars("0.6", "share"))).usd_per_1000 == D(2)


def test_discounts_for_cached_and_for_waiting_requests_do_not_stack_unless_listed() -> None:
    """Gemini's do not, the cache wins; OpenAI lists cached tokens in a batch (formula C12, providers 1.1)."""
    batch = {"usd_per_mtok_input_batch": dollars("0.5", "usd_per_mtok_input_batch")}
    listed = {"usd_per_mtok_cached_batch": dollars("0.05", "usd_per_mtok_cached_batch")}
    shared, wait = arm(prompt_tokens=3000, cached_tokens=2000), {"batch_share": dollars("1", "share")}
    plain = replace(tokens("1", "0.1", "1"), **batch)
    assert model.cost(shared, replace(money(plain), **wait)).usd_per_1000 == D("0.7")
    assert model.cost(shared, replace(money(replace(plain, **listed)), **wait)).usd_per_1000 == D("0.6")


def test_break_even_quality_is_the_one_openai_published() -> None:
    """Success +20; failure: 95% escalate at 40, 5% churn at 1,000 (published results A5)."""
    assert model.break_even_quality(D(20), D("0.95") * 40 + D("0.05") * 1000) == pytest.approx(0.8148, abs=5e-5)
    assert model.break_even_quality(D(0), D(0)) == 0


@given(figures, figures, figures, figures, usd, usd)
def test_more_is_never_cheaper_and_caching_never_dearer(
    prompt: float, share: float, answer: float, more: float, full: Decimal, output: Decimal
) -> None:
    pricing = tokens(str(full), str(full / 2), str(output))
    small = arm(prompt_tokens=prompt, cached_tokens=min(share, prompt), completion_tokens=answer)
    large = replace(small, prompt_tokens=prompt + more, completion_tokens=answer + more)
    one, two = (model.cost(each, money(pricing)) for each in (small, large))
    assert one.usd_per_1000 <= one.usd_per_1000_uncached
    assert one.usd_per_1000 <= two.usd_per_1000
    assert one.usd_per_month <= two.usd_per_month


@given(st.floats(1, 2), st.floats(0, 1), st.integers(0, 10**7), st.integers(0, 5000))
def test_caching_is_dearer_only_where_writing_to_the_cache_costs_more(
    write_share: float, read_share: float, volume: int, shared: int
) -> None:
    rule = replace(FIVE_MINUTES, write_share=write_share, read_share=read_share)
    asked = arm(prompt_tokens=5000, cached_tokens=shared)
    priced = model.cost(asked, money(replace(tokens("1", None, "1"), caching=rule), volume=volume))
    dearer = priced.usd_per_1000 - priced.usd_per_1000_uncached
    assert dearer <= D(str(write_share - 1)) * shared / 1000 + D("1e-9")


@given(st.floats(0, 1e4), st.floats(0, 1e4), figures, figures, st.decimals("0.01", 1, places=2))
def test_a_machine_is_never_cheaper_when_slower_idler_or_uncached(
    seconds: float, reading: float, prompt: float, cached: float, utilisation: Decimal
) -> None:
    measured = arm(prompt_tokens=prompt, cached_tokens=cached, seconds=seconds, prefill_seconds=reading)
    priced = model.cost(measured, money(machine("2", str(utilisation))))
    assert priced.usd_per_1000 <= priced.usd_per_1000_uncached
    assert priced.usd_per_1000 >= model.cost(measured, money(machine("2", "1"))).usd_per_1000
    assert priced.usd_per_1000 <= model.cost(
        replace(measured, seconds=seconds + 1), money(machine("2"))
    ).usd_per_1000 / (utilisation)


@pytest.mark.parametrize("utilisation", ["0", "-0.1", "1.01", "NaN"])
def test_an_impossible_utilisation_is_refused(utilisation: str) -> None:
    with pytest.raises(BadInput):
        machine(utilisation=utilisation)


@pytest.mark.parametrize("price", ["-1", "NaN", "Infinity"])
def test_an_impossible_price_is_refused(price: str) -> None:
    with pytest.raises(BadInput, match="not usable"):
        machine(price)
    with pytest.raises(BadInput, match="not usable"):
        tokens("1", None, price)


def test_wrong_units_and_contradictory_prices_are_refused() -> None:
    with pytest.raises(BadInput, match="usd_per_mtok_input"):
        model.MachinePricing(usd_per_hour=dollars("1", "usd_per_mtok_input"))
    with pytest.raises(BadInput, match="above its full price"):
        tokens("1", "2", "1")


def test_nonsense_assumptions_are_refused() -> None:
    with pytest.raises(BadInput, match="below the mean"):
        replace(money(volume=73_000), peak_requests_per_hour=dollars("99", "requests_per_hour"))
    with pytest.raises(BadInput, match="every request"):
        replace(money(), batch_share=dollars("1.1", "share"))
    with pytest.raises(BadInput, match="every answer"):
        model.Judging(share=dollars("2", "share"), usd_each=dollars("1", "usd_per_judged_request"))
    with pytest.raises(BadInput, match="not a plan"):
        model.TrainingPlan(failed_share=dollars("1", "share"))
    with pytest.raises(BadInput, match="length of a question"):
        model.Search(question_tokens=dollars("9", "tokens_per_question"))
    with pytest.raises(BadInput, match="discount rate"):
        model.annuity(12, -0.1)
    with pytest.raises(BadInput, match="negative"):
        money(volume=-1)
    with pytest.raises(BadInput, match="months"):
        replace(money(), horizon_months=0)
    with pytest.raises(BadInput, match="negative"):
        model.Worth(usd_per_wrong_answer=dollars("-1", "usd_per_answer"))
    with pytest.raises(BadInput, match="what an hour costs"):
        model.Labour(hours={"data": dollars("1", "hours")})
    with pytest.raises(BadInput, match="no work named"):
        model.Labour(usd_per_hour=dollars("80"), hours={cast(model.Work, "lunch"): dollars("1", "hours")})


def test_a_model_without_all_its_token_prices_is_asked_for(tmp_path: Path) -> None:
    own = tmp_path / "prices.toml"
    own.write_text('[[price]]\nname = "half"\nunit = "usd_per_mtok_input"\nvalue = 1\n', encoding="utf-8")
    with pytest.raises(BadInput, match="usd_per_mtok_output"):
        model.pricing(prices.load(own), "half")
