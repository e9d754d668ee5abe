"""AutoTrain Advanced, in an environment of its own. Keys as read by its parser, version 0.8.36."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune_advisor.recipes import local
from finetune_advisor.recipes.guide import Stage
from finetune_advisor.recipes.pins import requirements
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.recipes.rendering import yaml
from finetune_advisor.recipes.training_data import TrainingData, data_files

CONFIG = "config.yml"
UNMAINTAINED = "It has been unmaintained since January 2025."
HERE = {
    "Base model": "`base_model`",
    "Rank and alpha": "`lora_r`, `lora_alpha`",
    "Dropout": "`lora_dropout`",
    "Adapted": "`target_modules`; always in all layers",
    "Passes over the data": "`epochs`; no limit in steps",
    "Learning rate": "`lr`, `scheduler`, `warmup_ratio`",
    "Examples in a step": "`batch_size`; a step packs several examples into each row",
    "Longest example": "`block_size`, the length of a packed row",
    "Seed": "`seed`",
    "Passages in the prompts": "in the data",
}
DIFFERENCES = (
    f"{UNMAINTAINED} Its libraries are as old, so that models and tokenizers of 2026 may not load: prefer TRL.",
    "The loss counts the whole conversation, prompts too: AutoTrain cannot count the answers only.",
    "It packs examples into rows, so that it takes fewer and larger steps than were measured.",
    "It reads no validation file from a folder: the last state is kept, whatever the validation loss.",
    "Without a GPU, or on one without bfloat16, set `mixed_precision: null`.",
    "A model that was saved with transformers 5 needs its `tokenizer_class` set to `PreTrainedTokenizerFast`, its chat "
    "template inside `tokenizer_config.json`, and the `rope_parameters` of its `config.json` written as `rope_theta` "
    "and `rope_scaling`: without them AutoTrain reads positions wrongly and says nothing.",
)


@dataclass(frozen=True)
class AutoTrain:
    """`autotrain --config config.yml`."""

    title: str = "Hugging Face AutoTrain"
    sentence: str = f"A configuration file for AutoTrain Advanced. {UNMAINTAINED} Prefer TRL."

    def files(self, recipe: Recipe, data: TrainingData) -> Mapping[str, str]:
        """The configuration and the chats."""
        readme = local.guide(
            recipe,
            data,
            f"AutoTrain Advanced 0.8.36. {UNMAINTAINED}".removesuffix("."),
            f"`base_model` in `{CONFIG}`",
            stages=self.stages(recipe),
            here=HERE,
            contents={CONFIG: "the training"},
            differences=DIFFERENCES,
        )
        return {
            **data_files(data),
            "README.md": readme,
            "serve.md": local.serving(recipe, data),
            CONFIG: yaml(config(recipe)),
            "requirements.txt": requirements(recipe, "autotrain-advanced"),
        }

    def stages(self, recipe: Recipe) -> tuple[Stage, ...]:
        """Install, train, and see whether it did."""
        install = Stage(
            words="Make an environment of its own with Python 3.10 or 3.11: its pins cannot share one with today's "
            "libraries.",
            commands=(
                "python3.11 -m venv .venv-autotrain",
                ".venv-autotrain/bin/python -m pip install -r requirements.txt",
                "# where torchvision does not fit torch:",
                ".venv-autotrain/bin/python -m pip uninstall -y timm torchvision",
            ),
        )
        train = Stage(
            words="Train. AutoTrain calls `accelerate`, which it has to find on the path.",
            commands=(f'PATH="$PWD/.venv-autotrain/bin:$PATH" autotrain --config {CONFIG}',),
        )
        check = Stage(
            words="See whether it did: AutoTrain ends without an error even where the training failed.",
            commands=("ls -l adapter/adapter_model.safetensors",),
        )
        return (install, *local.fill_in(recipe, f"`{CONFIG}`"), train, check)


def config(recipe: Recipe) -> Mapping[str, Any]:
    """The configuration, with every key that the parser asks for."""
    options = recipe.options
    return {
        "task": "llm-sft",
        "base_model": recipe.loaded_as,
        "project_name": "adapter",
        "log": "none",
        "backend": "local",
        "data": {
            "path": "data",
            "train_split": "train",
            "valid_split": None,
            "chat_template": "tokenizer",
            "column_mapping": {"text_column": "messages"},
        },
        "params": {
            "block_size": options.max_length,
            "model_max_length": options.max_length,
            "padding": "right",
            "epochs": options.epochs,
            "batch_size": options.batch_size,
            "gradient_accumulation": 1,
            "lr": options.learning_rate,
            "scheduler": local.schedule(options.schedule),
            "warmup_ratio": options.warmup,
            "optimizer": "adamw_torch",
            "weight_decay": 0.0,
            "max_grad_norm": 1.0,
            "seed": options.seed,
            "mixed_precision": "bf16",
            "peft": True,
            "quantization": None,
            "target_modules": ",".join(local.targets(options.targets)),
            "lora_r": options.rank,
            "lora_alpha": options.alpha,
            "lora_dropout": options.dropout,
            "merge_adapter": False,
            "eval_strategy": "epoch",
            "unsloth": False,
        },
    }
