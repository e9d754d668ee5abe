"""LLaMA-Factory: a configuration and a register of data. Fields as of 0.9.5 (`llamafactory.hparams`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune_advisor.recipes import local
from finetune_advisor.recipes.guide import Stage
from finetune_advisor.recipes.pins import requirements
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.recipes.rendering import yaml
from finetune_advisor.recipes.training_data import TrainingData, data_files

CONFIG = "llamafactory.yaml"
REGISTER = "data/dataset_info.json"
HERE = {
    "Base model": "`model_name_or_path`",
    "Rank and alpha": "`lora_rank`, `lora_alpha`",
    "Dropout": "`lora_dropout`",
    "Adapted": "`lora_target`; always in all layers",
    "Passes over the data": "`num_train_epochs`, `max_steps`",
    "Learning rate": "`learning_rate`, `lr_scheduler_type`, `warmup_steps`",
    "Examples in a step": "`per_device_train_batch_size`",
    "Longest example": "`cutoff_len`",
    "Loss": "`mask_history`",
    "Checkpoint": "`load_best_model_at_end`",
    "Seed": "`seed`",
    "Passages in the prompts": "in the data",
}
DIFFERENCES = (
    local.CUT,
    "The prompt's form is read from the model's own chat template. Where LLaMA-Factory cannot read it, name one of its "
    "templates: `template:` in the configuration.",
    "It skips conversations in which user and assistant do not take turns.",
    "On a GPU without bfloat16 (older than Ampere) set `bf16: false` and `fp16: true`.",
)


@dataclass(frozen=True)
class LlamaFactory:
    """`llamafactory-cli train llamafactory.yaml`."""

    title: str = "LLaMA-Factory"
    sentence: str = "A configuration file for LLaMA-Factory, which also has a page to train in the browser."

    def files(self, recipe: Recipe, data: TrainingData) -> Mapping[str, str]:
        """The configuration, the register of the data, and the chats."""
        readme = local.guide(
            recipe,
            data,
            "LLaMA-Factory",
            f"`model_name_or_path` in `{CONFIG}`",
            stages=self.stages(recipe),
            here=HERE,
            contents={CONFIG: "the training", REGISTER: "what form the data has"},
            differences=DIFFERENCES,
        )
        return {
            **data_files(data),
            REGISTER: json.dumps(register(data), indent=2) + "\n",
            "README.md": readme,
            "serve.md": local.serving(recipe, data),
            CONFIG: yaml(config(recipe, data)),
            "requirements.txt": requirements(recipe, "llamafactory"),
        }

    def stages(self, recipe: Recipe) -> tuple[Stage, ...]:
        """Install, train."""
        install = Stage(
            words="Make an environment of its own with Python 3.11 or newer.",
            commands=("python3 -m venv .venv", f"{local.PYTHON} -m pip install -r requirements.txt"),
        )
        train = Stage(
            words="Train. An interrupted training goes on with `resume_from_checkpoint: adapter/checkpoint-N`.",
            commands=(f".venv/bin/llamafactory-cli train {CONFIG}",),
        )
        return (install, *local.fill_in(recipe, f"`{CONFIG}`"), train)


def config(recipe: Recipe, data: TrainingData) -> Mapping[str, Any]:
    """The configuration."""
    options, validated = recipe.options, bool(data.validation)
    every = options.targets == "all-linear"
    return {
        "model_name_or_path": recipe.loaded_as,
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": options.rank,
        "lora_alpha": options.alpha,
        "lora_dropout": options.dropout,
        "lora_target": "all" if every else ",".join(local.targets(options.targets)),
        "dataset_dir": "data",
        "dataset": "train",
        **({"eval_dataset": "validation"} if validated else {}),
        "cutoff_len": options.max_length,
        "mask_history": True,
        "output_dir": "adapter",
        "num_train_epochs": options.epochs,
        **local.limited(recipe),
        "per_device_train_batch_size": options.batch_size,
        "per_device_eval_batch_size": options.batch_size,
        "gradient_accumulation_steps": 1,
        "learning_rate": options.learning_rate,
        "lr_scheduler_type": local.schedule(options.schedule),
        "warmup_steps": local.warmup_steps(recipe, data),
        "bf16": True,
        **local.evaluation(data),
        "logging_steps": 10,
        "report_to": "none",
        "seed": options.seed,
    }


def register(data: TrainingData) -> Mapping[str, Any]:
    """What LLaMA-Factory has to know of the files.

    Its form "openai" would put "detailed thinking off" into every system message (0.9.5), hence "sharegpt".
    """
    parts = ("train", "validation") if data.validation else ("train",)
    return {part: _registered(part) for part in parts}


def _registered(part: str) -> Mapping[str, Any]:
    return {
        "file_name": f"{part}.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "observation_tag": "tool",
            "system_tag": "system",
        },
    }
