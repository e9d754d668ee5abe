"""The report to take away, and the facts needed to repeat it."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from finetune_advisor.charts import figure
from finetune_advisor.pages.draw import draw
from finetune_advisor.pages.results import latest
from finetune_advisor.records import Results
from finetune_advisor.report.answer import simulated
from finetune_advisor.report.document import to_json
from finetune_advisor.report.evidence import limits
from finetune_advisor.report.html import to_html
from finetune_advisor.report.markdown import to_markdown
from finetune_advisor.report.repeat import repeat


def _button(label: str, name: str, mime: str, make: Callable[[], str]) -> None:
    st.download_button(
        label, data=make, file_name=name, mime=mime, key=name, on_click="ignore", icon=":material/download:"
    )


def _downloads(results: Results) -> None:
    with st.container(horizontal=True):
        _button("HTML, opens in any browser", "report.html", "text/html", lambda: to_html(results, figure))
        _button("Markdown", "report.md", "text/markdown", lambda: to_markdown(results))
        _button("JSON, every number", "results.json", "application/json", lambda: to_json(results))


loaded = latest()
st.title("Report", anchor=False)
draw(simulated(loaded))
_downloads(loaded)
draw((*repeat(loaded), *limits(loaded)))
