"""Step 4: what tuning takes in money, work, machines and data, and until when it is possible at all."""

from __future__ import annotations

import streamlit as st

from finetune_advisor.pages.labels import labels
from finetune_advisor.pages.money_effort import money_and_effort
from finetune_advisor.pages.shell import onward, opened, results, step
from finetune_advisor.pages.training_cost import training_cost
from finetune_advisor.pages.trainings import show_estimates
from finetune_advisor.pages.tunability import tunability

PARTS = ("Money and effort", "Which models", "Training on a GPU", "Data")

case = opened()
step("Costs")
part = st.segmented_control(
    "Show", PARTS, default=PARTS[0], required=True, key="part", bind="query-params", label_visibility="collapsed"
)
if part == "Money and effort":
    money_and_effort(case, results(case))
elif part == "Which models":
    tunability(case)
    show_estimates(case)
elif part == "Training on a GPU":
    training_cost(case)
else:
    labels(case, results(case))
onward("Costs")
