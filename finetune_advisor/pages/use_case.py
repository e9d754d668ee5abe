"""Step 1: what the model should do better, how that is measured, and what it is worth."""

from __future__ import annotations

from finetune_advisor.pages.ask import ask
from finetune_advisor.pages.shell import onward, opened, results, step

case = opened()
step("Use case")
ask(case, "Use case", results(case))
onward("Use case")
