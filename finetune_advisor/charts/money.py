"""Charts of money: paying back, net value with its odds, what it is made of, and which assumptions decide."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from finetune_advisor.charts.marks import (
    ASSUMPTION,
    LEGEND_ABOVE,
    OTHER,
    Row,
    approach_of,
    band,
    bands_down,
    colour,
    error_bar,
    grouped,
    lines_down,
    marker,
    model_marks,
    money_axis,
    name_of,
    number,
    numbers,
    plain,
    rows_axis,
    shaded,
    small,
    symbol,
    wrapped,
)
from finetune_advisor.report.blocks import Cell, Chart
from finetune_advisor.report.formats import bare, dollars, gain, of_100, quantity

KINDS = {
    "Requests": ("#6E8CA0", ""),
    "Hosting": ("#4F7280", "/"),
    "Running work": ("#6B8E7A", "x"),
    "Retraining": ("#8B7B8B", "\\"),
    "Set-up work": ("#A08468", "."),
    "Training": ("#8C6A52", "-"),
    "Other": ("#77808A", "+"),
}
"""Colour and hatching of each kind of cost."""

HATCHES = ("", "/", "x", ".", "-", "\\", "|", "+")
"""What tells the parts of one kind of cost apart."""

AXES = {
    "usd": ("Gain in US dollars", "", 1),
    "score": ("Gain in points of score", "+~f", 100),
    "seconds": ("Seconds saved per request", "~f", 1),
}
"""Title, number format and factor of an axis of advantages, by their unit; sums of money need their own format."""


LABEL = 22
"""Letters that a small line of a label has room for."""


def break_even(made: Any, chart: Chart) -> None:
    """Total cost against requests a month: a line with its band per arm, and where the two cost the same."""
    for _, rows in grouped(chart.rows, "arm", "approach"):
        _total_band(made, rows)
        _total(made, rows)
    end = max(numbers(chart.rows, "requests_per_month"))
    bands_down(made, chart.bands)
    lines_down(made, chart.guides, turn=0.5 * end)
    made.update_xaxes(title="Requests a month", range=[0, end], tickformat="~s")
    made.update_yaxes(
        title="Total cost in US dollars", tickformat=money_axis(numbers(chart.rows, "usd_total")), rangemode="tozero"
    )
    made.update_layout(height=440, legend=LEGEND_ABOVE, margin_t=60)


def _total(made: Any, rows: list[Row]) -> None:
    name = name_of(rows[0])
    made.add_scatter(
        x=numbers(rows, "requests_per_month"),
        y=numbers(rows, "usd_total"),
        mode="lines+markers",
        name=name,
        line={"color": colour(rows[0]), "width": 3},
        marker={"symbol": symbol(rows[0]), "size": 9},
        customdata=[_dollar_range(row) for row in rows],
        hovertemplate=f"<b>{name}</b><br>%{{x:,.0f}} requests a month<br>%{{customdata}}<extra></extra>",
        cliponaxis=False,
    )


def _total_band(made: Any, rows: list[Row]) -> None:
    if rows[0]["low"] is not None:
        band(made, rows, numbers(rows, "requests_per_month"))


def _dollar_range(row: Row) -> str:
    said = dollars(number(row, "usd_total"))
    if row["low"] is not None:
        said += f" (95 of 100 draws: {dollars(number(row, 'low'))} to {dollars(number(row, 'high'))})"
    return plain(said)


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
    made.update_xaxes(title="Net value in US dollars", tickformat=money_axis(numbers(chart.rows, "usd_net")))
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
    reached = [*numbers(chart.rows, "advantage_at_low"), *numbers(chart.rows, "advantage_at_high")]
    _ends(made, chart, middle, "low", factor)
    _ends(made, chart, middle, "high", factor)
    _zero(made)
    lines_down(made, {name: factor * value for name, value in chart.guides.items()})
    made.update_xaxes(title=title, tickformat=tick or money_axis(reached))
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
        even = float(f"{number(row, 'break_even'):.3g}")
        lines.append(plain(f"even at {bare(even, str(row['unit']))}"))
    return wrapped(row["assumption"], 2) + "".join(small(line) for line in lines)


def _range(row: Row) -> str:
    """Both ends on one line, with the unit where there is room for it."""
    unit = str(row["unit"])
    low, high = (bare(number(row, end), unit) for end in ("low", "high"))
    full = f"{low} to {quantity(number(row, 'high'), unit)}"
    return plain(full if len(full) <= LABEL else f"{low} to {high}")


def ownership(made: Any, chart: Chart) -> None:
    """Stacked bars of what each arm costs over the horizon, by kind."""
    for kind in (name for name in KINDS if name in chart.rows[0]):
        made.add_bar(
            x=numbers(chart.rows, kind),
            y=list(range(len(chart.rows))),
            hovertext=[name_of(row) for row in chart.rows],
            customdata=[_usd(value) for value in numbers(chart.rows, kind)],
            orientation="h",
            name=kind,
            marker=shaded(*KINDS[kind]),
            hovertemplate="<b>%{hovertext}</b><br>" + kind + ": %{customdata}<extra></extra>",
        )
    sums = [sum(number(row, kind) for kind in KINDS if kind in row) for row in chart.rows]
    _stacked(made, [_in_all(row["arm"], usd) for row, usd in zip(chart.rows, sums, strict=True)], sums)


def cost_parts(made: Any, chart: Chart) -> None:
    """Stacked bars of every part of what each arm pays, parts of one kind in one colour."""
    arms = list(dict.fromkeys(row["arm"] for row in chart.rows))
    for (kind, part), rows in _by_part(chart.rows).items():
        made.add_bar(
            x=numbers(rows, "usd"),
            y=[arms.index(row["arm"]) for row in rows],
            hovertext=[name_of(row) for row in rows],
            customdata=[_usd(value) for value in numbers(rows, "usd")],
            orientation="h",
            name=wrapped(part),
            marker=shaded(KINDS[str(kind)][0], _hatch(chart.rows, kind, part)),
            hovertemplate=f"<b>%{{hovertext}}</b><br>{plain(part)}: %{{customdata}}<extra></extra>",
        )
    sums = [sum(number(row, "usd") for row in chart.rows if row["arm"] == arm) for arm in arms]
    _stacked(made, [_in_all(arm, usd) for arm, usd in zip(arms, sums, strict=True)], sums)


def _by_part(rows: Sequence[Row]) -> Mapping[tuple[Cell, Cell], list[Row]]:
    """The rows of each part, kinds in the order in which they are always drawn."""
    found: dict[tuple[Cell, Cell], list[Row]] = {}
    for row in sorted(rows, key=lambda row: list(KINDS).index(str(row["kind"]))):
        found.setdefault((row["kind"], row["part"]), []).append(row)
    return found


def _hatch(rows: Sequence[Row], kind: Cell, part: Cell) -> str:
    parts = list(dict.fromkeys(row["part"] for row in rows if row["kind"] == kind))
    return HATCHES[parts.index(part) % len(HATCHES)]


def _in_all(arm: Cell, usd: float) -> str:
    return wrapped(arm, 2) + small(f"{_usd(usd)} in all")


def _usd(value: float) -> str:
    return plain(bare(value, "usd"))


def _stacked(made: Any, names: Sequence[str], sums: Sequence[float]) -> None:
    made.update_xaxes(title="US dollars", tickformat=money_axis(sums), rangemode="tozero")
    rows_axis(made, names, height=56)
    made.update_layout(barmode="stack", showlegend=True, legend={"traceorder": "normal", **LEGEND_ABOVE}, bargap=0.4)
    made.update_layout(margin_t=60)
