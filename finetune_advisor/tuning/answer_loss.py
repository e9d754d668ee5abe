"""TRL's SFTTrainer with batches padded on the left and the vocabulary projected for answers only.

TRL's own loss projects every position onto the vocabulary on the CPU, prompts included, and so spends up to half
of a step on tokens that carry no loss. Padded on the left, all answers of a batch end at the same place, and the
model's own `logits_to_keep` leaves the prompts out. What all prompts of a batch begin with, such as a system message,
is computed once for the batch on the CPU, where each token costs.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune_advisor.errors import require
from finetune_advisor.models.generation import keeps_all, left_padded
from finetune_advisor.models.hardware import Cache, Module, Tensor
from finetune_advisor.models.prefixes import alike
from finetune_advisor.tuning.lower import Tokens, drops_out
from finetune_advisor.tuning.pairs import NO_LOSS, Row

KEEP_ACTIVATIONS_UP_TO = 1024
"""Tokens of a batch; for a longer one the CPU computes activations again, as CUDA always does, to save memory."""

SHARED_FROM = 64
"""Tokens that sharing has to save in a batch: a second pass through the layers costs about as much as 50."""

CACHED = frozenset({"past_key_values", "position_ids"})
"""Arguments of a model that can go on after a beginning."""


def trainer_class() -> Any:
    """The trainer, a subclass of TRL's; made here because TRL is imported late and has no types."""
    base = require("trl", extra="local").SFTTrainer
    members = {
        "compute_loss": _compute_loss,
        "create_model_card": _no_model_card,
        "_load_from_checkpoint": _load_adapter,
    }
    return type("AnswerLossTrainer", (base,), members)


def padded(features: Sequence[Row], states: Mapping[Tokens, Tensor] | None = None) -> dict[str, Tensor]:
    """A dataset row, which is a whole batch, as tensors padded on the left.

    Args:
        features: The row.
        states: What the layers below the trained ones make of each example, where they have read it.
    """
    torch = require("torch", extra="local")
    (row,) = features
    ids, mask = left_padded(row["input_ids"])
    longest = ids.shape[1]
    labels = torch.tensor([[NO_LOSS] * (longest - len(one)) + list(one) for one in row["labels"]])
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    batch = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "labels": labels}
    if states:
        read = [states[tuple(one)] for one in row["input_ids"]]
        filled = [torch.nn.functional.pad(one, (0, 0, longest - len(one), 0)) for one in read]
        batch["inputs_embeds"] = torch.stack(filled)
    return batch


def answer_loss(model: Module, inputs: Mapping[str, Tensor], tokens: Tensor | None) -> Tensor:
    """Mean negative log-likelihood of the answers' tokens.

    Args:
        model: The model with the adapter.
        inputs: What `padded` gives.
        tokens: How many tokens to divide by; those of the batch where None.
    """
    torch = require("torch", extra="local")
    inputs = _shared(model.get_base_model(), inputs)
    labels = inputs["labels"]
    first = int((labels != NO_LOSS).any(dim=0).nonzero()[0])
    # Given a number instead of places, transformers takes a slice that is not contiguous, for which the CPU's bfloat16
    # product with the vocabulary is about ten times slower.
    ahead = torch.arange(first - 1, labels.shape[1] - 1, device=labels.device)
    read = {"input_ids"} if "inputs_embeds" in inputs else set[str]()
    taken = accepted(model.get_base_model()) - {"labels", *read}
    given = {name: value for name, value in {**inputs, "logits_to_keep": ahead}.items() if name in taken}
    logits = model(**given, use_cache="past_key_values" in given).logits
    logits = logits if "logits_to_keep" in given else logits[:, ahead]
    loss = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), labels[:, first:].flatten(), ignore_index=NO_LOSS, reduction="sum"
    )
    return loss / ((labels != NO_LOSS).sum() if tokens is None else tokens)


def accepted(model: Module) -> frozenset[str]:
    """Names of the arguments that a model's forward pass takes."""
    return frozenset(inspect.signature(model.forward).parameters)


def _shared(base: Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The batch without what all its prompts begin with, which is computed once into `past_key_values`."""
    rows, longest = inputs["input_ids"].shape
    shared = _common_beginning(inputs) if _can_share(base) else 0
    if shared * (rows - 1) < SHARED_FROM:
        return inputs
    torch = require("torch", extra="local")
    gaps = longest - inputs["attention_mask"].sum(dim=1, keepdim=True)
    # In a padded row a part of the beginning stands further to the right, and is hidden there.
    own = (torch.arange(shared, longest) >= gaps + shared).to(inputs["attention_mask"].dtype)
    whole = int(gaps.argmin())
    read = next(name for name in ("inputs_embeds", "input_ids") if name in inputs)
    return {
        **{name: value[:, shared:] for name, value in inputs.items()},
        "attention_mask": torch.cat([own.new_ones((rows, shared)), own], dim=1),
        "past_key_values": _computed(base, {read: inputs[read][whole : whole + 1, :shared]}, rows),
    }


def _computed(base: Module, given: Mapping[str, Tensor], rows: int) -> Cache:
    """Keys and values of what one row begins with, for so many rows; gradients flow back through them."""
    cache = require("transformers", extra="local").DynamicCache
    once, spread = cache(config=base.config), cache(config=base.config)
    base.base_model(**given, past_key_values=once, use_cache=True)
    for of, to in zip(once.layers, spread.layers, strict=True):
        to.update(of.keys.expand(rows, -1, -1, -1), of.values.expand(rows, -1, -1, -1))
    return spread


def _common_beginning(inputs: Mapping[str, Tensor]) -> int:
    """How many tokens all prompts begin with, leaving one of each."""
    read = inputs["attention_mask"].bool() & (inputs["labels"] == NO_LOSS)
    prompts = [ids[known].tolist() for ids, known in zip(inputs["input_ids"], read, strict=True)]
    # What the first and the last in order have in common, all have that stand between them.
    return max(0, alike(min(prompts), max(prompts)))


def _can_share(base: Module) -> bool:
    """Whether keys and values of a beginning serve all rows, with the same result but for rounding.

    Computing activations again goes without a cache, and dropout is drawn anew for each row. Models with sliding
    windows or recurrent states have layers of other kinds in their cache.
    """
    if base.device.type != "cpu" or base.is_activation_checkpointing or CACHED - accepted(base):
        return False
    return keeps_all(base.config) and not (base.training and drops_out(base))


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
