"""Charts of money: paying back, net value with its odds, what it is made of, and which assumptions decide."""

from __future__ import annotations

import math
from typing import Any

from finetune_advisor.charts.marks import (
    ASSUMPTION,
    LEGEND_ABOVE,
    OTHER,
    Row,
    approach_of,
    colour,
    error_bar,
    grouped,
    lines_down,
    marker,
    model_marks,
    name_of,
    number,
    numbers,
    plain,
    rows_axis,
    small,
    symbol,
    wrapped,
)
from finetune_advisor.report.blocks import Chart
from finetune_advisor.report.formats import bare, gain, of_100, quantity

KINDS = {
    "Requests": ("#3A95CF", ""),
    "Hosting": ("#7F7F7F", "/"),
    "Running work": ("#009E73", "x"),
    "Retraining": ("#C4699A", "\\"),
    "Set-up work": ("#A87900", "."),
    "Training": ("#D55E00", "-"),
    "Other": ("#8A8A8A", "+"),
}
"""Colour and hatching of each kind of cost; training has the colour of tuned arms."""

AXES = {
    "usd": ("Gain in US dollars", "$~s", 1),
    "score": ("Gain in points of score", "+~f", 100),
    "seconds": ("Seconds saved per request", "~f", 1),
}
"""Title, number format and factor of an axis of advantages, by their unit."""


LABEL = 22
"""Letters that a small line of a label has room for."""


def break_even(made: Any, chart: Chart) -> None:
    """Total cost against the number of requests, one line per arm."""
    for _, rows in grouped(chart.rows, "arm", "approach"):
        name = name_of(rows[0])
        made.add_scatter(
            x=numbers(rows, "requests"),
            y=numbers(rows, "usd_total"),
            mode="lines+markers",
            name=name,
            line={"color": colour(rows[0]), "width": 3},
            marker={"symbol": symbol(rows[0]), "size": 10},
            cliponaxis=False,
            hovertemplate=f"<b>{name}</b><br>%{{x:,.0f}} requests<br>$%{{y:,.4g}} in all<extra></extra>",
        )
    lines_down(made, chart.guides)
    made.update_xaxes(title="Requests", rangemode="tozero")
    made.update_yaxes(title="Total cost in US dollars", tickprefix="$", rangemode="tozero")
    made.update_layout(height=420)


def odds(made: Any, chart: Chart) -> None:
    """Net value of each arm with its interval; how often it is best stands below its name."""
    marks = model_marks(chart.rows)
    for place, row in enumerate(chart.rows):
        made.add_scatter(
            x=[number(row, "usd_net")],
            y=[place],
            error_x=_net_interval(row),
            mode="markers",
            name=name_of(row),
            marker=marker(row, marks),
            hovertemplate=f"<b>{name_of(row)}</b><br>{approach_of(row)}<br>%{{x:$,.4s}}<extra></extra>",
        )
    _zero(made)
    made.update_xaxes(title="Net value in US dollars", tickformat="$~s")
    rows_axis(made, [wrapped(row["arm"], 2) + small(f"best in {_best(row)}") for row in chart.rows], height=60)


def _best(row: Row) -> str:
    return plain(of_100(number(row, "p_best")))


def _net_interval(row: Row) -> Any:
    low, high = number(row, "low"), number(row, "high")
    return None if math.isnan(low) or math.isnan(high) else error_bar(number(row, "usd_net"), low, high)


def _zero(made: Any) -> None:
    made.add_vline(x=0, line_color=OTHER, line_width=2)


def tornado(made: Any, chart: Chart) -> None:
    """A bar per assumption around what is most likely: hollow towards its low end, full towards its high end."""
    title, tick, factor = AXES[str(chart.rows[0]["advantage_unit"])]
    middle = [factor * _middle(row, next(iter(chart.guides.values()))) for row in chart.rows]
    _ends(made, chart, middle, "low", factor)
    _ends(made, chart, middle, "high", factor)
    _zero(made)
    lines_down(made, {name: factor * value for name, value in chart.guides.items()})
    made.update_xaxes(title=title, tickformat=tick)
    rows_axis(made, [_assumption(row) for row in chart.rows], height=72)
    made.update_yaxes(range=[len(chart.rows) - 0.5, -0.8])
    made.update_layout(barmode="overlay", bargap=0.45, showlegend=True, legend=LEGEND_ABOVE, margin_t=60)


def _middle(row: Row, likely: float) -> float:
    """Where a bar's two halves meet: at what is likely, or at the end next to it where the bar does not reach it."""
    low, high = sorted((number(row, "advantage_at_low"), number(row, "advantage_at_high")))
    return min(max(likely, low), high)


def _ends(made: Any, chart: Chart, middle: list[float], end: str, factor: float) -> None:
    unit = str(chart.rows[0]["advantage_unit"])
    reached = [factor * value for value in numbers(chart.rows, f"advantage_at_{end}")]
    made.add_bar(
        base=middle,
        x=[to - start for to, start in zip(reached, middle, strict=True)],
        y=list(range(len(chart.rows))),
        orientation="h",
        name=f"assumption at its {end} end",
        marker={
            "color": "rgba(0,0,0,0)" if end == "low" else ASSUMPTION,
            "line": {"color": ASSUMPTION, "width": 2},
        },
        customdata=[plain(gain(value, unit)) for value in numbers(chart.rows, f"advantage_at_{end}")],
        hovertext=[f"{plain(row['assumption'])}: {_value(row, end)}" for row in chart.rows],
        hovertemplate="%{hovertext}<br>tuning brings %{customdata}<extra></extra>",
    )


def _value(row: Row, key: str) -> str:
    return plain(quantity(number(row, key), str(row["unit"])))


def _assumption(row: Row) -> str:
    lines = [_range(row)]
    if row["break_even"] is not None:
        lines.append(plain(f"even at {bare(number(row, 'break_even'), str(row['unit']))}"))
    return wrapped(row["assumption"], 2) + "".join(small(line) for line in lines)


def _range(row: Row) -> str:
    """Both ends on one line, with the unit where there is room for it."""
    unit = str(row["unit"])
    low, high = (bare(number(row, end), unit) for end in ("low", "high"))
    full = f"{low} to {quantity(number(row, 'high'), unit)}"
    return plain(full if len(full) <= LABEL else f"{low} to {high}")


def ownership(made: Any, chart: Chart) -> None:
    """Stacked bars of what a year of each arm costs, by kind."""
    for kind in (name for name in KINDS if name in chart.rows[0]):
        shade, hatch = KINDS[kind]
        made.add_bar(
            x=numbers(chart.rows, kind),
            y=list(range(len(chart.rows))),
            hovertext=[name_of(row) for row in chart.rows],
            orientation="h",
            name=kind,
            marker={"color": shade, "pattern": {"shape": hatch, "fillmode": "overlay", "fgcolor": "white", "size": 6}},
            hovertemplate="<b>%{hovertext}</b><br>" + kind + ": $%{x:,.4g}<extra></extra>",
        )
    made.update_xaxes(title="US dollars", tickformat="$~s", rangemode="tozero")
    rows_axis(made, [wrapped(row["arm"]) for row in chart.rows])
    made.update_layout(barmode="stack", showlegend=True, legend_traceorder="normal", bargap=0.35)
