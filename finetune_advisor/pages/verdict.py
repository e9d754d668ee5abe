"""Step 6: the answer, why, what would change it; the sign-off and the report to take away."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from finetune_advisor.case import Case
from finetune_advisor.pages.ask import save, show_refusal
from finetune_advisor.pages.downloads import downloads
from finetune_advisor.pages.draw import draw
from finetune_advisor.pages.shell import nothing_run, onward, opened, results, step
from finetune_advisor.records import Results
from finetune_advisor.report.answer import answer, question
from finetune_advisor.report.blocks import Details
from finetune_advisor.report.evidence import limits
from finetune_advisor.report.money import quality_cost
from finetune_advisor.report.repeat import repeat

DECISIONS = ("fine-tune", "do not fine-tune", "not yet")
ADVISED = {"GO": 0, "NO-GO": 1, "NOT YET": 2}
FIELDS = ("name", "role", "date", "decision", "remarks")


def _sign_off(case: Case, found: Results) -> None:
    st.header("Sign-off", anchor=False)
    st.caption("What you decide, which may differ from the advice above. It goes into the case and into the report.")
    signed = case.sign_off
    with st.form("sign-off"):
        left, middle, right = st.columns(3)
        left.text_input("Name", value=signed.name if signed else "", key="sign-name")
        middle.text_input("Role", value=signed.role if signed else "", key="sign-role")
        right.date_input("Date", value=signed.date if signed else datetime.now(UTC).date(), key="sign-date")
        decided = DECISIONS.index(signed.decision) if signed else ADVISED[found.verdict.decision.value]
        st.radio("Decision", DECISIONS, index=decided, horizontal=True, key="sign-decision")
        st.text_area("Remarks", value=signed.remarks if signed else "", key="sign-remarks")
        st.form_submit_button("Sign", type="primary", icon=":material/draw:", on_click=_sign, args=(case,))
    show_refusal("sign-off")
    if signed:
        st.success(f"Signed on {signed.date:%d %B %Y}.", icon=":material/draw:")


def _sign(case: Case) -> None:
    given = {name: st.session_state[f"sign-{name}"] for name in FIELDS}
    save(case, {"sign_off": {name: value for name, value in given.items() if value}}, "sign-off")


case = opened()
step("Verdict")
found = results(case)
if found is None:
    nothing_run(case)
else:
    draw((*question(found)[1:], *answer(found), *quality_cost(found)))  # the title of the case stands above
    _sign_off(case, found)
    downloads(found)
    draw((Details(title="Methods, limits, and everything to repeat it", blocks=(*limits(found), *repeat(found))),))
onward("Verdict")
