"""What a recipe says about itself: what was measured, and the settings of the training, as rows of words."""

from __future__ import annotations

from collections.abc import Iterator

from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records import ArmResult, Results
from finetune_advisor.report.formats import count, metric_title, percent, percent_with, seconds, usd

Row = tuple[str, str]


def facts(recipe: Recipe) -> tuple[Row, ...]:
    """What was measured on the arm; nothing where it was not run."""
    return tuple(_facts(recipe, recipe.measured)) if recipe.measured else ()


def settings(recipe: Recipe) -> tuple[Row, ...]:
    """The settings of the training in words."""
    options = recipe.options
    layers = f"the last {options.top_layers}" if options.top_layers else "all"
    matrices = "all linear" if options.targets == "all-linear" else options.targets
    steps = f", at most {options.max_steps} steps" if options.max_steps else ""
    found = [
        ("Base model", recipe.base.name),
        ("Rank and alpha", f"{options.rank} and {options.alpha}"),
        (
            "Adapted",
            f"{matrices} matrices of {layers} layers",
        ),
        ("Passes over the data", f"{options.epochs}{steps}"),
        ("Learning rate", f"{options.learning_rate:g}, {options.schedule}, {100 * options.warmup:g}% warm-up"),
        ("Examples in a step", str(options.batch_size)),
        ("Longest example", f"{count(options.max_length)} tokens; longer ones are left out"),
        ("Loss", "on the answers only"),
        ("Checkpoint", "the one with the lowest loss on the validation examples"),
        ("Seed", str(options.seed)),
    ]
    if options.dropout:
        found.append(("Dropout", f"{options.dropout:g}"))
    if "depth" in recipe.settings:
        search = f"{recipe.settings['depth']} for each question, found by {recipe.settings.get('retriever')} search"
        found.append(("Passages in the prompts", search))
    return tuple(found)


def _facts(recipe: Recipe, arm: ArmResult) -> Iterator[Row]:
    examples = f"of {count(arm.n)} test examples, by the metric {metric_title(arm.metric)}"
    yield "Score, with 95% interval", f"{percent_with(arm.score, arm.interval, arm.n)} {examples}"
    if recipe.results:
        yield from _untuned(recipe.results)
    if arm.training:
        run = arm.training
        trained = f"{count(run.examples)} examples, {count(run.steps)} steps, {count(run.tokens)} tokens"
        yield "Training", f"{seconds(run.seconds)} for {trained}{_machine(recipe, arm)}"
        yield "Size of the adapter", f"{count(run.trainable_parameters)} parameters"
    if recipe.cost:
        yield "Cost of one training", usd(recipe.cost.usd_training)
        yield "Cost of 1,000 requests", usd(recipe.cost.usd_per_1000)
    yield "Time of a request", seconds(arm.seconds)


def _untuned(results: Results) -> Iterator[Row]:
    """The best arm without tuning, which the tuned one has to beat."""
    best = next((arm for arm in results.arms if arm.name == results.verdict.best_untuned), None)
    if best:
        yield "Best without tuning", f"{best.name}: {percent(best.score, best.n)}"


def _machine(recipe: Recipe, arm: ArmResult) -> str:
    details = ", ".join(str(arm.model_details[name]) for name in ("device", "dtype") if name in arm.model_details)
    where = recipe.results.provenance.machine if recipe.results else ""
    return f", on {where}" + (f" ({details})" if details else "")
