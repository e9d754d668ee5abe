"""Why the decision is what it is: the probability and what it means, who reaches what is needed, and the money."""

from __future__ import annotations

import math

from finetune_advisor.errors import require
from finetune_advisor.records import ArmResult, Decision
from finetune_advisor.verdict.judge import Judged
from finetune_advisor.verdict.odds import likely_advantage, likely_advantage_if_enough
from finetune_advisor.verdict.words import chance, costs, dollars, months, percent, points, seconds


def rival(judged: Judged) -> ArmResult:
    """The untuned arm that tuning has to beat."""
    return judged.facts.arms[judged.rival]


def probability(judged: Judged) -> str:
    """How likely tuning is right, what that means, and what the decision takes."""
    facts, p = judged.facts, judged.p_tuning
    asked, rest = 100 * facts.confidence, 100 * (1 - facts.confidence)
    takes = {
        Decision.GO: f"a GO takes {asked:.3g}",
        Decision.NO_GO: f"{rest:.3g} or fewer make a NO-GO",
        Decision.NOT_YET: f"a GO takes {asked:.3g}, a NO-GO {rest:.3g} or fewer",
    }[judged.decision]
    takes = f"a GO takes {asked:.3g}" if judged.softened else takes
    shown = p if judged.decision is not Decision.NOT_YET or judged.softened else _inside(p, facts.confidence)
    return f"The chance that tuning {_claim(judged)} is {chance(shown)}; {takes}.{_softened(judged)}"


def _softened(judged: Judged) -> str:
    """Why this is no NO-GO although the probability would make it one."""
    why = {
        "short": f"Without the needed {percent(need(judged))} the answer would be GO",
        "cheaper": "At the same quality tuning saves money",
    }
    return f" {why[judged.softened]}: that is why it is NOT YET and not NO-GO." if judged.softened else ""


def _inside(p: float, confidence: float) -> float:
    """A probability that does not reach either limit when it is rounded to a hundredth."""
    low, high = math.floor(100 * (1 - confidence) + 1e-6) + 1, math.ceil(100 * confidence - 1e-6) - 1
    return min(high, max(low, 100 * p)) / 100


def _claim(judged: Judged) -> str:
    """What tuning has to do; follows on the word "tuning"."""
    facts, other = judged.facts, rival(judged).name
    reaches = f"reaches the needed {percent(need(judged))}"
    stated = [reaches] if facts.needed_score is not None else []
    in_time = [] if facts.latency_seconds is None else [f"answers within {seconds(facts.latency_seconds)}"]
    as_good = f"is at most {points(facts.non_inferiority_margin)} worse than the best alternative"
    gain = points(facts.worthwhile_difference)
    others = "the best alternative" if stated else f"{other} and than doing nothing"
    return _and(
        *{
            "earning": [*stated, *in_time, f"brings more money than {others}"],
            "better": [*in_time, f"is better than {other} by more than the {gain} that make it worth while"],
            "reaching": [*in_time, f"{reaches} where no simpler or cheaper arm does"],
            "saving": [as_good, *stated, *in_time, "costs less than every untuned arm that does the same"],
            "faster": [as_good, *stated, *in_time, "is faster than every untuned arm that does the same"],
        }[judged.aim.kind]
    )


def _and(*parts: str) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


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
    return judged.facts.needed_score is not None and _p_reaching(judged, judged.arm) < 0.5


def _p_reaching(judged: Judged, arm: int) -> float:
    """The share of draws in which that arm reaches the needed score."""
    return float((judged.draws.scores[:, arm] >= need(judged)).mean())


def short(judged: Judged) -> str:
    """That the tuned arm is short of what is needed; without a full stop."""
    tuned, facts = judged.pair.tuned, judged.facts
    least = max(need(judged), facts.need)
    verb = "is short of" if tuned.score < least else "is too close to"
    by_value = least == facts.floor > (facts.needed_score or 0.0)
    needed = "at which right answers make up for wrong ones" if by_value else "that is needed"
    return f"{tuned.name} scores {percent(tuned.score)}, which {verb} the {percent(least)} {needed}"


def short_of_need(judged: Judged) -> tuple[str, ...]:
    """How likely each of the two arms reaches the score that was stated; nothing where none was."""
    facts = judged.facts
    if facts.needed_score is None:
        return ()
    tuned, other = judged.pair.tuned, rival(judged)
    odds = [chance(_p_reaching(judged, at)) for at in (judged.arm, judged.rival)]
    both = f"{odds[0]} for {tuned.name}" + (f" and {odds[1]} for" if odds[0] != odds[1] else " and for")
    return (f"The chance of reaching the needed {percent(facts.needed_score)} is {both} {other.name}.",)


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
    middle = float(require("numpy", extra="all").median(judged.advantage))
    low, high = (dollars(usd) for usd in require("numpy", extra="all").quantile(judged.advantage, [0.025, 0.975]))
    between = f"between {low} and {high} in 95 of 100 cases"
    if mostly_short(judged):
        return _unused(judged) + (f" With all that is uncertain, tuning brings {between}." if low != high else "")
    likely = f"{_over(judged)}, tuning {_compared(judged, likely_advantage(judged), 's')}"
    return f"{likely}; with all that is uncertain, {between} and {dollars(middle)} in the middle."


def _unused(judged: Judged) -> str:
    """What an arm that is most likely short would bring if it were used, and that it is not."""
    tuned, usd = judged.pair.tuned, likely_advantage_if_enough(judged)
    cost = judged.facts.cost(tuned)
    lost = f", and the {dollars(cost.usd_one_off)} paid once is lost" if cost and cost.usd_one_off else ""
    return (
        f"{_over(judged)}, tuning would {_compared(judged, usd)} if its {percent(tuned.score)} were good enough. "
        f"{'But an' if usd >= 0 else 'An'} arm that is short of the needed {percent(need(judged))} is not used{lost}."
    )


def _over(judged: Judged) -> str:
    return f"Over {months(judged.facts.horizon_months)}, at the measured scores and the likely figures"


def _compared(judged: Judged, usd: float, ending: str = "") -> str:
    """An amount beside the best alternative, with the verb's ending."""
    if judged.aim.kind == "saving":
        verb, than = ("save", "against") if usd >= 0 else ("cost", "more than")
    else:
        verb, than = ("bring", "more than") if usd >= 0 else ("lose", "against")
    return f"{verb}{ending} {dollars(abs(usd))} {than} the best alternative"


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
