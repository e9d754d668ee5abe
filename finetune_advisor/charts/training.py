"""Charts of what training does: loss, more examples, and side effects."""

from __future__ import annotations

from typing import Any

from finetune_advisor.charts.marks import (
    COLOURS,
    LEGEND_ABOVE,
    OTHER,
    Row,
    band,
    colour,
    error_bars,
    grouped,
    lines_across,
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

SEEDS = ("circle-open", "square-open", "diamond-open", "triangle-up-open", "cross-open")
"""A marker per seed; from the sixth seed on they come round again."""


def loss(made: Any, chart: Chart) -> None:
    """Loss over steps: training solid, validation dashed and with open markers."""
    for (arm, _, split), rows in grouped(chart.rows, "arm", "approach", "split"):
        held_out = split == "validation"
        made.add_scatter(
            x=numbers(rows, "step"),
            y=numbers(rows, "loss"),
            mode="lines+markers",
            name=f"{plain(arm)}, {split}",
            line={"color": colour(rows[0]), "dash": "dash" if held_out else "solid"},
            marker={"symbol": symbol(rows[0]) + ("-open" if held_out else ""), "size": 9},
            hovertemplate=f"<b>{plain(arm)}</b>, {split}<br>step %{{x:,}}<br>loss %{{y:.4g}}<extra></extra>",
            cliponaxis=False,
        )
    made.update_xaxes(title="Training step", rangemode="tozero")
    made.update_yaxes(title="Loss", rangemode="tozero")
    made.update_layout(height=400)


def learning(made: Any, chart: Chart) -> None:
    """Measured scores, a marker per seed, and the forecast with its band."""
    _forecast(made, [row for row in chart.rows if row["what"] == "forecast"])
    measured = [row for row in chart.rows if row["what"] == "measured"]
    for place, ((seed,), rows) in enumerate(grouped(measured, "seed")):
        made.add_scatter(
            x=numbers(rows, "examples"),
            y=numbers(rows, "score"),
            mode="markers",
            name=f"measured, seed {plain(seed)}",
            marker={"color": colour(rows[0]), "symbol": SEEDS[place % len(SEEDS)], "size": 11, "line": {"width": 2}},
            hovertemplate=f"{name_of(rows[0])}, seed {plain(seed)}<br>%{{x:,}} examples: %{{y:.1%}}<extra></extra>",
            cliponaxis=False,
        )
    made.update_xaxes(title="Training examples", tickformat=",", range=[0, 1.04 * max(numbers(chart.rows, "examples"))])
    made.update_yaxes(title="Score", tickformat=".0%")
    lines_across(made, chart)
    made.update_layout(height=480, showlegend=True)


def _forecast(made: Any, rows: list[Row]) -> None:
    if not rows:
        return
    examples = numbers(rows, "examples")
    band(made, rows, examples, "95% interval")
    made.add_scatter(
        x=examples,
        y=numbers(rows, "score"),
        mode="lines",
        name="expected",
        line={"color": colour(rows[0]), "dash": "dash", "width": 3},
        hovertemplate="%{x:,} examples: %{y:.1%} expected<extra></extra>",
    )


def side_effects(made: Any, chart: Chart) -> None:
    """A ring for the base and a star for the tuned model on one line per ability."""
    for place, row in enumerate(chart.rows):
        ends = [number(row, "base"), number(row, "tuned")]
        made.add_scatter(
            x=ends, y=[place] * 2, mode="lines", line={"color": OTHER, "width": 3}, hoverinfo="skip", showlegend=False
        )
    _before(made, chart)
    _after(made, chart)
    several = len({row["arm"] for row in chart.rows}) > 1
    made.update_xaxes(title="Prompts handled well", tickformat=".0%", range=[-0.03, 1.03])
    rows_axis(made, [_ability(row, several=several) for row in chart.rows], height=64)
    made.update_layout(showlegend=True, legend=LEGEND_ABOVE, margin_t=60)


def _before(made: Any, chart: Chart) -> None:
    made.add_scatter(
        x=numbers(chart.rows, "base"),
        y=list(range(len(chart.rows))),
        mode="markers",
        name="base model",
        marker={"color": COLOURS["zero_shot"], "symbol": "circle-open", "size": 15, "line": {"width": 3}},
        hovertemplate="base: %{x:.0%}<extra></extra>",
        cliponaxis=False,
    )


def _after(made: Any, chart: Chart) -> None:
    tuned, base = numbers(chart.rows, "tuned"), numbers(chart.rows, "base")
    lows, highs = (
        [min(1.0, max(0.0, start + change)) for start, change in zip(base, numbers(chart.rows, key), strict=True)]
        for key in ("change_low", "change_high")
    )
    made.add_scatter(
        x=tuned,
        y=list(range(len(chart.rows))),
        error_x=error_bars(tuned, lows, highs),
        mode="markers",
        name="tuned, with the 95% interval of the change",
        marker={"color": COLOURS["tuned"], "symbol": "star", "size": 13},
        hovertext=[f"{name_of(row)}, n = {row['n']}<br>{plain(row['says'])}" for row in chart.rows],
        hovertemplate="tuned: %{x:.0%}<br>%{hovertext}<extra></extra>",
        cliponaxis=False,
    )


def _ability(row: Row, *, several: bool) -> str:
    label = wrapped(row["ability"], lines=2)
    return label + small(wrapped(row["arm"], lines=2)) if several else label
