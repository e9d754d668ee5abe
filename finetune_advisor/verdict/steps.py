"""What to do next, the cheapest first."""

from __future__ import annotations

import math
from statistics import NormalDist

from finetune_advisor.records import Decision, Odds, Worth
from finetune_advisor.verdict import reasons as why
from finetune_advisor.verdict.judge import Judged
from finetune_advisor.verdict.words import dollars, label_more, lost_to_form

TRAIN_MORE = "Train on more examples or a larger base model, and look at the answers that are still wrong."

MOST_TIMES = 10
"""No more than so many times the test set is asked for."""


def next_step(judged: Judged, odds: Odds) -> str:
    """The cheapest thing that brings the case on."""
    if judged.decision is Decision.GO:
        return _after_go(judged)
    return _after_no_go(judged) if judged.decision is Decision.NO_GO else _before_deciding(judged, odds)


def _after_go(judged: Judged) -> str:
    tuned, other = judged.pair.tuned, judged.pair.untuned
    if lost_to_form(other):
        return f"Before tuning, try {other.name} with constrained output: most of its lost points are form."
    return f"Let {tuned.name} answer a small share of real requests beside {other.name} before switching."


def _after_no_go(judged: Judged) -> str:
    name, kind = why.rival(judged).name, judged.aim.kind
    if kind == "earning" and float(judged.aim.best().sum()) < 0.5:
        return "Do without: no arm earns what it costs. Ask again when volume, prices or the value of an answer change."
    if judged.facts.needed_score is not None and not why.untuned_suffices(judged):
        return "Nothing that was tried reaches the need: try a larger base model, better documents or more examples."
    return {
        "earning": f"Stay with {name}; ask again when volume, prices or the value of an answer change.",
        "better": f"Use {name}; better prompts and documents are cheaper to try than another training.",
        "reaching": f"Use {name}, and measure again when the task or the data change.",
        "saving": f"Use {name}; a shorter or cached prompt is the cheapest saving to try.",
        "faster": f"Use {name}; a shorter prompt and shorter answers are the cheapest way to save time.",
    }[kind]


def _before_deciding(judged: Judged, odds: Odds) -> str:
    if judged.softened == "cheaper":
        return 'Set the goal to "cost" if cheaper answers are what is wanted.'
    if judged.softened == "short" or (why.mostly_short(judged) and judged.pair.shown):
        return TRAIN_MORE
    facts, pair = judged.facts, judged.pair
    if judged.aim.kind == "earning":
        return _worth_most(judged, odds)
    if judged.aim.kind == "better":
        return label_more(pair, facts.worthwhile_difference)
    certain = why.p_good_enough(judged) >= facts.confidence
    if certain and odds.worths:
        return _worth_most(judged, odds)
    return _label_until_sure(judged)


def _worth_most(judged: Judged, odds: Odds) -> str:
    """The piece of knowledge that is worth most beyond its price."""
    best = max(odds.worths, key=lambda each: each.usd_worth - (each.usd_price or 0.0))
    if best.usd_worth <= (best.usd_price or 0.0):
        return "Decide by the likely figures: knowing more would cost more than it is worth."
    if best is odds.worths[0]:
        return f"Label {best.name.removeprefix('about ')}: {_priced(best)}."
    return f"Find out more about the money first: {best.name} exactly is worth up to {dollars(best.usd_worth)}."


def _priced(worth: Worth) -> str:
    price = "" if worth.usd_price is None else f", for {dollars(worth.usd_price)}"
    return f"what they tell is worth about {dollars(worth.usd_worth)}{price}"


def _label_until_sure(judged: Judged) -> str:
    """How many more examples would settle it if the scores stay: the doubt shrinks with their root."""
    n, normal = judged.pair.comparison.n, NormalDist()
    z = abs(normal.inv_cdf(min(0.999, max(0.001, judged.p_tuning))))
    times = min(MOST_TIMES, (normal.inv_cdf(judged.facts.confidence) / max(z, 0.01)) ** 2)
    more = max(1, math.ceil(n * (times - 1)))
    if times == MOST_TIMES:
        return f"Label {more:,} more test examples, ten times as many as now: the scores lie close to the limit."
    return f"Label about {more:,} more test examples: if the scores stay as they are, that settles it."
