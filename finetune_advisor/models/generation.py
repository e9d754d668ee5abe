"""Greedy generation for a batch of prompts, in which what prompts have in common is computed once.

A model that lets transformers choose how it attends reads the prompts as a tree of segments, without padding, and
writes to all of them together (see `attention`). Any other model is left to transformers' own `generate`. What a batch
gives depends on the batch alone: the tree is made from its own prompts, and what is remembered of earlier batches is
only the computation for exactly the same tokens.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from finetune_advisor.errors import require
from finetune_advisor.models.attention import Reading, State, Unsupported, Work, Writing, attending
from finetune_advisor.models.hardware import Module, Tensor
from finetune_advisor.models.prefixes import Segment, packs, tree

BEGINNINGS_KEPT = 2
"""How many beginnings that all prompts of a batch had in common are remembered."""

READ_TOGETHER = {"cpu": 4096, "cuda": 65536}
"""The most tokens that are read at once."""

FEWER = 0.75
"""Where no more than this share of the rows goes on, the others are dropped; dropping copies those that stay."""


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
class _Answers:
    """What has been written so far, prompt by prompt."""

    limits: Sequence[int]
    stops: frozenset[int]
    tokens: list[list[int]] = field(init=False)
    ended: list[bool] = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = [[] for _ in self.limits]
        self.ended = [False] * len(self.limits)

    def take(self, chosen: Sequence[int], prompts: Sequence[int]) -> list[int]:
        """Note a token for each of these prompts; the rows that go on. A finished row may run on unheard."""
        going: list[int] = []
        for row, (token, prompt) in enumerate(zip(chosen, prompts, strict=True)):
            answer = self.tokens[prompt]
            if self.ended[prompt] or len(answer) >= self.limits[prompt]:
                continue
            if token in self.stops:
                self.ended[prompt] = True
                continue
            answer.append(token)
            if len(answer) < self.limits[prompt]:
                going.append(row)
        return going


class GreedyGenerator:
    """Greedy generation with one model.

    Args:
        model: A Hugging Face causal language model.
        stops: Ids of the tokens that end an answer.
    """

    def __init__(self, model: Module, stops: Sequence[int]) -> None:
        self.device = model.device
        self.stops = frozenset(stops)
        self._shares: bool | None = None
        self._beginnings: OrderedDict[tuple[str, tuple[int, ...]], State] = OrderedDict()

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
        if self._shares is None:
            self._shares = can_share(model)
        torch = require("torch", extra="local")
        answers = _Answers(limits=limits, stops=self.stops)
        with torch.inference_mode():
            if not self._shares:
                return generated_plainly(model, prompts, answers)
            with attending(base_of(model)):
                return self._generate(model, prompts, answers, variant)

    def forget(self) -> None:
        """Give back the memory of remembered beginnings."""
        self._beginnings.clear()

    def _generate(
        self, model: Module, prompts: Sequence[list[int]], answers: _Answers, variant: str
    ) -> list[Generated]:
        started = time.perf_counter()
        segments = tree(prompts)
        states: dict[int, State] = {}
        known = self._begin(model, segments, states, variant)
        leaves = [place for place, segment in enumerate(segments) if segment.leaf]
        first = self._read(model, segments, states)
        rows = [segments[leaf].prompts[0] for leaf in leaves]
        going = answers.take(first, rows)
        between = time.perf_counter()
        if going:
            going.sort(key=lambda row: -segments[leaves[row]].end)
            steps = max(answers.limits) - 1
            work = Writing(segments, [leaves[row] for row in going], states, steps)
            lengths = [segments[leaves[row]].end for row in going]
            self._write(model, work, answers, [rows[row] for row in going], lengths, [first[row] for row in going])
        writing = time.perf_counter() - between
        return accounted(prompts, cached(segments, known), answers.tokens, answers.ended, between - started, writing)

    def _begin(self, model: Module, segments: Sequence[Segment], states: dict[int, State], variant: str) -> bool:
        """Read or recall what all prompts begin with; whether it was known."""
        first = segments[0]
        if first.leaf or len(first.prompts) < sum(segment.leaf for segment in segments):
            return False
        key = (variant, first.tokens)
        known = key in self._beginnings
        if not known:
            forward(model, segments, [0], Reading(segments, [0], states), self.device)
            self._beginnings[key] = states[0]
        states[0] = self._beginnings[key]
        self._beginnings.move_to_end(key)
        while len(self._beginnings) > BEGINNINGS_KEPT:
            self._beginnings.popitem(last=False)
        return known

    def _read(self, model: Module, segments: Sequence[Segment], states: dict[int, State]) -> list[int]:
        """Read all segments; the token that follows each leaf."""
        kind = self.device.type if self.device.type in READ_TOGETHER else "cpu"
        chosen: list[int] = []
        rest = range(len(states), len(segments))
        for pack in packs([segments[place] for place in rest], READ_TOGETHER[kind]):
            places = [rest[place] for place in pack]
            logits = forward(model, segments, places, Reading(segments, places, states), self.device)
            chosen += logits.argmax(dim=-1).tolist()
        return chosen

    def _write(
        self,
        model: Module,
        work: Writing,
        answers: _Answers,
        rows: list[int],
        lengths: Sequence[int],
        chosen: list[int],
    ) -> None:
        torch = require("torch", extra="local")
        positions = torch.tensor(lengths, device=self.device)[:, None]
        going = list(range(len(rows)))
        while going:
            if len(going) <= FEWER * len(rows):
                work.keep(going)
                positions = positions[going]
                rows, chosen = [rows[row] for row in going], [chosen[row] for row in going]
            ids = torch.tensor(chosen, device=self.device)[:, None]
            logits = called(model, ids, positions, work, logits_to_keep=1)
            chosen = logits[:, -1].argmax(dim=-1).tolist()
            positions = positions + 1
            going = answers.take(chosen, rows)


def forward(model: Module, segments: Sequence[Segment], places: Sequence[int], work: Work, device: Any) -> Tensor:
    """Read segments in one row; the logits after each leaf, shape (leaves, vocabulary)."""
    torch = require("torch", extra="local")
    read = [segments[place] for place in places]
    ids = torch.tensor([[token for segment in read for token in segment.tokens]], device=device)
    positions = [[place for segment in read for place in range(segment.start, segment.end)]]
    ends: list[int] = []
    total = 0
    for segment in read:
        total += len(segment.tokens)
        ends += [total - 1] * segment.leaf
    kept = torch.tensor(ends or [total - 1], device=device)
    return called(model, ids, torch.tensor(positions, device=device), work, logits_to_keep=kept)[0, : len(ends)]


def called(model: Module, ids: Tensor, positions: Tensor, work: Work, logits_to_keep: Any) -> Tensor:
    """Logits of a forward pass that attends by `work`."""
    given = {"position_ids": positions, "logits_to_keep": logits_to_keep, "work": work}
    return model(input_ids=ids, use_cache=False, **given).logits


def base_of(model: Module) -> Module:
    """The model below an adapter."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def can_share(model: Module) -> bool:
    """Whether reading a tree of segments gives what reading prompts whole gives, tried on two short prompts.

    Not so with sliding windows, recurrent states, or attention of the model's own making.
    """
    torch = require("torch", extra="local")
    if not keeps_all(model.config):
        return False
    prompts = short_prompts(model)
    segments, states = tree(prompts, least=4), dict[int, State]()
    try:
        with torch.inference_mode():
            whole = torch.cat([model(input_ids=torch.tensor([p], device=model.device)).logits[:, -1] for p in prompts])
            with attending(base_of(model)):
                places = range(len(segments))
                found = forward(model, segments, places, Reading(segments, places, states), model.device)
    except (Unsupported, TypeError, ValueError, AttributeError):
        return False
    order = [segment.prompts[0] for segment in segments if segment.leaf]
    return close(found, whole[torch.tensor(order, device=whole.device)])


