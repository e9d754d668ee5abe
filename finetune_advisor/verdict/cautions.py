"""What to keep in mind whatever the verdict: how the figures may mislead."""

from __future__ import annotations

from collections.abc import Iterator

from finetune_advisor.records import ArmResult
from finetune_advisor.verdict.facts import Facts, Pair
from finetune_advisor.verdict.rules import LEAKS
from finetune_advisor.verdict.words import dollars, lost_to_form, percent


def cautions(facts: Facts, pair: Pair | None) -> tuple[str, ...]:
    """Every caution that applies, the gravest first."""
    of_pair = (*_form(pair), *_range(pair), *_part_marks(pair), *_prices(pair)) if pair else ()
    return (*of_pair, *_unanswered(facts), *_touched(facts, pair), *_near(facts))


def _form(pair: Pair) -> Iterator[str]:
    arm = pair.untuned
    if lost_to_form(arm):
        yield (
            f"{arm.name} lost most of its points to form: {arm.format_failures} of {arm.n} answers had the wrong one, "
            f"and on the others it scores {percent(arm.score_given_format)}. Try constrained output before tuning."
        )


def _range(pair: Pair) -> Iterator[str]:
    facts, at_worst = pair.facts, pair.net_usd(pair.low)
    if pair.tuned.interval.low < facts.need <= pair.tuned.score:
        yield (
            f"The interval of {pair.tuned.name} reaches down to {percent(pair.tuned.interval.low)}, "
            f"under the {percent(facts.need)} that is needed."
        )
    if pair.net is not None and at_worst is not None and at_worst < 0 < pair.net:
        yield f"At the lower end of the interval tuning would lose {dollars(-at_worst)} over the horizon."


def _part_marks(pair: Pair) -> Iterator[str]:
    if pair.facts.usd_gained is not None and any(score not in (0, 1) for score in pair.tuned.scores):
        yield "The metric gives part marks; the money takes the mean score as the share of right answers."


def _prices(pair: Pair) -> Iterator[str]:
    used = [pair.facts.cost(pair.tuned), pair.facts.cost(pair.untuned)]
    prices = {price: None for cost in used if cost for price in cost.assumptions}
    assumed = [f"{price.name} ({price.value:f} {price.unit})" for price in prices if price.basis == "assumed"]
    if assumed:
        yield f"Assumed, from no dated source: {', '.join(assumed)}."
    if prices and not any(price.unit == "hours" and price.value for price in prices):
        yield "No hours of work were counted, which makes tuning look cheaper than it is."


def _unanswered(facts: Facts) -> Iterator[str]:
    for arm in facts.arms:
        if arm.failures:
            yield f"{arm.name} gave no answer to {arm.failures} of {arm.n} requests; they count as wrong."


def _touched(facts: Facts, pair: Pair | None) -> Iterator[str]:
    deciding: list[ArmResult] = [pair.tuned, pair.untuned] if pair else []
    for arm in facts.arms:
        if arm.touches > 1 and arm not in deciding:
            yield f"{arm.name} has been run {arm.touches} times on the test split, which flatters its score."


def _near(facts: Facts) -> Iterator[str]:
    near = sum(finding.severity == "warning" and finding.code in LEAKS for finding in facts.findings)
    if near:
        yield f"The audit found {near} examples that stand, nearly the same, in two parts of the split."
