"""A report's charts as plotly figures. Pure: the same chart gives the same figure; no streamlit here.

Each approach has one colour and one marker everywhere. The colours are Okabe and Ito's, darkened where needed so
that every one has a contrast of at least 3 on white and on near-black; the markers tell them apart without colour.
Names come from users' files, and plotly reads a subset of HTML in its labels, so every name is escaped.
"""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import Any

from finetune_advisor.errors import require
from finetune_advisor.report.blocks import Cell, Chart, ChartKind
from finetune_advisor.report.formats import approach_title

Row = Mapping[str, Cell]

COLOURS = {
    "zero_shot": "#7F7F7F",
    "few_shot": "#3A95CF",
    "nearest_shot": "#0072B2",
    "rag": "#009E73",
    "tuned": "#D55E00",
    "tuned_rag": "#C4699A",
    "classical": "#A87900",
}
SYMBOLS = {
    "zero_shot": "circle",
    "few_shot": "square",
    "nearest_shot": "diamond",
    "rag": "triangle-up",
    "tuned": "star",
    "tuned_rag": "hexagram",
    "classical": "cross",
}
OTHER = "#8A8A8A"
MODEL_MARKS = ("", "-open", "-dot", "-open-dot")
"""How a marker tells a second model of the same approach apart."""

OUTCOMES = {
    "right": ("#0072B2", ""),
    "wrong": ("#D55E00", "/"),
    "wrong form": ("#A87900", "x"),
    "no answer": ("#7F7F7F", "."),
}
"""Colour and hatching of each outcome."""


def figure(chart: Chart) -> Any:
    """The plotly figure of a chart.

    Raises:
        Missing: plotly is not installed.
    """
    go = require("plotly.graph_objects", extra="all")
    made = DRAW[chart.kind](go, chart)
    made.update_layout(
        template="none",
        title={"text": ""},
        font={"family": "system-ui, sans-serif", "size": 13},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hoverlabel={"align": "left"},
        legend={"orientation": "h", "x": 0, "y": -0.28, "yanchor": "top", "itemsizing": "constant"},
        margin={"l": 60, "r": 20, "t": 24, "b": 60},
    )
    made.update_xaxes(automargin=True, zeroline=False, gridcolor="rgba(128,128,128,0.25)")
    made.update_yaxes(automargin=True, zeroline=False, gridcolor="rgba(128,128,128,0.25)")
    return made


def _quality_cost(go: Any, chart: Chart) -> Any:
    """Score against cost on a logarithmic axis, with the Pareto front."""
    floor = _floor(_number(row, "usd_per_1000") for row in chart.rows)
    made = go.Figure()
    front = pareto(chart.rows)
    made.add_scatter(
        x=[max(floor, _number(row, "usd_per_1000")) for row in front],
        y=[_number(row, "score") for row in front],
        mode="lines",
        name="no arm is better and cheaper",
        line={"color": OTHER, "dash": "dot", "width": 2, "shape": "hv"},
        hoverinfo="skip",
    )
    marks = _model_marks(chart.rows)
    for row in chart.rows:
        made.add_scatter(
            x=[max(floor, _number(row, "usd_per_1000"))],
            y=[_number(row, "score")],
            error_y=_interval(row),
            mode="markers",
            name=_escaped(row, "arm"),
            marker=_marker(row, marks),
            hovertemplate=_quality_hover(row),
        )
    made.update_xaxes(title="US dollars per 1,000 requests (log scale)", type="log", tickprefix="$", dtick=1)
    made.update_xaxes(exponentformat="none", tickfont_size=12)
    made.update_yaxes(title="Score", tickformat=".0%", range=[-0.03, 1.05])
    _across(made, chart)
    made.update_layout(height=520)
    return made


def _across(made: Any, chart: Chart) -> None:
    for name, value in chart.guides.items():
        made.add_hline(y=value, line_dash="dash", line_color=OTHER, annotation_text=_text(name))


