"""Run the experiments: what they do, what they may take, and how far they are. The run goes on without this page."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import streamlit as st

from finetune_advisor import jobs
from finetune_advisor.case import Case
from finetune_advisor.errors import AdvisorError
from finetune_advisor.jobs import Job, Step
from finetune_advisor.pages.ask import show_refusal
from finetune_advisor.pages.keys import keys
from finetune_advisor.pages.servers import agreed
from finetune_advisor.pages.shell import job, opened, page
from finetune_advisor.report.markdown import escape

POLL_SECONDS = 1.0
MONEY = (
    "What providers charge, and machine time at the case's price. What a request that is under way may cost at most is "
    "counted already; so is what was asked and never arrived, since it may have been charged."
)

MARKS = {
    "waiting": ":material/schedule:",
    "running": ":material/play_circle:",
    "done": ":material/check_circle:",
    "skipped": ":material/do_not_disturb_on:",
    "failed": ":material/error:",
}
SAID = {
    "starting": "The run is starting.",
    "running": "The run is going on. You may close this page: it goes on without it.",
    "paused": "The run is paused. Nothing that was answered is lost.",
    "stopped": "The run was stopped from outside, or the machine was switched off. Nothing that was answered is lost.",
    "budget used up": "The budget is used up. Nothing that was answered is lost: a new run goes on from there.",
    "cancelled": "The run was cancelled. What was answered is kept.",
    "failed": "The run could not go on.",
    "done": "All experiments are done.",
}


def _took(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _tell(act: Callable[[], object]) -> None:
    """Do what a button says; what is refused is shown on the page."""
    try:
        act()
    except AdvisorError as error:
        st.session_state["job-refused"] = error


def _budget() -> tuple[float | None, Decimal | None]:
    """Fields for the limits; empty is no limit."""
    left, right = st.columns(2)
    minutes = left.number_input("Most minutes", value=None, min_value=0.1, key="minutes", placeholder="no limit")
    usd = right.number_input(
        "Most US dollars",
        value=None,
        min_value=0.01,
        key="usd",
        placeholder="no limit",
        help="What providers charge, and machine time at the price by the hour that the case states.",
    )
    return minutes, None if usd is None else Decimal(str(usd))


def _start(case: Case, *, again: bool, allowed: bool) -> None:
    with st.container(border=True):
        st.subheader("Start a new run" if again else "Run the experiments", anchor=False)
        st.markdown(
            "Every approach of the case answers the same locked test examples. A run takes minutes to hours, depending "
            "on the machine and the model. What was answered before is not asked again."
        )
        minutes, usd = _budget()
        relock = st.checkbox(
            "The data has changed: lock a new test split, and run everything again",
            key="relock",
            help="Without this a run on changed data is refused, because its test examples would not be the same.",
        )
        st.button(
            "Start",
            type="primary",
            icon=":material/play_arrow:",
            key="start",
            disabled=not allowed,
            help=None if allowed else "First agree above to where the data goes.",
            on_click=_tell,
            args=(lambda: jobs.start(case.folder, minutes=minutes, usd=usd, relock=relock),),
        )


def _go_on(case: Case, *, allowed: bool) -> None:
    with st.container(horizontal=True):
        st.button(
            "Go on",
            type="primary",
            icon=":material/play_arrow:",
            key="resume",
            disabled=not allowed,
            on_click=_tell,
            args=(lambda: jobs.resume(case.folder),),
            help="With the limits that the run began with.",
        )
        _cancel(case)


def _cancel(case: Case) -> None:
    st.button("Cancel", icon=":material/stop:", key="cancel", on_click=_tell, args=(lambda: jobs.cancel(case.folder),))


def _state(job: Job) -> None:
    if job.state == "failed":
        st.error(f"{SAID['failed']} {escape(job.error)} {escape(job.hint)}", icon=":material/error:")
        return
    box = st.success if job.state == "done" else st.info
    wanted = f" It is about to be {job.wanted}." if job.wanted else ""
    box(f"{SAID[job.state]}{wanted}", icon=":material/science:")


def _figures(job: Job) -> None:
    done = sum(step.state in ("done", "skipped", "failed") for step in job.steps)
    left = "not known yet" if job.seconds_left is None else f"about {_took(job.seconds_left)}"
    columns = st.columns(4)
    columns[0].metric("Steps done", f"{done} of {len(job.steps)}")
    columns[1].metric("Time so far", _took(job.seconds), help="Of all processes that worked on this run.")
    columns[2].metric("Time left", left if job.state in jobs.LIVE else "none")
    limit = "" if job.usd is None else f" of ${job.usd}"
    columns[3].metric("Money so far", f"${job.usd_spent:.4f}{limit}", help=MONEY)
    if job.seconds_limit:
        share = min(1.0, job.seconds / job.seconds_limit)
        left = _took(max(0, job.seconds_limit - job.seconds))
        money = "" if job.usd_left is None else f" and ${job.usd_left:.4f}"
        st.progress(share)
        st.caption(f"{share:.0%} of the budget used, {left}{money} left")


def _steps(job: Job) -> None:
    for step in job.steps:
        with st.container(border=True):
            _step(step)


def _step(step: Step) -> None:
    name, state, score = st.columns([2, 3, 2])
    name.markdown(f"{MARKS[step.state]} **{escape(step.name)}**")
    if step.state == "running" and step.total:
        left = "" if step.seconds_left is None else f", about {_took(step.seconds_left)} left"
        state.progress(min(1.0, step.done / step.total), text=f"{escape(step.doing)}: {step.done}/{step.total}{left}")
    elif step.reason:
        state.markdown(f"{step.state}: {escape(step.reason)}")
    else:
        state.markdown(step.state + (f", {_took(step.seconds)}" if step.seconds else ""))
    if step.score is not None and step.interval is not None:
        score.markdown(
            f"score **{step.score:.1%}** ({step.interval.low:.1%} to {step.interval.high:.1%}), {step.n} examples"
        )


def _watch(case: Case, live: bool) -> None:
    """The job as it is now; when a live one has ended, the whole page is drawn again."""
    run = job(case)
    if run is None:
        return
    if live and run.state not in jobs.LIVE:
        st.rerun()
    _state(run)
    _figures(run)
    if run.state in jobs.LIVE:
        with st.container(horizontal=True):
            st.button(
                "Pause", icon=":material/pause:", key="pause", on_click=_tell, args=(lambda: jobs.pause(case.folder),)
            )
            _cancel(case)
    _steps(run)


case = opened()
st.title("Experiments", anchor=False)
keys(case)
allowed = agreed(case)
newest = job(case)
show_refusal("job")
going = newest is not None and newest.state in jobs.LIVE
if newest is not None:
    if newest.state in jobs.RESUMABLE and newest.state != "budget used up":
        _go_on(case, allowed=allowed)
    st.fragment(_watch, run_every=POLL_SECONDS if going else None)(case, going)
if not going:
    _start(case, again=newest is not None, allowed=allowed)
if newest is not None and newest.state == "done":
    st.page_link(page("benefits"), label="See what came out", icon=":material/arrow_forward:")
