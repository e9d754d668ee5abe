"""The examples as a table, and how they are divided into parts to learn from, to choose by and to test with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC

import streamlit as st

from finetune_advisor.case import Case
from finetune_advisor.datasets.split import Split
from finetune_advisor.pages.data_reading import Look, plain
from finetune_advisor.pages.draw import UNTYPED, draw
from finetune_advisor.records import Example, Part
from finetune_advisor.report.blocks import KeyFigure, KeyFigures
from finetune_advisor.report.formats import count
from finetune_advisor.store import Lock

PER_PAGE = 100
SHOWN = 1_000
"""Characters of a cell; the rest would only make the page slow."""

PARTS: Mapping[Part, tuple[str, str]] = {
    "train": ("Training", "Prompts with examples and tuned models learn from these."),
    "validation": ("Validation", "Settings are chosen on these."),
    "test": ("Test", "Locked away: every approach answers them, and none learns from them."),
}


def show_examples(case: Case, found: Look) -> None:
    """The split, then the table."""
    st.subheader("How the examples are divided", anchor=False)
    if found.lock and found.split:
        _locked(found.lock, found.split)
    else:
        _to_be_locked(case, found)
    st.subheader("The examples", anchor=False)
    _page(case, found, _chosen(found))


def _locked(lock: Lock, split: Split) -> None:
    _sizes({"train": len(split.train), "validation": len(split.validation), "test": len(split.test)})
    st.caption(
        f"Locked on {lock.locked_at.astimezone(UTC):%d %B %Y, %H:%M} UTC, so that every approach answers the same "
        "test examples. Examples that are nearly the same stay in one part: nobody is tested on what was learned. "
        f"Fingerprint of the split: {split.hash[:12]}."
    )
    if split.label_counts:
        with st.expander("Examples of each label"):
            _labels(split.label_counts)


def _sizes(sizes: Mapping[Part, int], about: str = "") -> None:
    total = max(1, sum(sizes.values()))
    figures = (
        KeyFigure(name=title, value=about + count(sizes[part]), note=f"{sizes[part] / total:.0%}. {what}")
        for part, (title, what) in PARTS.items()
    )
    draw((KeyFigures(figures=tuple(figures)),))


def _to_be_locked(case: Case, found: Look) -> None:
    data = case.data
    if data.examples is None:
        st.markdown(
            "The files say it. The first run locks the test part, and every approach answers the same examples."
        )
        return
    total = len(found.examples)
    test = min(total, data.test_rows or round(total * data.test_share))
    validation = min(total - test, round(total * data.validation_share))
    sizes: Mapping[Part, int] = {"train": total - test - validation, "validation": validation, "test": test}
    _sizes(sizes, about="about ")
    st.caption("The first run divides the examples and locks the test part. Until then you can change the data freely.")


def _labels(counts: Mapping[str, Mapping[str, int]]) -> None:
    labels = sorted({label for part in counts.values() for label in part})
    rows = [
        {"Label": label, **{title: counts.get(part, {}).get(label, 0) for part, (title, _) in PARTS.items()}}
        for label in labels
    ]
    UNTYPED.dataframe(rows, hide_index=True, alt="How many examples of each label each part holds")


def _chosen(found: Look) -> list[Example]:
    left, right = st.columns([2, 1])
    parts: list[Part] = []
    with right:
        if found.parts:
            parts = st.pills(
                "Part",
                list(PARTS),
                selection_mode="multi",
                format_func=lambda part: PARTS[part][0],
                key="in-part",
                bind="query-params",
            )
    with left:
        wanted = st.text_input("Find", key="find", placeholder="Words in the request or in the answer").casefold()
    return [
        each
        for each in found.examples
        if (not parts or found.parts.get(each.id) in parts)
        and (not wanted or wanted in each.question.casefold() or wanted in each.answer.casefold())
    ]


def _page(case: Case, found: Look, chosen: list[Example]) -> None:
    st.caption(f"{count(len(chosen))} of {count(len(found.examples))} examples. Double-click a cell to read all of it.")
    if not chosen:
        st.info("No example fits this choice.", icon=":material/info:")
        return
    pages = -(-len(chosen) // PER_PAGE)
    start = (st.pagination(pages, key=f"examples-of-{pages}") - 1) * PER_PAGE if pages > 1 else 0
    several = len({each.file for each in found.examples}) > 1
    shown = [_row(case, found, each, several=several) for each in chosen[start : start + PER_PAGE]]
    wide = {name: UNTYPED.column_config.TextColumn(width="large") for name in ("Request", "Wanted answer")}
    UNTYPED.dataframe(
        shown,
        hide_index=True,
        row_height=72,
        column_config=wide,
        alt=f"{len(shown)} examples with line, part, request and wanted answer",
    )


def _row(case: Case, found: Look, example: Example, *, several: bool) -> dict[str, object]:
    file = {"File": plain(case, example.file)} if several else {}
    part = found.parts.get(example.id)
    named = {"Part": PARTS[part][0] if part else "none"} if found.parts else {}
    texts = {"Request": cut(example.question), "Wanted answer": cut(example.answer)}
    return {**file, "Line": example.line, **named, **texts}


def cut(text: str) -> str:
    """A text for a cell."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