def short_prompts(model: Module) -> list[list[int]]:
    """Token ids of two short prompts that begin alike, to try on a model."""
    most = model.config.get_text_config().vocab_size
    prompts = [[(7 * place + 3) % most for place in range(length)] for length in (12, 9)]
    prompts[1][8] = (prompts[1][8] + 1) % most
    return prompts


def close(found: Tensor, wanted: Tensor) -> bool:
    """Whether logits differ by no more than rounding.

    In 16 bits that is about a hundredth; a mask or a position that is wrong is far off.
    """
    wanted = wanted.float()
    return bool((found.float() - wanted).norm() <= 0.05 * wanted.norm())


def keeps_all(config: Any) -> bool:
    """Whether a model keeps keys and values of every token in every layer: no sliding windows, no recurrent states."""
    layers = require("transformers", extra="local").DynamicCache(config=config).layers
    plain = require("transformers.cache_utils", extra="local").DynamicLayer
    return bool(layers) and all(type(layer) is plain for layer in layers)


def generated_plainly(model: Module, prompts: Sequence[list[int]], answers: _Answers) -> list[Generated]:
    """Answers by transformers' own `generate`."""
    ids, mask = (each.to(model.device) for each in left_padded(prompts))
    times = [time.perf_counter()]

    def note(*_: Any, **rest: Any) -> Tensor:
        times.append(time.perf_counter())
        return ids.new_zeros(len(prompts), dtype=require("torch", extra="local").bool)

    rules = {"max_new_tokens": max(answers.limits), "do_sample": False, "eos_token_id": sorted(answers.stops)}
    made = model.generate(
        input_ids=ids, attention_mask=mask, pad_token_id=min(answers.stops), stopping_criteria=[note], **rules
    )
    for prompt, tokens in enumerate(made[:, ids.shape[1] :].tolist()):
        for token in tokens:
            answers.take([token], [prompt])
    reading, writing = times[1] - times[0], time.perf_counter() - times[1]
    return accounted(prompts, [0] * len(prompts), answers.tokens, answers.ended, reading, writing)


def cached(segments: Sequence[Segment], known: bool) -> list[int]:
    """How many tokens of each prompt were computed for another; `known`: the first segment by an earlier batch."""
    found = [0] * sum(segment.leaf for segment in segments)
    for place, segment in enumerate(segments):
        for prompt in segment.prompts[0 if known and place == 0 else 1 :]:
            found[prompt] += len(segment.tokens)
    return found


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
