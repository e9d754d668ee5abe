"""Where a person's answer and the evidence disagree: one sentence a question, with the figures.

Nothing is said where the evidence is thin: fewer than `FEWEST` test examples, a difference that could as well be
chance, or a closeness that could hide a gap of more than `GAP`. Arms of a model that only pretends are no evidence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from statistics import fmean, stdev

from finetune_advisor.questions.catalogue import QUESTIONS
from finetune_advisor.records import ArmResult, Cost, Interval, Results, SideEffect, highest

FEWEST = 20
"""With fewer test examples nothing is said."""

GAP = 0.1
"""Two arms count as close only where the test rules out that one is this much better than the other."""

SAVED = 0.1
"""A smaller share of the money or of the time is no saving to speak of."""

PROMPTED = ("zero_shot", "few_shot", "nearest_shot")

_WORTHWHILE = next(float(each.default or 0) for each in QUESTIONS if each.id == "worthwhile_difference")

# Half the width of a 95% interval in standard errors.
_Z = 1.96


@dataclass(frozen=True, kw_only=True)
class _Gap:
    """By how much one arm scores higher than another on the same examples."""

    difference: float
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What was measured, without what is thin or simulated, and what the person said."""

    said: Mapping[str, object]
    results: Results

    @cached_property
    def arms(self) -> list[ArmResult]:
        return [arm for arm in self.results.arms if arm.n >= FEWEST and not arm.simulated]

    def best(self, *approaches: str) -> ArmResult | None:
        """The arm of these approaches that scores highest."""
        return highest(arm for arm in self.arms if arm.approach in approaches)

    @cached_property
    def tuned(self) -> ArmResult | None:
        return highest(arm for arm in self.arms if arm.tuned)

    @cached_property
    def untuned(self) -> ArmResult | None:
        """The best untuned language model."""
        return highest(arm for arm in self.arms if not arm.tuned and arm.approach != "classical")

    @property
    def needed(self) -> float | None:
        return _number(self.said.get("needed_score"))

    @property
    def worthwhile(self) -> float:
        return _number(self.said.get("worthwhile_difference")) or _WORTHWHILE

    def gap(self, one: ArmResult, other: ArmResult) -> _Gap:
        """The difference of two arms, with the interval of their comparison where there is one."""
        for each in self.results.comparisons:
            if (each.arm, each.baseline) == (one.name, other.name):
                return _Gap(difference=each.difference, interval=each.interval)
        each = [a - b for a, b in zip(one.scores, other.scores, strict=True)]
        error = _Z * stdev(each) / math.sqrt(len(each))
        mean = fmean(each)
        return _Gap(difference=mean, interval=Interval(low=mean - error, high=mean + error))

    def close(self, better: ArmResult, other: ArmResult) -> str:
        """How close an arm comes to one that may be better; empty where it does not, or where that is not sure."""
        gap = self.gap(better, other)
        if gap.difference >= self.worthwhile or gap.interval.high >= GAP:
            return ""
        points = math.ceil(round(100 * gap.difference, 6))
        near = "as good as" if points <= 0 else f"within {points} {'point' if points == 1 else 'points'} of"
        return f"{other.name} is {near} {better.name}: {_scored(other)}, {_scored(better)}"

    def clearly_better(self, one: ArmResult, other: ArmResult) -> bool:
        gap = self.gap(one, other)
        return gap.interval.low > 0 and gap.difference >= self.worthwhile

    def reaches(self, arm: ArmResult) -> bool:
        return self.needed is not None and arm.interval.low >= self.needed

    def misses(self, arm: ArmResult) -> bool:
        return self.needed is not None and arm.interval.high < self.needed


def contradictions(said: Mapping[str, object], results: Results) -> dict[str, str]:
    """One sentence for each question whose answer and evidence disagree, by question id.

    Args:
        said: What the person answered, by question id, the figures of `[goal]` and `[money]` included; defaults are
            no answers.
        results: What was measured.
    """
    seen = _Seen(said=said, results=results)
    found = {name: rule(seen, said[name]) for name, rule in RULES.items() if said.get(name) is not None}
    return {name: sentence for name, sentence in found.items() if sentence}


def _needed_score(seen: _Seen, answer: object) -> str:
    best = highest(seen.arms)
    if best is None or not seen.misses(best):
        return ""
    return f"You need a score of {answer}; measured here no arm reaches it: the best, {best.name}, {_scored(best)}."


def _latency(seen: _Seen, answer: object) -> str:
    limit = _number(answer)
    slow = [arm for arm in (seen.untuned, seen.tuned) if arm and limit is not None and arm.seconds > limit]
    if not slow:
        return ""
    took = " and ".join(f"{arm.name} took {arm.seconds:.2g} seconds" for arm in slow)
    return f"You answered that an answer may take {answer} seconds; measured here {took} on average."


def _prompting(seen: _Seen, answer: object) -> str:
    arm, said = seen.best(*PROMPTED), f"You answered that a good prompt with examples is {answer}; measured here"
    if arm is None or answer == "not tried":
        return ""
    if answer == "good enough":
        short = f"{said} {arm.name} {_scored(arm)}, short of the {seen.needed} that you need."
        return short if seen.misses(arm) else ""
    if seen.reaches(arm):
        return f"{said} {arm.name} {_scored(arm)}, which reaches the {seen.needed} that you need."
    near = seen.close(seen.tuned, arm) if seen.tuned and answer == "not good enough" else ""
    return f"{said} {near}." if near else ""


