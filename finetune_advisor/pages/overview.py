"""The answer, why, what would change it, and quality against cost."""

from __future__ import annotations

from finetune_advisor.pages.draw import draw
from finetune_advisor.pages.results import latest
from finetune_advisor.report.answer import answer, question
from finetune_advisor.report.money import quality_cost

results = latest()
draw((*question(results), *answer(results), *quality_cost(results)))
