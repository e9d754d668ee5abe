"""Charts: what is drawn, where, and in colours that everybody can tell apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_advisor.charts import DRAW, figure
from finetune_advisor.charts.marks import ASSUMPTION, COLOURS, SYMBOLS, money_axis
from finetune_advisor.charts.money import KINDS
from finetune_advisor.charts.quality import ANSWERS, pareto
from finetune_advisor.records import Confusion
from finetune_advisor.report.blocks import Cell, Chart
from finetune_advisor.report.build import build
from finetune_advisor.report.confusion import confusion
from sample_results import sample_results

RESULTS = sample_results(simulated=True)
FOUND = Confusion(field="", counts={"warranty": {"warranty": 5, "refund": 2}, "refund": {"refund": 3, "": 1}})
CHARTS = {
    **{block.kind: block for block in build(RESULTS) if isinstance(block, Chart)},
    "confusion": confusion(RESULTS, "LoRA", FOUND),
}


def drawn(chart: Chart) -> Any:
    """The figure as a browser gets it."""
    return json.loads(figure(chart).to_json())


def named(chart: Chart) -> dict[str, Any]:
    return {trace["name"]: trace for trace in drawn(chart)["data"]}


def row(arm: str, usd: float, score: float, **more: Cell) -> Mapping[str, Cell]:
    base: dict[str, Cell] = {"arm": arm, "approach": "rag", "model": "m", "n": 10, "score": score, "low": score}
    return {**base, "high": score, "usd_per_1000": usd, "usd_per_1000_uncached": usd, **more}


@pytest.mark.parametrize("kind", sorted(CHARTS))
def test_the_same_chart_gives_the_same_figure(kind: str) -> None:
    chart = next(chart for chart in CHARTS.values() if chart.kind == kind)
    assert figure(chart).to_json() == figure(chart).to_json()


def test_quality_cost_has_a_point_and_an_interval_per_arm() -> None:
    chart = CHARTS["quality_cost"]
    traces = named(chart)
    lora = traces["LoRA"]
    assert (lora["x"], lora["y"]) == ([0.0013], [pytest.approx(55 / 60)])
    assert lora["y"][0] + lora["error_y"]["array"][0] == pytest.approx(55 / 60 + 0.08)
    assert lora["y"][0] - lora["error_y"]["arrayminus"][0] == pytest.approx(55 / 60 - 0.11)
    assert "per 1,000 requests" in lora["hovertemplate"]
    assert "zero-shot (simulated)" in traces
    assert drawn(chart)["layout"]["xaxis"]["type"] == "log"


def test_the_front_joins_what_nothing_beats() -> None:
    front = named(CHARTS["quality_cost"])["no arm is better and cheaper"]
    assert front["x"] == [0.0000107, 0.0013]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_no_arm_beats_one_on_the_front(pairs: list[tuple[int, int]]) -> None:
    rows = [row(str(i), cost, score) for i, (cost, score) in enumerate(pairs)]
    front = {(each["usd_per_1000"], each["score"]) for each in pareto(rows)}
    for cost, score in pairs:
        beaten = any((c <= cost and s > score) or (c < cost and s >= score) for c, s in pairs)
        assert ((cost, score) in front) is not beaten


def test_a_free_arm_stands_left_of_the_cheapest() -> None:
    traces = named(replace(CHARTS["quality_cost"], rows=(row("free", 0, 0.5), row("paid", 0.03, 0.6))))
    assert 0 < traces["free"]["x"][0] < 0.03
    assert "&#36;0 per 1,000" in traces["free"]["hovertemplate"]


def test_guides_become_lines() -> None:
    layout = drawn(replace(CHARTS["quality_cost"], guides={"needed": 0.9}))["layout"]
    assert [shape["y0"] for shape in layout["shapes"]] == [0.9]
    assert layout["annotations"][0]["text"] == "needed"
    layout = drawn(CHARTS["break_even"])["layout"]
    lines = [shape["x0"] for shape in layout["shapes"] if shape["type"] == "line"]
    assert lines == [40_000, pytest.approx(2_777_778)]
    strips = [(shape["x0"], shape["x1"]) for shape in layout["shapes"] if shape["type"] == "rect"]
    assert strips[0] == (20_000, 80_000)
    assert strips[1][0] < 2_777_778 < strips[1][1]


def test_a_line_ends_below_the_names_of_those_on_its_left() -> None:
    layout = drawn(replace(CHARTS["break_even"], guides={"right": 20.0, "left": 10.0}, bands={}))["layout"]
    assert [note["text"] for note in layout["annotations"]] == ["left", "right"]
    left, right = layout["shapes"]
    assert left["y1"] == 1 > right["y1"]


def test_totals_come_with_their_bands_in_the_colour_of_their_arm() -> None:
    band, line = drawn(CHARTS["break_even"])["data"][:2]
    assert line["name"] == "LoRA"
    assert band["fillcolor"].startswith("rgba(213,94,0,")
    low, total, high = band["y"][0], line["y"][0], band["y"][-1]
    assert low < total < high


@pytest.mark.parametrize(("usd", "tick"), [((0.02, 0.4), "$,~r"), ((-50.0, 900.0), "$,~r"), ((0.0, 25_000.0), "$~s")])
def test_ticks_of_money_never_speak_of_thousandths(usd: tuple[float, float], tick: str) -> None:
    assert money_axis(usd) == tick


def test_parts_of_one_kind_share_a_colour_and_differ_in_hatching() -> None:
    bars = drawn(CHARTS["cost_parts"])["data"]
    monthly = drawn(next(b for b in build(RESULTS) if isinstance(b, Chart) and b.kind == "cost_parts"))["data"]
    assert [bar["name"] for bar in bars] == ["Labour to tune", "Training"]
    looks = [(bar["marker"]["color"], bar["marker"]["pattern"]["shape"]) for bar in monthly]
    assert looks[0][0] == looks[1][0]
    assert looks[0][1] != looks[1][1]


def test_no_part_of_a_bar_has_the_colour_of_an_approach() -> None:
    parts = {*(shade for shade, _ in KINDS.values()), ANSWERS}
    assert not parts & {*COLOURS.values(), ASSUMPTION}


def test_outcomes_add_up_to_the_test_examples() -> None:
    bars = drawn(CHARTS["outcomes"])["data"]
    assert [bar["name"] for bar in bars] == ["right", "wrong", "wrong form", "no answer"]
    assert [sum(counts) for counts in zip(*(bar["x"] for bar in bars), strict=True)] == [60] * 7


def test_loss_tells_training_from_validation() -> None:
    dashes = {name: trace["line"]["dash"] for name, trace in named(CHARTS["loss"]).items()}
    assert dashes["LoRA, train"] == "solid"
    assert dashes["LoRA, validation"] == "dash"


def test_net_values_have_intervals_and_say_how_often_they_are_best() -> None:
    lora = named(CHARTS["odds"])["LoRA"]
    assert lora["x"] == [8629.0]
    assert (lora["error_x"]["array"], lora["error_x"]["arrayminus"]) == ([9311.0 - 8629.0], [8629.0 - 7702.0])
    layout = drawn(CHARTS["odds"])["layout"]
    assert any("best in 81 of 100" in label for label in layout["yaxis"]["ticktext"])
    assert [shape["x0"] for shape in layout["shapes"]] == [0]


def ends(trace: Any) -> list[float]:
    """Where horizontal bars end that do not start at zero."""
    return [base + length for base, length in zip(trace["base"], trace["x"], strict=True)]


def test_the_tornado_reaches_both_ends_of_every_assumption_widest_first() -> None:
    chart = CHARTS["tornado"]
    low, high = drawn(chart)["data"]
    assert ends(low) == pytest.approx([each["advantage_at_low"] for each in chart.rows])
    assert ends(high) == pytest.approx([each["advantage_at_high"] for each in chart.rows])
    widths = [abs(float(str(r["advantage_at_high"])) - float(str(r["advantage_at_low"]))) for r in chart.rows]
    assert widths == sorted(widths, reverse=True)
    assert (low["name"], high["name"]) == ("assumption at its low end", "assumption at its high end")
    assert low["marker"]["color"] != high["marker"]["color"]


def test_the_tornado_marks_even_what_is_likely_and_the_turning_points() -> None:
    layout = drawn(CHARTS["tornado"])["layout"]
    assert [shape["x0"] for shape in layout["shapes"]] == [0, pytest.approx(1236, rel=0.01)]
    labels = layout["yaxis"]["ticktext"]
    assert "even at 9,700" in labels[0]
    assert "20,000 to 80,000" in labels[0]
    assert sum("even at" in label for label in labels) == 4


def test_a_tornado_of_scores_is_drawn_in_points() -> None:
    rows = (
        {**CHARTS["tornado"].rows[0], "advantage_at_low": -0.02, "advantage_at_high": 0.1, "advantage_unit": "score"},
    )
    low, high = drawn(replace(CHARTS["tornado"], rows=rows, guides={"most likely": 0.04}))["data"]
    assert (ends(low), ends(high)) == ([-2.0], [10.0])
    assert low["base"] == [4.0]


def test_a_bar_that_does_not_reach_what_is_expected_is_drawn_from_its_nearer_end() -> None:
    rows = ({**CHARTS["tornado"].rows[0], "advantage_at_low": 10, "advantage_at_high": 50},)
    low, high = drawn(replace(CHARTS["tornado"], rows=rows, guides={"most likely": 100.0}))["data"]
    assert (low["base"], ends(low), ends(high)) == ([50], [10], [50])


def test_the_learning_curve_has_a_marker_per_seed_and_a_band_around_the_forecast() -> None:
    traces = named(CHARTS["learning"])
    assert traces["measured, seed 2"]["x"] == [60, 120, 240]
    assert traces["measured, seed 2"]["y"] == [0.7, 0.83, 0.91]
    seeds = [trace["marker"]["symbol"] for name, trace in traces.items() if name.startswith("measured")]
    assert len(set(seeds)) == 3
    assert traces["expected"]["y"] == [0.66, 0.9, 0.94, 0.96]
    assert traces["95% interval"]["y"] == [0.62, 0.87, 0.9, 0.9, 0.99, 0.97, 0.92, 0.7]


def test_a_learning_curve_without_a_forecast_is_drawn_too() -> None:
    chart = CHARTS["learning"]
    measured = replace(chart, rows=tuple(each for each in chart.rows if each["what"] == "measured"))
    assert set(named(measured)) == {"measured, seed 1", "measured, seed 2", "measured, seed 3"}


def test_side_effects_show_base_tuned_and_the_interval_of_the_change() -> None:
    chart = CHARTS["side_effects"]
    found = {trace.get("name"): trace for trace in drawn(chart)["data"]}
    tuned = found["tuned, with the 95% interval of the change"]
    assert found["base model"]["x"][1] == pytest.approx(11 / 12)
    assert tuned["x"][1] == pytest.approx(4 / 12)
    assert tuned["x"][1] + tuned["error_x"]["array"][1] == pytest.approx(11 / 12 - 0.27)
    assert tuned["x"][1] - tuned["error_x"]["arrayminus"][1] == pytest.approx(11 / 12 - 0.83)
    assert tuned["x"][2] - tuned["error_x"]["arrayminus"][2] == 0
    assert "cannot be told" in tuned["hovertext"][2]


def test_costs_by_kind_add_up_to_a_year() -> None:
    bars = {trace["name"]: trace["x"] for trace in drawn(CHARTS["ownership"])["data"]}
    assert list(bars) == ["Requests", "Set-up work", "Training"]
    assert sum(values[0] for values in bars.values()) == pytest.approx(0.0013 * 40 * 12 + 170)


def test_every_kind_of_chart_is_in_the_sample() -> None:
    assert CHARTS.keys() == DRAW.keys()


@pytest.mark.parametrize("kind", sorted(DRAW))
def test_no_text_of_others_becomes_markup_in_a_chart(kind: str) -> None:
    """Plotly reads a few tags in labels; ours are breaks, bold names and small lines."""
    chart = next(chart for chart in CHARTS.values() if chart.kind == kind)
    hostile = "<a href='javascript:x'>y</a><script>"
    free = ("arm", "assumption", "says", "ability", "part", "wanted", "answered")
    rows = tuple({key: hostile if key in free else value for key, value in each.items()} for each in chart.rows)
    text = json.dumps(json.loads(figure(replace(chart, rows=rows)).to_json()), ensure_ascii=False)
    assert "<a " not in text
    assert "<script" not in text


def test_two_models_of_one_approach_have_different_markers() -> None:
    chart = replace(CHARTS["scores"], rows=(row("a", 0, 0.5, model="small"), row("b", 0, 0.6, model="large")))
    markers = [trace["marker"] for trace in drawn(chart)["data"]]
    assert markers[0]["color"] == markers[1]["color"]
    assert markers[0]["symbol"] != markers[1]["symbol"]


def test_arms_with_long_equal_beginnings_keep_their_own_line() -> None:
    name = "a very long name of an arm that goes on and on and on without an end in sight, "
    chart = replace(CHARTS["scores"], rows=(row(name + "one", 0, 0.5), row(name + "two", 0, 0.6)))
    assert [trace["y"] for trace in drawn(chart)["data"]] == [[0], [1]]


@pytest.mark.parametrize("kind", ["quality_cost", "scores"])
def test_names_are_escaped_for_plotlys_own_markup(kind: str) -> None:
    chart = next(chart for chart in CHARTS.values() if chart.kind == kind)
    text = figure(replace(chart, rows=(row("<a href='javascript:x'>", 0, 0.5),))).to_json()
    assert "<a " not in json.dumps(json.loads(text), ensure_ascii=False)


def test_an_approach_from_elsewhere_is_drawn_too() -> None:
    chart = replace(CHARTS["scores"], rows=(row("ours", 0, 0.5, approach="somebody_elses"),))
    assert drawn(chart)["data"][0]["marker"]["symbol"] == "x"


def channels(colour: str) -> list[float]:
    """Linear light of a colour, by the sRGB transfer function."""
    values = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]


def luminance(colour: str) -> float:
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), channels(colour), strict=True))


@pytest.mark.parametrize("colour", [*COLOURS.values(), ASSUMPTION, ANSWERS, *(shade for shade, _ in KINDS.values())])
def test_every_colour_stands_out_on_light_and_dark(colour: str) -> None:
    """WCAG 2.2, 1.4.11: at least 3 to 1 for graphics; #14171a is the report's dark page."""
    for page in ("#ffffff", "#14171a"):
        lighter, darker = sorted((luminance(colour), luminance(page)), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 3


def test_approaches_differ_in_colour_and_in_marker() -> None:
    assert COLOURS.keys() == SYMBOLS.keys()
    assert len(set(COLOURS.values())) == len(set(SYMBOLS.values())) == len(COLOURS)
