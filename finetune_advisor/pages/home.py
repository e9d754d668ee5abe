"""The cases in the folder of cases: open, make, import, export and remove them."""

from __future__ import annotations

from io import BytesIO

import streamlit as st

from finetune_advisor import workspace
from finetune_advisor.errors import AdvisorError
from finetune_advisor.pages.shell import open_case, open_first, refuse, root
from finetune_advisor.report.markdown import escape
from finetune_advisor.workspace import Entry

BADGES = {"GO": "green", "NO-GO": "red", "NOT YET": "blue"}
STATES = {"new": "nothing run yet", "started": "started", "finished": "finished", "broken": "cannot be read"}


def _welcome() -> None:
    st.title("Should we fine-tune this language model?", anchor=False)
    st.markdown(
        "Seven short steps lead to a GO, a NO-GO or a NOT YET. The alternatives are run on your own data, on one "
        "locked test split, and priced: a better prompt, examples in the prompt, a search in your documents, "
        "and a tuned model."
    )


def _begin() -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if st.button("Open the sample case", type="primary", icon=":material/play_arrow:", key="sample"):
            _sample()
        with st.popover("New case", icon=":material/add:"):
            _new()
        with st.popover("Import a case", icon=":material/upload:"):
            _import()


def _sample() -> None:
    try:
        open_case(workspace.open_sample(root()))
    except AdvisorError as error:
        refuse(error)


def _new() -> None:
    with st.form("new", border=False):
        title = st.text_input("What is the case about, in a few words?", key="title", max_chars=120)
        if st.form_submit_button("Make it", type="primary"):
            try:
                open_case(workspace.create(root(), title=title))
            except AdvisorError as error:
                refuse(error)


def _import() -> None:
    file = st.file_uploader("A case that was exported as a zip file", type="zip", key="import")
    if file is not None and st.button("Import it", type="primary", key="import-it"):
        try:
            open_case(workspace.import_zip(root(), BytesIO(file.getvalue())))
        except AdvisorError as error:
            refuse(error)


def _list() -> None:
    entries = workspace.cases(root())
    st.header("Your cases", anchor=False)
    if not entries:
        st.info(
            "There is none yet. The sample case shows how everything works: a support desk with 352 messages.",
            icon=":material/info:",
        )
    for entry in entries:
        with st.container(border=True):
            _entry(entry)


def _entry(entry: Entry) -> None:
    state = f":{BADGES[entry.decision]}-badge[{entry.decision}]" if entry.decision in BADGES else STATES[entry.state]
    st.markdown(f"**{escape(entry.title)}**")
    st.markdown(f"{state} · changed {entry.modified:%d %B %Y, %H:%M} UTC · folder {escape(entry.name)}")
    if entry.problem:
        st.error(escape(entry.problem), icon=":material/error:")
    with st.container(horizontal=True):
        if st.button("Open", icon=":material/folder_open:", key=f"open-{entry.name}", disabled=entry.state == "broken"):
            open_case(entry.folder, "verdict" if entry.decision else "use_case")
        _export(entry)
        with st.popover("Remove", icon=":material/delete:", key=f"remove-{entry.name}"):
            _remove(entry)


def _export(entry: Entry) -> None:
    st.download_button(
        "Export",
        data=lambda: workspace.export_zip(entry.folder),
        file_name=f"{entry.name}.zip",
        mime="application/zip",
        icon=":material/download:",
        key=f"export-{entry.name}",
        on_click="ignore",
        disabled=entry.state == "broken",
        help="The case with its data, answers and results as a zip file; trained adapters stay here.",
    )


def _remove(entry: Entry) -> None:
    st.write("The case is moved into the folder .trash beside it, from where it can be brought back by hand.")
    if st.button("Remove it", type="primary", key=f"really-{entry.name}"):
        try:
            workspace.remove(entry.folder)
        except AdvisorError as error:
            refuse(error)
        else:
            st.rerun()


open_first()
_welcome()
_begin()
_list()
