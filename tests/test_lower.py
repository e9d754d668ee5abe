"""Layers that do not learn read every example once: the same training, by models of many makes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny_model
from finetune_advisor.errors import require
from finetune_advisor.models.local import LocalModel
from finetune_advisor.records import Batch, Reply, Request, no_progress
from finetune_advisor.tuning import lower, sft
from finetune_advisor.tuning.attention import plain
from finetune_advisor.tuning.lora import Lora
from makes import MAKES, built

UPPER = Lora(
    epochs=12, batch_size=2, learning_rate=1e-2, dtype="float32", device="cpu", evaluations=2, top_layers=2, rank=4
)
PAIRS = tiny_model.pairs()

CUT = {
    "LlamaConfig", "Qwen2Config", "Qwen3Config", "MistralConfig", "Olmo2Config", "CohereConfig", "PhiConfig",
    "GPTNeoXConfig", "MixtralConfig",
}  # fmt: skip
"""Those whose upper layers can go on from what the lower ones made."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.build(tmp_path_factory.mktemp("tiny"), layers=5)


@pytest.mark.parametrize("options", [{}, {"dropout": 0.1}, {"targets": "q_proj,v_proj", "batch_size": 4}])
def test_the_losses_and_the_adapter_are_those_of_a_training_of_the_whole_model(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    torch = require("torch", extra="local")
    tensors = require("safetensors.torch", extra="local")
    trained = replace(UPPER, **options)
    read: list[int] = []

    def reading(*given: Any) -> Any:
        found = lower.read_below(*given)
        read.append(len(found))
        return found

    monkeypatch.setattr(sft, "read_below", reading)
    cut = trained.tune(tiny_model.work(folder, PAIRS, PAIRS[:3], tmp_path / "cut"), no_progress)
    monkeypatch.setattr(lower, "MOST_BYTES", 0)
    whole = trained.tune(tiny_model.work(folder, PAIRS, PAIRS[:3], tmp_path / "whole"), no_progress)
    assert read == [len(PAIRS), 0], "the lower layers were not read apart"
    assert [point.loss for point in cut.losses] == pytest.approx([point.loss for point in whole.losses], abs=1e-3)
    one, other = (tensors.load_file(tmp_path / name / "adapter_model.safetensors") for name in ("cut", "whole"))
    assert set(one) == set(other)
    assert all(torch.allclose(one[name], other[name], atol=1e-3) for name in one)
    base = LocalModel(str(folder), dtype="float32", device="cpu")
    assert answers(base.with_adapter(tmp_path / "cut")) == answers(base.with_adapter(tmp_path / "whole"))
    assert answers(base.with_adapter(tmp_path / "cut")) != answers(base)


def test_a_killed_training_of_the_upper_layers_goes_on_to_the_same_end(folder: Path, tmp_path: Path) -> None:
    options = replace(UPPER, epochs=4)
    through = options.tune(tiny_model.work(folder, PAIRS, PAIRS[:3], tmp_path / "through"), no_progress)

    tiny_model.killed(options, folder, tmp_path / "killed", step=7)
    again = options.tune(tiny_model.work(folder, PAIRS, PAIRS[:3], tmp_path / "killed"), no_progress)
    assert again.losses == through.losses
    name = "adapter_model.safetensors"
    assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "through" / name).read_bytes()


@pytest.mark.parametrize("make", MAKES)
def test_what_is_read_apart_is_what_the_whole_model_computes(make: str) -> None:
    torch = require("torch", extra="local")
    model = built(make)
    examples = [tuple((7 * place + of) % 50 + 5 for place in range(20 + 3 * of)) for of in range(4)]
    examples += [(*examples[0][:18], 9, 8), examples[1]]
    with torch.no_grad():
        wanted = [model(input_ids=torch.tensor([each])).logits for each in examples]
        states = lower.read_below(model, 1, examples)
        assert bool(states) == (make in CUT)
        found = [model(**_given(each, states)).logits for each in examples]
    assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(found, wanted, strict=True))


def _given(example: tuple[int, ...], states: Any) -> dict[str, Any]:
    torch = require("torch", extra="local")
    return {"inputs_embeds": states[example][None]} if states else {"input_ids": torch.tensor([example])}


def test_too_much_to_keep_is_not_read_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lower, "MOST_BYTES", 10 * 32 * 4 - 1)
    model = built("LlamaConfig")
    assert lower.read_below(model, 1, [tuple(range(5, 15))]) == {}
    assert lower.read_below(model, 1, [tuple(range(5, 14))]) != {}
    assert len(model.model.layers) == 1
    assert lower.read_below(built("LlamaConfig"), 0, [(5, 6)]) == {}, "all layers learn"


@settings(max_examples=40)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.integers(0, 5), st.booleans())
def test_plain_products_are_attention(
    rows: int, key_heads: int, shares: int, tokens: int, before: int, masked: bool
) -> None:
    torch = require("torch", extra="local")
    drawn = torch.Generator().manual_seed(rows + 10 * tokens)
    shapes = [
        (rows, heads, length, 8) for heads, length in [(key_heads * shares, tokens), (key_heads, tokens + before)]
    ]
    query, key, value = (torch.randn(shapes[place > 0], generator=drawn, requires_grad=True) for place in range(3))
    hidden = torch.ones(tokens, tokens + before).triu(before + 1).bool() if masked else torch.zeros(1).bool()
    mask = torch.zeros(rows, 1, tokens, tokens + before).masked_fill(hidden, torch.finfo(torch.float32).min)
    fused = torch.nn.functional.scaled_dot_product_attention(
        query, key.repeat_interleave(shares, 1), value.repeat_interleave(shares, 1), attn_mask=mask, scale=0.3
    )
    found = plain(query, key, value, mask, 0.3)
    assert torch.allclose(found, fused, atol=1e-5)
    grads = [torch.autograd.grad(each.square().sum(), (query, key, value)) for each in (found, fused)]
    assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(*grads, strict=True))


def answers(model: LocalModel) -> list[str]:
    requests = [Request(example_id=str(n), messages=pair.messages, max_tokens=4) for n, pair in enumerate(PAIRS)]
    replies = model.answer(Batch(requests=(*requests,)))
    return [reply.text if isinstance(reply, Reply) else reply.kind for reply in replies]
