"""Tuned models that are deployed at Azure: each costs by the hour while it exists, used or not."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from functools import partial

import streamlit as st

from finetune_advisor.case import Case
from finetune_advisor.errors import AdvisorError
from finetune_advisor.pages.background import AT_ONCE_SECONDS, LOOK_AGAIN_SECONDS, start
from finetune_advisor.pages.shell import refuse
from finetune_advisor.report.formats import day, usd
from finetune_advisor.report.markdown import escape
from finetune_advisor.tuning import deployments
from finetune_advisor.tuning.deployments import Deployment

ENDPOINT = "AZURE_OPENAI_ENDPOINT"
FOUND = "deployments-found"
"""Where the session keeps what was found."""


def show_deployments(case: Case) -> None:
    """What runs at Azure and what it costs; asked for by a button. Nothing for a case without models there."""
    if not os.environ.get(ENDPOINT) or all(model.provider != "azure" for model in case.models):
        return
    st.header("Deployments at Azure", anchor=False)
    st.markdown(
        "A tuned model at Azure answers only while it is deployed, and a deployment costs by the hour, used or not. "
        "Delete those that nobody needs: the tuned model itself stays and can be deployed again."
    )
    st.button("Look what is running", key="deployments", icon=":material/cloud:", on_click=_do, args=(_running,))
    future: Future[Sequence[Deployment]] | None = st.session_state.get(FOUND)
    if future is not None:
        _found(future)


def _do(work: Callable[[], Sequence[Deployment]]) -> None:
    st.session_state[FOUND] = start(work)


def _running() -> Sequence[Deployment]:
    return deployments.running(deployments.account(os.environ.get(ENDPOINT, "")))


def _without(name: str) -> Sequence[Deployment]:
    """What is left when one is deleted."""
    deployments.delete(deployments.account(os.environ.get(ENDPOINT, "")), name)
    return _running()


def _found(future: Future[Sequence[Deployment]]) -> None:
    wait([future], AT_ONCE_SECONDS)
    if not future.done():
        st.fragment(_waiting, run_every=LOOK_AGAIN_SECONDS)(future)
        return
    try:
        running = future.result()
    except AdvisorError as error:
        refuse(error)
        return
    if not running:
        st.success("No tuned model is deployed there.", icon=":material/cloud_off:")
    for each in running:
        with st.container(border=True):
            _deployment(each)


def _waiting(future: Future[Sequence[Deployment]]) -> None:
    if future.done():
        st.rerun()
    st.caption(":material/hourglass_top: Asking Azure…")


def _deployment(each: Deployment) -> None:
    state = "" if each.state == "succeeded" else f" :gray-badge[{escape(each.state)}]"
    st.markdown(f"**{escape(each.name)}**{state}")
    st.caption(escape(" · ".join([each.model, *_costs(each)])))
    with st.popover("Delete", icon=":material/delete:"):
        st.markdown(f"{escape(each.name)} will answer no more, and cost no more.")
        st.button(
            "Yes, delete it",
            key=f"delete-{each.name}",
            type="primary",
            icon=":material/delete_forever:",
            on_click=_do,
            args=(partial(_without, each.name),),
        )


def _costs(each: Deployment) -> Sequence[str]:
    hourly = "price not known" if each.usd_per_hour is None else f"{usd(each.usd_per_hour)} an hour"
    so_far = "" if each.usd is None else f"{usd(each.usd)} so far"
    ends = "" if each.ends is None else f"ends by itself on {day(each.ends.date())}"
    return [part for part in (hourly, so_far, ends) if part]
