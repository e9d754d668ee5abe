"""Fireworks: LoRA on open models, without a machine of one's own. Calls as of fireworks-ai 1.2.30."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from finetune_advisor.recipes import hosted, local
from finetune_advisor.recipes.figures import hosting, of_tokens
from finetune_advisor.recipes.guide import Stage
from finetune_advisor.recipes.openai import TRAINING
from finetune_advisor.recipes.recipe import UNKNOWN, Recipe
from finetune_advisor.recipes.rendering import rendered
from finetune_advisor.recipes.training_data import TrainingData
from finetune_advisor.report.markdown import escape

RATES = (
    ("Price of one training, model of up to 16 billion parameters", "fireworks:lora:16b", TRAINING),
    ("Price of one training, 16 to 80 billion", "fireworks:lora:80b", TRAINING),
)
HERE = {
    "Base model": "`base_model`",
    "Rank and alpha": "`lora_rank`; alpha is the provider's own choice",
    "Passes over the data": "`epochs`; no limit in steps",
    "Learning rate": "`learning_rate`, `learning_rate_warmup_steps`; the schedule is the provider's own choice",
    "Examples in a step": "`batch_size_samples`",
    "Longest example": "`max_context_length`",
    "Loss": "`weight` in the data",
    "Checkpoint": "`early_stop`, where there are validation examples",
}
DIFFERENCES = (
    "Alpha, dropout, the adapted matrices, the schedule and the seed are the provider's own choice.",
    "The tuned model answers on a deployment of its own, which is paid by the second of its GPU: delete it when it is "
    "not needed.",
)
MODEL = "accounts/fireworks/models/NAME"


@dataclass(frozen=True)
class Fireworks:
    """`tune.py`, with the fireworks client."""

    title: str = "Fireworks"
    sentence: str = "A LoRA job on an open model at Fireworks; its model answers on a deployment paid by the second."

    def files(self, recipe: Recipe, data: TrainingData) -> Mapping[str, str]:
        """The program and the data."""
        made = hosted.files(
            recipe,
            data,
            title=self.title,
            package="fireworks-ai",
            script=rendered("tune_fireworks.py.j2", recipe, warmup_steps=local.warmup_steps(recipe, data)),
            base=(
                f"Name one of Fireworks' models with `--model {MODEL}`: its page in their library says whether it is "
                f"tunable. Nothing was measured on it. The arm itself was planned on {escape(recipe.base.name)}."
            ),
            tuned=UNKNOWN,
            stages=self.stages(recipe),
            figures=(
                *of_tokens(data, recipe.options.epochs, RATES, recipe.options.max_length),
                hosting("fireworks:h100"),
            ),
            here=HERE,
            differences=DIFFERENCES,
        )
        return {**made, "serve.md": hosted.serving(recipe, data, "ask_fireworks.md.j2")}

    def stages(self, recipe: Recipe) -> tuple[Stage, ...]:
        """Install, start, watch."""
        return (
            hosted.install(),
            hosted.keys(FIREWORKS_API_KEY="...", FIREWORKS_ACCOUNT_ID="..."),
            hosted.command("Upload the data and start the job. This costs money.", f"start --model {MODEL}"),
            hosted.watch(),
        )
