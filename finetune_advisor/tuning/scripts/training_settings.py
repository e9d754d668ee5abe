# pyright: basic
"""What can be set about a training, read from settings.json and checked before anything is loaded."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NoReturn

METHODS = ("lora", "qlora", "dora", "full")
TASKS = ("sft", "dpo")
SCHEDULERS = ("linear", "cosine", "constant")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What settings.json may say; only the model has to be there."""

    model: str  # folder or Hugging Face id
    method: str = "lora"
    task: str = "sft"
    rank: int = 16
    alpha: int = 32  # the update is scaled by alpha / rank
    dropout: float = 0.0
    targets: str = "all-linear"  # or last parts of the modules' names, separated by commas
    top_layers: int = 0  # adapt so many of the last layers only; 0 for all
    learning_rate: float = 2e-4
    epochs: int = 3
    max_steps: int = 0  # 0 for no limit
    batch_size: int = 8  # examples in memory at once, on each GPU
    accumulation: int = 1  # so many batches make a step
    max_length: int = 2048  # tokens of an example, or of a row of packed examples
    packing: bool = False  # put several examples into one row, each by itself
    patience: int = 0  # stop after so many evaluations without a better one; 0 for never
    metric: str = "loss"  # or "accuracy": decides which checkpoint is best
    evaluations: int = 0  # evaluations and checkpoints in all, at least 2; 0 for one after each epoch
    validation_limit: int = 0  # the most validation examples to look at; 0 for all
    scheduler: str = "linear"
    warmup: float = 0.03  # share of the steps in which the learning rate rises
    max_grad_norm: float = 1.0
    beta: float = 0.1  # DPO: how much to stay near the base model
    seed: int = 0


def refuse(sentence: str) -> NoReturn:
    """End with one sentence that says what is wrong."""
    sys.exit(f"error: {sentence}")


def read_settings(folder: Path, model: str | None) -> Settings:
    """The settings, with the model of the command line where it names one."""
    file = folder / "settings.json"
    given = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    given |= {"model": model} if model else {}
    unknown = sorted(set(given) - {field.name for field in fields(Settings)})
    if unknown:
        refuse(f"settings.json has no setting {unknown[0]!r}; {Path(__file__).name} lists them.")
    if not given.get("model"):
        refuse("no model is named; add --model PATH_OR_ID, or put it into settings.json.")
    check_types(given)
    settings = Settings(**given)
    check(settings)
    return settings


def check_types(given: dict) -> None:
    """Refuse a value of another type than the setting's."""
    kinds = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}
    for field in fields(Settings):
        value = given.get(field.name)
        if field.name in given and (type(value) not in kinds[str(field.type)]):
            refuse(f"{field.name} is {value!r} in settings.json; it has to be of type {field.type}.")


def check(settings: Settings) -> None:
    """Refuse what cannot be trained here."""
    known = {"method": METHODS, "task": TASKS, "scheduler": SCHEDULERS, "metric": ("loss", "accuracy")}
    for name, values in known.items():
        if getattr(settings, name) not in values:
            refuse(f"{name} is {getattr(settings, name)!r}; it can be {', '.join(values)}.")
    if settings.packing and settings.task == "dpo":
        refuse("DPO cannot pack examples; set packing to false.")
    if settings.method == "qlora":
        check_quantised()


def check_quantised() -> None:
    """4-bit weights need a CUDA GPU and bitsandbytes."""
    import torch

    if not torch.cuda.is_available():
        refuse("method qlora keeps the model in 4 bits, which needs a CUDA GPU; this machine has none. Use lora.")
    if importlib.util.find_spec("bitsandbytes") is None:
        refuse("method qlora needs bitsandbytes: pip install bitsandbytes")
