"""Attention without padding and without reading twice, for models that let transformers choose how they attend.

Prompts are read as a tree of segments (see `prefixes`): the segments lie one after the other in a single row, and each
attends to what stands before it and to itself. Answers are written to all prompts at once; on the CPU, what all prompts
begin with is in memory once.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from finetune_advisor.errors import require
from finetune_advisor.models.hardware import Module, Tensor
from finetune_advisor.models.prefixes import Segment, alike_in_length

NAME = "finetune_advisor"

UNKNOWN = ("sliding_window", "softcap", "s_aux", "position_bias")
"""What some models ask of their attention and this one does not do."""

TURN = 1024
"""Rows are padded to a length of their own where that saves so many tokens: about what another turn takes."""

State = list[tuple[Tensor, Tensor]]
"""Keys and values of a segment, layer by layer; each of shape (1, heads, tokens, head size)."""


class Unsupported(Exception):
    """The model asks for an attention that is not done here."""


class Work(Protocol):
    """What is attended to."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """The attention's output, of the query's shape (rows, heads, tokens, head size)."""
        ...


@contextmanager
def attending(model: Module) -> Generator[None]:
    """Let the model attend by the `work` that is given to its forward pass."""
    interface = require("transformers", extra="local").AttentionInterface
    interface.register(NAME, _attend)
    usual = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(usual)


def _attend(
    module: Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, *, work: Work, scaling: float, **rest: Any
) -> tuple[Tensor, None]:
    if mask is not None or any(rest.get(name) is not None for name in UNKNOWN):
        raise Unsupported
    return work.attend(module.layer_idx, query, key, value, scaling).transpose(1, 2), None


class Reading:
    """Some segments in one row.

    Args:
        segments: All segments.
        places: Which of them are read, in the row's order; what stands before each is among them or read already.
        states: By segment; those of the segments that are read are filled.
    """

    def __init__(self, segments: Sequence[Segment], places: Sequence[int], states: dict[int, State]) -> None:
        self._segments = segments
        self._places = places
        self._states = states
        self._masks: list[Tensor] = []
        states.update({place: [] for place in places})

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Each segment attends to what stands before it and to itself."""
        torch = require("torch", extra="local")
        shares = query.shape[1] // key.shape[1]
        self._masks = self._masks or [self._mask(query, shares, place) for place in self._places]
        found, start = torch.empty_like(query), 0
        for place, mask in zip(self._places, self._masks, strict=True):
            end = start + len(self._segments[place].tokens)
            self._states[place].append((key[:, :, start:end], value[:, :, start:end]))
            seen = [self._states[each][layer] for each in (*self._segments[place].before, place)]
            keys, values = (torch.cat(each, dim=2) if len(seen) > 1 else each[0] for each in zip(*seen, strict=True))
            found[:, :, start:end] = attention(query[:, :, start:end], keys, values, mask, scaling)
            start = end
        return found

    def _mask(self, query: Tensor, shares: int, place: int) -> Tensor:
        torch = require("torch", extra="local")
        own, start = len(self._segments[place].tokens), self._segments[place].start
        later = torch.ones(own, start + own, dtype=torch.bool, device=query.device).triu(start + 1)
        return query.new_zeros(later.shape).masked_fill(later, float("-inf")).repeat(shares, 1)


class Writing:
    """The answers that are being written, a token to each at a time.

    Args:
        segments: All segments.
        leaves: The segment that each row's prompt ends with, the longest prompt first.
        states: By segment; taken apart here, lest keys and values be in memory twice.
        steps: The most tokens that will be written.
    """

    def __init__(
        self, segments: Sequence[Segment], leaves: Sequence[int], states: dict[int, State], steps: int
    ) -> None:
        chains = [(*segments[leaf].before, leaf) for leaf in leaves]
        first = chains[0][0]
        on_cpu = states[first][0][0].device.type == "cpu"
        shared = on_cpu and len(chains) > 1 and all(chain[0] == first for chain in chains)
        self._common: State = states[first] if shared else []
        own = [chain[shared:] for chain in chains]
        lengths = [sum(len(segments[each].tokens) for each in chain) for chain in own]
        parts = alike_in_length(lengths, TURN)
        self._blocks: list[_Block] = [_Block(states[first][0][0], lengths[rows], steps) for rows in parts]
        used = sorted({each for chain in own for each in chain})
        for _ in range(len(states[first])):
            layer = {each: states[each].pop(0) for each in used}
            for block, rows in zip(self._blocks, parts, strict=True):
                block.add([[layer[each] for each in chain] for chain in own[rows]])

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Each row attends to the common beginning and to its own tokens, the new one among them."""
        common = self._common[layer] if self._common else None
        sizes = [len(block) for block in self._blocks]
        parts = zip(self._blocks, *(each.split(sizes) for each in (query, key, value)), strict=True)
        found = [block.attend(common, layer, asked, k, v, scaling) for block, asked, k, v in parts]
        return require("torch", extra="local").cat(found)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only, in their order."""
        start, blocks = 0, self._blocks
        self._blocks = []
        for block in blocks:
            end = start + len(block)
            kept = [row - start for row in rows if start <= row < end]
            if kept:
                block.keep(kept)
                self._blocks.append(block)
            start = end


