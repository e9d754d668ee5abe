"""Charts of quality: scores against cost, with intervals, and what became of the answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from finetune_advisor.charts.marks import (
    LEGEND_ABOVE,
    OTHER,
    Row,
    approach_of,
    error_bar,
    lines_across,
    lines_down,
    marker,
    model_marks,
    name_of,
    number,
    numbers,
    plain,
    rows_axis,
    wrapped,
)
from finetune_advisor.report.blocks import Chart

OUTCOMES = {"right": "", "wrong": "/", "wrong form": "x", "no answer": "."}
"""Hatching of each outcome: what is right is solid."""

ANSWERS = "#5F7F99"
"""The colour of answers, whatever became of them."""


def quality_cost(made: Any, chart: Chart) -> None:
    """Score against cost on a logarithmic axis, with the Pareto front."""
    least = _least(numbers(chart.rows, "usd_per_1000"))
    front = pareto(chart.rows)
    made.add_scatter(
        x=[max(least, usd) for usd in numbers(front, "usd_per_1000")],
        y=numbers(front, "score"),
        mode="lines",
        name="no arm is better and cheaper",
        line={"color": OTHER, "dash": "dot", "width": 2, "shape": "hv"},
        hoverinfo="skip",
    )
    marks = model_marks(chart.rows)
    for row in chart.rows:
        made.add_scatter(
            x=[max(least, number(row, "usd_per_1000"))],
            y=[number(row, "score")],
            error_y=_interval(row),
            mode="markers",
            name=name_of(row),
            marker=marker(row, marks),
            hovertemplate=_quality_hover(row),
        )
    made.update_xaxes(title="USD per 1,000 requests, log scale", type="log", tickformat="$,~r", tickfont_size=12)
    made.update_xaxes(**_few_ticks(least, max(numbers(chart.rows, "usd_per_1000"))))
    made.update_yaxes(title="Score", tickformat=".0%", range=[-0.03, 1.05])
    lines_across(made, chart, left=True)
    made.update_layout(height=max(520, 360 + 24 * len(chart.rows)))


def _few_ticks(low: float, high: float) -> Mapping[str, int]:
    """As many numbers as a narrow screen has room for: on a long axis powers of ten only."""
    return {"dtick": 1} if high > 20 * low else {"nticks": 4}


def _interval(row: Row) -> Mapping[str, Any]:
    return error_bar(number(row, "score"), number(row, "low"), number(row, "high"))


def _quality_hover(row: Row) -> str:
    return (
        f"<b>{name_of(row)}</b><br>{approach_of(row)}<br>{_score_hover(row)}<br>"
        f"{_usd(row, 'usd_per_1000')} per 1,000 requests with caching<br>"
        f"{_usd(row, 'usd_per_1000_uncached')} without<extra></extra>"
    )


def _usd(row: Row, key: str) -> str:
    return plain(f"${number(row, key):,.4g}")


def _score_hover(row: Row) -> str:
    low, high = 100 * number(row, "low"), 100 * number(row, "high")
    return f"score {100 * number(row, 'score'):.1f}% (95% interval {low:.1f} to {high:.1f}), n = {row['n']}"


def pareto(rows: Iterable[Row]) -> list[Row]:
    """The arms that no other arm beats on score at the same cost or less, cheapest first."""
    front: list[Row] = []
    for row in sorted(rows, key=lambda row: (number(row, "usd_per_1000"), -number(row, "score"))):
        if not front or number(row, "score") > number(front[-1], "score"):
            front.append(row)
    return front


def _least(values: Iterable[float]) -> float:
    """Where a logarithmic axis starts: at the cheapest arm; free ones stand at a third of the cheapest that is not."""
    found = list(values)
    paid = min((value for value in found if value > 0), default=0.003)
    return paid if min(found, default=paid) > 0 else paid / 3


def scores(made: Any, chart: Chart) -> None:
    """A dot with its interval for each arm, best on top."""
    marks = model_marks(chart.rows)
    for place, row in enumerate(chart.rows):
        made.add_scatter(
            x=[number(row, "score")],
            y=[place],
            error_x=_interval(row),
            mode="markers",
            name=name_of(row),
            marker=marker(row, marks),
            hovertemplate=f"<b>{name_of(row)}</b><br>{approach_of(row)}<br>{_score_hover(row)}<extra></extra>",
        )
    made.update_xaxes(title="Score", tickformat=".0%", range=[-0.02, 1.03])
    rows_axis(made, [wrapped(row["arm"]) for row in chart.rows])
    lines_down(made, chart.guides)


def outcomes(made: Any, chart: Chart) -> None:
    """Stacked bars of what became of the answers."""
    for outcome, hatch in OUTCOMES.items():
        made.add_bar(
            x=numbers(chart.rows, outcome),
            y=list(range(len(chart.rows))),
            hovertext=[name_of(row) for row in chart.rows],
            orientation="h",
            name=outcome,
            marker=_outcome(hatch),
            hovertemplate="<b>%{hovertext}</b><br>%{x} answers: " + outcome + "<extra></extra>",
        )
    made.update_xaxes(title="Test examples")
    rows_axis(made, [wrapped(row["arm"]) for row in chart.rows])
    made.update_layout(barmode="stack", showlegend=True, legend={"traceorder": "normal", **LEGEND_ABOVE}, bargap=0.35)
    made.update_layout(margin_t=60)


def _outcome(hatch: str) -> Mapping[str, Any]:
    pattern = {"shape": hatch, "fillmode": "replace", "fgcolor": ANSWERS, "bgcolor": "rgba(0,0,0,0)", "size": 7}
    return {"color": ANSWERS, "pattern": pattern, "line": {"color": ANSWERS, "width": 1}}
