"""TRL's command line: one configuration file, no code. Fields as of TRL 1.16 (`trl sft --help`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune_advisor.recipes import local
from finetune_advisor.recipes.guide import Stage
from finetune_advisor.recipes.pins import LIBRARIES, requirements
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.recipes.rendering import yaml
from finetune_advisor.recipes.training_data import TrainingData, data_files, lines, turns
from finetune_advisor.recipes.trl import install
from finetune_advisor.records import TrainingPair

CONFIG = "config.yaml"
HERE = {
    "Base model": "`model_name_or_path`",
    "Rank and alpha": "`lora_r`, `lora_alpha`",
    "Dropout": "`lora_dropout`",
    "Adapted": "`lora_target_modules`; always in all layers",
    "Passes over the data": "`num_train_epochs`, `max_steps`",
    "Learning rate": "`learning_rate`, `lr_scheduler_type`, `warmup_steps`",
    "Examples in a step": "`per_device_train_batch_size`",
    "Longest example": "`max_length`",
    "Loss": "`completion_only_loss`",
    "Checkpoint": "`load_best_model_at_end`",
    "Seed": "`seed`",
    "Passages in the prompts": "in the data",
}


@dataclass(frozen=True)
class TrlCli:
    """`trl sft --config config.yaml`."""

    title: str = "TRL's command line"
    sentence: str = "The same library as above without a program to maintain: `trl sft` and one configuration file."

    def files(self, recipe: Recipe, data: TrainingData) -> Mapping[str, str]:
        """The configuration and the data as prompts and completions."""
        readme = local.guide(
            recipe,
            data,
            "the command line of TRL",
            f"`model_name_or_path` in `{CONFIG}`",
            stages=self.stages(recipe),
            here=HERE,
            contents={CONFIG: "the training"},
            differences=(
                local.CUT,
                "Without a GPU, or on one without bfloat16 (older than Ampere), set `bf16: false`.",
            ),
        )
        return {
            **data_files(data, prompt_lines),
            "README.md": readme,
            "serve.md": local.serving(recipe, data),
            CONFIG: yaml(config(recipe, data)),
            "requirements.txt": requirements(recipe, *LIBRARIES),
        }

    def stages(self, recipe: Recipe) -> tuple[Stage, ...]:
        """Install, train."""
        train = Stage(
            words="Train. On several GPUs it takes `--num_processes` too. An interrupted training goes on with "
            "`--resume_from_checkpoint adapter/checkpoint-N`.",
            commands=(f".venv/bin/trl sft --config {CONFIG}",),
        )
        return (install(recipe), *local.fill_in(recipe, f"`{CONFIG}`"), train)


def config(recipe: Recipe, data: TrainingData) -> Mapping[str, Any]:
    """The configuration."""
    options, validated = recipe.options, bool(data.validation)
    return {
        "model_name_or_path": recipe.loaded_as,
        "dataset_name": "data",
        "dataset_train_split": "train",
        **({"dataset_test_split": "validation"} if validated else {}),
        "output_dir": "adapter",
        "use_peft": True,
        "lora_r": options.rank,
        "lora_alpha": options.alpha,
        "lora_dropout": options.dropout,
        "lora_target_modules": local.targets(options.targets),
        "num_train_epochs": options.epochs,
        **local.limited(recipe),
        "per_device_train_batch_size": options.batch_size,
        "per_device_eval_batch_size": options.batch_size,
        "gradient_accumulation_steps": 1,
        "learning_rate": options.learning_rate,
        "lr_scheduler_type": local.schedule(options.schedule),
        "warmup_steps": options.warmup,
        "max_length": options.max_length,
        "completion_only_loss": True,
        "train_sampling_strategy": "group_by_length",
        "bf16": True,
        **local.evaluation(data),
        "logging_steps": 0.05,
        "report_to": "none",
        "seed": options.seed,
    }


def prompt_lines(pairs: Sequence[TrainingPair]) -> str:
    """Pairs as JSONL, the answer apart from the prompt."""
    whole = (turns(pair) for pair in pairs)
    return lines({"prompt": messages[:-1], "completion": messages[-1:]} for messages in whole)
