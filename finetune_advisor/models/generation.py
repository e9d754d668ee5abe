"""Greedy generation for a batch of prompts, with their common beginning computed once.

Prompts are read in pieces of like length, so that little padding is computed, and written to together. Rows are padded
on the left, between the common beginning and the rest of each prompt, and before the beginning where another piece is
longer. What a batch gives depends on the batch alone: common beginning and pieces are decided from its own prompts, and
what is remembered of earlier batches is only the computation for exactly the same tokens.
"""

from __future__ import annotations

import inspect
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from finetune_advisor.errors import require
from finetune_advisor.models.hardware import Cache, Module, Tensor

PREFIX_STEP = 16
"""A common beginning is used from this many tokens on, in multiples of it."""

PREFIXES_KEPT = 2

PIECE_TOKENS = {"cpu": 4096, "cuda": 65536}
"""The most tokens that are read at once. Two cores read 16 x 230 tokens 10 to 20% faster than 32 x 230."""

PADDING_TOKENS = {"cpu": 128, "cuda": 4096}
"""The most padding in a piece; computing more of it takes longer than one more pass over the weights."""


@dataclass(frozen=True, kw_only=True)
class Generated:
    """One answer: its tokens, and what it took.

    `steps` counts the generated tokens, the one that ends the answer included. `cached` is how many prompt tokens
    were computed for another prompt. `seconds` is the answer's share of its batch, `prefill_seconds` the part of
    that which went into the prompt.
    """

    tokens: tuple[int, ...]
    ended: bool
    steps: int
    cached: int
    seconds: float
    prefill_seconds: float


@dataclass(kw_only=True)
class _Rows:
    """The live rows of a batch. `indices` says which prompt each row belongs to."""

    indices: list[int]
    cache: Cache
    mask: Tensor
    positions: Tensor
    logits: Tensor

    def keep(self, rows: list[int]) -> None:
        chosen = require("torch", extra="local").tensor(rows, device=self.mask.device)
        self.indices = [self.indices[row] for row in rows]
        self.cache.batch_select_indices(chosen)
        self.mask, self.positions, self.logits = self.mask[chosen], self.positions[chosen], self.logits[chosen]


