"""The report to take away, in every format."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from finetune_advisor.charts import figure
from finetune_advisor.charts.pictures import pictures
from finetune_advisor.errors import AdvisorError
from finetune_advisor.records import Results
from finetune_advisor.report import browser
from finetune_advisor.report.document import to_json
from finetune_advisor.report.docx import to_docx
from finetune_advisor.report.html import to_html
from finetune_advisor.report.markdown import escape, to_markdown
from finetune_advisor.report.pdf import to_pdf

WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def downloads(results: Results) -> None:
    """A button for each format; the file is made when it is clicked."""
    st.header("The report", anchor=False)
    missing = _no_browser()
    with st.container(horizontal=True):
        if not missing:
            _button("PDF", "report.pdf", "application/pdf", lambda: to_pdf(to_html(results, figure)))
        _button("Word", "report.docx", WORD, lambda: to_docx(results, pictures))
        _button("HTML, opens in any browser", "report.html", "text/html", lambda: to_html(results, figure))
        _button("Markdown", "report.md", "text/markdown", lambda: to_markdown(results))
        _button("JSON, every number", "results.json", "application/json", lambda: to_json(results))
    st.caption(missing or "PDF and Word take some seconds: their charts are drawn first.")


def _no_browser() -> str:
    """Why no PDF can be made here; empty where it can."""
    try:
        browser.find()
    except AdvisorError as error:
        return escape(f"No PDF here: {error.message} {error.hint}")
    return ""


def _button(label: str, name: str, mime: str, make: Callable[[], str | bytes]) -> None:
    st.download_button(
        label, data=make, file_name=name, mime=mime, key=name, on_click="ignore", icon=":material/download:"
    )
