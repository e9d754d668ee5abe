"""Charts of what costs are made of, and of the volume at which two arms cost the same."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_advisor.costs.horizon import extra
from finetune_advisor.costs.parts import PARTS
from finetune_advisor.records import Cost, Driver, Results, Spread
from finetune_advisor.report.blocks import Chart, Text
from finetune_advisor.report.break_even import Line, break_even, crossing, race
from finetune_advisor.report.cost_parts import cost_parts
from finetune_advisor.report.csv import to_csv
from sample_results import sample_results

RESULTS = sample_results()


def pair(results: Results = RESULTS) -> tuple[Cost, Cost]:
    costs = {cost.arm: cost for cost in results.costs}
    return costs["LoRA"], costs["nearest examples"]


def with_spreads(*spreads: Spread) -> Results:
    odds = RESULTS.verdict.odds
    assert odds
    return replace(RESULTS, verdict=replace(RESULTS.verdict, odds=replace(odds, spreads=spreads)))


def spread(driver: Driver, low: float, high: float) -> Spread:
    return Spread(driver=driver, low=low, high=high, unit="", likely=None, source="", basis="user")


def chart(results: Results) -> Chart:
    return next(block for block in break_even(results) if isinstance(block, Chart))


def test_at_the_point_the_cost_model_finds_no_difference() -> None:
    tuned, untuned = pair()
    difference = extra(tuned, untuned, RESULTS.requests_per_month)
    point = race(RESULTS, tuned, untuned).point
    assert float(difference.usd(round(point), 12)) == pytest.approx(0, abs=1e-4)
    assert difference.usd(round(point) + 1000, 12) < 0


def test_totals_at_the_cases_own_volume_are_the_costs_over_the_horizon() -> None:
    results = replace(RESULTS, horizon_months=18)
    made = race(results, *pair())
    for cost, line in zip(made.costs, made.likely, strict=True):
        assert line.at(40_000) == pytest.approx(float(cost.usd_one_off + 18 * cost.usd_per_month))


def test_a_cost_without_parts_gives_the_same_point() -> None:
    bare = [replace(cost, parts={}) for cost in pair()]
    assert race(RESULTS, bare[0], bare[1]).point == pytest.approx(race(RESULTS, *pair()).point)


def test_the_band_of_hours_alone_is_that_of_the_hours() -> None:
    """The extra cost at the start is all labour but for $0.003: the point moves with the factor of the hours."""
    made = race(with_spreads(spread("hours", 0.5, 2.0)), *pair())
    shares = [point / made.point for point in made.points()]
    assert 0.5 <= shares[0] <= 0.55
    assert 1.9 <= shares[-1] <= 2
    # A triangle from 0.5 over 1 to 2 has half of its mass below 2 - sqrt(0.75).
    assert shares[len(shares) // 2] == pytest.approx(2 - math.sqrt(0.75), abs=0.03)


def test_what_both_arms_pay_alike_does_not_move_the_point() -> None:
    """Prices and the volume itself: the one scales both slopes, the other is the axis."""
    made = race(with_spreads(spread("volume", 0.1, 9.0)), *pair())
    assert made.draws == ()
    prices = race(with_spreads(spread("prices", 0.5, 2.0)), *pair())
    assert prices.points()[0] * 2 == pytest.approx(prices.points()[-1] / 2, rel=0.15)


def test_the_chart_marks_the_point_with_its_band_and_the_volume_with_its_own() -> None:
    shown = chart(RESULTS)
    (yours, volume), (same, point) = shown.guides.items()
    assert (yours, volume) == ("your volume: 40,000", 40_000)
    assert same == "cost the same: 2,780,000"
    assert shown.bands[yours] == (20_000, 80_000)
    low, high = shown.bands[same]
    assert low < point < high <= float(str(shown.rows[-1]["requests_per_month"]))
    assert "from 2,780,000 requests a month on, “nearest examples” below that" in shown.alt
    assert "In 95 of 100 draws" in shown.alt


def test_every_total_lies_in_its_interval() -> None:
    for row in chart(RESULTS).rows:
        low, total, high = (float(str(row[key])) for key in ("low", "usd_total", "high"))
        assert low <= total <= high


def test_without_ranges_there_is_no_band_and_the_report_says_so() -> None:
    blocks = break_even(with_spreads())
    shown = next(block for block in blocks if isinstance(block, Chart))
    assert shown.bands == {}
    assert {row["low"] for row in shown.rows} == {None}
    assert any("There are no bands" in block.text for block in blocks if isinstance(block, Text))


def test_an_arm_that_is_dearer_at_any_volume_is_said_to_be() -> None:
    tuned, untuned = pair()
    dear = replace(tuned, usd_per_1000=untuned.usd_per_1000 * 2, usd_per_month=untuned.usd_per_month * 2, parts={})
    results = replace(RESULTS, costs=(dear, untuned))
    assert "“nearest examples” is the cheaper one at any number" in chart(results).alt
    assert list(chart(results).guides) == ["your volume: 40,000"]


def test_an_untuned_arm_alone_has_no_chart() -> None:
    (block,) = break_even(replace(RESULTS, costs=()))
    assert isinstance(block, Text)
    assert "no break-even chart" in block.text


@given(*[st.floats(0, 1e6)] * 4)
def test_the_first_line_is_the_lower_one_from_the_point_on(a: float, b: float, c: float, d: float) -> None:
    first, second = Line(start=a, slope=min(c, d)), Line(start=b, slope=max(c, d))
    point = crossing(first, second)
    if math.isinf(point):
        assert first.start > second.start
        return
    after, tiny = 2 * point + 1, 1e-9 * (a + b + (c + d) * (point + 1) + 1)
    assert first.at(after) <= second.at(after) + tiny
    if point:
        assert first.at(point / 2) >= second.at(point / 2) - tiny


def test_parts_add_up_to_the_month_and_to_what_is_paid_once() -> None:
    month, once = (block for block in cost_parts(RESULTS) if isinstance(block, Chart))
    for cost in RESULTS.costs:
        for shown, total in ((month, cost.usd_per_month), (once, cost.usd_one_off)):
            paid = [float(str(row["usd"])) for row in shown.rows if row["arm"] == cost.arm]
            assert sum(paid) == pytest.approx(float(total))
            assert all(paid)
    assert "every month" in month.title
    assert "nearest examples nothing" in once.alt


def test_parts_are_named_in_words() -> None:
    names = {str(row["part"]) for block in cost_parts(RESULTS) if isinstance(block, Chart) for row in block.rows}
    assert names == {"Machine time reading prompts", "Machine time writing answers", "Labour to tune", "Training"}
    assert not any("_" in part.title or not part.title.rpartition(", ")[0] for part in PARTS.values())


def test_costs_of_nothing_have_no_chart() -> None:
    nothing = tuple(replace(cost, parts={name: Decimal(0) for name in cost.parts}) for cost in RESULTS.costs)
    assert cost_parts(replace(RESULTS, costs=nothing)) == ()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff20"])
def test_no_name_becomes_a_formula_in_a_spreadsheet(start: str) -> None:
    (block, *_) = cost_parts(RESULTS)
    assert isinstance(block, Chart)
    rows = [{**row, "arm": f"{start}1+1"} for row in block.rows]
    assert all(read["arm"].startswith("'") for read in csv.DictReader(io.StringIO(to_csv(rows), newline="")))
