"""The Streamlit app's router. Run it with: finetune-advisor app [FOLDER]."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

import finetune_advisor

PAGES = Path(finetune_advisor.__file__).parent / "pages"

EACH_PARAGRAPH_IN_ITS_OWN_DIRECTION = """<style>
[data-testid="stText"] span, [data-testid="stMarkdown"] :is(p, li), [data-testid="stCode"] code, td {
  unicode-bidi: plaintext !important; text-align: start !important; flex: 1;
}
/* What is downloaded from this toolbar is not made safe for spreadsheets; the pages offer their own CSV. */
[data-testid="stElementToolbar"] { display: none; }
</style>"""

st.set_page_config(page_title="Should we fine-tune?", page_icon="⚖️", layout="wide")
st.html(EACH_PARAGRAPH_IN_ITS_OWN_DIRECTION)
st.navigation(
    {
        "": [st.Page(PAGES / "home.py", title="Cases", icon=":material/home:", default=True)],
        "The walk": [
            st.Page(PAGES / "use_case.py", title="1 Use case", icon=":material/flag:", url_path="use-case"),
            st.Page(PAGES / "data.py", title="2 Data", icon=":material/dataset:"),
            st.Page(PAGES / "alternatives.py", title="3 Alternatives", icon=":material/alt_route:"),
            st.Page(PAGES / "experiments.py", title="Experiments", icon=":material/science:"),
            st.Page(PAGES / "costs.py", title="4 Costs", icon=":material/payments:"),
            st.Page(PAGES / "benefits.py", title="5 Benefits", icon=":material/monitoring:"),
            st.Page(PAGES / "examples.py", title="Examples", icon=":material/compare:"),
            st.Page(PAGES / "verdict.py", title="6 Verdict", icon=":material/balance:"),
            st.Page(PAGES / "how.py", title="7 How", icon=":material/checklist:"),
        ],
    }
).run()
