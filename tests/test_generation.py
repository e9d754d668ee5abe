"""Prompts as a tree of segments, and models of several makes against transformers' own `generate`."""

from __future__ import annotations

from itertools import chain, combinations, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_advisor.errors import require
from finetune_advisor.models import attention, generation
from finetune_advisor.models.generation import GreedyGenerator
from finetune_advisor.models.prefixes import alike_in_length, grouped, packs, tree
from finetune_advisor.models.quiet import quiet
from makes import MAKES, built

PROMPTS = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=40), min_size=1, max_size=8)


@given(PROMPTS, st.integers(1, 5))
def test_each_prompt_is_one_leaf_after_what_stands_before_it(prompts: list[list[int]], least: int) -> None:
    segments = tree(prompts, least)
    leaves = [segment for segment in segments if segment.leaf]
    assert sorted(leaf.prompts[0] for leaf in leaves) == list(range(len(prompts)))
    for leaf in leaves:
        before = [segments[place] for place in leaf.before]
        whole = [token for segment in [*before, leaf] for token in segment.tokens]
        assert whole == prompts[leaf.prompts[0]] and len(leaf.prompts) == 1
        assert leaf.end == len(whole) and leaf.tokens
        assert all(len(segment.tokens) >= least and len(segment.prompts) > 1 for segment in before)
    assert all(place > max(segment.before, default=-1) for place, segment in enumerate(segments))


@given(PROMPTS)
def test_nothing_that_is_worth_sharing_is_read_twice(prompts: list[list[int]]) -> None:
    segments = tree(prompts, least=1)
    starts = {tuple(prompt[:end]) for prompt in prompts for end in range(1, len(prompt))}
    ends = len(prompts)  # the last token of each prompt is read for it alone, for what follows it
    assert sum(len(segment.tokens) for segment in segments) <= len(starts) + ends


@given(PROMPTS, st.integers(1, 30))
def test_packs_keep_the_order_and_the_limit(prompts: list[list[int]], most: int) -> None:
    segments = tree(prompts, 2)
    made = list(packs(segments, most))
    assert [place for pack in made for place in pack] == list(range(len(segments)))
    sizes = [sum(len(segments[place].tokens) for place in pack) for pack in made]
    assert all(size <= most or len(pack) == 1 for size, pack in zip(sizes, made, strict=True))


@given(PROMPTS, st.integers(1, 5), st.integers(1, 200))
def test_groups_hold_every_prompt_once_and_keep_the_limits(prompts: list[list[int]], most: int, tokens: int) -> None:
    made = grouped(prompts, [3] * len(prompts), most, tokens)
    assert sorted(place for group in made for place in group) == list(range(len(prompts)))
    for group in made:
        unique = sum(len(segment.tokens) for segment in tree([prompts[place] for place in group], 1))
        assert len(group) <= most
        assert len(group) == 1 or unique + 3 * len(group) <= tokens


def test_groups_are_of_like_size_where_the_beginning_is_long() -> None:
    prompts = [[0] * 300 + [place] * 100 for place in range(80)]
    assert [len(group) for group in grouped(prompts, [50] * 80, 128, 7000)] == [39, 41]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=9), st.integers(1, 40))
def test_no_other_runs_have_less_padding(lengths: list[int], turn: int) -> None:
    lengths.sort(reverse=True)
    found = alike_in_length(lengths, turn)
    assert [length for run in found for length in lengths[run]] == lengths

    def paid(runs: list[slice]) -> int:
        return sum(len(lengths[run]) * max(lengths[run]) + turn for run in runs)

    places = range(1, len(lengths))
    for cuts in chain.from_iterable(combinations(places, many) for many in range(len(lengths))):
        other = [slice(*pair) for pair in pairwise((0, *cuts, len(lengths)))]
        assert paid(found) <= paid(other)


SHARING = {
    "LlamaConfig", "Qwen2Config", "Qwen3Config", "MistralConfig", "Olmo2Config", "GraniteConfig", "CohereConfig",
    "PhiConfig", "GPTNeoXConfig", "GPT2Config", "MixtralConfig",
}  # fmt: skip


@pytest.mark.parametrize("make", MAKES)
def test_models_of_many_makes_answer_as_by_generate(make: str) -> None:
    torch = require("torch", extra="local")
    model = built(make)
    prompts = [
        [5 + (place * place + 3 * of) % 50 if place > 20 else 7 + place for place in range(24 + 3 * of)]
        for of in range(5)
    ]
    with quiet(), torch.inference_mode():
        found = GreedyGenerator(model, [3]).generate(model, prompts, [6] * 5, "")
        wanted = [alone(model, prompt) for prompt in prompts]
    assert [list(answer.tokens) for answer in found] == wanted
    assert generation.can_share(model) == (make in SHARING)


def test_rows_of_several_lengths_end_at_their_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = require("torch", extra="local")
    monkeypatch.setattr(attention, "TURN", 1)
    model = built("LlamaConfig")
    prompts = [[*range(5, 25), *((place * place + of) % 50 + 5 for place in range(6 * of))] for of in range(1, 7)]
    limits = [6, 1, 3, 5, 2, 4]
    with quiet(), torch.inference_mode():
        found = GreedyGenerator(model, [3]).generate(model, prompts, limits, "")
        wanted = [alone(model, prompt)[:limit] for prompt, limit in zip(prompts, limits, strict=True)]
    assert [list(answer.tokens) for answer in found] == wanted


def alone(model: Any, prompt: list[int]) -> list[int]:
    ids = require("torch", extra="local").tensor([prompt])
    made = model.generate(ids, attention_mask=ids * 0 + 1, do_sample=False, max_new_tokens=6, eos_token_id=3)
    return [token for token in made[0, len(prompt) :].tolist() if token != 3]
