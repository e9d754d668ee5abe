"""What is to be checked before a tuned model goes live, from what was measured and what was not."""

from __future__ import annotations

from collections.abc import Iterator

from finetune_advisor.recipes.recipe import Base, Recipe
from finetune_advisor.records import ArmResult, Decision, Results
from finetune_advisor.report.formats import percent


def checks(recipe: Recipe, tuned: Base) -> tuple[str, ...]:
    """One sentence or two for each thing to check.

    Args:
        recipe: What was measured, or not.
        tuned: The model that is tuned, which may be another one.
    """
    return (*_measured(recipe), *_always(recipe, tuned))


def _measured(recipe: Recipe) -> Iterator[str]:
    if recipe.results is None or recipe.measured is None:
        yield "Nothing was measured on this arm: run the case first, and train only if the verdict is GO."
        return
    yield from _verdict(recipe.results)
    yield from _needed(recipe.results, recipe.measured)
    yield from _errors(recipe.results)
    yield from _lost(recipe.results, recipe.arm)


def _verdict(results: Results) -> Iterator[str]:
    if results.verdict.decision is not Decision.GO:
        yield f"The verdict is {results.verdict.decision.value}. {results.verdict.next_step}"


def _needed(results: Results, arm: ArmResult) -> Iterator[str]:
    needed = results.needed_score
    if needed is not None and arm.score < needed:
        yield f"It scored {percent(arm.score, arm.n)}; {percent(needed, arm.n)} is needed."


def _errors(results: Results) -> Iterator[str]:
    errors = sum(finding.severity == "error" for finding in results.findings)
    if errors:
        yield f"The audit found {errors} {'error' if errors == 1 else 'errors'} in the data: mend them first."


def _lost(results: Results, arm: str) -> Iterator[str]:
    lost = [each.ability for each in results.side_effects if each.arm == arm and each.interval.high < 0]
    if lost:
        yield f"Tuning cost the model abilities: {', '.join(lost)}. Make sure that nobody needs them."


def _always(recipe: Recipe, tuned: Base) -> Iterator[str]:
    yield f"Licence of the base model {tuned.name}: {tuned.licence}"
    yield "You are allowed to train on the data, and no personal data stands in it that must not."
    yield (
        "The new model is another training than the one that was measured: score it on examples that it has not "
        "seen before you trust it. The locked test examples are left out of this folder for that."
    )
    if "depth" in recipe.settings:
        yield "Whoever serves it finds the passages in the same way, and puts them into the prompt in the same form."
    yield "Somebody reads a sample of the answers every week, and knows how to switch back to the model of today."
    yield "The memory, the time of an answer and the price are measured on the machine that will serve it."