def _down(made: Any, chart: Chart) -> None:
    for place, (name, value) in enumerate(chart.guides.items()):
        made.add_vline(x=value, line_dash="dash", line_color=OTHER)
        made.add_annotation(
            x=value, y=1, yref="paper", yshift=-18 * place, text=_text(name), showarrow=False, xanchor="left", xshift=3
        )


def _quality_hover(row: Row) -> str:
    return (
        f"<b>{_escaped(row, 'arm')}</b><br>{_approach(row)}<br>{_score_hover(row)}<br>"
        f"${_number(row, 'usd_per_1000'):,.4g} per 1,000 requests with caching<br>"
        f"${_number(row, 'usd_per_1000_uncached'):,.4g} without<extra></extra>"
    )


def _score_hover(row: Row) -> str:
    low, high = 100 * _number(row, "low"), 100 * _number(row, "high")
    return f"score {100 * _number(row, 'score'):.1f}% (95% interval {low:.1f} to {high:.1f}), n = {row['n']}"


def pareto(rows: Iterable[Row]) -> list[Row]:
    """The arms that no other arm beats on score at the same cost or less, cheapest first."""
    front: list[Row] = []
    for row in sorted(rows, key=lambda row: (_number(row, "usd_per_1000"), -_number(row, "score"))):
        if not front or _number(row, "score") > _number(front[-1], "score"):
            front.append(row)
    return front


def _floor(values: Iterable[float]) -> float:
    """Where free arms stand on a logarithmic axis: a third of the cheapest that costs anything."""
    return min((value for value in values if value > 0), default=0.003) / 3


def _scores(go: Any, chart: Chart) -> Any:
    """A dot with its interval for each arm, best on top."""
    made = go.Figure()
    marks = _model_marks(chart.rows)
    for place, row in enumerate(chart.rows):
        made.add_scatter(
            x=[_number(row, "score")],
            y=[place],
            error_x=_interval(row),
            mode="markers",
            name=_escaped(row, "arm"),
            marker=_marker(row, marks),
            hovertemplate=f"<b>{_escaped(row, 'arm')}</b><br>{_approach(row)}<br>{_score_hover(row)}<extra></extra>",
        )
    made.update_xaxes(title="Score", tickformat=".0%", range=[-0.02, 1.03])
    _arms_axis(made, chart)
    _down(made, chart)
    return made


def _outcomes(go: Any, chart: Chart) -> Any:
    """Stacked bars of what became of the answers."""
    made = go.Figure()
    for outcome, (colour, hatch) in OUTCOMES.items():
        made.add_bar(
            x=[_number(row, outcome) for row in chart.rows],
            y=list(range(len(chart.rows))),
            hovertext=[_escaped(row, "arm") for row in chart.rows],
            orientation="h",
            name=outcome,
            marker={"color": colour, "pattern": {"shape": hatch, "fillmode": "overlay", "fgcolor": "white", "size": 6}},
            hovertemplate="<b>%{hovertext}</b><br>%{x} answers: " + outcome + "<extra></extra>",
        )
    made.update_xaxes(title="Test examples")
    _arms_axis(made, chart)
    made.update_layout(barmode="stack", showlegend=True, legend_traceorder="normal", bargap=0.35)
    return made


def _arms_axis(made: Any, chart: Chart) -> None:
    names = [_wrapped(row) for row in chart.rows]
    made.update_yaxes(tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.5, -0.5])
    made.update_layout(height=170 + 48 * len(chart.rows), showlegend=False)


