"""Why the decision is what it is: the probability and what it means, who reaches what is needed, and the money."""

from __future__ import annotations

import math

from finetune_advisor.errors import require
from finetune_advisor.records import ArmResult, Decision
from finetune_advisor.verdict.judge import Judged
from finetune_advisor.verdict.odds import likely_advantage
from finetune_advisor.verdict.words import (
    costs,
    dollars,
    months,
    percent,
    points,
    seconds,
    share_of_draws,
)


def rival(judged: Judged) -> ArmResult:
    """The untuned arm that tuning has to beat."""
    return judged.facts.arms[judged.rival]


def probability(judged: Judged) -> str:
    """In how many draws tuning is right, what that means, and what the decision takes."""
    facts, p = judged.facts, judged.p_tuning
    asked, rest = 100 * facts.confidence, 100 * (1 - facts.confidence)
    takes = {
        Decision.GO: f"a GO takes {asked:.3g}",
        Decision.NO_GO: f"{rest:.3g} or fewer make a NO-GO",
        Decision.NOT_YET: f"a GO takes {asked:.3g}, a NO-GO {rest:.3g} or fewer",
    }[judged.decision]
    takes = f"a GO takes {asked:.3g}" if judged.softened else takes
    shown = p if judged.decision is not Decision.NOT_YET or judged.softened else _inside(p, facts.confidence)
    return f"In {share_of_draws(shown)} of what may be true, {_claim(judged)}; {takes}.{_softened(judged)}"


def _softened(judged: Judged) -> str:
    """Why this is no NO-GO although the probability would make it one."""
    return {
        "": "",
        "short": " It is no NO-GO, since tuning would be right if that score were not needed.",
        "cheaper": " It is no NO-GO, since tuning saves money at the same quality.",
    }[judged.softened]


def _inside(p: float, confidence: float) -> float:
    """A probability that does not reach either limit when it is rounded to a hundredth."""
    low, high = math.floor(100 * (1 - confidence) + 1e-6) + 1, math.ceil(100 * confidence - 1e-6) - 1
    return min(high, max(low, 100 * p)) / 100


def _claim(judged: Judged) -> str:
    facts = judged.facts
    as_good = f"tuning is as good as the best alternative, within {points(facts.non_inferiority_margin)}"
    if facts.needed_score is not None:
        as_good += f", reaches the needed {percent(facts.needed_score)}"
    gain = points(facts.worthwhile_difference)
    return {
        "earning": f"tuning is good enough and brings more money than {rival(judged).name} and than doing nothing",
        "better": f"tuning is better than {rival(judged).name} by more than the {gain} that make it worth while",
        "reaching": f"tuning reaches the needed {percent(need(judged))} and no simpler or cheaper arm does",
        "saving": f"{as_good}, and no other arm that does costs as little",
        "faster": f"{as_good}, and no other arm that does is as fast",
    }[judged.aim.kind]


def need(judged: Judged) -> float:
    """The score that is needed: the one that was stated, or else the likely one of the goal."""
    if judged.facts.needed_score is not None:
        return judged.facts.needed_score
    if judged.aim.kind == "reaching":
        return float(require("numpy", extra="all").mean(judged.aim.least))
    return judged.facts.need


def p_good_enough(judged: Judged) -> float:
    """The share of draws in which the tuned arm does what is asked."""
    return float(judged.aim.eligible[:, judged.arm].mean())


def p_untuned_suffices(judged: Judged) -> float:
    """The share of draws in which any untuned arm does what is asked."""
    return float((judged.aim.eligible & ~judged.aim.tuned).any(axis=1).mean())


def untuned_suffices(judged: Judged) -> bool:
    """Whether an untuned arm most likely does what is asked."""
    return p_untuned_suffices(judged) > 0.5


def mostly_short(judged: Judged) -> bool:
    """Whether the tuned arm is most likely short of a score that was stated."""
    return judged.facts.needed_score is not None and p_good_enough(judged) < 0.5


def short(judged: Judged) -> str:
    """That the tuned arm is short of what is needed; without a full stop."""
    tuned, least = judged.pair.tuned, max(need(judged), judged.facts.need)
    verb = "is short of" if tuned.score < least else "is too close to"
    return f"{tuned.name} scores {percent(tuned.score)}, which {verb} the {percent(least)} that is needed"


def short_of_need(judged: Judged) -> tuple[str, ...]:
    """How likely each of the two arms reaches the score that was stated; nothing where none was."""
    facts = judged.facts
    if facts.needed_score is None:
        return ()
    tuned, other = judged.pair.tuned, rival(judged)
    odds = [float((judged.draws.scores[:, at] >= facts.needed_score).mean()) for at in (judged.arm, judged.rival)]
    return (
        f"The needed {percent(facts.needed_score)} is reached by {tuned.name} in {share_of_draws(odds[0])}, "
        f"by {other.name} in {share_of_draws(odds[1])}.",
    )


def worse(judged: Judged) -> str:
    """That the tuned arm is worse than the margin allows, or short of the need; empty where it most likely is not."""
    if p_good_enough(judged) >= 0.5:
        return ""
    if judged.pair.high >= -judged.facts.non_inferiority_margin:
        return f"{short(judged)}." if mostly_short(judged) else _not_as_good(judged)
    return _not_as_good(judged)


def _not_as_good(judged: Judged) -> str:
    tuned, best = judged.pair.tuned, judged.pair.untuned
    return f"{tuned.name} scores {percent(tuned.score)}, not as good as the {percent(best.score)} of {best.name}."


def money(judged: Judged) -> str:
    """What tuning costs beside the alternative, and what it brings or saves where that is known."""
    facts, other = judged.facts, rival(judged)
    stated = costs(facts, judged.pair.tuned, other)
    if judged.draws.bills is None:
        return stated
    if judged.aim.unit == "usd":
        return f"{stated} {_balance(judged)}"
    if judged.aim.unit == "seconds":
        return f"{stated} {_times(judged, other)}"
    return f"{stated} {_difference(judged)}"


def _balance(judged: Judged) -> str:
    verb, against = ("saves", "costs") if judged.aim.kind == "saving" else ("brings", "loses")
    likely, middle = likely_advantage(judged), float(require("numpy", extra="all").median(judged.advantage))
    low, high = require("numpy", extra="all").quantile(judged.advantage, [0.025, 0.975])
    more = " more" if likely < 0 and verb == "saves" else ""
    unused = " An arm that is short of what is needed counts as never used, its one-off cost as lost."
    short = judged.facts.needed_score is not None and p_good_enough(judged) < 0.5
    return (
        f"Over {months(judged.facts.horizon_months)}, at the measured scores and the likely figures, tuning "
        f"{verb if likely >= 0 else against} {dollars(abs(likely))}{more} against the best alternative; "
        f"in the middle of the draws {dollars(middle)}, in 95 of 100 between {dollars(low)} and {dollars(high)}."
        f"{unused if short else ''}"
    )


def _times(judged: Judged, other: ArmResult) -> str:
    tuned = judged.pair.tuned
    return f"{tuned.name} takes {seconds(tuned.seconds)} to answer, {other.name} {seconds(other.seconds)}."


def _difference(judged: Judged) -> str:
    usd = judged.draws.usd_cost(judged.facts)
    more = float((usd[:, judged.arm] - usd[:, judged.rival]).mean())
    over = f"Over {months(judged.facts.horizon_months)} tuning {'saves' if more < 0 else 'costs'} {dollars(abs(more))}"
    if more < 0:
        return f"{over}."
    return f"{over} more. No value of a right answer was given, so whether the gain is worth that was not judged."
