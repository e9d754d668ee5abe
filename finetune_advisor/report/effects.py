"""What else tuning changed: abilities that it was not meant to touch, before and after."""

from __future__ import annotations

from collections.abc import Mapping

from finetune_advisor.records import Results, SideEffect
from finetune_advisor.report.answer import label
from finetune_advisor.report.blocks import Block, Bullets, Cell, Chart, Details, Heading, Table, Text
from finetune_advisor.report.formats import count, percent, points

LEAST = 5
"""A base that handles fewer prompts than this has too little to lose for a loss to be seen."""

ABILITIES: Mapping[str, str] = {
    "general": "Everyday questions",
    "refusal": "Refusing what is harmful",
    "format": "Keeping to a form",
    "language": "Other languages",
}


def side_effects(results: Results) -> tuple[Block, ...]:
    """Each ability before and after tuning; nothing where it was not measured."""
    found = results.side_effects
    if not found:
        return ()
    return (
        Heading(level=2, text="What else did tuning change?"),
        Text(text=_lead(results)),
        Table(
            columns=("Arm", "Ability", "Prompts", "Base", "Tuned", "Change in points", "What that says"),
            rows=tuple(_row(results, each) for each in found),
            align="llrrrrl",
            caption="Shares of the shipped prompts that were handled well; the change with its 95% interval",
        ),
        _chart(results),
        *(_lost(results, each) for each in found if each.lost),
    )


def _lead(results: Results) -> str:
    lost = [each for each in results.side_effects if says(each) == LOST]
    told = [each for each in results.side_effects if can_be_told(each)]
    if lost:
        named = "; ".join(f"{label(results, each.arm)}: {ABILITIES[each.ability].lower()}" for each in lost)
        return f"Tuning has cost abilities that it was not meant to touch. {named}."
    if not told:
        return "Whether tuning cost other abilities cannot be told: the base model has too little of them to lose."
    return "No loss of another ability was shown. How large a loss could still be there is in the last column."


LOST, GAINED = "lost", "gained"


def can_be_told(each: SideEffect) -> bool:
    """Whether the base handles enough prompts for a loss to show."""
    return round(each.base * each.n) >= LEAST


def says(each: SideEffect) -> str:
    """What the change says: lost, gained, what is not excluded, or that it cannot be told."""
    if not can_be_told(each):
        return f"cannot be told: the base handles only {round(each.base * each.n)} of {each.n}"
    if each.interval.high < 0:
        return LOST
    if each.interval.low > 0:
        return GAINED
    if each.interval.low == 0:
        return "no loss"
    return f"no loss shown; one of up to {points(-each.interval.low, each.n).removeprefix('+')} points is not excluded"


def _row(results: Results, each: SideEffect) -> tuple[str, ...]:
    low, high = (points(end, each.n) for end in (each.interval.low, each.interval.high))
    return (
        label(results, each.arm),
        ABILITIES[each.ability],
        count(each.n),
        percent(each.base, each.n),
        percent(each.tuned, each.n),
        f"{points(each.difference, each.n)} ({low} to {high})",
        says(each),
    )


def _chart(results: Results) -> Chart:
    found = results.side_effects
    said = "; ".join(
        f"{label(results, each.arm)}, {ABILITIES[each.ability].lower()}: {percent(each.base, each.n)} before, "
        f"{percent(each.tuned, each.n)} after, {says(each)}"
        for each in found
    )
    return Chart(
        kind="side_effects",
        title="Other abilities before and after tuning",
        rows=tuple(_point(results, each) for each in found),
        alt=f"A ring for the base and a star for the tuned model, with the interval of the change. {said}.",
    )


def _point(results: Results, each: SideEffect) -> Mapping[str, Cell]:
    approach = next((arm.approach for arm in results.arms if arm.name == each.arm), "tuned")
    return {
        "arm": label(results, each.arm),
        "approach": approach,
        "ability": ABILITIES[each.ability],
        "n": each.n,
        "base": each.base,
        "tuned": each.tuned,
        "change_low": each.interval.low,
        "change_high": each.interval.high,
        "says": says(each),
    }


def _lost(results: Results, each: SideEffect) -> Details:
    title = f"{label(results, each.arm)}, {ABILITIES[each.ability].lower()}: {count(len(each.lost))} lost"
    return Details(title=title, blocks=(Bullets(items=each.lost),))
