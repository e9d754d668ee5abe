"""What all charts share: an approach's colour and marker, reference lines, and values as a figure needs them.

The colours are Okabe and Ito's, darkened where needed so that every one has a contrast of at least 3 on white and on
near-black; the markers tell them apart without colour. Names come from users' files, and plotly reads a subset of HTML
in its labels, so every name is escaped.
"""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from finetune_advisor.report.blocks import Cell, Chart
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
ASSUMPTION = "#7A6FBF"
"""What is assumed, not measured: no approach has this colour."""

MODEL_MARKS = ("", "-open", "-dot", "-open-dot")
"""How a marker tells a second model of the same approach apart."""

LEGEND_ABOVE = {"y": 1.02, "yanchor": "bottom"}


def lines_across(made: Any, chart: Chart, *, left: bool = False) -> None:
    """The chart's guides as horizontal lines, their names at one end."""
    for name, value in chart.guides.items():
        x, side = (0, "left") if left else (1, "right")
        made.add_hline(y=value, line_dash="dash", line_color=OTHER)
        made.add_annotation(
            x=x, xref="paper", xanchor=side, y=value, yanchor="bottom", text=plain(name), showarrow=False
        )


def lines_down(made: Any, guides: Mapping[str, float], *, turn: float = math.inf) -> None:
    """Guides as vertical lines, their names one below the other, right of the line up to `turn` and left of it after.

    Each line ends under the names of those on its left, so that it runs through none of them.
    """
    for place, (name, value) in enumerate(sorted(guides.items(), key=lambda each: each[1])):
        side, shift = ("left", 3) if value < turn else ("right", -3)
        made.add_shape(
            type="line",
            x0=value,
            x1=value,
            yref="paper",
            y0=0,
            y1=1 - 0.06 * place,
            line={"dash": "dash", "color": OTHER},
        )
        made.add_annotation(
            x=value,
            y=1,
            yref="paper",
            yshift=-18 * place,
            text=plain(name),
            showarrow=False,
            xanchor=side,
            xshift=shift,
        )


def money_axis(values: Iterable[float]) -> str:
    """How the ticks of an axis of dollars are written: in full, or with k and M from a thousand on."""
    return "$~s" if max(map(abs, values), default=0.0) >= 1_000 else "$,~r"


def bands_down(made: Any, bands: Mapping[str, tuple[float, float]]) -> None:
    """How uncertain vertical guides are, as shaded strips."""
    for low, high in bands.values():
        made.add_vrect(x0=low, x1=high, fillcolor=OTHER, opacity=0.16, line_width=0, layer="below")


def band(made: Any, rows: Sequence[Row], places: list[float], name: str = "") -> None:
    """The interval around a line, in its colour; in the legend only where it has a name."""
    made.add_scatter(
        x=[*places, *reversed(places)],
        y=[*numbers(rows, "low"), *reversed(numbers(rows, "high"))],
        mode="lines",
        fill="toself",
        fillcolor=faint(colour(rows[0])),
        line={"width": 0},
        name=name,
        showlegend=bool(name),
        hoverinfo="skip",
    )


def faint(code: str, share: float = 0.2) -> str:
    """A colour that lets the page through."""
    red, green, blue = (int(code[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{share:.2g})"


def shaded(code: str, hatch: str) -> Mapping[str, Any]:
    """A bar's look: muted colours and hatching tell the parts of a bar apart, bright ones belong to approaches."""
    pattern = {"shape": hatch, "fillmode": "overlay", "fgcolor": "white", "size": 6, "solidity": 0.25}
    return {"color": code, "pattern": pattern, "line": {"color": code, "width": 1}}


def rows_axis(made: Any, names: Sequence[str], *, height: int = 48) -> None:
    """A vertical axis with one place per row, the first on top, `height` pixels each."""
    made.update_yaxes(tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.5, -0.5])
    made.update_layout(height=170 + height * len(names), showlegend=False)


def grouped(rows: Iterable[Row], *keys: str) -> list[tuple[tuple[Cell, ...], list[Row]]]:
    """Rows that stand together and share the keys' values."""
    return [(found, list(group)) for found, group in groupby(rows, key=lambda row: tuple(row[key] for key in keys))]


def number(row: Row, key: str) -> float:
    """A row's value as a float; not a number where there is none."""
    value = row[key]
    return float(value) if isinstance(value, int | float) else math.nan


def numbers(rows: Iterable[Row], key: str) -> list[float]:
    """One column of the rows."""
    return [number(row, key) for row in rows]


def plain(value: Cell) -> str:
    """Text without meaning for plotly, which reads a few tags, and what stands between two dollar signs as TeX."""
    return html.escape(str(value), quote=False).replace("$", "&#36;")


def name_of(row: Row) -> str:
    """The arm's name, escaped."""
    return plain(row["arm"])


def wrapped(value: Cell, lines: int = 3) -> str:
    """Text in a few short lines, so that it leaves room for the chart on a narrow screen."""
    found = textwrap.wrap(str(value), 20, max_lines=lines, placeholder=" …", break_on_hyphens=False) or [""]
    return "<br>".join(plain(line) for line in found)


def small(text: str) -> str:
    """A further line of a label, in small letters; `text` is escaped already."""
    return f'<br><span style="font-size:11px">{text}</span>'


def approach_of(row: Row) -> str:
    """The approach's title and the model, escaped."""
    title = plain(approach_title(str(row["approach"])))
    return f"{title}, {plain(row['model'])}" if row["model"] else title


def error_bar(middle: float, low: float, high: float) -> Mapping[str, Any]:
    """An interval around one point."""
    return error_bars([middle], [low], [high])


def error_bars(middles: list[float], lows: list[float], highs: list[float]) -> Mapping[str, Any]:
    """An interval around each point."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(0.0, high - middle) for middle, high in zip(middles, highs, strict=True)],
        "arrayminus": [max(0.0, middle - low) for middle, low in zip(middles, lows, strict=True)],
        "thickness": 1.5,
        "width": 5,
    }


def model_marks(rows: Iterable[Row]) -> Mapping[Cell, str]:
    """What each model adds to its approach's marker."""
    models = dict.fromkeys(row["model"] for row in rows if row["model"])
    return {model: MODEL_MARKS[i % len(MODEL_MARKS)] for i, model in enumerate(models)}


def colour(row: Row) -> str:
    """The colour of the row's approach."""
    return COLOURS.get(str(row["approach"]), OTHER)


def symbol(row: Row) -> str:
    """The marker of the row's approach."""
    return SYMBOLS.get(str(row["approach"]), "x")


def marker(row: Row, marks: Mapping[Cell, str]) -> Mapping[str, Any]:
    """Colour by approach, shape by approach and model."""
    return {"color": colour(row), "symbol": symbol(row) + marks.get(row["model"], ""), "size": 13}
