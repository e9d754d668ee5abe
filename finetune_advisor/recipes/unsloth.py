"""Unsloth: a program with its fast kernels. Calls as of unsloth 2026.10.9."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from finetune_advisor.recipes import local
from finetune_advisor.recipes.guide import Stage
from finetune_advisor.recipes.pins import requirements
from finetune_advisor.recipes.recipe import PLACEHOLDER, Recipe
from finetune_advisor.recipes.rendering import rendered
from finetune_advisor.recipes.training_data import TrainingData, data_files

HERE = {
    "Base model": "`MODEL`",
    "Rank and alpha": "`RANK`, `ALPHA`",
    "Dropout": "`DROPOUT`",
    "Adapted": "`TARGETS`, `TOP_LAYERS`",
    "Passes over the data": "`EPOCHS`, `MAX_STEPS`",
    "Learning rate": "`LEARNING_RATE`, `SCHEDULE`, `WARMUP_STEPS`",
    "Examples in a step": "`BATCH_SIZE`",
    "Longest example": "`MAX_LENGTH`",
    "Loss": "`labels`",
    "Checkpoint": "`load_best_model_at_end`",
    "Seed": "`SEED`",
    "Passages in the prompts": "in the data",
}


@dataclass(frozen=True)
class Unsloth:
    """A program of one file."""

    title: str = "Unsloth"
    sentence: str = "A short program with Unsloth's faster and smaller kernels, for one NVIDIA GPU."

    def files(self, recipe: Recipe, data: TrainingData) -> Mapping[str, str]:
        """The program and the chats."""
        readme = local.guide(
            recipe,
            data,
            "Unsloth",
            f"`--model {PLACEHOLDER}`",
            stages=self.stages(recipe),
            here=HERE,
            contents={"train.py": "the training"},
            differences=("It needs an NVIDIA GPU, and a model with a chat template of its own.",),
        )
        return {
            **data_files(data),
            "README.md": readme,
            "serve.md": local.serving(recipe, data),
            "train.py": _script(recipe, data),
            "requirements.txt": requirements(recipe, "unsloth"),
        }

    def stages(self, recipe: Recipe) -> tuple[Stage, ...]:
        """Install, train."""
        install = Stage(
            words="Make an environment of its own.",
            commands=("python3 -m venv .venv", f"{local.PYTHON} -m pip install -r requirements.txt"),
        )
        model = f" --model {PLACEHOLDER}" if recipe.loaded_as == PLACEHOLDER else ""
        train = Stage(
            words="Train. An interrupted training goes on with `--resume`.",
            commands=(f"{local.PYTHON} train.py{model}",),
        )
        return (install, train)


def _script(recipe: Recipe, data: TrainingData) -> str:
    options = recipe.options
    every = options.targets == "all-linear"
    return rendered(
        "train_unsloth.py.j2",
        recipe,
        base="" if recipe.loaded_as == PLACEHOLDER else recipe.loaded_as,
        schedule=local.schedule(options.schedule),
        targets=[] if every else local.targets(options.targets),
        warmup_steps=local.warmup_steps(recipe, data),
    )