class GreedyGenerator:
    """Greedy generation with one model.

    Args:
        model: A Hugging Face causal language model.
        stops: Ids of the tokens that end an answer.
    """

    def __init__(self, model: Module, stops: Sequence[int]) -> None:
        self.config = model.config
        self.device = model.device
        self.stops = frozenset(stops)
        self._takes = accepted(model)
        self._prefixes: OrderedDict[tuple[str, tuple[int, ...]], Cache] = OrderedDict()

    def generate(
        self, model: Module, prompts: Sequence[list[int]], limits: Sequence[int], variant: str
    ) -> list[Generated]:
        """Answer prompts together.

        Args:
            model: What to call: the model, or the model with an adapter on it.
            prompts: Token ids of each prompt; none empty.
            limits: The most tokens that each answer may have.
            variant: Which weights `model` stands for; computations are remembered for the same weights only.
        """
        started = time.perf_counter()
        shared = shared_length(prompts) if self._can_join else 0
        known = (variant, tuple(prompts[0][:shared])) in self._prefixes
        with require("torch", extra="local").inference_mode():
            rows = self._prefill(model, prompts, shared, variant)
            between = self._now(rows.logits)
            answers, ended = self._decode(model, rows, limits)
        writing = time.perf_counter() - between
        cached = [shared if known or place else 0 for place in range(len(prompts))]
        return accounted(prompts, cached, answers, ended, between - started, writing)

    def forget(self) -> None:
        """Give back the memory of remembered beginnings."""
        self._prefixes.clear()

    def _now(self, logits: Tensor) -> float:
        logits[:1, :1].tolist()  # waits for a device that works asynchronously
        return time.perf_counter()

    @cached_property
    def _can_join(self) -> bool:
        """Whether gaps before and between tokens are harmless: not with sliding windows or recurrent states."""
        cache = require("transformers", extra="local").DynamicCache(config=self.config)
        plain = require("transformers.cache_utils", extra="local").DynamicLayer
        return "position_ids" in self._takes and all(type(layer) is plain for layer in cache.layers)

    def _prefix(self, model: Module, tokens: list[int], variant: str) -> Cache:
        key = (variant, tuple(tokens))
        if key not in self._prefixes:
            cache = require("transformers", extra="local").DynamicCache(config=self.config)
            ids = require("torch", extra="local").tensor([tokens], device=self.device)
            self._forward(model, ids, None, None, cache)
            self._prefixes[key] = cache
        self._prefixes.move_to_end(key)
        while len(self._prefixes) > PREFIXES_KEPT:
            self._prefixes.popitem(last=False)
        return self._prefixes[key]

    def _prefill(self, model: Module, prompts: Sequence[list[int]], shared: int, variant: str) -> _Rows:
        kind = self.device.type if self.device.type in PIECE_TOKENS else "cpu"
        lengths = [len(prompt) - shared for prompt in prompts]
        whole = [list(range(len(prompts)))]
        parts = pieces(lengths, PIECE_TOKENS[kind], PADDING_TOKENS[kind]) if self._can_join else whole
        return self._joined([self._read(model, prompts, part, shared, variant) for part in parts])

    def _read(self, model: Module, prompts: Sequence[list[int]], part: list[int], shared: int, variant: str) -> _Rows:
        torch = require("torch", extra="local")
        cache = require("transformers", extra="local").DynamicCache(config=self.config)
        if shared:
            spread(self._prefix(model, prompts[0][:shared], variant), cache, len(part))
        ids, own = (each.to(self.device) for each in left_padded([prompts[place][shared:] for place in part]))
        positions = (own.cumsum(dim=1) - 1).clamp(min=0) + shared
        mask = torch.cat([own.new_ones((len(part), shared)), own], dim=1)
        logits = self._forward(model, ids, mask, positions, cache)
        return _Rows(indices=part, cache=cache, mask=mask, positions=positions[:, -1:] + 1, logits=logits)

    def _joined(self, parts: list[_Rows]) -> _Rows:
        """The rows of all pieces, the shorter ones padded on the left."""
        if len(parts) == 1:
            return parts[0]
        torch = require("torch", extra="local")
        longest = max(part.mask.shape[1] for part in parts)
        gaps = [longest - part.mask.shape[1] for part in parts]
        pad = torch.nn.functional.pad
        whole = require("transformers", extra="local").DynamicCache(config=self.config)
        for layer, target in enumerate(whole.layers):
            pairs = [(part.cache.layers[layer], gap) for part, gap in zip(parts, gaps, strict=True)]
            keys = torch.cat([pad(of.keys, (0, 0, gap, 0)) for of, gap in pairs])
            target.update(keys, torch.cat([pad(of.values, (0, 0, gap, 0)) for of, gap in pairs]))
            for of, _ in pairs:
                of.reset()
        return _Rows(
            indices=[place for part in parts for place in part.indices],
            cache=whole,
            mask=torch.cat([pad(part.mask, (gap, 0)) for part, gap in zip(parts, gaps, strict=True)]),
            positions=torch.cat([part.positions for part in parts]),
            logits=torch.cat([part.logits for part in parts]),
        )

    def _decode(self, model: Module, rows: _Rows, limits: Sequence[int]) -> tuple[list[list[int]], list[bool]]:
        answers: list[list[int]] = [[] for _ in limits]
        ended = [False] * len(limits)
        while True:
            chosen = rows.logits.argmax(dim=-1).tolist()
            going = self._take(chosen, rows.indices, answers, ended, limits)
            if not going:
                return answers, ended
            if 2 * len(going) <= len(chosen):
                rows.keep(going)
                chosen = [chosen[row] for row in going]
            self._advance(model, rows, chosen)

    def _take(
        self,
        chosen: list[int],
        indices: list[int],
        answers: list[list[int]],
        ended: list[bool],
        limits: Sequence[int],
    ) -> list[int]:
        """Note the chosen tokens of unfinished answers; the rows that go on. A finished row runs on unheard."""
        going: list[int] = []
        for row, (token, index) in enumerate(zip(chosen, indices, strict=True)):
            answer = answers[index]
            if ended[index] or len(answer) >= limits[index]:
                continue
            if token in self.stops:
                ended[index] = True
                continue
            answer.append(token)
            if len(answer) < limits[index]:
                going.append(row)
        return going

    def _advance(self, model: Module, rows: _Rows, chosen: list[int]) -> None:
        torch = require("torch", extra="local")
        ids = torch.tensor(chosen, device=self.device)[:, None]
        rows.mask = torch.cat([rows.mask, rows.mask.new_ones((len(chosen), 1))], dim=1)
        rows.logits = self._forward(model, ids, rows.mask, rows.positions, rows.cache)
        rows.positions = rows.positions + 1

    def _forward(self, model: Module, ids: Tensor, mask: Tensor, positions: Tensor, cache: Cache) -> Tensor:
        """Logits of the last position."""
        wanted = {"attention_mask": mask, "position_ids": positions, "logits_to_keep": last_positions(ids, 1)}
        given = {name: value for name, value in wanted.items() if name in self._takes and value is not None}
        return model(input_ids=ids, past_key_values=cache, use_cache=True, **given).logits[:, -1]


