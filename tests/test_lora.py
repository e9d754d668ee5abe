"""LoRA for real, on a two-layer model: what is learnt, what is left behind, and what a kill costs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny_model
from finetune_advisor.errors import BadInput, require
from finetune_advisor.models.chat import ChatFormat, stop_tokens
from finetune_advisor.models.fake import FakeModel
from finetune_advisor.models.local import LocalModel
from finetune_advisor.models.quiet import quiet
from finetune_advisor.records import Batch, Message, Reply, Request, TrainingPair, no_progress
from finetune_advisor.tuning.answer_loss import answer_loss, padded, recompute_activations
from finetune_advisor.tuning.lora import Lora
from finetune_advisor.tuning.pairs import NO_LOSS, Encoded, encoded, row, schedule

SHORT = Lora(epochs=30, batch_size=4, learning_rate=1e-2, dtype="float32", device="cpu", evaluations=2)
PAIRS = tiny_model.pairs()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.build(tmp_path_factory.mktemp("tiny"))


def answers(model: LocalModel) -> list[str]:
    requests = [Request(example_id=pair.answer, messages=pair.messages, max_tokens=4) for pair in PAIRS]
    return [
        reply.text if isinstance(reply, Reply) else reply.kind for reply in model.answer(Batch(requests=(*requests,)))
    ]


def test_it_learns_the_pairs_by_heart_and_leaves_a_loadable_adapter(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    base = LocalModel(str(folder), dtype="float32", device="cpu")
    before = answers(base)
    steps: list[tuple[int, int]] = []
    run = SHORT.tune(
        tiny_model.work(folder, PAIRS, PAIRS[:2], tmp_path), lambda what, done, total: steps.append((done, total))
    )
    assert capfd.readouterr() == ("", "")
    tuned = base.with_adapter(tmp_path)
    assert answers(tuned) == [pair.answer for pair in PAIRS]
    assert answers(base) == before
    train = [point.loss for point in run.losses if point.split == "train"]
    assert train[-1] < train[0] / 10
    assert steps == [(done, 60) for done in range(61)]
    assert {file.name for file in tmp_path.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "training.json",
    }
    assert tuned.describe()["adapter_sha256"] and tuned.describe()["sha256"] == base.describe()["sha256"]


def test_counts_are_exact(folder: Path, tmp_path: Path) -> None:
    run = replace(SHORT, epochs=2, rank=3).tune(tiny_model.work(folder, PAIRS, PAIRS[:1], tmp_path), no_progress)
    hidden, inner, keys = 32, 48, 16
    sizes = [(hidden, hidden), (hidden, keys), (hidden, keys), (hidden, hidden), *[(hidden, inner)] * 3]
    assert run.trainable_parameters == 2 * sum(3 * (d_in + d_out) for d_in, d_out in sizes)
    tokenizer = require("transformers", extra="local").AutoTokenizer.from_pretrained(folder)
    turns = [[{"role": m.role, "content": m.content} for m in pair.messages] for pair in PAIRS]
    whole = [
        tokenizer.apply_chat_template([*turn, {"role": "assistant", "content": pair.answer}], return_dict=True)
        for turn, pair in zip(turns, PAIRS, strict=True)
    ]
    assert run.tokens == 2 * sum(len(one["input_ids"]) for one in whole)
    assert (run.examples, run.steps) == (6, 4)
    assert {point.step for point in run.losses if point.split == "validation"} == {2, 4}


def test_targets_and_top_layers(folder: Path, tmp_path: Path) -> None:
    some = replace(SHORT, epochs=1, rank=2, targets="q_proj, o_proj", top_layers=1)
    run = some.tune(tiny_model.work(folder, PAIRS, [], tmp_path), no_progress)
    assert run.trainable_parameters == 2 * 2 * (32 + 32)
    assert run.best_step == run.steps == 2
    with pytest.raises(BadInput, match="no linear layers") as caught:
        replace(some, targets="nothing").tune(tiny_model.work(folder, PAIRS, [], tmp_path / "other"), no_progress)
    assert "q_proj" in caught.value.hint


def test_recomputing_activations_asks_for_no_gradients_of_frozen_layers(folder: Path) -> None:
    """As transformers switches it on, the embeddings' output needs a gradient from then on, and so does every layer."""
    peft, transformers, torch = (require(name, extra="local") for name in ("peft", "transformers", "torch"))
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], layers_to_transform=[1], task_type="CAUSAL_LM")
    with quiet():
        model = peft.get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(folder), config)
    model.train()
    for wanted in (True, False, True):
        recompute_activations(model, wanted)
        assert model.get_base_model().is_activation_checkpointing == wanted
        assert not model.get_input_embeddings()(torch.ones(1, 4, dtype=torch.long)).requires_grad


