"""What to keep in mind whatever the verdict: how the figures may mislead."""

from __future__ import annotations

from collections.abc import Iterator

from finetune_advisor.records import ArmResult, Odds
from finetune_advisor.verdict.facts import Facts, Pair
from finetune_advisor.verdict.stops import LEAKS
from finetune_advisor.verdict.words import dollars, lost_to_form, percent


def cautions(facts: Facts, pair: Pair | None, odds: Odds | None) -> tuple[str, ...]:
    """Every caution that applies, the gravest first."""
    of_pair = (*_form(pair), *_range(pair), *_part_marks(pair), *_prices(pair)) if pair else ()
    of_odds = _losses(odds) if odds else ()
    general = (*_stopped(facts), *_unpriced(facts), *_unanswered(facts), *_touched(facts, pair), *_near(facts))
    return (*of_pair, *of_odds, *general)


def _form(pair: Pair) -> Iterator[str]:
    arm = pair.untuned
    if lost_to_form(arm):
        yield (
            f"{arm.name} lost most of its points to form: {arm.format_failures} of {arm.n} answers had the wrong one, "
            f"and on the others it scores {percent(arm.score_given_format)}. Try constrained output before tuning."
        )


def _range(pair: Pair) -> Iterator[str]:
    facts = pair.facts
    if pair.tuned.interval.low < facts.need <= pair.tuned.score:
        yield (
            f"The interval of {pair.tuned.name} reaches down to {percent(pair.tuned.interval.low)}, "
            f"under the {percent(facts.need)} that is needed."
        )


def _losses(odds: Odds) -> Iterator[str]:
    if odds.unit == "usd" and odds.advantage.low < 0 < odds.advantage_mean:
        yield f"At the lower end of what may be true tuning would lose {dollars(-odds.advantage.low)} over the horizon."


def _stopped(facts: Facts) -> Iterator[str]:
    for stop in facts.stops:
        measured = [arm.name for arm in facts.arms if arm.name in stop.arms]
        done = "left out of the choice" if measured else "not trained"
        yield f"{', '.join(measured or stop.arms)} {done}: {stop.reason}"


def _unpriced(facts: Facts) -> Iterator[str]:
    unpriced = ", ".join(arm.name for arm in facts.arms if facts.cost(arm) is None)
    if facts.costs and unpriced:
        yield f"What {unpriced} costs is not known, so no money was judged."


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