class _Block:
    """Rows of like length: keys and values aligned on the right, with room for what will be written.

    Args:
        sample: Keys of a layer.
        lengths: Tokens of each row.
        steps: The most tokens that will be written.
    """

    def __init__(self, sample: Tensor, lengths: Sequence[int], steps: int) -> None:
        torch = require("torch", extra="local")
        self._lengths = list(lengths)
        self._length = max(lengths)
        self._layers: State = []
        gaps = torch.tensor([[self._length - length] for length in lengths], device=sample.device)
        padding = torch.arange(self._length + steps, device=sample.device) < gaps
        self._mask: Tensor = sample.new_zeros(padding.shape).masked_fill(padding, float("-inf"))[:, None, None]

    def __len__(self) -> int:
        return len(self._lengths)

    def add(self, chains: Sequence[State]) -> None:
        """Take the next layer's keys and values of all rows, each row's in pieces."""
        sample = chains[0][0][0]
        shape = (len(chains), sample.shape[1], self._mask.shape[-1], sample.shape[3])
        keys, values = sample.new_zeros(shape), sample.new_zeros(shape)
        for row, chain in enumerate(chains):
            start = self._length - self._lengths[row]
            for of, to in chain:
                keys[row, :, start : start + of.shape[2]] = of[0]
                values[row, :, start : start + of.shape[2]] = to[0]
                start += of.shape[2]
        self._layers.append((keys, values))

    def attend(
        self,
        common: tuple[Tensor, Tensor] | None,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scaling: float,
    ) -> Tensor:
        """Attention of one new token a row."""
        if layer == 0:
            self._length += 1
        keys, values = self._layers[layer]
        keys[:, :, self._length - 1], values[:, :, self._length - 1] = key[:, :, 0], value[:, :, 0]
        keys, values = keys[:, :, : self._length], values[:, :, : self._length]
        mask = self._mask[..., : self._length]
        if common is None:
            return attention(query, keys, values, mask, scaling)
        return joint_attention(query, common, (keys, values), mask, scaling)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only; layer by layer, lest all of them be in memory twice."""
        if len(rows) == len(self):
            return
        self._lengths = [self._lengths[row] for row in rows]
        for place, (keys, values) in enumerate(self._layers):
            self._layers[place] = (keys[rows], values[rows])
        self._mask = self._mask[rows]


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float) -> Tensor:
    """Scaled dot-product attention in which several query heads share a key head, without copying keys.

    The heads of one key head are taken as further tokens of it.

    Args:
        query: Shape (rows, heads, tokens, head size).
        key: Shape (rows, key heads, tokens before, head size).
        value: As the key.
        mask: What is added to the scores, for the tokens of all heads of one key head.
        scaling: What scores are multiplied with.
    """
    rows, heads, tokens, size = query.shape
    shares = heads // key.shape[1]
    asked = query.reshape(rows, key.shape[1], shares * tokens, size)
    attend = require("torch", extra="local").nn.functional.scaled_dot_product_attention
    return attend(asked, key, value, attn_mask=mask, scale=scaling).reshape(rows, heads, tokens, value.shape[3])


def joint_attention(
    query: Tensor, common: tuple[Tensor, Tensor], own: tuple[Tensor, Tensor], mask: Tensor, scaling: float
) -> Tensor:
    """Attention of one token a row to keys that all rows have in common and to keys of its own, on the CPU.

    Both parts are attended to by themselves and weighed by the sums of their scores' exponentials, which is how
    FlashAttention puts blocks of keys together (Dao et al. 2022, arXiv 2205.14135, section 3.1).

    Args:
        query: Shape (rows, heads, 1, head size).
        common: Keys and values of shape (1, key heads, tokens, head size).
        own: Keys and values of shape (rows, key heads, tokens, head size).
        mask: What is added to the scores of the own keys.
        scaling: What scores are multiplied with.
    """
    torch = require("torch", extra="local")
    attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    rows, heads, _, size = query.shape
    groups = own[0].shape[1]
    shares = heads // groups
    asked = query.reshape(rows, groups, shares, size)
    near, near_sums = attend(asked, *own, attn_mask=mask, scale=scaling)
    # To the common keys, the rows are further tokens of one row.
    far, far_sums = attend(asked.transpose(0, 1).reshape(1, groups, rows * shares, size), *common, scale=scaling)
    far = far.view(groups, rows, shares, -1).transpose(0, 1)
    weight = torch.sigmoid(far_sums.view(groups, rows, shares).transpose(0, 1) - near_sums)
    return torch.lerp(near.float(), far.float(), weight[..., None]).to(query.dtype).reshape(rows, heads, 1, -1)
