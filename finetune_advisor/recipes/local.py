"""What all recipes for a machine of one's own have in common, whatever trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finetune_advisor.recipes.figures import of_machine
from finetune_advisor.recipes.guide import Guide, Stage, readme
from finetune_advisor.recipes.pins import pinned
from finetune_advisor.recipes.recipe import PLACEHOLDER, Recipe
from finetune_advisor.recipes.rendering import rendered
from finetune_advisor.recipes.training_data import TrainingData
from finetune_advisor.report.markdown import escape

PYTHON = ".venv/bin/python"
SERVE = {"serve.md": "how to answer with the adapter: transformers, vLLM, Ollama"}
ADAPTER = "The adapter lies in `adapter/` then."
EXPECT = (
    "The time was measured with finetune-advisor's own trainer; this one takes another. The settings are carried over "
    "as far as this trainer has them, but nothing was measured with it: score its adapter before you compare."
)
CUT = "Examples that are longer than the longest are cut off, not left out: a cut answer teaches to break off."

VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM's --max-lora-rank takes (https://docs.vllm.ai/en/v0.22.1/api/vllm/config/lora/)."""


def guide(
    recipe: Recipe,
    data: TrainingData,
    title: str,
    where: str,
    *,
    stages: tuple[Stage, ...],
    here: Mapping[str, str],
    contents: Mapping[str, str],
    differences: tuple[str, ...],
) -> str:
    """The README for a trainer that leaves a peft adapter.

    Args:
        recipe: What is trained.
        data: What it learns.
        title: The trainer.
        where: Where the base model is named, in Markdown.
        stages: As in `Guide`, and so are the others.
        here: What it calls each setting.
        contents: Its own files.
        differences: What is not as in the measured training.
    """
    made = Guide(
        purpose=f"{purpose(recipe)}, with {title}.",
        base=base(recipe, where),
        result=ADAPTER,
        stages=stages,
        figures=of_machine(recipe, data),
        here=here,
        contents={**contents, "requirements.txt": "what to install", **SERVE},
        expect=EXPECT,
        differences=differences,
    )
    return readme(recipe, data, made)


def purpose(recipe: Recipe) -> str:
    """What the folder does."""
    return f"trains the arm **{escape(recipe.arm)}** again: a LoRA adapter on {escape(recipe.base.name)}"


def base(recipe: Recipe, where: str) -> str:
    """Where the base model comes from, and where another one is named."""
    name = escape(recipe.base.name)
    if recipe.embedded:
        return (
            f"{name} comes from the Hugging Face hub, as it was published. Measured was the same model in a quantised "
            "form, so scores may differ a little."
        )
    if recipe.base.id:
        return f"{name} comes from the Hugging Face hub. {where} takes another one, on which nothing was measured."
    pretended = "The case only pretends to have a model: take the one that you want to tune."
    elsewhere = f"Measured was {name}, out of a folder on the machine that measured."
    if recipe.section.provider in ("openai", "azure", "compatible"):
        elsewhere = f"Measured was {name}, whose weights are not to be had here: take an open model."
    give = f"Give the folder or the Hugging Face id of the model: {where}."
    return f"{give} {pretended if recipe.simulated else elsewhere}"


def fill_in(recipe: Recipe, where: str) -> tuple[Stage, ...]:
    """The step of naming the model, where the case has none that others can load."""
    if recipe.loaded_as != PLACEHOLDER:
        return ()
    words = f"Name the model: put its folder or its Hugging Face id in the place of `{PLACEHOLDER}` in {where}."
    return (Stage(words=words, commands=()),)


def serving(recipe: Recipe, data: TrainingData, *, loaded: str = "", tried: bool = False) -> str:
    """How to answer with the adapter.

    Args:
        recipe: What was trained.
        data: What it learnt.
        loaded: What to give as the base model.
        tried: Whether the Python parts run in the environment that trains.
    """
    return rendered(
        "serve.md.j2",
        recipe,
        data=data,
        base=loaded or recipe.loaded_as,
        vllm_rank=_vllm_rank(recipe.options.rank),
        environment=() if tried else [pinned(name, recipe) for name in ("torch", "transformers", "peft")],
    )


def schedule(name: str) -> str:
    """A schedule as transformers calls it."""
    return f"{name}_with_warmup" if name == "constant" else name


def targets(stated: str) -> list[str]:
    """The adapted modules by name."""
    return [part.strip() for part in stated.split(",")]


def warmup_steps(recipe: Recipe, data: TrainingData) -> int:
    """The warm-up in steps, for trainers whose versions differ in how they take a share."""
    return round(recipe.options.warmup * recipe.options.steps(max(1, len(data.train))))


def limited(recipe: Recipe) -> Mapping[str, int]:
    """`max_steps`, where the training was stopped after so many."""
    return {"max_steps": recipe.options.max_steps} if recipe.options.max_steps else {}


def evaluation(data: TrainingData) -> Mapping[str, Any]:
    """What transformers' trainer takes to keep the checkpoint with the lowest validation loss."""
    if not data.validation:
        return {"eval_strategy": "no", "save_strategy": "epoch", "save_total_limit": 2}
    return {
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "save_total_limit": 2,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
    }


def _vllm_rank(rank: int) -> int:
    """The smallest --max-lora-rank that holds the adapter."""
    return next((allowed for allowed in VLLM_RANKS if allowed >= rank), VLLM_RANKS[-1])