def _documents(seen: _Seen, answer: object) -> str:
    # Without tuning and with it: a small model may have to learn to use passages first.
    pairs = [(seen.best("rag"), seen.best(*PROMPTED)), (seen.best("tuned_rag"), seen.best("tuned"))]
    compared = [(one, other) for one, other in pairs if one and other]
    helped = [pair for pair in compared if seen.clearly_better(*pair)]
    if answer is False and helped:
        return (
            "You answered that no facts from documents are needed; measured here passages from them help: "
            f"{_without(helped)}."
        )
    if answer is True and compared and all(seen.gap(*pair).interval.high < seen.worthwhile for pair in compared):
        return (
            "You answered that answers rest on facts in documents; measured here passages from them do not help: "
            f"{_without(compared)}. Perhaps the facts are not in these documents, or the model does not use them."
        )
    return ""


def _classifier(seen: _Seen, answer: object) -> str:
    simple, best = seen.best("classical"), highest(arm for arm in (seen.untuned, seen.tuned) if arm)
    if simple is None or best is None:
        return ""
    if answer is True:
        figures = f"{simple.name} {_scored(simple)}, {best.name} {_scored(best)}"
        worse = f"You answered that a simple classifier could do it; measured here it is worse: {figures}."
        return worse if seen.clearly_better(best, simple) and not seen.reaches(simple) else ""
    near = seen.close(best, simple)
    if seen.reaches(simple) and not near:
        near = f"{simple.name} {_scored(simple)}, which reaches the {seen.needed} that you need"
    return f"You answered that a simple classifier could not do it; measured here {near}." if near else ""


def _more_examples(seen: _Seen, answer: object) -> str:
    curve, more = seen.results.learning_curve, _number(answer)
    if curve is None or more is None or curve.arm not in [arm.name for arm in seen.arms]:
        return ""
    if more and curve.more_helps is False:
        return (
            f"You answered that you could get {more:,.0f} more examples; by the learning curve measured here more of "
            f"them would hardly raise the score of {curve.arm}."
        )
    if not more and curve.more_helps:
        most = max(curve.forecasts, key=lambda each: each.examples, default=None)
        about = f" to about {most.score:.2f} with {most.examples:,}" if most else ""
        return (
            f"You answered that you can get no more examples; by the learning curve measured here more of them would "
            f"raise the score of {curve.arm}{about}."
        )
    return ""


def _shorter_prompts(seen: _Seen, answer: object) -> str:
    one, other = seen.untuned, seen.tuned
    costs = {cost.arm: cost for cost in seen.results.costs}
    if one is None or other is None or one.name not in costs or other.name not in costs:
        return ""
    usd = _saved(float(costs[one.name].usd_per_1000), float(costs[other.name].usd_per_1000))
    seconds = _saved(one.seconds, other.seconds)
    figures = f"{_asked(one, costs[one.name])}, {_asked(other, costs[other.name])}"
    if answer is True and max(usd, seconds) <= 0:
        return f"You answered that shorter prompts would save money or time; measured here they do not: {figures}."
    if answer is False and max(usd, seconds) >= SAVED and other.prompt_tokens < one.prompt_tokens:
        return f"You answered that shorter prompts would save nothing; measured here they do: {figures}."
    return ""


def _other_skills(seen: _Seen, answer: object) -> str:
    tuned = seen.tuned
    if answer is not True or tuned is None:
        return ""
    lost = [each for each in seen.results.side_effects if each.arm == tuned.name and each.interval.high < 0]
    figures = "; ".join(map(_lost, lost))
    said = "You answered that the same model has to go on doing other things well"
    return f"{said}; measured here tuning cost it some: {figures}." if lost else ""


def _data_set(seen: _Seen, answer: object) -> str:
    errors = sum(finding.severity == "error" for finding in seen.results.findings)
    if answer is not True or not errors:
        return ""
    return f"You answered that the data set is ready; the audit found {errors} {'error' if errors == 1 else 'errors'}."


RULES: Mapping[str, Callable[[_Seen, object], str]] = {
    "needed_score": _needed_score,
    "latency_seconds": _latency,
    "prompting": _prompting,
    "facts_in_documents": _documents,
    "simple_method": _classifier,
    "more_examples": _more_examples,
    "shorter_prompts": _shorter_prompts,
    "other_skills": _other_skills,
    "data_set": _data_set,
}
"""By question id. Wishes about the future, such as the volume, cannot disagree with a measurement."""


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float | Decimal) and not isinstance(value, bool) else None


def _scored(arm: ArmResult) -> str:
    return f"scored {arm.score:.2f} [{arm.interval.low:.2f}, {arm.interval.high:.2f}]"


def _without(pairs: Sequence[tuple[ArmResult, ArmResult]]) -> str:
    return "; ".join(f"{one.name} {_scored(one)}, {other.name} without them {_scored(other)}" for one, other in pairs)


def _saved(before: float, after: float) -> float:
    """The share that is saved; below 0 where it costs more."""
    return (before - after) / before if before else -after


def _asked(arm: ArmResult, cost: Cost) -> str:
    return (
        f"{arm.name} takes {arm.prompt_tokens:.0f} prompt tokens, {arm.seconds:.2g} seconds and "
        f"${cost.usd_per_1000:,.4f} for 1,000 requests"
    )


def _lost(effect: SideEffect) -> str:
    before, after = round(effect.base * effect.n), round(effect.tuned * effect.n)
    return f"{effect.ability}, {before} of {effect.n} prompts handled before tuning and {after} after"
