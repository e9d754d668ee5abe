"""OpenAI's fine-tuning API, as long as it takes jobs. Calls as of openai 3.54 and the specification of 2026-08-21."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from finetune_advisor.recipes import hosted
from finetune_advisor.recipes.figures import Figure, of_tokens
from finetune_advisor.recipes.guide import Stage
from finetune_advisor.recipes.recipe import Base, Recipe
from finetune_advisor.recipes.rendering import rendered
from finetune_advisor.recipes.training_data import TrainingData
from finetune_advisor.report.markdown import escape

DEFAULT = "gpt-4.1-mini-2025-04-14"
"""Taken where the case names no model of the provider's."""

MOST_EPOCHS = 50
LONGEST = 65_536
"""Tokens of an example of the GPT-4o and GPT-4.1 families (Azure's documentation)."""

HERE = {
    "Base model": "`model`",
    "Passes over the data": "`n_epochs`",
    "Examples in a step": "`batch_size`",
    "Loss": "`weight` in the data",
    "Seed": "`seed`",
}
DIFFERENCES = (
    "Rank, alpha, the adapted matrices, the schedule and the longest example are the provider's own choice.",
    '`learning_rate_multiplier` is left at "auto": it multiplies a rate that the provider keeps to itself, so that '
    "the measured rate cannot be carried over.",
    "The last state becomes the tuned model; up to two checkpoints before it can be asked too.",
)
REFUSED = (
    "HTTP 403 with the code `training_not_available` means that your organisation may start no new jobs: OpenAI is "
    "winding its fine-tuning down. The data here fits Azure OpenAI and Fireworks as it is; the other recipes train "
    "open models."
)


@dataclass(frozen=True)
class OpenAI:
    """`tune.py`, with the openai client."""

    title: str = "OpenAI"
    sentence: str = (
        "A job at OpenAI, for organisations that it still lets tune: no new jobs after 6 January 2027, and the tuned "
        "models end on 14 January 2027."
    )

    def files(self, recipe: Recipe, data: TrainingData) -> Mapping[str, str]:
        """The program and the data."""
        model = recipe.hosted("openai") or DEFAULT
        made = hosted.files(
            recipe,
            data,
            title=self.title,
            package="openai",
            script=script(recipe, model, azure=False),
            base=base(recipe, model, "OpenAI"),
            tuned=tuned(model),
            stages=self.stages(recipe),
            figures=(
                *of_tokens(data, recipe.options.epochs, [_rate(model)], LONGEST),
                Figure(
                    what="Serving the tuned model",
                    value="nothing by the hour; its tokens cost more than the base model's",
                    basis="Source: OpenAI price page (mirror, November 2025)",
                ),
            ),
            here=HERE,
            until=hosted.until(model, "openai"),
            differences=(*DIFFERENCES, REFUSED),
        )
        return {**made, "serve.md": hosted.serving(recipe, data, "ask_openai.md.j2", azure=False)}

    def stages(self, recipe: Recipe) -> tuple[Stage, ...]:
        """Install, start, watch, ask."""
        return (
            hosted.install(),
            hosted.keys(OPENAI_API_KEY="..."),
            hosted.command("Upload the data and start the job. This costs money.", "start"),
            hosted.watch(),
            hosted.command("Ask the tuned model the first validation example.", "ask"),
        )


TRAINING = "usd_per_mtok_training"


def tuned(model: str) -> Base:
    """The model that is tuned, and its licence."""
    return Base(name=model, id="", licence="The provider's terms hold: the weights cannot be taken elsewhere.")


def _rate(model: str) -> tuple[str, str, str]:
    # A model that is tuned further is in the price table as it is.
    return "Price of one training", model if model.startswith("ft:") else f"ft:{model}", TRAINING


def script(recipe: Recipe, model: str, *, azure: bool) -> str:
    """The program, for OpenAI or for Azure."""
    epochs = min(MOST_EPOCHS, recipe.options.epochs)
    return rendered("tune_openai.py.j2", recipe, model=model, azure=azure, epochs=epochs, least=hosted.LEAST_EXAMPLES)


def base(recipe: Recipe, model: str, provider: str) -> str:
    """Which model is tuned."""
    if recipe.section.provider == provider.lower():
        return f"{escape(model)}, as in the case. `tune.py start --model NAME` takes another one."
    return (
        f"{escape(model)} at {provider}: the case names no model of theirs, so this one was chosen, on which nothing "
        f"was measured. `tune.py start --model NAME` takes another one. The arm itself was planned on "
        f"{escape(recipe.base.name)}."
    )
