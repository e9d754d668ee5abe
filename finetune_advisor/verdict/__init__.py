"""GO, NO-GO or NOT YET from the evidence and the money: pure, so the same facts always give the same answer.

`simulate` draws what may be true, `aims` says in which draws tuning is right, `judge` decides by how many they are and
`odds` puts that in figures. `stops` come before all of it, `rules` and `reasons` say it in words, `steps` what to do
next. `flips` asks the same judge what would change the answer, `cautions` says what to keep in mind.
"""

from __future__ import annotations

from finetune_advisor.records import Verdict
from finetune_advisor.verdict.cautions import cautions
from finetune_advisor.verdict.facts import Facts, Stop, best_name
from finetune_advisor.verdict.flips import flips
from finetune_advisor.verdict.rules import rule

__all__ = ["Facts", "Stop", "decide"]


def decide(facts: Facts) -> Verdict:
    """The verdict on these facts.

    Raises:
        BadInput: A score or a cost is not usable.
    """
    ruling = rule(facts)
    pair = ruling.pair
    return Verdict(
        decision=ruling.decision,
        headline=ruling.headline,
        reasons=ruling.reasons,
        flips=ruling.fixes or (flips(ruling.judged) if ruling.judged else ()),
        next_step=ruling.next_step,
        cautions=cautions(facts, pair, ruling.odds),
        best_tuned=pair.tuned.name if pair else best_name(facts, tuned=True),
        best_untuned=pair.untuned.name if pair else best_name(facts, tuned=False),
        odds=ruling.odds,
    )
