"""The latest results of the case that the app was started on, or a page that says how to get some."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import streamlit as st

from finetune_advisor.errors import AdvisorError, BadInput
from finetune_advisor.records import Results
from finetune_advisor.report.document import from_json
from finetune_advisor.report.markdown import escape

CASE = "FINETUNE_ADVISOR_CASE"
"""The environment variable that names the case folder; `finetune-advisor app CASE` sets it."""


def latest() -> Results:
    """The results as they are on disk now; where there are none, says what to do and ends the page."""
    folder = os.environ.get(CASE)
    if not folder:
        _stop("The app was started without a case.", "finetune-advisor app CASE")
    path = Path(folder) / "report" / "results.json"
    if not path.is_file():
        _stop("This case has no results yet. Run it, then reload this page.", f"finetune-advisor run {folder}")
    try:
        found = path.stat()
        return _read(path, found.st_mtime_ns, found.st_size)
    except AdvisorError as error:
        st.error(f"{escape(error.message)} {escape(error.hint)}", icon=":material/error:")
        st.stop()


def _stop(sentence: str, command: str) -> NoReturn:
    st.title("Should we fine-tune?")
    st.info(sentence, icon=":material/info:")
    st.code(command, language=None)
    st.stop()


@st.cache_resource(max_entries=2, show_spinner=False)
def _read(path: Path, modified: int, size: int) -> Results:
    """Read once for each version of the file; `modified` and `size` tell the versions apart."""
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"{path} cannot be read: {error}.", hint="Write it again: finetune-advisor report CASE"
        ) from error
