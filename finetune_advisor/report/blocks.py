"""What a report is made of: a tagged union of plain data that HTML, Markdown and the app each draw in their own way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from finetune_advisor.records import Disagreement

Cell = str | float | int | None
"""One value of a chart's data; None where there is none."""

ChartKind = Literal[
    "quality_cost",
    "break_even",
    "scores",
    "outcomes",
    "loss",
    "odds",
    "tornado",
    "learning",
    "side_effects",
    "ownership",
    "cost_parts",
    "confusion",
]
CalloutKind = Literal["go", "no-go", "not-yet", "caution", "simulated"]


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A section title; level 1 is the report's own."""

    level: int
    text: str
    tag: Literal["heading"] = field(default="heading", init=False)


@dataclass(frozen=True, kw_only=True)
class Text:
    """One paragraph."""

    text: str
    tag: Literal["text"] = field(default="text", init=False)


@dataclass(frozen=True, kw_only=True)
class Bullets:
    """A list of sentences."""

    items: tuple[str, ...]
    tag: Literal["bullets"] = field(default="bullets", init=False)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells that are ready to read. `align` holds one letter per column: l for words, r for numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    align: str
    caption: str = ""
    tag: Literal["table"] = field(default="table", init=False)


@dataclass(frozen=True, kw_only=True)
class KeyFigure:
    """One number that matters, what it is, and one sentence that says how to read it."""

    name: str
    value: str
    note: str


@dataclass(frozen=True, kw_only=True)
class KeyFigures:
    """The few numbers that the answer comes down to, side by side."""

    figures: tuple[KeyFigure, ...]
    tag: Literal["figures"] = field(default="figures", init=False)


@dataclass(frozen=True, kw_only=True)
class Callout:
    """A box that must not be overlooked."""

    kind: CalloutKind
    title: str
    text: str
    tag: Literal["callout"] = field(default="callout", init=False)


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart's data and what it shows in words; `charts.figure` draws it.

    `rows` are plain values with one set of keys per kind, fit for a CSV file. `guides` are named reference
    lines: a score on the quality charts, a number of requests a month on the break-even chart, what tuning most
    likely brings on the tornado. `bands` say how uncertain a guide of the same name is.
    """

    kind: ChartKind
    title: str
    rows: tuple[Mapping[str, Cell], ...]
    alt: str
    guides: Mapping[str, float] = field(default_factory=dict[str, float])
    bands: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    tag: Literal["chart"] = field(default="chart", init=False)


@dataclass(frozen=True, kw_only=True)
class ExampleCard:
    """A test example on which the arms disagree; `simulated` names the arms that no real model answered."""

    disagreement: Disagreement
    simulated: frozenset[str] = frozenset()
    tag: Literal["example"] = field(default="example", init=False)


@dataclass(frozen=True, kw_only=True)
class Details:
    """Blocks that are folded away until asked for."""

    title: str
    blocks: tuple[Block, ...]
    tag: Literal["details"] = field(default="details", init=False)


Block = Heading | Text | Bullets | Table | KeyFigures | Callout | Chart | ExampleCard | Details
