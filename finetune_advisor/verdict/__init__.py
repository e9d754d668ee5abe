"""GO, NO-GO or NOT YET from the evidence and the money: pure, so the same facts always give the same answer.

`rules` decides, `flips` asks the same rules what would change the answer, `cautions` says what to keep in mind.
"""

from __future__ import annotations

from finetune_advisor.records import Verdict
from finetune_advisor.verdict.cautions import cautions
from finetune_advisor.verdict.facts import Facts, best_name
from finetune_advisor.verdict.flips import flips
from finetune_advisor.verdict.rules import rule

__all__ = ["Facts", "decide"]


def decide(facts: Facts) -> Verdict:
    """The verdict on these facts."""
    ruling = rule(facts)
    pair = ruling.pair
    return Verdict(
        decision=ruling.decision,
        headline=ruling.headline,
        reasons=ruling.reasons,
        flips=ruling.fixes or (flips(pair, ruling.decision) if pair else ()),
        next_step=ruling.next_step,
        cautions=cautions(facts, pair),
        best_tuned=pair.tuned.name if pair else best_name(facts, tuned=True),
        best_untuned=pair.untuned.name if pair else best_name(facts, tuned=False),
    )
