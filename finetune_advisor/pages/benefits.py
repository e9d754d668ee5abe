"""Step 5: quality, cost and extensibility: what was measured, beside what the person answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import streamlit as st

from finetune_advisor.pages.ask import ask
from finetune_advisor.pages.draw import draw
from finetune_advisor.pages.shell import nothing_run, onward, opened, page, results, step
from finetune_advisor.records import Results
from finetune_advisor.report.answer import simulated
from finetune_advisor.report.blocks import Block
from finetune_advisor.report.confusion import confusions
from finetune_advisor.report.effects import side_effects
from finetune_advisor.report.learning import learning
from finetune_advisor.report.money import money, quality_cost
from finetune_advisor.report.odds import how_sure
from finetune_advisor.report.quality import choices, quality, skipped, training

PARTS: Mapping[str, tuple[Callable[[Results], tuple[Block, ...]], ...]] = {
    "Quality": (quality, confusions, skipped),
    "Cost": (quality_cost, money),
    "Extensibility": (side_effects,),
    "How sure": (how_sure,),
    "More data": (learning,),
    "Settings and training": (choices, training),
}


def _show(found: Results) -> None:
    draw(simulated(found))
    filled = [name for name, sections in PARTS.items() if any(section(found) for section in sections)]
    part = st.segmented_control(
        "Show", filled, default=filled[0], required=True, key="part", bind="query-params", label_visibility="collapsed"
    )
    draw(block for section in PARTS[part] for block in section(found))
    st.page_link(page("examples"), label="Look at the examples on which the arms disagree", icon=":material/compare:")


case = opened()
step("Benefits")
found = results(case)
if found is None:
    nothing_run(case)
else:
    _show(found)
st.header("Your answers", anchor=False)
ask(case, "Benefits", found)
onward("Benefits")
