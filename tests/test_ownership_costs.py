"""Total cost of ownership: machines, hosting, work, trainings, retirement, worth and the horizon."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_advisor.costs import model
from sample_costs import arm, dollars, machine, money, run, tokens, work

D = Decimal

usd = st.decimals(0, 1000, places=4)


def test_an_hourly_deployment_is_paid_used_or_not_by_the_tuned_arm_alone() -> None:
    """Azure: $1.70 an hour is $1,241 a month (providers 1.2)."""
    hosted = replace(tokens("0.40", "0.10", "1.60"), usd_per_hour_hosting=dollars("1.70", "usd_per_hour_hosting"))
    tuned = model.cost(arm(tuned=True), money(hosted, volume=0))
    assert tuned.parts["usd_per_month_hosting"] == tuned.usd_per_month == D(1241)
    assert model.cost(arm(), money(hosted, volume=0)).usd_per_month == 0
    stated = replace(money(hosted, volume=0), hosting_usd_per_month=dollars("99", "usd_per_month"))
    assert model.cost(arm(tuned=True), stated).usd_per_month == 99


def test_a_machine_that_is_always_on_is_paid_by_the_month_and_its_requests_cost_nothing_more() -> None:
    always = replace(money(volume=100_000), machine=machine("2", "0.5", always_on=True))
    slow = model.cost(arm(seconds=3.0, prefill_seconds=1.0), always)
    assert slow.parts["usd_per_month_machines"] == slow.usd_per_month == 2 * 730
    assert slow.usd_per_1000 == slow.usd_per_1000_uncached == 0
    elastic = model.cost(arm(seconds=3.0), replace(always, machine=machine("2", "0.5")))
    assert "usd_per_month_machines" not in elastic.parts
    assert elastic.usd_per_month == elastic.usd_per_1000 * 100 > 0


@pytest.mark.parametrize(("peak", "machines", "busy"), [("1200", 1, "1"), ("1201", 2, "0.5"), ("3000", 3, "0.8333")])
def test_there_are_as_many_machines_as_the_busiest_hour_takes(peak: str, machines: int, busy: str) -> None:
    """Requests an hour times seconds a request over 3,600 seconds, at most 1 on each machine."""
    always = replace(
        money(volume=100_000),
        machine=machine("2", always_on=True),
        peak_requests_per_hour=dollars(peak, "requests_per_hour"),
    )
    served = model.served_by(arm(seconds=3.0), always)
    assert served and served.machines == machines
    assert float(served.busy) == pytest.approx(float(busy), abs=1e-3)
    assert model.cost(arm(seconds=3.0), always).usd_per_month == machines * 2 * 730


def test_a_higher_volume_has_a_higher_peak_and_a_provider_needs_no_machines() -> None:
    at_peak = replace(money(volume=100_000), peak_requests_per_hour=dollars("1200", "requests_per_hour"))
    more = model.served_by(arm(seconds=3.0), at_peak, 1_000_000)
    assert more and (more.machines, more.requests_per_hour_each) == (10, 1200)
    assert model.served_by(arm(seconds=3.0), money(tokens("1", None, "1"))) is None


@given(st.integers(1, 10**7), st.floats(0.001, 100), st.decimals("0.01", 100, places=2), st.booleans())
def test_more_volume_is_never_cheaper_in_total_and_idle_time_is_never_counted_twice(
    volume: int, seconds: float, hourly: Decimal, always_on: bool
) -> None:
    measured, paid = arm(seconds=seconds), machine(str(hourly), "0.5", always_on=always_on)
    one, more = (model.cost(measured, replace(money(volume=v), machine=paid)) for v in (volume, volume * 3))
    assert one.usd_per_month <= more.usd_per_month
    fixed, by_request = one.parts.get("usd_per_month_machines", D(0)), one.usd_per_1000
    assert (fixed == 0) != (by_request == 0)


def test_labels_are_paid_for_by_the_arms_that_learn_from_them() -> None:
    assumptions = replace(
        money(), labels=model.Labels(number=dollars("500", "labels"), usd_each=dollars("0.4", "usd_per_label"))
    )
    one_off = {
        each.name: model.cost(each, assumptions).usd_one_off
        for each in (arm("few"), arm("lora", tuned=True), arm("svm", approach="classical"))
    }
    assert one_off == {"few": 0, "lora": 200, "svm": 200}


def test_sweeps_and_failed_trainings_are_paid_for() -> None:
    """3 runs that succeed and 1 in 4 started ones that fails take 4 starts on average."""
    plan = model.TrainingPlan(runs=dollars("3", "runs"), failed_share=dollars("0.25", "share"))
    tuned = arm("ft", tuned=True, training=run(tokens=1_000_000))
    once = money(tokens("1", None, "1", "5"))
    assert model.cost(tuned, once).usd_training == 5
    assert model.cost(tuned, replace(once, trainings=plan)).usd_training == 20


def test_a_job_costs_at_least_the_providers_minimum() -> None:
    """Mistral: $4 a job (providers 1.3)."""
    least = replace(tokens("1", None, "1", "5"), usd_minimum_job=dollars("4", "usd_minimum_job"))
    assert model.cost(arm(tuned=True, training=run(tokens=1000)), money(least)).usd_training == 4


def test_a_base_model_that_retires_within_the_horizon_is_paid_for_by_every_arm_and_more_by_a_tuned_one() -> None:
    hours = work({"evaluation": "5", "tuning": "3", "deployment": "2"})
    dying = replace(money(tokens("1", None, "1", "5"), labour=hours), retires={"m": dollars("1.7", "months")})
    tuned, plain = arm("ft", tuned=True, training=run(tokens=1_000_000)), arm()
    again = {each.name: model.cost(each, dying).usd_one_off for each in (tuned, plain)}
    assert again == {"ft": 2 * (800 + 5), "few-shot": 2 * 400}
    later = replace(dying, retires={"m": dollars("12", "months")})
    assert model.cost(tuned, later).usd_one_off == 805


def test_prompts_are_maintained_by_untuned_arms_and_answers_watched_by_all() -> None:
    assumptions = money(volume=0, labour=work({"prompts": "2", "monitoring": "1", "upkeep": "4"}))
    assert model.cost(arm(), assumptions).usd_per_month == 240
    assert model.cost(arm(tuned=True), assumptions).usd_per_month == 400


def test_searching_takes_the_machine_and_an_embedding_unless_words_are_compared() -> None:
    search = model.Search(
        seconds=dollars("0.36", "seconds_per_search"),
        usd_per_mtok_input=dollars("0.02", "usd_per_mtok_input"),
        question_tokens=dollars("50", "tokens_per_question"),
    )
    assumptions = replace(money(tokens("1", None, "1")), search=search)
    usd = {
        name: model.cost(arm(settings={"retriever": name}), assumptions).usd_per_1000 for name in ("dense", "bm25", "")
    }
    assert usd == {"dense": D("0.011"), "bm25": D("0.01"), "": 0}


def test_judged_answers_cost_their_share() -> None:
    judging = model.Judging(share=dollars("0.05", "share"), usd_each=dollars("0.2", "usd_per_judged_request"))
    assert model.cost(arm(), replace(money(tokens("1", None, "1")), judging=judging)).usd_per_1000 == 10


@pytest.mark.parametrize(
    ("rate", "months", "factor"), [(0.0, 12, 12.0), (0.12682503, 12, 11.2551), (0.08, 36, 32.0434)]
)
def test_a_monthly_dollar_is_worth_what_annuity_tables_say(rate: float, months: int, factor: float) -> None:
    """1% a month over 12 months is 11.2551 in every annuity table; 8% a year over 3 by (1 - 1.08^-3) / i."""
    assert float(model.annuity(months, rate)) == pytest.approx(factor, abs=1e-3)


@given(st.integers(1, 120), st.floats(0, 1), usd, usd)
def test_what_is_owned_costs_the_one_off_now_and_less_than_the_months_later(
    months: int, rate: float, monthly: Decimal, once: Decimal
) -> None:
    owned = replace(model.cost(arm(), money()), usd_per_month=monthly, usd_one_off=once)
    total = model.tco_usd(owned, months, rate)
    assert once <= total <= once + monthly * months + D("0.0001")
    assert model.tco_usd(owned, months, 0) == once + monthly * months


def test_each_kind_of_failure_costs_its_own_amount() -> None:
    """70 right, 5 without an answer, 10 in the wrong form, 15 wrong."""
    measured = arm(score=0.7, failures=5, format_failures=10)
    amounts = {"right": "1", "wrong": "2", "form": "0.5", "none": "3"}
    right, wrong, form, none = (dollars(value, "usd_per_answer") for value in amounts.values())
    full = model.Worth(
        usd_per_right_answer=right, usd_per_wrong_answer=wrong, usd_per_wrong_form=form, usd_per_no_answer=none
    )
    assert full.usd_per_request(measured) == D("0.7") - D("0.3") - D("0.05") - D("0.15")
    plain = model.Worth(usd_per_right_answer=right, usd_per_wrong_answer=wrong)
    assert plain.usd_per_request(measured) == D("0.7") - D("0.6")
    assert model.Worth().usd_per_request(measured) is None
