"""Step 2: which data there is, how it is divided, what is wrong with it and how to mend it, what its tokens cost."""

from __future__ import annotations

import streamlit as st

from finetune_advisor import jobs
from finetune_advisor.case import Case
from finetune_advisor.errors import AdvisorError
from finetune_advisor.pages.data_audit import show_audit
from finetune_advisor.pages.data_examples import show_examples
from finetune_advisor.pages.data_files import choose_files, described
from finetune_advisor.pages.data_mend import mend_rows
from finetune_advisor.pages.data_reading import Look, files, look, refused
from finetune_advisor.pages.data_tokens import show_tokens
from finetune_advisor.pages.shell import job, onward, opened, page, step
from finetune_advisor.report.formats import count
from finetune_advisor.report.markdown import escape

FILES, EXAMPLES, AUDIT, TOKENS = "Files", "Examples", "Audit and mending", "Tokens"


def _look(case: Case) -> Look | None:
    """The data, after a word on what is in use now."""
    if not files(case):
        st.info("There are no examples yet. Upload a file of them, or pick one.", icon=":material/upload_file:")
        return None
    try:
        found = look(case)
    except AdvisorError as error:
        refused(case, error)
        return None
    _in_use(case, found)
    return found


def _in_use(case: Case, found: Look) -> None:
    data = case.data
    names = ", ".join(name for name in (data.examples, data.train, data.validation, data.test) if name)
    documents = f" Documents: {escape(described(case, data.documents))}." if data.documents else " No documents."
    st.markdown(
        f"**In use now:** {escape(names)} with {count(len(found.examples))} examples; "
        f"a right answer is: {case.task.kind.answer}.{documents}"
    )


def _changed() -> None:
    """Offer a new test split for data that is not what the split was locked on."""
    st.warning(
        "The data, or how it is divided, has changed since the test split was locked. Put the old data back (see "
        "“Audit and mending” or “Files”), or run the experiments again and tick there that a new test split is to be "
        "locked: every approach is run again on it, which takes the time and the money of a first run, and the report "
        "says that it was locked anew.",
        icon=":material/lock_reset:",
    )
    st.page_link(page("experiments"), label="Run again with a new test split", icon=":material/science:")


def _running(case: Case) -> None:
    run = job(case)
    if run and run.state in jobs.LIVE:
        st.info("A run is going on. It keeps the data that it began with.", icon=":material/science:")


def _show(case: Case, found: Look | None) -> None:
    parts = (FILES, EXAMPLES, AUDIT, TOKENS) if found else (FILES, AUDIT) if files(case) else (FILES,)
    if parts == (FILES,):
        choose_files(case, found)
        return
    part = st.segmented_control(
        "Show", parts, default=FILES, required=True, key="data-part", bind="query-params", label_visibility="collapsed"
    )
    if part == AUDIT:
        mend_rows(case, show_audit(case, told=found is None), locked=bool(found and found.lock and found.fits))
    elif found and part == EXAMPLES:
        show_examples(case, found)
    elif found and part == TOKENS:
        show_tokens(case, found)
    else:
        choose_files(case, found)


case = opened()
step("Data")
_running(case)
found = _look(case)
if found and not found.fits:
    _changed()
_show(case, found)
onward("Data")