def test_the_loss_is_on_the_answer_and_its_end_only(folder: Path) -> None:
    transformers = require("transformers", extra="local")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = LocalModel(str(folder))
    (one,) = encoded(PAIRS[:1], ChatFormat(tokenizer, (tokenizer.eos_token_id,)), 100)
    made = row([one])
    learnt = [token for token in made["labels"][0] if token != NO_LOSS]
    assert tokenizer.convert_ids_to_tokens(learnt) == [PAIRS[0].answer, "<|im_end|>"]
    assert made["labels"][0][-2:] == made["input_ids"][0][-2:]
    assert len(one.prompt) == model.count_tokens(PAIRS[0].messages)


def test_training_reads_the_prompt_that_asking_reads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The classic mistake: a model tuned on one rendering of the prompt and asked with another."""
    from finetune_advisor.models import generation

    seen: list[list[int]] = []
    whole = generation.GreedyGenerator.generate

    def recording(
        self: generation.GreedyGenerator, model: object, prompts: list[list[int]], limits: list[int], variant: str
    ) -> list[generation.Generated]:
        seen.extend(prompts)
        return whole(self, model, prompts, limits, variant)

    monkeypatch.setattr(generation.GreedyGenerator, "generate", recording)
    answers(LocalModel(str(folder), device="cpu"))
    tokenizer = require("transformers", extra="local").AutoTokenizer.from_pretrained(folder)
    assert seen == [list(one.prompt) for one in encoded(PAIRS, ChatFormat(tokenizer, (3,)), 100)]


def test_padding_does_not_change_the_loss(folder: Path) -> None:
    """A padded batch has the mean loss over the answers' tokens that the model gives for each pair alone."""
    torch = require("torch", extra="local")
    transformers = require("transformers", extra="local")
    peft = require("peft", extra="local")
    with quiet():
        base = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        model = peft.get_peft_model(base, peft.LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    chat = ChatFormat(tokenizer, stop_tokens(base, tokenizer))
    longer = TrainingPair(messages=tiny_model.asked("fig lime date"), answer="red green blue")
    pairs = encoded([*PAIRS[:2], longer], chat, 100)
    total = 0.0
    with torch.no_grad():
        for one in pairs:
            made = {name: torch.tensor(value) for name, value in row([one]).items()}
            total += float(base(**made).loss) * len(one.answer)
        count = sum(len(one.answer) for one in pairs)
        assert float(answer_loss(model, padded([row(pairs)]), None)) == pytest.approx(total / count, rel=1e-5)


def test_a_common_beginning_is_computed_once_with_the_same_loss_and_gradients(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch, peft, transformers = (require(name, extra="local") for name in ("torch", "peft", "transformers"))
    with quiet():
        base = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        model = peft.get_peft_model(base, peft.LoraConfig(target_modules="all-linear", init_lora_weights=False))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    longer = TrainingPair(messages=tiny_model.asked("fig lime date"), answer="red green blue")
    batch = padded([row(encoded([*PAIRS[:3], longer], ChatFormat(tokenizer, (3,)), 100))])
    seen: list[int] = []

    def note(layer: object, given: tuple[Any, ...]) -> None:
        seen.append(given[0].shape[0])

    base.model.layers[0].register_forward_pre_hook(note)

    def computed(saving: int) -> tuple[float, list[Any]]:
        monkeypatch.setattr("finetune_advisor.tuning.answer_loss.SHARED_FROM", saving)
        model.zero_grad()
        loss = answer_loss(model, batch, None)
        loss.backward()
        return float(loss.detach()), [p.grad.clone() for p in model.parameters() if p.requires_grad]

    plain, wanted = computed(10**9)
    shared, found = computed(1)
    assert seen == [4, 1, 4], "one row for the beginning"
    assert shared == pytest.approx(plain, rel=1e-5)
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(wanted, found, strict=True))
    recompute_activations(model, True)
    assert computed(1)[0] == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("options", [{}, {"top_layers": 1, "schedule": "cosine"}, {"dropout": 0.1}])
def test_a_training_that_shares_beginnings_has_the_losses_of_one_that_does_not(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    found: list[list[float]] = []
    for saving in (1, 10**9):
        monkeypatch.setattr("finetune_advisor.tuning.answer_loss.SHARED_FROM", saving)
        trained = replace(SHORT, epochs=5, **options)
        run = trained.tune(tiny_model.work(folder, PAIRS, PAIRS[:3], tmp_path / str(saving)), no_progress)
        found.append([point.loss for point in run.losses])
    assert found[0] == pytest.approx(found[1], abs=1e-3)


def test_a_killed_training_goes_on_to_the_same_end(folder: Path, tmp_path: Path) -> None:
    options = replace(SHORT, epochs=6, evaluations=3, dropout=0.1)
    through = options.tune(tiny_model.work(folder, PAIRS, PAIRS[:3], tmp_path / "through"), no_progress)

    tiny_model.killed(options, folder, tmp_path / "killed", step=7)
    kept = sorted((tmp_path / "killed" / "checkpoints").iterdir())
    assert [path.name for path in kept] == ["checkpoint-4", "checkpoint-6"]
    (tmp_path / "killed" / "checkpoints" / "checkpoint-8").mkdir()  # a kill in the middle of saving
    begun: list[int] = []
    again = options.tune(
        tiny_model.work(folder, PAIRS, PAIRS[:3], tmp_path / "killed"), lambda _, done, __: begun.append(done)
    )
    assert begun[:2] == [0, 7]
    assert again.losses == through.losses
    assert again.best_step == through.best_step
    name = "adapter_model.safetensors"
    assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "through" / name).read_bytes()


def test_a_finished_training_is_not_done_again_unless_something_changed(folder: Path, tmp_path: Path) -> None:
    options = replace(SHORT, epochs=1)
    first = options.tune(tiny_model.work(folder, PAIRS, [], tmp_path), no_progress)

    def never(what: str, done: int, total: int) -> None:
        raise AssertionError("trained again")

    assert options.tune(tiny_model.work(folder, PAIRS, [], tmp_path), never) == first
    changed = replace(options, seed=1).tune(tiny_model.work(folder, PAIRS, [], tmp_path), no_progress)
    assert changed.losses != first.losses
    fewer = replace(options, seed=1).tune(tiny_model.work(folder, PAIRS[:4], [], tmp_path), no_progress)
    assert fewer.examples == 4


def test_the_best_checkpoint_is_kept_not_the_last(folder: Path, tmp_path: Path) -> None:
    """Validated on answers that contradict the training, the first checkpoint is the best."""
    contrary = [replace(pair, answer=other.answer) for pair, other in zip(PAIRS, PAIRS[1:] + PAIRS[:1], strict=True)]
    run = replace(SHORT, epochs=10, evaluations=5).tune(tiny_model.work(folder, PAIRS, contrary, tmp_path), no_progress)
    validation = {point.step: point.loss for point in run.losses if point.split == "validation"}
    assert len(validation) == 5
    assert run.best_step == min(validation, key=lambda step: validation[step]) < run.steps


def test_what_cannot_be_trained_on_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="empty"):
        SHORT.tune(tiny_model.work(folder, [], PAIRS, tmp_path), no_progress)
    with pytest.raises(BadInput, match="longer than 5 tokens"):
        replace(SHORT, max_length=5).tune(tiny_model.work(folder, PAIRS, [], tmp_path), no_progress)
    of_another_type: list[dict[str, Any]] = [{"rank": "8"}, {"max_steps": "0\nimport os"}, {"dropout": None}]
    for wrong in (*of_another_type, {"rank": 0}, {"epochs": 0}, {"learning_rate": 0.0}, {"schedule": "steep"}):
        with pytest.raises(BadInput):
            replace(SHORT, **wrong)


