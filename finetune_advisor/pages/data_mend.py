"""Mend rows in place: change a request or an answer, drop a row, or mend a broken line as text."""

from __future__ import annotations

import filecmp
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import streamlit as st

from finetune_advisor.case import Case
from finetune_advisor.datasets import mend
from finetune_advisor.datasets.mend import Row
from finetune_advisor.datasets.replace import alone
from finetune_advisor.datasets.replace import replace as replace_file
from finetune_advisor.errors import AdvisorError, BadInput
from finetune_advisor.pages.ask import show_refusal
from finetune_advisor.pages.data_reading import RELOCK, columns, files, plain, refused, rows, version
from finetune_advisor.pages.draw import UNTYPED
from finetune_advisor.records import Finding
from finetune_advisor.report.formats import count
from finetune_advisor.report.markdown import escape

EDITABLE = (".jsonl", ".ndjson", ".csv", ".tsv")
PER_PAGE = 20
FOUND, ALL = "Rows with findings", "All rows"
DROP, LINE, WRONG, REQUEST, ANSWER, RAW = "Drop", "Line", "What was found", "Request", "Wanted answer", "The whole line"
FIELDS = {REQUEST: "prompt", ANSWER: "answer", RAW: "mended"}


def mend_rows(case: Case, findings: Sequence[Finding], *, locked: bool) -> None:
    """The editor.

    Args:
        case: The case.
        findings: Those whose rows are to be mended.
        locked: The split is locked on the data as it is.
    """
    st.subheader("Mend rows", anchor=False)
    if saved := st.session_state.pop("mended", ""):
        st.success(escape(saved), icon=":material/check_circle:")
    path = _file(case)
    if path is None:
        return
    try:
        read = rows(case, path)
    except BadInput as error:
        refused(case, error)
        return
    if locked:
        st.warning(RELOCK, icon=":material/lock:")
    _edit(case, path, read, [each for each in findings if each.file == str(path)])
    _put_back(case, path)


def _file(case: Case) -> Path | None:
    known = [path for path in files(case) if path.suffix.lower() in EDITABLE]
    if not known:
        st.info(
            "Files of this kind cannot be mended here. Save the data as .jsonl or .csv and upload that.",
            icon=":material/info:",
        )
        return None
    if len(known) == 1:
        return known[0]
    return st.selectbox("File", known, format_func=lambda path: plain(case, str(path)), key="mend-file")


