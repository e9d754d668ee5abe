"""Where a case from elsewhere would send its data: shown, and agreed to, before anything is sent."""

from __future__ import annotations

import streamlit as st

from finetune_advisor.case import Case, trust
from finetune_advisor.errors import AdvisorError
from finetune_advisor.pages.ask import show_refusal
from finetune_advisor.pages.shell import refuse
from finetune_advisor.report.markdown import paragraph

AGREE = "agree"


def agreed(case: Case) -> bool:
    """Whether the case may ask the servers that it names; where somebody has to agree first, a box asks for that."""
    try:
        if not trust.needs_trust(case):
            return True
        named = trust.servers(case)
    except AdvisorError as error:
        refuse(error)
        return False
    with st.container(border=True):
        st.subheader("May this case send its data there?", anchor=False)
        st.markdown("This case came from elsewhere, and it names servers of others:")
        st.markdown("\n".join(f"- {paragraph(_sentence(each))}" for each in named))
        st.caption(
            "A model is sent questions and examples of the data, a training all of its training part. Agree only if "
            "you know these servers; else take the models out under Alternatives. You are asked again when they change."
        )
        show_refusal(AGREE)
        st.button("I agree", key=AGREE, icon=":material/handshake:", on_click=_agree, args=(case,))
    return False


def _sentence(server: trust.Server) -> str:
    text = str(server)
    here = " (on this machine)" if server.is_loopback else ""
    return f"{text[:1].upper()}{text[1:]}{here}."


def _agree(case: Case) -> None:
    try:
        trust.trust(case)
    except AdvisorError as error:
        st.session_state[f"{AGREE}-refused"] = error