def test_examples_that_are_too_long_are_left_out(folder: Path, tmp_path: Path) -> None:
    long = TrainingPair(messages=tiny_model.asked("fig " * 50), answer="red")
    run = replace(SHORT, epochs=1, max_length=40).tune(
        tiny_model.work(folder, [*PAIRS, long], [], tmp_path), no_progress
    )
    assert run.examples == 6


def test_an_answer_without_a_template_ends_with_the_stop_token(tmp_path: Path) -> None:
    tiny_model.build(tmp_path, template=None)
    tokenizer = require("transformers", extra="local").AutoTokenizer.from_pretrained(tmp_path)
    ids = ChatFormat(tokenizer, (3,)).answer(PAIRS[0].messages, "red green")
    assert tokenizer.convert_ids_to_tokens(ids) == ["red", "green", "<|im_end|>"]


def test_a_template_that_changes_the_prompt_once_there_is_an_answer(tmp_path: Path) -> None:
    """Some templates end the open prompt with a thought that the whole conversation drops."""
    thinking = tiny_model.TEMPLATE.replace("assistant\n' }}", "assistant\nplease ' }}")
    tiny_model.build(tmp_path, template=thinking)
    tokenizer = require("transformers", extra="local").AutoTokenizer.from_pretrained(tmp_path)
    chat = ChatFormat(tokenizer, (3,))
    assert tokenizer.convert_ids_to_tokens(chat.prompt(PAIRS[0].messages))[-1] == "please"
    assert tokenizer.convert_ids_to_tokens(chat.answer(PAIRS[0].messages, "red")) == ["red", "<|im_end|>"]


