"""What the data and the runs say on each question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from finetune_advisor.records import (
    ArmResult,
    Comparison,
    Cost,
    Finding,
    LearningCurve,
    SideEffect,
    SplitSummary,
    Task,
    highest,
)


def evidence(
    *,
    arms: Sequence[ArmResult],
    comparisons: Sequence[Comparison],
    costs: Sequence[Cost],
    findings: Sequence[Finding],
    task: Task,
    split: SplitSummary,
    side_effects: Sequence[SideEffect] = (),
    learning_curve: LearningCurve | None = None,
) -> dict[str, str]:
    """What the data and the runs say on each question, by its id; questions without evidence are left out."""
    untuned, tuned = (highest(arm for arm in arms if arm.tuned == kind) for kind in (False, True))
    best = [arm for arm in (untuned, tuned) if arm]
    found = {
        "task": _data(task, split),
        "problem": " ".join(_faults(arm) for arm in _by(arms, "zero_shot")),
        "quality_measure": f"Measured by {task.metric} on {split.test} examples that no arm has learned from.",
        "needed_score": " ".join(map(_scored, best)),
        "requests_per_month": _each(costs, best, lambda cost: f"${cost.usd_per_month:,.2f} a month"),
        "latency_seconds": " ".join(f"{_label(arm)} took {arm.seconds:.2g} s on average." for arm in best),
        "prompting": " ".join(map(_scored, _by(arms, "few_shot", "nearest_shot"))),
        "facts_in_documents": " ".join(map(_scored, _by(arms, "rag", "tuned_rag"))),
        "simple_method": " ".join(map(_scored, _by(arms, "classical"))),
        "tuning_place": _training(tuned),
        "more_examples": _audited(findings, split) + _expected(learning_curve, arms),
        "worthwhile_difference": _gain(comparisons, tuned),
        "shorter_prompts": _tokens(untuned, tuned)
        + _each(costs, best, lambda cost: f"${cost.usd_per_1000:,.4f} a 1,000"),
        "other_skills": " ".join(_kept(effect) for effect in side_effects if tuned and effect.arm == tuned.name),
        "other_domains": _adapter(tuned),
        "base_model": f"{_label(tuned)} was measured on {tuned.model}." if tuned else "",
        "data_set": _audited(findings, split),
        "training_environment": _training(tuned),
    }
    return {name: text.strip() for name, text in found.items() if text.strip()}


def _by(arms: Sequence[ArmResult], *approaches: str) -> list[ArmResult]:
    return [arm for arm in arms if arm.approach in approaches]


def _label(arm: ArmResult) -> str:
    shots = f" ({arm.settings['shots']} shots)" if "shot" in arm.approach and "shots" in arm.settings else ""
    return arm.name + shots + (" (simulated)" if arm.simulated else "")


def _scored(arm: ArmResult) -> str:
    interval = f"[{arm.interval.low:.2f}, {arm.interval.high:.2f}]"
    return f"{_label(arm)} scored {arm.score:.2f} {interval} on {arm.n} held-out examples."


def _faults(arm: ArmResult) -> str:
    return (
        f"{_label(arm)}, without examples, gave {arm.wrong} wrong answers, {arm.format_failures} in the wrong form "
        f"and {arm.failures} times none, out of {arm.n}."
    )


def _data(task: Task, split: SplitSummary) -> str:
    labels = f" with {len(task.labels)} labels" if task.labels else ""
    counts = f"{split.train} examples to learn from, {split.validation} to choose by and {split.test} to test on"
    return f"The data are a {task.kind.value} task{labels}: {counts}."


def _each(costs: Sequence[Cost], arms: Sequence[ArmResult], show: Callable[[Cost], str]) -> str:
    by_arm = {cost.arm: cost for cost in costs}
    return " ".join(f"{_label(arm)} costs {show(by_arm[arm.name])}." for arm in arms if arm.name in by_arm)


def _training(tuned: ArmResult | None) -> str:
    if tuned is None or tuned.training is None:
        return ""
    run = tuned.training
    return f"{_label(tuned)} was tuned on {run.examples} examples in {run.seconds / 60:.1f} minutes on this machine."


def _audited(findings: Sequence[Finding], split: SplitSummary) -> str:
    counts = Counter(finding.severity for finding in findings)
    rows = split.train + split.validation + split.test
    return f"{rows} examples were used; the audit found {counts['error']} errors and {counts['warning']} warnings."


def _expected(curve: LearningCurve | None, arms: Sequence[ArmResult]) -> str:
    """What more examples than were learned from are expected to bring."""
    if curve is None:
        return ""
    most = max((point.examples for point in curve.points), default=0)
    label = next((_label(arm) for arm in arms if arm.name == curve.arm), curve.arm)
    return "".join(
        f" With {each.examples:,} examples to learn from, {label} is expected to score {each.score:.2f} "
        f"[{each.low:.2f}, {each.high:.2f}]."
        for each in curve.forecasts
        if each.examples > most
    )


def _gain(comparisons: Sequence[Comparison], tuned: ArmResult | None) -> str:
    found = next((each for each in comparisons if tuned and each.arm == tuned.name), None)
    if found is None or tuned is None:
        return ""
    interval = f"[{found.interval.low:+.2f}, {found.interval.high:+.2f}]"
    return f"{_label(tuned)} scored {found.difference:+.2f} {interval} against {found.baseline}."


def _tokens(untuned: ArmResult | None, tuned: ArmResult | None) -> str:
    if untuned is None or tuned is None:
        return ""
    counts = [f"{arm.prompt_tokens:.0f} for {_label(arm)}" for arm in (untuned, tuned)]
    return f"Prompt tokens of a request: {' and '.join(counts)}. "


def _kept(effect: SideEffect) -> str:
    before, after = round(effect.base * effect.n), round(effect.tuned * effect.n)
    return f"{effect.ability.capitalize()}: {before} of {effect.n} prompts handled before tuning, {after} after."


def _adapter(tuned: ArmResult | None) -> str:
    if tuned is None or tuned.training is None:
        return ""
    return f"The adapter of {_label(tuned)} has {tuned.training.trainable_parameters:,} parameters."
