"""Scores, comparisons, money, and how settings were chosen."""

from __future__ import annotations

import streamlit as st

from finetune_advisor.pages.draw import draw
from finetune_advisor.pages.results import latest
from finetune_advisor.report.answer import simulated
from finetune_advisor.report.evidence import questionnaire
from finetune_advisor.report.money import money, prices, quality_cost
from finetune_advisor.report.quality import choices, quality, skipped, training

PARTS = {
    "Quality": (quality, skipped),
    "Cost": (quality_cost, money, prices),
    "Settings and training": (choices, training),
    "Your answers": (questionnaire,),
}

results = latest()
st.title("Results", anchor=False)
draw(simulated(results))
part = st.segmented_control(
    "Show", list(PARTS), default="Quality", required=True, key="part", bind="query-params", label_visibility="collapsed"
)
draw(block for section in PARTS[part] for block in section(results))