def test_the_fake_model_is_tuned_at_once(tmp_path: Path) -> None:
    run = Lora(epochs=2, batch_size=4).tune(tiny_model.work("fake", PAIRS, [], tmp_path), no_progress)
    assert (run.steps, run.examples, run.seconds) == (4, 6, 0.0)
    assert json.loads((tmp_path / "training.json").read_text(encoding="utf-8"))["run"]["base"] == "fake"
    tuned = FakeModel().with_adapter(tmp_path)
    request = Request(
        example_id="new", messages=(Message(role="user", content="the colour of the plum"),), max_tokens=9
    )
    (reply,) = tuned.answer(Batch(requests=(request,)))
    assert isinstance(reply, Reply) and reply.text == "blue"


lengths = st.lists(st.integers(1, 60), min_size=1, max_size=40)


@given(lengths, st.integers(1, 9), st.integers(1, 4))
@settings(max_examples=50)
def test_every_epoch_has_every_pair_once(lengths: list[int], batch_size: int, epochs: int) -> None:
    pairs = [Encoded(prompt=(place,) * length, answer=(1,)) for place, length in enumerate(lengths)]
    per_epoch = -(-len(pairs) // batch_size)
    made = schedule(pairs, batch_size, epochs * per_epoch, seed=3)
    assert made == schedule(pairs, batch_size, epochs * per_epoch, seed=3)
    for epoch in range(epochs):
        batches = made[epoch * per_epoch : (epoch + 1) * per_epoch]
        assert sorted(one.prompt[0] for batch in batches for one in batch) == list(range(len(pairs)))
