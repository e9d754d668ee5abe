"""What the audit found, to be filtered, and how the data was split."""

from __future__ import annotations

import streamlit as st

from finetune_advisor.pages.draw import UNTYPED, download_csv, draw
from finetune_advisor.pages.results import latest
from finetune_advisor.records import Finding, Results
from finetune_advisor.report.answer import simulated
from finetune_advisor.report.evidence import SEVERITIES, size, split


def _filtered(findings: tuple[Finding, ...]) -> list[Finding]:
    severities = st.pills(
        "Severity",
        [severity for severity in SEVERITIES if any(each.severity == severity for each in findings)],
        selection_mode="multi",
        format_func=lambda severity: SEVERITIES[severity],
        key="severity",
        bind="query-params",
    )
    codes = st.multiselect("Code", sorted({each.code for each in findings}), key="code", bind="query-params")
    return [
        each
        for each in findings
        if (not severities or each.severity in severities) and (not codes or each.code in codes)
    ]


def _show(findings: list[Finding]) -> None:
    rows = [
        {"Severity": each.severity, "File": each.file, "Line": each.line, "Code": each.code, "Message": each.message}
        for each in findings
    ]
    UNTYPED.dataframe(rows, hide_index=True, alt=f"{len(rows)} findings with file, line, code and message")
    download_csv(rows, "findings", "These findings as CSV")


def _audit(results: Results) -> None:
    st.subheader("What the audit found", anchor=False)
    if not results.findings:
        st.success("The audit found nothing to mend.", icon=":material/check_circle:")
        return
    found = _filtered(results.findings)
    st.caption(f"{len(found):,} of {len(results.findings):,} findings")
    _show(found)


loaded = latest()
st.title("Data", anchor=False)
draw(simulated(loaded))
st.markdown(size(loaded))
_audit(loaded)
draw(split(loaded))
