"""What the audit found, filtered, each finding with its row beside it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from finetune_advisor.case import Case
from finetune_advisor.errors import AdvisorError
from finetune_advisor.pages.data_examples import cut
from finetune_advisor.pages.data_reading import Audited, audited, bytes_to_audit, files, look, plain, rows
from finetune_advisor.pages.draw import UNTYPED, download_csv
from finetune_advisor.records import Finding
from finetune_advisor.report.evidence import SEVERITIES
from finetune_advisor.report.formats import count
from finetune_advisor.report.markdown import escape

BIG = 2 << 20
"""From so many bytes on, people are asked before their data is audited: 10,000 short examples take some seconds."""

MOST = 1_000
"""So many findings are shown; the CSV file has all."""

MEANING = "An error has to be mended, or the example is left out. A warning is worth a look. A note is good to know."
WIDE = {"How serious": 90, "File": 120, "Kind": 130, "What was found": 230, "Request": 230, "Wanted answer": 120}


def show_audit(case: Case, *, told: bool) -> tuple[Finding, ...]:
    """The findings; the chosen ones are handed on, to be mended.

    Args:
        case: The case.
        told: The page has said already why the data cannot be read.
    """
    st.subheader("What the audit found", anchor=False)
    found = _audited(case)
    if found is None:
        return ()
    if found.problem and not told:
        st.error(
            f"A run would stop here: {escape(plain(case, found.problem.message))} "
            f"{escape(plain(case, found.problem.hint))}",
            icon=":material/error:",
        )
    if found.findings:
        return _show(case, found.findings)
    if not found.problem:
        st.success("The audit found nothing to mend.", icon=":material/check_circle:")
    return ()


def _audited(case: Case) -> Audited | None:
    # Once somebody has asked, changed data is audited without a further question.
    asked = f"audit-{case.folder.name}"
    if bytes_to_audit(case) > BIG and not st.session_state.get(asked):
        st.markdown("There is much data here: looking through all of it takes a while.")
        if not st.button("Audit the data", type="primary", icon=":material/fact_check:", key="audit"):
            return None
        st.session_state[asked] = True
    models = bool(case.models) and st.toggle(
        "Check with the models of this case whether an example is too long",
        key="with-models",
        help="The models are loaded for that, which takes a while. Every run checks it too.",
    )
    return audited(case, models=models)


def kind(code: str) -> str:
    """The kind of a finding in words."""
    return re.sub(r"_line_\d+$", "_line", code).replace("_", " ")


def _show(case: Case, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    counts = Counter(each.severity for each in findings)
    st.markdown(", ".join(_counted(title, counts[name]) for name, title in SEVERITIES.items() if counts[name]) + ".")
    st.caption(MEANING)
    chosen = _filtered(findings)
    beside = _texts(case, chosen)
    several = len({each.file for each in findings}) > 1
    listed = [_row(case, each, beside, several=several) for each in chosen]
    more = f", the first {count(MOST)} of them here and all in the CSV file" if len(listed) > MOST else ""
    st.caption(f"{count(len(chosen))} of {count(len(findings))} findings{more}.")
    _table(listed[:MOST])
    download_csv(listed, "findings", "These findings as CSV")
    return tuple(chosen)


def _counted(title: str, number: int) -> str:
    words = title.lower()
    return f"**{count(number)}** {words.removesuffix('s') if number == 1 else words}"


def _filtered(findings: Sequence[Finding]) -> list[Finding]:
    left, right = st.columns([1, 2])
    with left:
        severities = st.pills(
            "How serious",
            [severity for severity in SEVERITIES if any(each.severity == severity for each in findings)],
            selection_mode="multi",
            format_func=lambda severity: SEVERITIES[severity],
            key="severity",
            bind="query-params",
        )
    with right:
        kinds = st.multiselect(
            "Kind", sorted({kind(each.code) for each in findings}), key="kind-found", placeholder="All kinds"
        )
    return [
        each
        for each in findings
        if (not severities or each.severity in severities) and (not kinds or kind(each.code) in kinds)
    ]


def _texts(case: Case, findings: Sequence[Finding]) -> Mapping[tuple[str, int], tuple[str, str]]:
    """Request and answer of the rows that the findings name; the raw line where a row cannot be read."""
    wanted = {each.file for each in findings if each.line}
    found: dict[tuple[str, int], tuple[str, str]] = {}
    try:
        for each in look(case).examples:
            found[each.file, each.line] = (each.question, each.answer)
    except AdvisorError:
        pass  # nothing in the data is usable: the rows below are all there is
    for path in files(case):
        if str(path) in wanted:
            found.update(_rows(case, path))
    return found


def _rows(case: Case, path: Any) -> dict[tuple[str, int], tuple[str, str]]:
    try:
        read = rows(case, path)
    except AdvisorError:
        return {}
    return {
        (str(path), each.line): (each.raw if each.prompt is None else each.prompt, each.answer or "") for each in read
    }


def _row(
    case: Case, finding: Finding, beside: Mapping[tuple[str, int], tuple[str, str]], *, several: bool
) -> Mapping[str, str | int | None]:
    request, answer = beside.get((finding.file, finding.line), ("", ""))
    return {
        "How serious": finding.severity,
        **({"File": plain(case, finding.file)} if several else {}),
        "Line": finding.line or None,
        "Kind": kind(finding.code),
        "What was found": plain(case, finding.message),
        "Request": cut(request),
        "Wanted answer": cut(answer),
    }


def _table(listed: Sequence[Mapping[str, str | int | None]]) -> None:
    if not listed:
        st.info("No finding fits this choice.", icon=":material/info:")
        return
    UNTYPED.dataframe(
        listed,
        hide_index=True,
        row_height=72,
        column_config={name: UNTYPED.column_config.TextColumn(width=width) for name, width in WIDE.items()},
        alt=f"{len(listed)} findings with file, line, kind, what was found, and the row itself",
    )
