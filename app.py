"""The Streamlit app's router. Run it with: finetune-advisor app CASE."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

import finetune_advisor

PAGES = Path(finetune_advisor.__file__).parent / "pages"

EACH_PARAGRAPH_IN_ITS_OWN_DIRECTION = """<style>
[data-testid="stText"] span, [data-testid="stMarkdown"] :is(p, li), [data-testid="stCode"] code, td {
  unicode-bidi: plaintext !important; text-align: start !important; flex: 1;
}
</style>"""

st.set_page_config(page_title="Should we fine-tune?", page_icon="⚖️", layout="wide")
st.html(EACH_PARAGRAPH_IN_ITS_OWN_DIRECTION)
st.navigation(
    [
        st.Page(PAGES / "overview.py", title="Verdict", icon=":material/balance:", default=True),
        st.Page(PAGES / "data.py", title="Data", icon=":material/dataset:"),
        st.Page(PAGES / "scores.py", title="Results", icon=":material/monitoring:", url_path="results"),
        st.Page(PAGES / "examples.py", title="Examples", icon=":material/compare:"),
        st.Page(PAGES / "report.py", title="Report", icon=":material/description:"),
    ]
).run()
