"""Test examples on which the arms disagree, with every prompt as plain text."""

from __future__ import annotations

import streamlit as st

from finetune_advisor.pages.draw import COLOURS, draw
from finetune_advisor.pages.shell import nothing_run, onward, opened, results
from finetune_advisor.records import Disagreement, Results
from finetune_advisor.report.answer import simulated, simulated_arms
from finetune_advisor.report.blocks import ExampleCard
from finetune_advisor.report.formats import outcome

PER_PAGE = 5


def _chosen(results: Results) -> list[Disagreement]:
    arm = st.selectbox(
        "Arm", [each.name for each in results.arms], index=None, placeholder="any arm", key="arm", bind="query-params"
    )
    became = st.pills("What became of its answer", list(COLOURS), key="outcome", bind="query-params")
    return [
        each
        for each in results.disagreements
        if any(
            (arm is None or answer.arm == arm) and (became is None or outcome(answer) == became)
            for answer in each.answers
        )
    ]


def _show(results: Results, found: list[Disagreement]) -> None:
    st.caption(f"{len(found)} of {len(results.disagreements)} examples on which the arms disagree")
    if not found:
        st.info("No example fits this choice.", icon=":material/info:")
        return
    pages = -(-len(found) // PER_PAGE)
    start = (st.pagination(pages, key=f"page-of-{pages}") - 1) * PER_PAGE if pages > 1 else 0
    pretended = simulated_arms(results)
    draw(ExampleCard(disagreement=each, simulated=pretended) for each in found[start : start + PER_PAGE])


case = opened()
st.title("Where the approaches disagree", anchor=False)
found = results(case)
if found is None:
    nothing_run(case)
else:
    draw(simulated(found))
    _show(found, _chosen(found))
onward("Benefits")