def accepted(model: Module) -> frozenset[str]:
    """Names of the arguments that a model's forward pass takes."""
    return frozenset(inspect.signature(model.forward).parameters)


def last_positions(ids: Tensor, count: int) -> Tensor:
    """Indices of the last positions, for a model's `logits_to_keep`.

    Given a number instead, transformers takes a slice that is not contiguous, for which the CPU's bfloat16 product
    with the vocabulary is about ten times slower.
    """
    length = ids.shape[1]
    return require("torch", extra="local").arange(length - count, length, device=ids.device)


def shared_length(prompts: Sequence[list[int]]) -> int:
    """How many tokens all prompts begin with, in whole steps, leaving at least one token of each prompt.

    One prompt alone shares nothing.
    """
    if len(prompts) < 2:
        return 0
    first, last = min(prompts), max(prompts)
    most = min(len(prompt) for prompt in prompts) - 1
    same = next((i for i in range(most) if first[i] != last[i]), most)
    return same // PREFIX_STEP * PREFIX_STEP


def pieces(lengths: Sequence[int], most: int, padding: int) -> list[list[int]]:
    """Which prompts are read together: of like length, the longest first.

    Args:
        lengths: Tokens of each prompt, without the common beginning.
        most: The most tokens of a piece, padding included; a longer prompt is a piece by itself.
        padding: The most padding of a piece.
    """
    made: list[list[int]] = []
    longest = wasted = 0
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        wasted += longest - lengths[place]
        if made and (len(made[-1]) + 1) * longest <= most and wasted <= padding:
            made[-1].append(place)
        else:
            made.append([place])
            longest, wasted = lengths[place], 0
    return made


def accounted(
    prompts: Sequence[list[int]],
    cached: Sequence[int],
    answers: Sequence[list[int]],
    ended: Sequence[bool],
    reading: float,
    writing: float,
) -> list[Generated]:
    """Answers with their share of the batch's seconds, by the tokens that were computed for each."""
    steps = [len(answer) + end for answer, end in zip(answers, ended, strict=True)]
    read = shares(reading, [len(prompt) - some for prompt, some in zip(prompts, cached, strict=True)])
    written = shares(writing, steps)
    return [
        Generated(
            tokens=tuple(answers[i]),
            ended=ended[i],
            steps=steps[i],
            cached=cached[i],
            seconds=read[i] + written[i],
            prefill_seconds=read[i],
        )
        for i in range(len(prompts))
    ]


def shares(total: float, weights: Sequence[int]) -> list[float]:
    """A total split in proportion to the weights; equally where all of them are zero."""
    whole = sum(weights)
    return [total * weight / whole if whole else total / len(weights) for weight in weights]


def left_padded(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids padded on the left to one length, and the mask that is 1 on real tokens."""
    torch = require("torch", extra="local")
    longest = max(len(prompt) for prompt in prompts)
    ids = [[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids), torch.tensor(mask)


def spread(source: Cache, target: Cache, rows: int) -> None:
    """Put the one row of a cache into every row of an empty one."""
    for of, to in zip(source.layers, target.layers, strict=True):
        to.update(of.keys.expand(rows, -1, -1, -1), of.values.expand(rows, -1, -1, -1))
