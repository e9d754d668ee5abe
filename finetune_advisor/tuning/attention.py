"""Attention for training on the CPU: plain products for short batches, where the fused backward pass is slow."""

from __future__ import annotations

from typing import Any

from finetune_advisor.errors import require
from finetune_advisor.models.hardware import Module, Tensor

NAME = "finetune_advisor_training"

PLAIN_UP_TO = 2**19
"""Attention weights of a batch for one head; plain products keep them all in memory for the backward pass."""


def attend_plainly(model: Module) -> None:
    """Let a model that attends by PyTorch's fused kernel attend by plain products where that is faster."""
    if model.config._attn_implementation != "sdpa":
        return
    transformers = require("transformers", extra="local")
    transformers.AttentionInterface.register(NAME, _attend)
    masks = require("transformers.masking_utils", extra="local")
    masks.AttentionMaskInterface.register(NAME, masks.eager_mask)
    model.set_attn_implementation(NAME)


def _attend(
    module: Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    dropout: float = 0.0,
    **rest: Any,
) -> tuple[Tensor, None]:
    many = query.shape[0] * query.shape[2] * key.shape[2] > PLAIN_UP_TO
    if many or dropout or attention_mask is None:
        fused = require("transformers.integrations.sdpa_attention", extra="local").sdpa_attention_forward
        return fused(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **rest)
    return plain(query, key, value, attention_mask, scaling).transpose(1, 2).contiguous(), None


def plain(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float) -> Tensor:
    """Attention by products in the tensors' own number format; heads that share a key head are one product.

    Args:
        query: Shape (rows, heads, tokens, head size).
        key: Shape (rows, key heads, tokens seen, head size).
        value: The key's shape.
        mask: What is added to the scores, shape (rows, 1, tokens, tokens seen).
        scaling: What the scores are multiplied by.

    Returns:
        What was attended to, in the query's shape.
    """
    rows, _, tokens, size = query.shape
    heads, seen = key.shape[1:3]
    scores = (query * scaling).reshape(rows, heads, -1, size) @ key.transpose(2, 3)
    masked = scores.view(rows, heads, -1, tokens, seen).add_(mask[:, :, None])
    # The softmax sums in float32 and rounds once, whatever the format of its input.
    weights = require("torch", extra="local").softmax(masked, dim=-1)
    return (weights.view(rows, heads, -1, seen) @ value).view(query.shape)
