"""What every page of a case shares: which case is open, its results, the heading of a step, the way on.

The open case is in the address of the page, so that a refresh or a second tab shows the same one. Pages keep nothing
else: what a person answers goes into `case.toml` at once, and is read from there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import streamlit as st

from finetune_advisor import case as cases
from finetune_advisor import experiment, jobs, workspace
from finetune_advisor.case import Case
from finetune_advisor.errors import AdvisorError, BadInput
from finetune_advisor.jobs import Job
from finetune_advisor.questions import STEPS, Section
from finetune_advisor.records import Results
from finetune_advisor.report.document import from_json
from finetune_advisor.report.markdown import escape

ROOT = "FINETUNE_ADVISOR_CASES"
"""The environment variable that names the folder of cases; `finetune-advisor app` sets it."""

FIRST = "FINETUNE_ADVISOR_CASE"
"""The environment variable that names the case to begin with, where the app was started on one."""

OPEN = "case"
"""Where the name of the open case stands: in the address and in the session."""

PAGES: Mapping[Section, str] = {
    "Use case": "use_case",
    "Data": "data",
    "Alternatives": "alternatives",
    "Costs": "costs",
    "Benefits": "benefits",
    "Verdict": "verdict",
    "How": "how",
}


def root() -> Path:
    """The folder that holds the cases."""
    return Path(os.environ.get(ROOT, "cases"))


def page(name: str) -> str:
    """The path of a page, as Streamlit's links want it."""
    return str(Path(__file__).parent / f"{name}.py")


def open_case(folder: Path, then: str = "use_case") -> NoReturn:
    """Open a case and go to one of its pages."""
    st.session_state[OPEN] = folder.name
    st.switch_page(page(then), query_params={OPEN: folder.name})


def open_first() -> None:
    """Go to the case that the app was started on, once."""
    name = os.environ.get(FIRST)
    if name and OPEN not in st.session_state:
        open_case(root() / name, "verdict")


def folder() -> Path:
    """The folder of the open case; where none is open, the page says so and ends."""
    name = str(st.query_params.get(OPEN) or st.session_state.get(OPEN) or "")
    try:
        found = workspace.find(root(), name)
    except BadInput:
        _no_case(name)
    st.session_state[OPEN] = st.query_params[OPEN] = name
    return found


def _no_case(name: str) -> NoReturn:
    st.title("Should we fine-tune?", anchor=False)
    st.info(f"There is no case {escape(name)} here." if name else "No case is open.", icon=":material/folder_open:")
    st.page_link(page("home"), label="Choose a case", icon=":material/home:")
    st.stop()


def opened() -> Case:
    """The open case as it is on disk now; where it cannot be read, the page says why and ends."""
    try:
        case = cases.read(folder())
    except AdvisorError as error:
        refuse(error)
        st.page_link(page("home"), label="Choose another case", icon=":material/home:")
        st.stop()
    st.caption(escape(case.title))
    return case


def refuse(error: AdvisorError) -> None:
    """Show what is wrong and what to do about it."""
    st.error(f"{escape(error.message)} {escape(error.hint)}", icon=":material/error:")


def results(case: Case) -> Results | None:
    """The measured results, judged by the case as it stands now; None where nothing has been run."""
    path = case.results_file
    if not path.is_file():
        return None
    stat = path.stat()
    try:
        return _judged(path, (stat.st_mtime_ns, stat.st_size), _stated(case), case)
    except AdvisorError as error:
        refuse(error)
        return None


def _stated(case: Case) -> str:
    """Everything that a verdict rests on besides what was measured: the case, its own prices, and the day."""
    prices = case.folder / case.money.prices if case.money.prices else None
    stat = prices.stat() if prices and prices.is_file() else None
    version = (stat.st_mtime_ns, stat.st_size) if stat else ()
    return f"{case.model_dump_json()} {version} {datetime.now(UTC).date()}"


def job(case: Case) -> Job | None:
    """The newest run of the case; where its store cannot be read, the page says why and ends."""
    try:
        return jobs.latest(case.folder)
    except AdvisorError as error:
        refuse(error)
        st.stop()


@st.cache_resource(max_entries=8, show_spinner=False)
def _measured(path: Path, version: tuple[int, int]) -> Results:
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"{path} cannot be read: {error}.", hint="Write it again: finetune-advisor report CASE"
        ) from error


@st.cache_resource(max_entries=32, show_spinner=False)
def _judged(path: Path, version: tuple[int, int], stated: str, _case: Case) -> Results:
    return experiment.rejudge(_case, _measured(path, version))


def step(name: Section) -> None:
    """The heading of a step: its number, its name, and why it matters."""
    place = [each.title for each in STEPS].index(name)
    st.caption(f"Step {place + 1} of {len(STEPS)}")
    st.title(name, anchor=False)
    st.markdown(STEPS[place].why)


def onward(name: Section) -> None:
    """Links to the step before and the one after."""
    titles: list[Section] = [each.title for each in STEPS]
    place = titles.index(name)
    st.divider()
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        if place:
            st.page_link(page(PAGES[titles[place - 1]]), label=titles[place - 1], icon=":material/arrow_back:")
        if place + 1 < len(titles):
            _next(titles[place + 1])


def _next(title: Section) -> None:
    st.page_link(page(PAGES[title]), label=f"Next: {title}", icon=":material/arrow_forward:")


def nothing_run(case: Case) -> None:
    """Say that experiments are still to be run, with the way there; not where results are there and were refused."""
    if case.results_file.is_file():
        return
    st.info("Nothing has been measured yet. Run the experiments first.", icon=":material/info:")
    st.page_link(page("experiments"), label="To the experiments", icon=":material/science:")
