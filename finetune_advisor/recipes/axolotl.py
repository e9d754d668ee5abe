"""Axolotl: one configuration file. Fields as of axolotl 0.21 (`axolotl.utils.schemas.config.AxolotlInputConfig`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune_advisor.recipes import local
from finetune_advisor.recipes.guide import Stage
from finetune_advisor.recipes.pins import requirements
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.recipes.rendering import yaml
from finetune_advisor.recipes.training_data import TrainingData, data_files, lines, turns
from finetune_advisor.records import TrainingPair

CONFIG = "axolotl.yaml"
HERE = {
    "Base model": "`base_model`",
    "Rank and alpha": "`lora_r`, `lora_alpha`",
    "Dropout": "`lora_dropout`",
    "Adapted": "`lora_target_linear` or `lora_target_modules`; in all layers, unless you list the numbers of those "
    "wanted in `peft_layers_to_transform`",
    "Passes over the data": "`num_epochs`, `max_steps`",
    "Learning rate": "`learning_rate`, `lr_scheduler`, `warmup_steps`",
    "Examples in a step": "`micro_batch_size`",
    "Longest example": "`sequence_len`, `excess_length_strategy`",
    "Loss": "`message_field_training` marks the answers in the data",
    "Checkpoint": "`load_best_model_at_end`",
    "Seed": "`seed`",
    "Passages in the prompts": "in the data",
}


@dataclass(frozen=True)
class Axolotl:
    """`axolotl train axolotl.yaml`."""

    title: str = "Axolotl"
    sentence: str = "A configuration file for axolotl, which is made for GPUs, also for several machines of them."

    def files(self, recipe: Recipe, data: TrainingData) -> Mapping[str, str]:
        """The configuration and the chats, with a mark at what is learnt."""
        readme = local.guide(
            recipe,
            data,
            "axolotl",
            f"`base_model` in `{CONFIG}`",
            stages=self.stages(recipe),
            here=HERE,
            contents={CONFIG: "the training"},
            differences=("It needs an NVIDIA GPU and Python 3.12 or newer.",),
        )
        return {
            **data_files(data, marked_lines),
            "README.md": readme,
            "serve.md": local.serving(recipe, data),
            CONFIG: yaml(config(recipe, data)),
            "requirements.txt": requirements(recipe, "axolotl"),
        }

    def stages(self, recipe: Recipe) -> tuple[Stage, ...]:
        """Install, train."""
        install = Stage(
            words="Make an environment of its own with Python 3.12 or newer.",
            commands=("python3.12 -m venv .venv", f"{local.PYTHON} -m pip install -r requirements.txt"),
        )
        train = Stage(
            words="Train. An interrupted training goes on with `auto_resume_from_checkpoints: true`.",
            commands=(f".venv/bin/axolotl train {CONFIG}",),
        )
        return (install, *local.fill_in(recipe, f"`{CONFIG}`"), train)


def config(recipe: Recipe, data: TrainingData) -> Mapping[str, Any]:
    """The configuration."""
    options, validated = recipe.options, bool(data.validation)
    return {
        "base_model": recipe.loaded_as,
        "chat_template": "tokenizer_default",
        "datasets": [_dataset("train")],
        **({"test_datasets": [_dataset("validation")]} if validated else {}),
        "output_dir": "adapter",
        "adapter": "lora",
        "lora_r": options.rank,
        "lora_alpha": options.alpha,
        "lora_dropout": options.dropout,
        **_targets(options.targets),
        "sequence_len": options.max_length,
        "excess_length_strategy": "drop",
        "sample_packing": False,
        "group_by_length": True,
        "num_epochs": options.epochs,
        **local.limited(recipe),
        "micro_batch_size": options.batch_size,
        "gradient_accumulation_steps": 1,
        "learning_rate": options.learning_rate,
        "lr_scheduler": local.schedule(options.schedule),
        "warmup_steps": local.warmup_steps(recipe, data),
        "optimizer": "adamw_torch_fused",
        "bf16": "auto",
        "gradient_checkpointing": True,
        **local.evaluation(data),
        "logging_steps": 10,
        "seed": options.seed,
    }


def _targets(stated: str) -> Mapping[str, Any]:
    every = stated == "all-linear"
    return {"lora_target_linear": True} if every else {"lora_target_modules": local.targets(stated)}


def _dataset(part: str) -> dict[str, Any]:
    return {
        "path": f"data/{part}.jsonl",
        "ds_type": "json",
        "split": "train",
        "type": "chat_template",
        "field_messages": "messages",
        "message_field_training": "training",
    }


def marked_lines(pairs: Sequence[TrainingPair]) -> str:
    """Pairs as JSONL, each message marked whether it is learnt."""
    return lines({"messages": _marked(turns(pair))} for pair in pairs)


def _marked(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    last = len(messages) - 1
    return [{**message, "training": place == last} for place, message in enumerate(messages)]
