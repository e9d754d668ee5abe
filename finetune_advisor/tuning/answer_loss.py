"""TRL's SFTTrainer with batches padded on the left and the vocabulary projected for answers only.

TRL's own loss projects every position onto the vocabulary on the CPU, prompts included, and so spends up to half
of a step on tokens that carry no loss. Padded on the left, all answers of a batch end at the same place, and the
model's own `logits_to_keep` leaves the prompts out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune_advisor.errors import require
from finetune_advisor.models.generation import accepted, last_positions, left_padded
from finetune_advisor.models.hardware import Module, Tensor
from finetune_advisor.tuning.pairs import NO_LOSS, Row

KEEP_ACTIVATIONS_UP_TO = 1024
"""Tokens of a batch; for a longer one the CPU computes activations again, as CUDA always does, to save memory."""


def trainer_class() -> Any:
    """The trainer, a subclass of TRL's; made here because TRL is imported late and has no types."""
    base = require("trl", extra="local").SFTTrainer
    members = {
        "compute_loss": _compute_loss,
        "create_model_card": _no_model_card,
        "_load_from_checkpoint": _load_adapter,
    }
    return type("AnswerLossTrainer", (base,), members)


def padded(features: Sequence[Row]) -> dict[str, Tensor]:
    """A dataset row, which is a whole batch, as tensors padded on the left."""
    torch = require("torch", extra="local")
    (row,) = features
    ids, mask = left_padded(row["input_ids"])
    longest = ids.shape[1]
    labels = torch.tensor([[NO_LOSS] * (longest - len(one)) + list(one) for one in row["labels"]])
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    return {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "labels": labels}


def answer_loss(model: Module, inputs: Mapping[str, Tensor], tokens: Tensor | None) -> Tensor:
    """Mean negative log-likelihood of the answers' tokens.

    Args:
        model: The model with the adapter.
        inputs: What `padded` gives.
        tokens: How many tokens to divide by; those of the batch where None.
    """
    labels = inputs["labels"]
    first = int((labels != NO_LOSS).any(dim=0).nonzero()[0])
    keep = labels.shape[1] - first + 1
    takes = accepted(model.get_base_model())
    wanted = {**inputs, "logits_to_keep": last_positions(labels, keep)}
    given = {name: value for name, value in wanted.items() if name in takes and name != "labels"}
    logits = model(**given, use_cache=False).logits[:, -keep:-1]
    loss = require("torch", extra="local").nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), labels[:, first:].flatten(), ignore_index=NO_LOSS, reduction="sum"
    )
    return loss / ((labels != NO_LOSS).sum() if tokens is None else tokens)


def _compute_loss(
    trainer: Any,
    model: Module,
    inputs: Mapping[str, Tensor],
    return_outputs: bool = False,
    num_items_in_batch: Tensor | None = None,
) -> Tensor:
    plain = trainer.accelerator.unwrap_model(model)
    if trainer.args.use_cpu:
        recompute_activations(plain, inputs["input_ids"].numel() > KEEP_ACTIVATIONS_UP_TO)
    return answer_loss(plain, inputs, num_items_in_batch)


def recompute_activations(model: Module, wanted: bool) -> None:
    """Switch gradient checkpointing on or off, for this batch alone."""
    base = model.get_base_model()
    if wanted and not base.is_activation_checkpointing:
        base.activation_checkpointing_enable({"use_reentrant": False})
        # Gradients of the embeddings would pull the backward pass through all the layers that are not trained.
        base.disable_input_require_grads()
    elif base.is_activation_checkpointing and not wanted:
        base.activation_checkpointing_disable()


def _no_model_card(trainer: Any, *args: object, **kwargs: object) -> None:
    """A model card for each checkpoint is of no use here."""


def _load_adapter(trainer: Any, resume_from_checkpoint: str, model: Module | None = None) -> None:
    """Load a checkpoint in the adapter's own number format; the base class would make it float32 and slow."""
    state = require("safetensors.torch", extra="local").load_file(
        Path(resume_from_checkpoint) / "adapter_model.safetensors"
    )
    require("peft", extra="local").set_peft_model_state_dict(trainer.model, state)
