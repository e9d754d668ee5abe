"""Together: LoRA on open models, without a machine of one's own. Calls as of together 3.1.1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from finetune_advisor.recipes import hosted
from finetune_advisor.recipes.figures import hosting, of_tokens
from finetune_advisor.recipes.guide import Stage
from finetune_advisor.recipes.openai import TRAINING
from finetune_advisor.recipes.recipe import PLACEHOLDER, UNKNOWN, Recipe
from finetune_advisor.recipes.rendering import rendered
from finetune_advisor.recipes.training_data import TrainingData, data_files
from finetune_advisor.report.markdown import escape

RATES = (
    ("Price of one training, model of up to 16 billion parameters", "together:lora:16b", TRAINING),
    ("Price of one training, 17 to 69 billion", "together:lora:69b", TRAINING),
    ("Price of one training, 70 to 100 billion", "together:lora:100b", TRAINING),
)
HERE = {
    "Base model": "`model`",
    "Rank and alpha": "`lora_r`, `lora_alpha`",
    "Dropout": "`lora_dropout`",
    "Adapted": "`lora_trainable_modules`; always in all layers",
    "Passes over the data": "`n_epochs`; no limit in steps",
    "Learning rate": "`learning_rate`, `lr_scheduler_type` (linear or cosine), `warmup_ratio`",
    "Examples in a step": "`batch_size`, within the model's limits",
    "Longest example": "`max_seq_length`, within the model's limits",
    "Loss": "`train_on_inputs=False`",
    "Seed": "`random_seed`",
}
DIFFERENCES = (
    "Together packs examples into rows, so that it takes fewer and larger steps than were measured.",
    "In a conversation of several turns every answer is learnt, not the last alone.",
    "The last state becomes the tuned model. The validation loss is billed too: validation tokens times passes.",
    "A constant learning rate is not offered; linear takes its place.",
    "Not every open model can be tuned: `tune.py` asks for the model's limits first, and ends where there are none.",
)


@dataclass(frozen=True)
class Together:
    """`tune.py`, with the together client."""

    title: str = "Together"
    sentence: str = (
        "A LoRA job on an open model at Together; its model answers on an endpoint that is paid by the minute."
    )

    def files(self, recipe: Recipe, data: TrainingData) -> Mapping[str, str]:
        """The program and the data."""
        made = hosted.files(
            recipe,
            data,
            title=self.title,
            package="together",
            script=_script(recipe),
            base=_base(recipe),
            tuned=recipe.base if _id(recipe) else UNKNOWN,
            stages=self.stages(recipe),
            figures=(
                *of_tokens(data, recipe.options.epochs, RATES, recipe.options.max_length),
                hosting("together:h100"),
            ),
            here=HERE,
            differences=DIFFERENCES,
        )
        plain = data_files(data, hosted.plain_lines)
        return {**made, **plain, "serve.md": hosted.serving(recipe, data, "ask_together.md.j2")}

    def stages(self, recipe: Recipe) -> tuple[Stage, ...]:
        """Install, start, watch."""
        model = "" if recipe.loaded_as != PLACEHOLDER else " --model ORG/NAME"
        return (
            hosted.install(),
            hosted.keys(TOGETHER_API_KEY="..."),
            hosted.command(
                "Upload the data and start the job. Together's own estimate of the price is shown where it has one. "
                "This costs money.",
                f"start{model}",
            ),
            hosted.watch(),
        )


def _script(recipe: Recipe) -> str:
    schedule = "cosine" if recipe.options.schedule == "cosine" else "linear"
    return rendered("tune_together.py.j2", recipe, schedule=schedule, base=_id(recipe))


def _id(recipe: Recipe) -> str:
    return "" if recipe.loaded_as == PLACEHOLDER else recipe.loaded_as


def _base(recipe: Recipe) -> str:
    if _id(recipe):
        return (
            f"{escape(_id(recipe))}, if Together tunes it; `tune.py start --model ORG/NAME` takes another one, on "
            "which nothing was measured."
        )
    return (
        "Name one of Together's models with `--model ORG/NAME`; nothing was measured on it. The arm itself was planned "
        f"on {escape(recipe.base.name)}."
    )
