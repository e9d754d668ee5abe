"""Report blocks as Streamlit elements. Text from data and models is escaped or shown as plain text, never as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import streamlit as st

from finetune_advisor.charts import figure
from finetune_advisor.records import ArmAnswer
from finetune_advisor.report.blocks import (
    Block,
    Bullets,
    Callout,
    CalloutKind,
    Cell,
    Chart,
    Details,
    ExampleCard,
    Heading,
    KeyFigures,
    Table,
    Text,
)
from finetune_advisor.report.csv import to_csv
from finetune_advisor.report.formats import DASH, outcome, slug
from finetune_advisor.report.markdown import escape, paragraph

UNTYPED: Any = st
"""Streamlit's signatures of tables and charts name libraries that have no complete types."""

BOXES = {"go": st.success, "no-go": st.error, "not-yet": st.info, "caution": st.warning, "simulated": st.error}
ICONS: Mapping[CalloutKind, str] = {
    "go": ":material/check_circle:",
    "no-go": ":material/cancel:",
    "not-yet": ":material/hourglass_empty:",
    "caution": ":material/warning:",
    "simulated": ":material/science:",
}
COLOURS = {"right": "green", "wrong": "red", "wrong form": "orange", "no answer": "gray"}


def draw(blocks: Iterable[Block]) -> None:
    """Show blocks one below the other."""
    for block in blocks:
        _draw(block)


def _draw(block: Block) -> None:
    match block:
        case Heading():
            _heading(block)
        case Text():
            st.markdown(paragraph(block.text))
        case Bullets():
            st.markdown("\n".join(f"- {paragraph(item)}" for item in block.items))
        case Table():
            _table(block)
        case KeyFigures():
            _figures(block)
        case Callout():
            _callout(block)
        case Chart():
            _chart(block)
        case ExampleCard():
            _example(block)
        case Details():
            with st.expander(escape(block.title)):
                draw(block.blocks)


def _heading(block: Heading) -> None:
    show = (st.title, st.header, st.subheader)[block.level - 1]
    show(escape(block.text), anchor=False)


def _figures(block: KeyFigures) -> None:
    for column, each in zip(st.columns(len(block.figures), border=True), block.figures, strict=True):
        column.caption(escape(each.name))
        column.markdown(f"### {escape(each.value)}")
        column.caption(escape(each.note))


def _callout(block: Callout) -> None:
    size = "" if block.kind == "caution" else "#### "
    BOXES[block.kind](f"{size}**{escape(block.title)}**\n\n{paragraph(block.text)}", icon=ICONS[block.kind])


def _table(block: Table) -> None:
    if block.caption:
        st.caption(escape(block.caption))
    columns = [escape(name) for name in block.columns]
    rows = [dict(zip(columns, map(_table_cell, row, block.align), strict=True)) for row in block.rows]
    UNTYPED.table(rows, border="horizontal", hide_index=True, alt=block.caption or ", ".join(block.columns))


def _table_cell(text: str, align: str) -> str:
    """Numbers stay on one line: no break at spaces or after a range's dash."""
    shown = escape(text)
    return shown.replace(" ", "\N{NO-BREAK SPACE}").replace(DASH, f"{DASH}\N{WORD JOINER}") if align == "r" else shown


def _chart(block: Chart) -> None:
    st.markdown(f"**{escape(block.title)}**")
    name = slug(block.title)
    UNTYPED.plotly_chart(figure(block), key=name, alt=block.alt, config={"displayModeBar": False})
    download_csv(block.rows, name, "The chart's data as CSV")


def download_csv(rows: Sequence[Mapping[str, Cell]], name: str, label: str) -> None:
    """A button that downloads rows; `name` is the file's name without its ending."""
    st.download_button(
        label,
        data=lambda: to_csv(rows),
        file_name=f"{name}.csv",
        mime="text/csv",
        key=f"{name}-csv",
        on_click="ignore",
        icon=":material/download:",
        type="tertiary",
    )


def _example(block: ExampleCard) -> None:
    example = block.disagreement
    with st.container(border=True):
        st.caption(f"Test example {escape(example.example_id)}")
        st.text(example.question, width="stretch")
        st.caption("Wanted")
        st.text(example.expected, width="stretch")
        for answer in example.answers:
            _answer(answer, simulated=answer.arm in block.simulated)


def _answer(answer: ArmAnswer, *, simulated: bool) -> None:
    became = outcome(answer)
    mark = " (simulated)" if simulated else ""
    st.markdown(f"**{escape(answer.arm)}**{mark} :{COLOURS[became]}-badge[{became}] score {answer.score:.2g}")
    st.text(answer.failure or answer.text or "(an empty answer)", width="stretch")
    with st.expander(f"The full prompt: {answer.prompt_tokens} tokens in, {answer.completion_tokens} out"):
        for message in answer.prompt:
            st.caption(escape(message.role))
            st.code(message.content, language=None, wrap_lines=True)
        if answer.passages:
            st.caption("Passages")
            st.text(", ".join(answer.passages))