def _edit(case: Case, path: Path, read: Sequence[Row], findings: Sequence[Finding]) -> None:
    wrong: dict[int, str] = {row.line: row.problem for row in read if row.problem}
    for each in findings:
        said = wrong.get(each.line, "")
        message = plain(case, each.message)
        wrong[each.line] = said if message in said else f"{said} {message}".strip()
    chosen = _chosen(read, wrong, {each.line for each in findings})
    if not chosen:
        st.info("No row fits this choice.", icon=":material/info:")
        return
    pages = -(-len(chosen) // PER_PAGE)
    start = (st.pagination(pages, key=f"rows-of-{pages}") - 1) * PER_PAGE if pages > 1 else 0
    _editors(case, path, chosen[start : start + PER_PAGE], wrong)


def _chosen(read: Sequence[Row], wrong: Mapping[int, str], found: set[int]) -> list[Row]:
    left, right = st.columns(2)
    with left:
        which = st.segmented_control(
            "Show", (FOUND, ALL), default=FOUND if found or wrong else ALL, required=True, key="mend-which"
        )
    with right:
        wanted = st.text_input("Find", key="mend-find", placeholder="Words in the row").casefold()
    shown = [row for row in read if which == ALL or row.line in found or row.problem]
    shown = [row for row in shown if wanted in row.raw.casefold()] if wanted else shown
    st.caption(
        f"{count(len(shown))} of {count(len(read))} rows"
        + (", chosen by the filters of the findings above." if which == FOUND else ".")
        + " Double-click a cell, or press Enter on it, to change it; Shift+Enter starts a new line."
    )
    return shown


def _editors(case: Case, path: Path, shown: Sequence[Row], wrong: Mapping[int, str]) -> None:
    whole = st.toggle(
        "Edit whole lines as they stand in the file",
        key="mend-raw",
        help="For what is not a plain request or answer: system messages, tool calls, earlier turns.",
    )
    broken = [row for row in shown if whole or row.prompt is None]
    sound = [row for row in shown if row not in broken]
    edited = [(part, key) for part, key in ((sound, "cells"), (broken, "lines")) if part]
    given = [(part, _editor(path, part, wrong, raw=key == "lines")) for part, key in edited]
    _save_button(case, path, given)
    show_refusal("mend")


def _editor(path: Path, shown: Sequence[Row], wrong: Mapping[int, str], *, raw: bool) -> str:
    """An editor of these rows; its key, under which the edits stand."""
    if raw:
        st.markdown("Whole lines, as they stand in the file:")
    config = UNTYPED.column_config
    faulty = any(row.line in wrong for row in shown)
    table = [_cells(row, wrong.get(row.line, "") if faulty else None, raw=raw) for row in shown]
    # Edits are kept by place: another set of rows, or another version of the file, needs another key.
    lines = ",".join(str(row.line) for row in shown)
    key = f"mend-{raw}-{zlib.crc32(f'{version([path])} {lines}'.encode())}"
    UNTYPED.data_editor(
        table,
        hide_index=True,
        row_height=72,
        disabled=[LINE, WRONG],
        column_config={
            DROP: config.CheckboxColumn(width=70, help="Ticked rows are left out of the file when you save."),
            LINE: config.NumberColumn(width=60),
            WRONG: config.TextColumn(width=200),
            REQUEST: config.TextColumn(width=300),
            ANSWER: config.TextColumn(width=150),
            RAW: config.TextColumn(width="large"),
        },
        key=key,
        alt=f"{len(shown)} rows to change or to drop",
    )
    return key


def _cells(row: Row, wrong: str | None, *, raw: bool) -> dict[str, object]:
    texts = {RAW: row.raw} if raw else {REQUEST: row.prompt, ANSWER: row.answer}
    return {DROP: False, LINE: row.line, **({} if wrong is None else {WRONG: wrong}), **texts}


def _edits(given: Sequence[tuple[Sequence[Row], str]]) -> tuple[list[Row], list[Row]]:
    """The rows that were changed, and those that are to be dropped."""
    changed: list[Row] = []
    dropped: list[Row] = []
    for shown, key in given:
        state = cast("Mapping[str, Any]", st.session_state.get(key, {}))
        for place, cells in cast("Mapping[int, Mapping[str, Any]]", state.get("edited_rows", {})).items():
            row = shown[int(place)]
            new = {FIELDS[name]: value or "" for name, value in cells.items() if name in FIELDS}
            if cells.get(DROP):
                dropped.append(row)
            elif new:
                changed.append(replace(row, **new))
    return changed, dropped


def _save_button(case: Case, path: Path, given: Sequence[tuple[Sequence[Row], str]]) -> None:
    changed, dropped = _edits(given)
    name = escape(path.name)
    if changed or dropped:
        st.warning(
            f"Not saved yet: {len(changed)} changed, {len(dropped)} to be dropped. Save before you show other rows.",
            icon=":material/edit:",
        )
    st.button(
        "Save the changes",
        type="primary",
        icon=":material/save:",
        key="mend-save",
        disabled=not (changed or dropped),
        on_click=_save,
        args=(case, path, given),
    )
    st.caption(f"The first version of the file is kept beside it as {name}.original. All other rows stay as they are.")


def _save(case: Case, path: Path, given: Sequence[tuple[Sequence[Row], str]]) -> None:
    changed, dropped = _edits(given)
    try:
        mend.write(path, changed, dropped, columns(case))
    except AdvisorError as error:
        _refuse(case, error)
        return
    st.session_state["mended"] = f"Saved. Changed rows: {len(changed)}; dropped rows: {len(dropped)}."


def _refuse(case: Case, error: AdvisorError) -> None:
    st.session_state["mend-refused"] = AdvisorError(plain(case, error.message), hint=plain(case, error.hint))


def _put_back(case: Case, path: Path) -> None:
    original = path.resolve().with_name(f"{path.resolve().name}.original")
    if not original.is_file() or filecmp.cmp(path, original, shallow=False):
        return
    with st.popover("Put the first version back", icon=":material/undo:"):
        st.markdown(f"All changes that were made to {escape(path.name)} here are lost.")
        st.button("Put it back", type="primary", key="put-back", on_click=_restore, args=(case, path, original))


def _restore(case: Case, path: Path, original: Path) -> None:
    try:
        with alone(path.resolve()):
            replace_file(path.resolve(), original.read_bytes())
    except AdvisorError as error:
        _refuse(case, error)
        return
    st.session_state["mended"] = f"{path.name} is as it was at first."
