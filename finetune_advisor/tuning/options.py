"""What can be set about a LoRA training."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from finetune_advisor.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class LoraOptions:
    """Low-rank adaptation (Hu et al., 2021, arXiv:2106.09685).

    Args:
        rank: Rank of the update of each weight matrix.
        alpha: The update is scaled by alpha / rank.
        dropout: Dropout before the update.
        targets: Last parts of the names of the modules to adapt, separated by commas; "all-linear" for every
            linear layer but the output.
        top_layers: Adapt this many of the last layers only, which is faster; 0 for all.
        learning_rate: Peak learning rate of AdamW.
        epochs: Passes over the data.
        batch_size: Examples in a step.
        max_length: In tokens; longer examples are left out.
        warmup: Share of the steps in which the learning rate rises.
        schedule: How it falls after that.
        seed: Decides the adapter's first values and the order of the data.
        evaluations: How often the validation loss is taken, 0 for once an epoch; the best checkpoint is kept.
        validation_limit: The most validation pairs that the loss is taken on.
        max_steps: Stop after this many steps; 0 for no limit.
        dtype: As for a local model.
        device: As for a local model.
    """

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0
    targets: str = "all-linear"
    top_layers: int = 0
    learning_rate: float = 1e-3
    epochs: int = 3
    batch_size: int = 8
    max_length: int = 1024
    warmup: float = 0.05
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    seed: int = 0
    evaluations: int = 0
    validation_limit: int = 48
    max_steps: int = 0
    dtype: str = "auto"
    device: str = "auto"

    def __post_init__(self) -> None:
        check_types(self)
        least_one = ("rank", "alpha", "epochs", "batch_size", "max_length")
        wrong = [name for name in least_one if getattr(self, name) < 1]
        if wrong:
            raise BadInput(f"{wrong[0]} has to be at least 1, not {getattr(self, wrong[0])}.")
        if self.learning_rate <= 0:
            raise BadInput(f"learning_rate has to be above 0, not {self.learning_rate}.")
        if self.schedule not in ("linear", "cosine", "constant"):
            raise BadInput(f"There is no schedule {self.schedule!r}.", hint="Known: linear, cosine, constant.")

    def steps(self, examples: int) -> int:
        """Optimiser steps for so many examples."""
        steps = self.epochs * -(-examples // self.batch_size)
        return min(steps, self.max_steps) if self.max_steps else steps

    def evaluated_every(self, examples: int) -> int:
        """Optimiser steps from one evaluation to the next; there is one at the end too."""
        return -(-self.steps(examples) // (self.evaluations or self.epochs))


def check_types(options: Any) -> None:
    """Settings come from files, and a recipe writes them into a program.

    Args:
        options: A dataclass whose fields are whole numbers, numbers or texts.

    Raises:
        BadInput: A value is of another type than its field.
    """
    kinds = {"int": (int,), "float": (int, float), "str": (str,)}
    for each in fields(options):
        value = getattr(options, each.name)
        if isinstance(value, bool) or not isinstance(value, kinds.get(str(each.type), (str,))):
            raise BadInput(f"{each.name} cannot be {value!r}.", hint=f"It has to be of type {each.type}.")
