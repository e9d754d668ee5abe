"""A report's charts as plotly figures. Pure: the same chart gives the same figure; no streamlit here.

Each approach has one colour and one marker everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from finetune_advisor.charts import confusion, money, quality, training
from finetune_advisor.errors import require
from finetune_advisor.report.blocks import Chart, ChartKind

__all__ = ["DRAW", "figure"]

AXIS = {"automargin": True, "zeroline": False, "gridcolor": "rgba(128,128,128,0.25)"}
LAYOUT: Mapping[str, Any] = {
    "template": "none",
    "title": {"text": ""},
    "font": {"family": "system-ui, sans-serif", "size": 13},
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "hoverlabel": {"align": "left"},
    "legend": {"orientation": "h", "x": 0, "y": -0.28, "yanchor": "top", "itemsizing": "constant"},
    "margin": {"l": 60, "r": 20, "t": 24, "b": 60},
    "xaxis": AXIS,
    "yaxis": AXIS,
}

DRAW: Mapping[ChartKind, Callable[[Any, Chart], None]] = {
    "quality_cost": quality.quality_cost,
    "break_even": money.break_even,
    "scores": quality.scores,
    "outcomes": quality.outcomes,
    "loss": training.loss,
    "odds": money.odds,
    "tornado": money.tornado,
    "learning": training.learning,
    "side_effects": training.side_effects,
    "ownership": money.ownership,
    "cost_parts": money.cost_parts,
    "confusion": confusion.confusion,
}
"""What draws each kind of chart into an empty figure."""


def figure(chart: Chart) -> Any:
    """The plotly figure of a chart.

    Raises:
        Missing: plotly is not installed.
    """
    go = require("plotly.graph_objects", extra="all")
    made = go.Figure(layout=LAYOUT)
    DRAW[chart.kind](made, chart)
    return made
