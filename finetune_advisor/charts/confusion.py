"""The confusion matrix of one arm."""

from __future__ import annotations

from typing import Any

from finetune_advisor.charts.marks import Row, colour, faint, number, plain, wrapped
from finetune_advisor.report.blocks import Cell, Chart

FULL = 0.6
"""How much of the colour the fullest cell has: the numbers on it have to be readable on a light and a dark page."""


def confusion(made: Any, chart: Chart) -> None:
    """A cell for each wanted and answered label: the number of answers, and the deeper the larger their share."""
    wanted, answered = (list(dict.fromkeys(row[key] for row in chart.rows)) for key in ("wanted", "answered"))
    _cells(made, chart, len(answered))
    _counts(made, chart, wanted, answered)
    made.update_xaxes(
        title={"text": "Answered", "standoff": 8},
        tickvals=list(range(len(answered))),
        ticktext=_names(answered),
        tickangle=-90,
    )
    made.update_yaxes(
        title={"text": "Wanted", "standoff": 8}, tickvals=list(range(len(wanted))), ticktext=_names(wanted)
    )
    made.update_xaxes(range=[-0.5, len(answered) - 0.5], showgrid=False)
    made.update_yaxes(range=[len(wanted) - 0.5, -0.5], showgrid=False)
    made.update_layout(height=200 + 36 * len(wanted), showlegend=False)


def _names(labels: list[Cell]) -> list[str]:
    return [wrapped(name, 1) for name in labels]


def _cells(made: Any, chart: Chart, width: int) -> None:
    shares = [number(row, "share") for row in chart.rows]
    shade = colour(chart.rows[0])
    made.add_heatmap(
        z=[shares[at : at + width] for at in range(0, len(shares), width)],
        zmin=0,
        zmax=1,
        colorscale=[[0, faint(shade, 0)], [1, faint(shade, FULL)]],
        showscale=False,
        hoverinfo="skip",
        xgap=1,
        ygap=1,
    )


def _counts(made: Any, chart: Chart, wanted: list[Cell], answered: list[Cell]) -> None:
    rows = [row for row in chart.rows if row["count"]]
    made.add_scatter(
        x=[answered.index(row["answered"]) for row in rows],
        y=[wanted.index(row["wanted"]) for row in rows],
        mode="text",
        textfont_size=12,
        text=[str(row["count"]) for row in rows],
        hovertext=[_hover(row) for row in rows],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _hover(row: Row) -> str:
    said = "right" if row["wanted"] == row["answered"] else f"answered: {plain(row['answered'])}"
    return f"wanted: {plain(row['wanted'])}<br>{said}<br>{row['count']} answers, {number(row, 'share'):.0%} of these"
