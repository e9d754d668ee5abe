"""The rules of the verdict. Hard stops come first; then the first rule of the goal that applies decides.

Evidence that is simulated, leaked, looked at twice or too small decides nothing. What is merely not shown is never a
rejection: NO-GO needs evidence that a worthwhile gain is excluded, that none is needed, or that it does not pay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from finetune_advisor.records import ArmResult, Decision
from finetune_advisor.verdict.facts import Facts, Pair, pair_of
from finetune_advisor.verdict.words import (
    compared,
    dollars,
    label_more,
    lost_to_form,
    money,
    percent,
    plain,
    points,
    strength,
)

LEAKS = frozenset({"leak_exact", "leak_near", "examples_in_corpus"})
"""Findings of the audit that make scores on the test split worthless; nearly equal examples are only warned of."""

TRAIN_MORE = "Train on more examples or a larger base model, and look at the answers that are still wrong."


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """A decision with its words. `fixes` is what mends the hard stops, where there are any."""

    decision: Decision
    headline: str
    reasons: tuple[str, ...]
    next_step: str
    pair: Pair | None
    fixes: tuple[str, ...] = ()


def rule(facts: Facts) -> Ruling:
    """What the rules decide."""
    pair = pair_of(facts)
    stops = [*_missing(facts, pair), *_simulated(facts), *_leaked(facts), *_touched(pair), *_few(pair)]
    if pair is None or stops:
        return _stopped(stops, pair)
    rules = QUALITY if facts.goal == "quality" else COST
    return next(ruling for each in rules if (ruling := each(pair)) is not None)


def _stopped(stops: list[tuple[str, str]], pair: Pair | None) -> Ruling:
    return Ruling(
        decision=Decision.NOT_YET,
        headline=f"Not yet: {stops[0][0]}",
        reasons=tuple(reason[0].upper() + reason[1:] for reason, _ in stops),
        next_step=stops[0][1],
        pair=pair,
        fixes=tuple(dict.fromkeys(mend for _, mend in stops)),
    )


def _missing(facts: Facts, pair: Pair | None) -> Iterator[tuple[str, str]]:
    if not any(arm.tuned for arm in facts.arms):
        yield "no tuned arm was run.", "Run a tuned arm: without one there is nothing to decide on."
    if not any(not arm.tuned for arm in facts.arms):
        yield "nothing was run without tuning.", "Run few-shot prompting or retrieval: tuning has to beat something."
    elif pair is None and any(arm.tuned for arm in facts.arms):
        yield "the arms were not compared.", "Run all arms on the same test split."


def _simulated(facts: Facts) -> Iterator[tuple[str, str]]:
    names = ", ".join(arm.name for arm in facts.arms if arm.simulated)
    if names:
        yield f"no real model answered for {names}; those results are simulated.", "Run the case with a real model."


def _leaked(facts: Facts) -> Iterator[tuple[str, str]]:
    leaks = sum(finding.severity == "error" and finding.code in LEAKS for finding in facts.findings)
    if leaks:
        yield (
            f"the answers to test examples can be known from elsewhere, the audit found {leaks} such leaks.",
            "Take the leaked examples out of one side and run again.",
        )


def _touched(pair: Pair | None) -> Iterator[tuple[str, str]]:
    for arm in (pair.tuned, pair.untuned) if pair else ():
        if arm.touches > 1:
            yield (
                f"the test split has been used {arm.touches} times for {arm.name}, which flatters its score.",
                "Set fresh examples aside as a test split and run once on those.",
            )


def _few(pair: Pair | None) -> Iterator[tuple[str, str]]:
    if pair and pair.comparison.n < pair.facts.minimum_test_rows:
        n, least = pair.comparison.n, pair.facts.minimum_test_rows
        yield f"only {n} of at least {least} test examples are there.", f"Label {least - n} more test examples."


def _untuned_suffices(pair: Pair) -> Ruling | None:
    facts = pair.facts
    if facts.needed_score is None:
        return None
    enough = [arm for arm in facts.arms if not arm.tuned and arm.interval.low >= facts.need]
    arm = facts.cheapest(enough)
    pays = pair.helps and pair.net is not None and pair.net > 0
    if arm is None or pays or facts.cheaper(pair.tuned, arm):
        return None
    return Ruling(
        decision=Decision.NO_GO,
        headline=f"Do not fine-tune: {_called(arm)} reaches the needed {percent(facts.need)}.",
        reasons=(
            f"{arm.name} scores {percent(arm.score)}, and its interval starts at {percent(arm.interval.low)}.",
            compared(pair),
            money(pair, arm),
        ),
        next_step=f"Use {arm.name}, and measure again when the task or the data change.",
        pair=pair,
    )


def _tuning_pays(pair: Pair) -> Ruling | None:
    if not (pair.helps and pair.good_enough) or (pair.net is not None and pair.net <= 0):
        return None
    headline = (
        f"Fine-tune: {pair.tuned.name} scores {percent(pair.tuned.score)}, "
        f"the best alternative, {_called(pair.untuned)}, {percent(pair.untuned.score)}."
    )
    reasons = (compared(pair), strength(pair), money(pair, pair.untuned))
    return Ruling(decision=Decision.GO, headline=headline, reasons=reasons, next_step=_first_step(pair), pair=pair)


def _loses_money(pair: Pair) -> Ruling | None:
    at_best, floor = pair.net_usd(pair.high), pair.facts.floor
    if pair.tuned.interval.high < floor:
        why = f"Under {percent(floor)} right answers, wrong ones cost more than right ones earn."
    elif at_best is not None and at_best < 0:
        why = f"Even at the upper end of the interval tuning loses {dollars(-at_best)} over the horizon."
    else:
        return None
    return Ruling(
        decision=Decision.NO_GO,
        headline="Do not fine-tune: at the values and prices given it does not pay.",
        reasons=(why, compared(pair), money(pair, pair.untuned)),
        next_step=f"Stay with {pair.untuned.name}; ask again when volume, prices or the value of an answer change.",
        pair=pair,
    )


def _no_gain(pair: Pair) -> Ruling | None:
    wanted = pair.facts.worthwhile_difference
    if pair.high >= wanted or pair.facts.cheaper(pair.tuned, pair.untuned):
        return None
    excluded = f"A gain of {points(wanted)}, the least that would be worth it, is excluded."
    return Ruling(
        decision=Decision.NO_GO,
        headline=f"Do not fine-tune: {_called(pair.untuned)} does as well, or nearly so.",
        reasons=(compared(pair), excluded, money(pair, pair.untuned)),
        next_step=f"Use {pair.untuned.name}; better prompts and documents are cheaper to try than another training.",
        pair=pair,
    )


def _open_for_quality(pair: Pair) -> Ruling:
    wanted = pair.facts.worthwhile_difference
    if pair.helps and not pair.good_enough:
        return _not_yet(pair, f"tuning helps, but {_short(pair)}.", TRAIN_MORE, pair.untuned)
    if pair.helps:
        step = "Check the prices, the hours and the value of an answer: the gain is there, the money is in doubt."
        return _not_yet(pair, "tuning helps, but whether it pays is open.", step, pair.untuned)
    if pair.high < wanted:
        step = 'Set the goal to "cost" if cheaper answers are what is wanted.'
        return _not_yet(pair, "tuning brings no worthwhile gain in quality, but it is cheaper.", step, pair.untuned)
    doubt = "the test set is too small to tell whether tuning helps enough."
    return _not_yet(pair, doubt, label_more(pair, wanted), pair.untuned)


def _unpriced(pair: Pair) -> Ruling | None:
    if pair.extra(pair.untuned) is not None:
        return None
    return _not_yet(pair, "the costs are not known.", "Give the prices of the models or of the machine.", pair.untuned)


def _tuning_saves(pair: Pair) -> Ruling | None:
    facts, rival = pair.facts, pair.rival
    if not (pair.as_good and pair.good_enough and facts.cheaper(pair.tuned, rival)):
        return None
    excluded = f"A loss of {points(facts.non_inferiority_margin)} or more against {pair.untuned.name} is excluded."
    return Ruling(
        decision=Decision.GO,
        headline=f"Fine-tune: {pair.tuned.name} costs less than {_called(rival)} and is as good.",
        reasons=(compared(pair), excluded, money(pair, rival)),
        next_step=_first_step(pair),
        pair=pair,
    )


def _no_saving(pair: Pair) -> Ruling | None:
    facts, rival = pair.facts, pair.rival
    if facts.cheaper(pair.tuned, rival) and not pair.worse:
        return None
    return Ruling(
        decision=Decision.NO_GO,
        headline=f"Do not fine-tune: it saves nothing against {rival.name} at the same quality.",
        reasons=(money(pair, rival), compared(pair)),
        next_step=f"Use {rival.name}; a shorter or cached prompt is the cheapest saving to try.",
        pair=pair,
    )


def _open_for_cost(pair: Pair) -> Ruling:
    facts, rival = pair.facts, pair.rival
    if pair.as_good and facts.cheaper(pair.tuned, rival):
        return _not_yet(pair, f"tuning would save money, but {_short(pair)}.", TRAIN_MORE, rival)
    margin = facts.non_inferiority_margin
    doubt = f"tuning may save money, but a loss of {points(margin)} or more in quality is not excluded."
    return _not_yet(pair, doubt, label_more(pair, margin), rival)


def _not_yet(pair: Pair, doubt: str, next_step: str, other: ArmResult) -> Ruling:
    return Ruling(
        decision=Decision.NOT_YET,
        headline=f"Not yet: {doubt}",
        reasons=(compared(pair), strength(pair), money(pair, other)),
        next_step=next_step,
        pair=pair,
    )


def _short(pair: Pair) -> str:
    return f"{percent(pair.tuned.score)} is short of the {percent(pair.facts.need)} that is needed"


def _called(arm: ArmResult) -> str:
    return f"{arm.name} (no language model at all)" if plain(arm) else arm.name


def _first_step(pair: Pair) -> str:
    if lost_to_form(pair.untuned):
        return f"Before tuning, try {pair.untuned.name} with constrained output: most of its lost points are form."
    return f"Let {pair.tuned.name} answer a small share of real requests beside {pair.untuned.name} before switching."


QUALITY = (_untuned_suffices, _tuning_pays, _loses_money, _no_gain, _open_for_quality)
COST = (_unpriced, _tuning_saves, _no_saving, _open_for_cost)
