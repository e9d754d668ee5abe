"""Scores, odds, money, learning curve, side effects, and how settings were chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import streamlit as st

from finetune_advisor.pages.draw import draw
from finetune_advisor.pages.results import latest
from finetune_advisor.records import Results
from finetune_advisor.report.answer import simulated
from finetune_advisor.report.assumptions import assumptions
from finetune_advisor.report.blocks import Block
from finetune_advisor.report.effects import side_effects
from finetune_advisor.report.evidence import questionnaire
from finetune_advisor.report.learning import learning
from finetune_advisor.report.money import money, prices, quality_cost
from finetune_advisor.report.odds import how_sure
from finetune_advisor.report.ownership import ownership
from finetune_advisor.report.quality import choices, quality, skipped, training
from finetune_advisor.report.routes import routes

PARTS: Mapping[str, tuple[Callable[[Results], tuple[Block, ...]], ...]] = {
    "Quality": (quality, skipped),
    "How sure": (how_sure,),
    "Cost": (quality_cost, money, ownership, assumptions, routes, prices),
    "More data": (learning,),
    "Side effects": (side_effects,),
    "Settings and training": (choices, training),
    "Your answers": (questionnaire,),
}

results = latest()
st.title("Results", anchor=False)
draw(simulated(results))
filled = [name for name, sections in PARTS.items() if any(section(results) for section in sections)]
part = st.segmented_control(
    "Show", filled, default="Quality", required=True, key="part", bind="query-params", label_visibility="collapsed"
)
draw(block for section in PARTS[part] for block in section(results))
