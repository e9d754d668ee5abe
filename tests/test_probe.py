"""The probe trains for real, in a tiny shape, and says what it did; no time is compared with a clock."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from finetune_advisor.costs.estimate import EstimateOptions, estimate
from finetune_advisor.costs.gpus import THIS_MACHINE, Machine
from finetune_advisor.costs.shape import load
from finetune_advisor.errors import BadInput, require
from finetune_advisor.models.quiet import quiet
from finetune_advisor.tuning import probe
from finetune_advisor.tuning.rehearsal import Rehearsal, Rows, Timing, fill, settings

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 48,
    "vocab_size": 100,
    "max_position_embeddings": 64,
    "torch_dtype": "float16",
    "auto_map": {"AutoConfig": "evil.py--Evil"},
}


def job(**changes: Any) -> EstimateOptions:
    made: dict[str, Any] = {"model": CONFIG, "gpu": THIS_MACHINE, "micro_batch": 2, "seq": 16, **changes}
    return EstimateOptions(**made)


def timing(*steps: float, token: float = 1.0, peak: float | None = None) -> Timing:
    return Timing(steps=steps, token_seconds=token, peak_gib=peak)


@pytest.mark.parametrize("changes", [{}, {"method": "full"}, {"targets": "q,v", "checkpointing": False}])
def test_a_small_model_is_measured_whole(changes: dict[str, Any]) -> None:
    seen: list[tuple[int, int]] = []
    found = probe.measure(job(**changes), seconds=120, progress=lambda _, done, total: seen.append((done, total)))
    assert found.tokens_per_second > 0
    assert found.answering_tokens_per_second is not None
    assert found.answering_tokens_per_second > 0
    assert found.spread >= 1
    assert seen[-1] == (3, 3)
    assert "2 x 16 tokens" in found.note
    assert "4 of 4 layers" in found.note
    assert not found.scaled
    result = estimate(replace(job(**changes), probe=found, tokens=1000))
    assert result.tokens_per_second.likely == found.tokens_per_second
    assert result.seconds is not None


def test_a_cpu_measures_no_memory_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(require("torch", extra="local").cuda, "is_available", lambda: False)
    found = probe.measure(job(), seconds=120)
    assert found.peak_gib is None
    assert found.machine is not None
    assert found.machine.name.startswith("CPU, ")
    assert any("not measured" in line for line in found.words())


def test_too_little_time_measures_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, Rows]] = []

    def slow(self: Rehearsal, layers: int, rows: Rows, seconds: float) -> Timing:
        asked.append((layers, rows))
        return timing(*[10.0 + layers] * 3, token=float(layers))

    monkeypatch.setattr(Rehearsal, "run", slow)
    found = probe.measure(job(micro_batch=4, mean_tokens=8))
    pilot, one, some = asked
    assert (pilot[0], one[0], some[0]) == (1, 1, 2)
    assert one[1] == some[1]
    assert one[1].tokens < 4 * 16
    assert found.scaled and found.shortened
    # Four layers of 1 s each beside the 10 s of the rest; real tokens are a part of the row's.
    whole = one[1].tokens / 14
    assert 0.5 * whole < found.tokens_per_second < whole
    assert found.answering_tokens_per_second == pytest.approx(1 / 4)


def test_layers_are_added_at_what_the_measured_ones_cost() -> None:
    made = probe.scaled(timing(1.0, 1.0, peak=2.0), timing(1.5, 3.0, 2.0, token=3.0, peak=3.0), 3, 21)
    assert sorted(made.steps)[1] == pytest.approx(1 + 20 * 0.5)
    assert max(made.steps) / min(made.steps) == pytest.approx(2)
    assert made.token_seconds == pytest.approx(21)
    assert made.peak_gib == pytest.approx(12)
    with pytest.raises(BadInput, match="busy") as caught:
        probe.scaled(timing(2.0), timing(2.0), 3, 21)
    assert caught.value.hint


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma2", "gpt_neox", "qwen3_moe"])
def test_the_random_model_has_the_shape_of_the_estimate(kind: str) -> None:
    torch = require("torch", extra="local")
    experts = {"moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2} if kind == "qwen3_moe" else {}
    config = {**CONFIG, **experts, "model_type": kind, "pad_token_id": 0}
    config |= {"num_key_value_heads": 4} if kind == "gpt_neox" else {"layer_types": ["full_attention"] * 4}
    built = Rehearsal(options=job(), config=config, shape=load(config), device="cpu", dtype=torch.float32)
    with quiet():
        found = built.run(2, Rows(count=1, length=8, learnt=2), 0.0)
        model = require("transformers", extra="local").AutoModelForCausalLM.from_config(settings(config, 2))
    assert min(found.steps) > 0
    assert sum(p.numel() for p in model.parameters()) == replace(load(config), layers=2).parameters
    fill(model)
    assert all(0 < float(p.detach().abs().mean()) < 2 for p in model.parameters())


@pytest.mark.parametrize(
    ("changes", "learnt", "says"),
    [
        ({"method": "qlora"}, 1.0, "4-bit"),
        ({"gpus": 2}, 1.0, "one card, not 2"),
        ({"model": load(CONFIG)}, 1.0, "config, not its shape"),
        ({}, 0.0, "learnt tokens is 0"),
        ({"model": {**CONFIG, "model_type": "no-such-kind"}}, 1.0, "cannot make a model"),
        ({"targets": "gate", "model": {**CONFIG, "model_type": "gpt_neox"}}, 1.0, "no linear layers named"),
    ],
)
def test_what_is_not_covered_is_a_sentence_with_a_hint(changes: dict[str, Any], learnt: float, says: str) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        probe.measure(job(**changes), learnt=learnt, seconds=1)
    assert caught.value.hint


def test_a_model_too_large_for_the_memory_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def little(_: str) -> int:
        return 1000

    monkeypatch.setattr(probe, "_free_bytes", little)
    with pytest.raises(BadInput, match="memory"):
        probe.measure(job(), seconds=1)


@pytest.mark.gpu
def test_a_card_measures_its_memory_too() -> None:
    if not require("torch", extra="local").cuda.is_available():
        pytest.skip("no CUDA device")
    found = probe.measure(job())
    assert found.peak_gib is not None
    assert found.peak_gib > 0
    assert isinstance(found.machine, Machine)
