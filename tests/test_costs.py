"""Prices and the cost model: published worked examples, formula C10, and what must hold for any numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_advisor.costs import model, prices
from finetune_advisor.errors import BadInput
from finetune_advisor.records import ArmResult, Interval, Price, TrainingRun

TODAY = date(2026, 11, 22)
TABLE = prices.load()
D = Decimal


def arm(name: str = "few-shot", **changes: Any) -> ArmResult:
    plain = ArmResult(
        name=name,
        approach="few_shot",
        model="m",
        settings={},
        tuned=False,
        simulated=False,
        metric="label",
        n=100,
        score=0.8,
        interval=Interval(low=0.7, high=0.9),
        example_ids=(),
        scores=(),
        failures=0,
        format_failures=0,
        wrong=20,
        extras={},
        prompt_tokens=0,
        cached_tokens=0,
        completion_tokens=0,
        seconds=0,
        prefill_seconds=0,
    )
    return replace(plain, **changes)


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


def machine(usd_per_hour: str = "0.10", utilisation: str = "1") -> model.MachinePricing:
    return model.MachinePricing(usd_per_hour=dollars(usd_per_hour), utilisation=dollars(utilisation, "share"))


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


def test_few_shot_on_the_cheap_frontier_model_costs_what_the_worked_example_says() -> None:
    table = prices.PriceTable(TABLE.rows)
    few_shot = arm(prompt_tokens=2000, cached_tokens=1800, completion_tokens=100)
    priced = model.cost(few_shot, money(model.pricing(table, "gpt-6-luna")))
    assert priced.usd_per_1000_uncached == D("0.250")
    assert priced.usd_per_1000 == D("0.088")


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
    assumptions = replace(money(), machine=machine(str(TABLE.get("a10g", TODAY)["usd_per_hour"].value), "0.25"))
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
        retrain_every_months=6,
    )
    untuned = model.cost(arm(), assumptions)
    tuned = model.cost(arm("lora", tuned=True, training=run(seconds=36_000)), assumptions)
    assert (untuned.usd_one_off, untuned.usd_per_month) == (D(1200), D(0))
    assert tuned.usd_one_off == D(1600) + D("1.00")
    assert round(tuned.usd_per_month, 6) == D("80.166667")


@pytest.mark.parametrize("pricing", [machine("2", "0.3"), tokens("1", "0.1", "2", "3")])
def test_parts_add_up_and_have_titles(pricing: model.Pricing) -> None:
    measured = arm(prompt_tokens=3000, cached_tokens=1500, completion_tokens=7, seconds=0.3, prefill_seconds=0.1)
    tuned = replace(measured, tuned=True, training=run(tokens=999, seconds=100))
    priced = model.cost(
        tuned, replace(money(pricing, labour=work({"data": "1", "upkeep": "2"})), retrain_every_months=3)
    )
    monthly = sum(usd for name, usd in priced.parts.items() if name.startswith("usd_per_month_"))
    assert float(monthly) == pytest.approx(float(priced.usd_per_month))
    assert float(sum(priced.parts.values()) - monthly) == pytest.approx(float(priced.usd_one_off))
    assert set(priced.parts) <= set(model.PARTS)


def test_every_figure_that_went_in_is_listed_with_its_basis() -> None:
    tuned = arm("lora", tuned=True, seconds=1, training=run(seconds=60))
    priced = model.cost(tuned, money(model.pricing(TABLE, "l4"), labour=work({"tuning": "4"})))
    by_unit = {(price.unit, price.basis): price for price in priced.assumptions}
    assert by_unit["usd_per_hour", "source"].checked == "2026-11-22"
    assert by_unit["share", "assumed"].value == D("0.5")
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


def test_break_even_quality_is_the_one_openai_published() -> None:
    """Success +20; failure: 95% escalate at 40, 5% churn at 1,000 (published results A5)."""
    assert model.break_even_quality(D(20), D("0.95") * 40 + D("0.05") * 1000) == pytest.approx(0.8148, abs=5e-5)
    assert model.break_even_quality(D(0), D(0)) == 0


figures = st.floats(0, 1e6, allow_nan=False)
usd = st.decimals(0, 1000, places=4)


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
    with pytest.raises(BadInput, match="negative"):
        money(volume=-1)
    with pytest.raises(BadInput, match="months"):
        replace(money(), horizon_months=0)
    with pytest.raises(BadInput, match="negative"):
        replace(money(), usd_per_wrong_answer=D(-1))
    with pytest.raises(BadInput, match="what an hour costs"):
        model.Labour(hours={"data": dollars("1", "hours")})
    with pytest.raises(BadInput, match="no work named"):
        model.Labour(usd_per_hour=dollars("80"), hours={cast(model.Work, "lunch"): dollars("1", "hours")})


def test_the_shipped_prices_are_the_reference_ones_and_each_names_its_source() -> None:
    luna = TABLE.get("gpt-6-luna", TODAY)
    assert [luna[f"usd_per_mtok_{kind}"].value for kind in ("input", "cached", "output")] == [
        D("0.10"),
        D("0.01"),
        D("0.50"),
    ]
    assert {"t4", "l4", "a10g", "a100-80", "h100", "cpu-2vcpu", "gpt-4.1-mini"} <= set(TABLE.names)
    assert all(row.price.source and row.price.checked for row in TABLE.rows)
    assert TABLE.get("cpu-2vcpu", TODAY)["usd_per_hour"].basis == "assumed"


def test_training_that_no_longer_is_sold_is_marked_and_ends_before_the_model_does() -> None:
    name = "ft:gpt-4o-mini-2024-07-18"
    assert "last published" in TABLE.get(name, TODAY)["usd_per_mtok_training"].source
    assert "usd_per_mtok_training" not in TABLE.get(name, date(2027, 1, 10))
    with pytest.raises(BadInput, match="2027-01-14"):
        TABLE.get(name, date(2027, 1, 15))


def test_an_unknown_price_is_asked_for_and_never_invented() -> None:
    with pytest.raises(BadInput, match="gpt-9") as caught:
        TABLE.get("gpt-9")
    assert "gpt-6-luna" in caught.value.hint and "[[price]]" in caught.value.hint


def test_a_users_row_goes_first_and_changes_the_version(tmp_path: Path) -> None:
    own = tmp_path / "prices.toml"
    own.write_text(
        '[[price]]\nname = "l4"\nunit = "usd_per_hour"\nvalue = 0.44\n\n'
        '[[price]]\nname = "ours"\nunit = "usd_per_hour"\nvalue = 2\nfrom = 2026-01-01\nuntil = 2026-06-30\n',
        encoding="utf-8-sig",
    )
    table = prices.load(own)
    price = table.get("l4", TODAY)["usd_per_hour"]
    assert (price.value, price.basis, price.source) == (D("0.44"), "user", str(own))
    assert table.get("ours", date(2026, 6, 30))["usd_per_hour"].value == 2
    for outside in (date(2025, 12, 31), date(2026, 7, 1)):
        with pytest.raises(BadInput, match="holds on"):
            table.get("ours", outside)
    assert table.version != TABLE.version == prices.load().version


def test_the_last_row_in_force_counts() -> None:
    old = next(row for row in TABLE.rows if row.price.name == "t4")
    new = replace(old, price=replace(old.price, value=D(9)), start=date(2027, 1, 1))
    table = prices.PriceTable((*TABLE.rows, new))
    assert table.get("t4", date(2026, 12, 31))["usd_per_hour"].value == D("0.526")
    assert table.get("t4", date(2027, 1, 1))["usd_per_hour"].value == 9


def test_age_counts_from_the_oldest_dated_source_that_is_in_force() -> None:
    assert TABLE.age_days(date(2026, 11, 22)) == 386
    assert TABLE.age_days(date(2027, 1, 10)) == 62
    assert prices.age_days([dollars("1")], TODAY) == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[price]]\nname = ", "not valid TOML"),
        ('[[price]]\nname = "x"\nunit = "usd_per_hour"\nvalue = -1\n', "price number 1 value"),
        ('[[price]]\nname = "x"\nunit = "usd_per_hour"\nvalue = nan\n', "price number 1 value"),
        ('[[price]]\nname = "x"\nunit = "eur_per_hour"\nvalue = 1\n', "price number 1 unit"),
        ('[[price]]\nname = "x"\nunit = "usd_per_hour"\nvalue = 1\ncolour = "red"\n', "price number 1 colour"),
        ("", "price"),
    ],
)
def test_an_unusable_price_file_is_one_sentence(text: str, says: str, tmp_path: Path) -> None:
    own = tmp_path / "prices.toml"
    own.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=says):
        prices.load(own)


def test_an_unreadable_price_file_is_one_sentence(tmp_path: Path) -> None:
    binary = tmp_path / "prices.toml"
    binary.write_bytes("[[price]]".encode("utf-16"))
    for path in (binary, tmp_path / "none.toml"):
        with pytest.raises(BadInput, match="cannot be read"):
            prices.load(path)


def test_a_model_without_all_its_token_prices_is_asked_for(tmp_path: Path) -> None:
    own = tmp_path / "prices.toml"
    own.write_text('[[price]]\nname = "half"\nunit = "usd_per_mtok_input"\nvalue = 1\n', encoding="utf-8")
    with pytest.raises(BadInput, match="usd_per_mtok_output"):
        model.pricing(prices.load(own), "half")
