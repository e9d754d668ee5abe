"""The rules of the verdict: hard stops first; then the probability that tuning is right decides, and the words say why.

Evidence that is simulated, leaked, looked at twice or too small decides nothing. What is merely not shown is never a
rejection: a NO-GO needs a probability that tuning is wrong, as a GO needs one that it is right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from finetune_advisor.records import Decision, Odds
from finetune_advisor.verdict import reasons as why
from finetune_advisor.verdict.aims import Kind
from finetune_advisor.verdict.facts import Facts, Pair, Stop
from finetune_advisor.verdict.judge import Judged, judge
from finetune_advisor.verdict.odds import odds
from finetune_advisor.verdict.simulate import simulate
from finetune_advisor.verdict.steps import next_step
from finetune_advisor.verdict.stops import stops, stops_of
from finetune_advisor.verdict.words import called, compared, percent, points, seconds, strength


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """A decision with its words. `fixes` is what mends the hard stops, where there are any; then nothing was judged."""

    decision: Decision
    headline: str
    reasons: tuple[str, ...]
    next_step: str
    pair: Pair | None
    judged: Judged | None = None
    odds: Odds | None = None
    fixes: tuple[str, ...] = ()


def rule(facts: Facts) -> Ruling:
    """What the rules decide.

    Raises:
        BadInput: A score or a cost is not usable.
    """
    found = stops(facts)
    if found:
        return _stopped(found, None)
    judged = judge(facts, simulate(facts))
    of_pair = stops_of(judged.pair)
    return _stopped(of_pair, judged.pair) if of_pair else _ruled(judged)


def _stopped(found: tuple[Stop, ...], pair: Pair | None) -> Ruling:
    final = found[0].final
    return Ruling(
        decision=Decision.NO_GO if final else Decision.NOT_YET,
        headline=f"{'Do not fine-tune' if final else 'Not yet'}: {found[0].reason}",
        reasons=tuple(stop.reason[0].upper() + stop.reason[1:] for stop in found),
        next_step=found[0].mend,
        pair=pair,
        fixes=tuple(dict.fromkeys(stop.mend for stop in found)),
    )


def _ruled(judged: Judged) -> Ruling:
    figures = odds(judged)
    say = {Decision.GO: _go, Decision.NO_GO: _no_go, Decision.NOT_YET: _not_yet}[judged.decision]
    return Ruling(
        decision=judged.decision,
        headline=say(judged),
        reasons=_reasons(judged),
        next_step=next_step(judged, figures),
        pair=judged.pair,
        judged=judged,
        odds=figures,
    )


def _reasons(judged: Judged) -> tuple[str, ...]:
    unclear = (strength(judged.pair),) if judged.decision is Decision.NOT_YET and not judged.pair.shown else ()
    return (compared(judged.pair), why.probability(judged), *why.short_of_need(judged), *unclear, why.money(judged))


def _go(judged: Judged) -> str:
    return f"Fine-tune: {_GO[judged.aim.kind](judged)}"


def _no_go(judged: Judged) -> str:
    return f"Do not fine-tune: {_too_slow(judged) or _NO_GO[judged.aim.kind](judged)}"


def _not_yet(judged: Judged) -> str:
    doubt = {"": _doubt, "short": _only_short, "cheaper": _only_cheaper}[judged.softened](judged)
    return f"Not yet: {doubt}"


def _both_scores(judged: Judged) -> str:
    pair = judged.pair
    return (
        f"{pair.tuned.name} scores {percent(pair.tuned.score)}, "
        f"the best alternative, {called(pair.untuned)}, {percent(pair.untuned.score)}"
    )


def _go_earning(judged: Judged) -> str:
    return f"{_both_scores(judged)}; in money, tuning brings more."


def _go_reaching(judged: Judged) -> str:
    if why.untuned_suffices(judged):
        return f"{judged.pair.tuned.name} reaches the score that is needed for less than {why.rival(judged).name}."
    return f"{_both_scores(judged)}; only tuning reaches what is needed."


def _go_saving(judged: Judged) -> str:
    if not why.untuned_suffices(judged):
        return f"{_both_scores(judged)}; only tuning reaches what is needed."
    return f"{judged.pair.tuned.name} costs less than {called(why.rival(judged))} and is as good."


def _go_faster(judged: Judged) -> str:
    if not why.untuned_suffices(judged):
        return f"{_both_scores(judged)}; only tuning reaches what is needed."
    tuned, other = judged.pair.tuned, why.rival(judged)
    times = f"answers in {seconds(tuned.seconds)}, {called(other)} in {seconds(other.seconds)}"
    return f"{tuned.name} {times}, and it is as good."


def _too_slow(judged: Judged) -> str:
    tuned, limit = judged.pair.tuned, judged.facts.latency_seconds
    if limit is None or tuned.seconds <= limit:
        return ""
    return f"{tuned.name} takes {seconds(tuned.seconds)} to answer, and {seconds(limit)} are allowed."


def _no_pay(judged: Judged) -> str:
    if why.mostly_short(judged):
        return f"{why.short(judged)}."
    return "at the values and prices given it does not pay."


def _no_gain(judged: Judged) -> str:
    best, worse = judged.pair.untuned, judged.pair.comparison.difference < -judged.facts.worthwhile_difference
    return f"{called(best)} does {'better' if worse else 'as well, or nearly so'}."


def _no_need(judged: Judged) -> str:
    if not why.untuned_suffices(judged):
        return f"{why.short(judged)}."
    return f"{called(why.rival(judged))} reaches the needed {percent(why.need(judged))}."


def _no_saving(judged: Judged) -> str:
    return why.worse(judged) or f"it saves nothing against {why.rival(judged).name} at the same quality."


def _no_faster(judged: Judged) -> str:
    return why.worse(judged) or f"it is not faster than {why.rival(judged).name} at the same quality."


def _only_short(judged: Judged) -> str:
    helps = "tuning would save money" if judged.aim.kind == "saving" else "tuning helps"
    return f"{helps}, but {why.short(judged)}."


def _only_cheaper(_: Judged) -> str:
    return "tuning brings no worthwhile gain in quality, but it is cheaper."


def _doubt(judged: Judged) -> str:
    return _OPEN[judged.aim.kind](judged)


def _open_pay(judged: Judged) -> str:
    helps = "tuning helps, but " if judged.pair.shown else ""
    if why.mostly_short(judged) or judged.pair.tuned.score < judged.facts.need:
        return f"{helps}{why.short(judged)}."
    return f"{helps}whether it pays is open." if helps else "whether tuning pays is open."


def _open_gain(_: Judged) -> str:
    return "the test set is too small to tell whether tuning helps enough."


def _open_need(judged: Judged) -> str:
    need = percent(why.need(judged))
    if 1 - judged.facts.confidence < why.p_untuned_suffices(judged) < judged.facts.confidence:
        return f"whether {called(why.rival(judged))} alone reaches the needed {need} is open."
    if judged.pair.shown and judged.pair.tuned.score < why.need(judged):
        return f"tuning helps, but {why.short(judged)}."
    return f"whether {judged.pair.tuned.name} reaches the needed {need} is open."


def _open_saving(judged: Judged) -> str:
    what = "be faster" if judged.aim.kind == "faster" else "save money"
    if why.p_good_enough(judged) >= judged.facts.confidence:
        return f"tuning is as good, but whether it would {what} is open."
    margin = points(judged.facts.non_inferiority_margin)
    return f"tuning may {what}, but a loss of {margin} or more in quality is not excluded."


_GO: Mapping[Kind, Callable[[Judged], str]] = {
    "earning": _go_earning,
    "better": lambda judged: f"{_both_scores(judged)}.",
    "reaching": _go_reaching,
    "saving": _go_saving,
    "faster": _go_faster,
}
_NO_GO: Mapping[Kind, Callable[[Judged], str]] = {
    "earning": _no_pay,
    "better": _no_gain,
    "reaching": _no_need,
    "saving": _no_saving,
    "faster": _no_faster,
}
_OPEN: Mapping[Kind, Callable[[Judged], str]] = {
    "earning": _open_pay,
    "better": _open_gain,
    "reaching": _open_need,
    "saving": _open_saving,
    "faster": _open_saving,
}