def _break_even(go: Any, chart: Chart) -> Any:
    """Total cost against the number of requests, one line per arm."""
    made = go.Figure()
    for (arm, approach), rows in _grouped(chart.rows, "arm", "approach"):
        made.add_scatter(
            x=[_number(row, "requests") for row in rows],
            y=[_number(row, "usd_total") for row in rows],
            mode="lines+markers",
            name=_text(arm),
            line={"color": COLOURS.get(str(approach), OTHER), "width": 3},
            marker={"symbol": SYMBOLS.get(str(approach), "x"), "size": 10},
            cliponaxis=False,
            hovertemplate=f"<b>{_text(arm)}</b><br>%{{x:,.0f}} requests<br>$%{{y:,.4g}} in all<extra></extra>",
        )
    _down(made, chart)
    made.update_xaxes(title="Requests", rangemode="tozero")
    made.update_yaxes(title="Total cost in US dollars", tickprefix="$", rangemode="tozero")
    made.update_layout(height=420)
    return made


def _loss(go: Any, chart: Chart) -> Any:
    """Loss over steps: training solid, validation dashed and with open markers."""
    made = go.Figure()
    for (arm, approach, split), rows in _grouped(chart.rows, "arm", "approach", "split"):
        held_out = split == "validation"
        made.add_scatter(
            x=[_number(row, "step") for row in rows],
            y=[_number(row, "loss") for row in rows],
            mode="lines+markers",
            name=f"{_text(arm)}, {split}",
            line={"color": COLOURS.get(str(approach), OTHER), "dash": "dash" if held_out else "solid"},
            marker={"symbol": SYMBOLS.get(str(approach), "x") + ("-open" if held_out else ""), "size": 9},
            hovertemplate=f"<b>{_text(arm)}</b>, {split}<br>step %{{x:,}}<br>loss %{{y:.4g}}<extra></extra>",
            cliponaxis=False,
        )
    made.update_xaxes(title="Training step", rangemode="tozero")
    made.update_yaxes(title="Loss", rangemode="tozero")
    made.update_layout(height=400)
    return made


DRAW: Mapping[ChartKind, Callable[[Any, Chart], Any]] = {
    "quality_cost": _quality_cost,
    "break_even": _break_even,
    "scores": _scores,
    "outcomes": _outcomes,
    "loss": _loss,
}


def _grouped(rows: Iterable[Row], *keys: str) -> list[tuple[tuple[Cell, ...], list[Row]]]:
    """Rows that stand together and share the keys' values."""
    return [(found, list(group)) for found, group in groupby(rows, key=lambda row: tuple(row[key] for key in keys))]


def _number(row: Row, key: str) -> float:
    value = row[key]
    return float(value) if isinstance(value, int | float) else math.nan


def _text(value: Cell) -> str:
    return html.escape(str(value), quote=False)


def _escaped(row: Row, key: str) -> str:
    return _text(row[key])


def _wrapped(row: Row) -> str:
    """The arm's name in short lines, so that it leaves room for the chart on a narrow screen."""
    lines = textwrap.wrap(str(row["arm"]), 20, max_lines=3, placeholder=" …", break_on_hyphens=False) or [""]
    return "<br>".join(_text(line) for line in lines)


def _approach(row: Row) -> str:
    title = _text(approach_title(str(row["approach"])))
    return f"{title}, {_escaped(row, 'model')}" if row["model"] else title


def _interval(row: Row) -> Mapping[str, Any]:
    score = _number(row, "score")
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(0.0, _number(row, "high") - score)],
        "arrayminus": [max(0.0, score - _number(row, "low"))],
        "thickness": 1.5,
        "width": 5,
    }


def _model_marks(rows: Iterable[Row]) -> Mapping[Cell, str]:
    models = dict.fromkeys(row["model"] for row in rows if row["model"])
    return {model: MODEL_MARKS[i % len(MODEL_MARKS)] for i, model in enumerate(models)}


def _marker(row: Row, marks: Mapping[Cell, str]) -> Mapping[str, Any]:
    approach = str(row["approach"])
    return {
        "color": COLOURS.get(approach, OTHER),
        "symbol": SYMBOLS.get(approach, "x") + marks.get(row["model"], ""),
        "size": 13,
    }
