"""The money, goal and uncertainty tables of a case: what they become, and what is refused in one sentence."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_advisor import case as cases
from finetune_advisor.case import Case, GoalSection, MoneySection
from finetune_advisor.costs import model, prices
from finetune_advisor.errors import BadInput
from finetune_advisor.experiment.money import assume, spreads
from finetune_advisor.records import Price, Spread
from finetune_advisor.report.money import cost_table
from finetune_advisor.report.money import money as money_blocks
from sample_results import sample_results

TABLE = prices.load()
TODAY = date(2026, 11, 22)

HEAD = """schema = 1
title = "t"
[task]
kind = "text"
[data]
examples = "examples.jsonl"
"""


def stated(models: tuple[dict[str, Any], ...] = (), **tables: dict[str, Any]) -> Case:
    head: dict[str, Any] = {"schema": 1, "title": "t", "task": {"kind": "text"}, "data": {"examples": "e.jsonl"}}
    return Case.model_validate({**head, "models": models, "arms": (), "folder": Path(), **tables})


def by_driver(case: Case) -> dict[str, Spread]:
    return {spread.driver: spread for spread in spreads(case)}


def test_every_money_key_reaches_the_cost_model() -> None:
    section = {
        "requests_per_month": 5000, "peak_requests_per_hour": 60, "batch_share": "0.5", "machine": "l4",
        "always_on": True, "usd_per_month_hosting": 7, "search_seconds": "0.01", "embedding": "text-embedding-3-small",
        "question_tokens": 30, "usd_per_right_answer": "0.1", "usd_per_wrong_answer": "0.2", "usd_per_wrong_form": 1,
        "usd_per_no_answer": 2, "horizon_months": 24, "usd_per_labour_hour": 60, "data_hours": 1,
        "evaluation_hours": 2, "tuning_hours": 3, "deployment_hours": 4, "upkeep_hours_per_month": 5,
        "monitoring_hours_per_month": 6, "prompt_hours_per_month": 7, "retrain_every_months": 6, "retraining_hours": 8,
        "training_runs": 3, "failed_share": "0.1", "labels": 100, "usd_per_label": "0.3", "judged_share": "0.05",
        "usd_per_judged_request": "0.01",
    }  # fmt: skip
    used = assume(stated(money=section), TABLE, TODAY)
    assert (used.requests_per_month, used.horizon_months, used.busiest_hour) == (5000, 24, 60)
    assert used.machine.always_on and used.machine.usd_per_hour.source.startswith("AWS")
    assert [hours.value for hours in used.labour.hours.values()] == list(range(1, 9))
    assert used.labels and used.labels.number.value * used.labels.usd_each.value == 30
    assert (used.trainings.runs.value, used.trainings.retrain_every_months) == (3, 6)
    assert used.trainings.failed_share.value == Decimal("0.1")
    assert used.judging and used.judging.usd == Decimal("0.0005")
    assert [price.value for price in used.search.prices()] == [Decimal("0.01"), Decimal("0.02"), 30]
    assert used.batch_share and used.batch_share.value == Decimal("0.5")
    assert used.hosting_usd_per_month and used.hosting_usd_per_month.value == 7
    assert [price.value for price in used.worth.prices()] == [Decimal("0.1"), Decimal("0.2"), 1, 2]


def test_what_nobody_stated_costs_nothing_and_is_marked_as_assumed() -> None:
    used = assume(stated(), TABLE, TODAY)
    assert not used.labour.prices() and not used.worth.prices() and not used.search.prices()
    assert used.labels is used.judging is used.batch_share is used.hosting_usd_per_month is None
    assert {price.basis for price in [used.machine.utilisation, *used.trainings.prices()]} == {"assumed"}


def test_a_model_that_retires_is_known_by_its_dated_route() -> None:
    models = (
        {"name": "a", "provider": "openai", "options": {"id": "gpt-4.1-mini"}},
        {"name": "b", "provider": "openai", "options": {"id": "gpt-6-luna"}},
        {"name": "c", "provider": "embedded"},
    )
    used = assume(stated(models), TABLE, TODAY)
    assert set(used.retires) == {"a"}
    assert used.retires["a"].value == Decimal("1.7") and "2027-01-14" in used.retires["a"].name
    assert used.retires["a"].source and used.retires["a"].basis == "source"


def test_hosting_on_azure_comes_with_its_price() -> None:
    name = "azure:ft:gpt-4.1-mini-2025-04-14"
    used = assume(stated(({"name": "a", "provider": "openai", "options": {"id": "x"}, "price": name},)), TABLE, TODAY)
    paid = used.pricing["a"]
    assert isinstance(paid, model.TokenPricing) and paid.hosting_usd_per_month == 1241


def test_unstated_spreads_are_assumed_and_say_so() -> None:
    found = by_driver(stated(money={"usd_per_right_answer": "0.1", "utilisation": "0.5"}))
    ends = {driver: (spread.low, spread.high) for driver, spread in found.items()}
    assert ends == {
        "volume": (0.7, 1.4), "prices": (0.9, 1.1), "tokens": (0.95, 1.05), "hours": (0.8, 1.6), "training": (0.8, 1.5),
        "value": (0.8, 1.25),
    }  # fmt: skip
    assert {spread.basis for spread in found.values()} == {"assumed"}
    assert (found["volume"].likely, found["value"].likely) == (10_000, 0.1)
    assert all(spread.source for spread in found.values())


def test_a_worth_that_nobody_stated_has_no_spread() -> None:
    assert "value" not in by_driver(stated())


def test_prices_are_wider_where_all_arms_run_on_a_machine_of_unknown_utilisation() -> None:
    """A utilisation of one half is assumed; 0.8 makes the price 0.625 times as high, 0.25 makes it twice."""
    assert (by_driver(stated())["prices"].low, by_driver(stated())["prices"].high) == (0.5 / 0.8, 0.5 / 0.25)
    paid = ({"name": "a", "provider": "openai", "options": {"id": "gpt-6-luna"}},)
    for known in (stated(money={"utilisation": "0.5"}), stated(money={"always_on": True}), stated(paid)):
        assert by_driver(known)["prices"].high == 1.1


def test_stated_spreads_are_factors_of_what_is_likely() -> None:
    found = by_driver(
        stated(
            money={"requests_per_month": 1000, "usd_per_right_answer": 2, "usd_per_wrong_answer": 10},
            uncertainty={
                "requests_per_month": [500, 4000], "usd_per_right_answer": [1, 3], "usd_per_wrong_answer": [8, 20],
                "hours": [0.8, 2.0], "hosting": [1, 1.2],
            },
        )
    )  # fmt: skip
    assert (found["volume"].low, found["volume"].high, found["volume"].likely) == (0.5, 4.0, 1000)
    assert (found["value"].low, found["value"].high) == (0.5, 2.0)
    assert (found["hours"].low, found["hours"].high) == (0.8, 2.0)
    assert found["hosting"].high == 1.2
    assert {found[driver].basis for driver in ("volume", "value", "hours", "hosting")} == {"user"}
    assert found["prices"].basis == "assumed"


@given(st.integers(1, 10**6), st.tuples(st.floats(0, 2), st.floats(0, 2)).map(sorted))
def test_a_spread_holds_its_likely_value_or_is_refused(likely: int, ends: list[float]) -> None:
    low, high = ends
    case = stated(
        money={"requests_per_month": likely}, uncertainty={"requests_per_month": [low * likely, high * likely]}
    )
    try:
        found = by_driver(case)["volume"]
    except BadInput:
        assert not low <= 1 <= high
    else:
        assert found.low <= 1 <= found.high


@pytest.mark.parametrize(
    ("uncertainty", "says"),
    [
        ({"requests_per_month": [20_000, 30_000]}, "does not hold 10000"),
        ({"hours": [1.2, 2.0]}, "does not hold 1"),
        ({"usd_per_right_answer": [1, 2]}, r"\[money\] no such amount"),
    ],
)
def test_a_range_without_the_likely_figure_is_one_sentence(uncertainty: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        spreads(stated(uncertainty=uncertainty))


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ("[uncertainty]\nhours = [2.0, 0.8]\n", "hours goes from 2 to 0.8: give the lowest first"),
        ("[money]\nrequests_per_month = 0\n", "money.requests_per_month: .* greater than 0"),
        ("[money]\nhorizon_months = 0\n", "money.horizon_months: .* greater than 0"),
        ("[money]\nusd_per_label = -1\n", "money.usd_per_label: .* greater than or equal to 0"),
        ("[money]\ndiscount_rate = -0.1\n", "money.discount_rate"),
        ("[money]\ndiscount_rate = 8\n", "money.discount_rate: .* less than or equal to 1"),
        ("[money]\nbatch_share = 1.5\n", "money.batch_share: .* less than or equal to 1"),
        ("[money]\nfailed_share = 1\n", "money.failed_share: .* less than 1"),
        ("[money]\nusd_per_wrong_answer = nan\n", "money.usd_per_wrong_answer"),
        ("[money]\nlabels = 10\n", "give usd_per_label too"),
        ("[money]\njudged_share = 0.1\n", "give usd_per_judged_request too"),
        ("[money]\nalways_on = true\nutilisation = 0.5\n", "idle time twice"),
        ("[money]\nembedding = 'x'\n", "question_tokens"),
        ("[money]\nhourly_rate = 1\n", "money.hourly_rate: Extra inputs"),
        ("[goal]\nkind = 'fame'\n", "goal.kind"),
        ("[goal]\nconfidence = 0.4\n", "goal.confidence: .* greater than 0.5"),
        ("[goal]\nconfidence = 90\n", "goal.confidence: .* less than or equal to 0.999"),
        ("[goal]\nlatency_seconds = 0\n", "goal.latency_seconds: .* greater than 0"),
        ("[uncertainty]\nhours = [1]\n", "uncertainty.hours"),
        ("[uncertainty]\nhours = [-1, 2]\n", "uncertainty.hours"),
        ("[uncertainty]\nprices = [0.5, inf]\n", "uncertainty.prices"),
        ("[uncertainty]\nluck = [0.5, 2]\n", "uncertainty.luck: Extra inputs"),
    ],
)
def test_nonsense_in_the_file_is_one_sentence_that_names_the_key(tables: str, says: str, tmp_path: Path) -> None:
    head = HEAD + "[[models]]\nname='m'\nprovider='fake'\n[[arms]]\napproach='zero_shot'\n"
    (tmp_path / cases.FILE).write_text(head + tables, encoding="utf-8")
    with pytest.raises(BadInput, match=says) as caught:
        cases.read(tmp_path)
    assert "\n" not in caught.value.message


def test_an_embedding_without_a_price_by_token_is_asked_for() -> None:
    with pytest.raises(BadInput, match="no usd_per_mtok_input"):
        assume(stated(money={"embedding": "l4", "question_tokens": 5}), TABLE, TODAY)


def test_the_goals_have_usual_values_and_take_speed_and_privacy() -> None:
    assert GoalSection().confidence == 0.9 and GoalSection().latency_seconds is None
    assert [GoalSection.model_validate({"kind": kind}).kind for kind in ("speed", "privacy")] == ["speed", "privacy"]
    assert MoneySection().discount_rate == 0


def texts(blocks: tuple[Any, ...]) -> str:
    return " ".join(getattr(block, "text", "") for block in blocks)


def test_the_report_says_what_always_on_machines_come_to_and_what_they_can_serve() -> None:
    plain = sample_results()
    figures = {"machines": "2", "share_busy": "0.75", "requests_per_machine_hour": "1200"}
    served = tuple(
        Price(name=unit, value=Decimal(value), unit=unit, source="", checked="", basis="measured")
        for unit, value in figures.items()
    )
    paid = [
        replace(
            cost,
            usd_per_1000=Decimal(0),
            usd_per_1000_uncached=Decimal(0),
            usd_per_month=Decimal(1460),
            break_even_requests=2_628_000,
            parts={"usd_per_month_machines": Decimal(1460)},
            assumptions=served,
        )
        for cost in plain.costs
    ]
    always_on = replace(plain, costs=tuple(paid), requests_per_month=10_000)
    said = texts(money_blocks(always_on))
    assert "Machines that are always on are paid by the month" in said
    assert "takes 2 machines, busy 75% of it" in said and "for 3.0 months" in said
    table = cost_table(always_on)
    column = table.columns.index("$ per 1,000 with caching")
    assert {row[column] for row in table.rows} == {"$146"}
    assert "always on" not in texts(money_blocks(plain)) and "busiest hour" not in texts(money_blocks(plain))
