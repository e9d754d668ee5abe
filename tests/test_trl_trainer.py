"""TRL as a trainer of its own: what its program learns, keeps and says, and how it is started, stopped and found again.

The trainings run in this process, which has torch loaded; test_trl_process.py has those in processes of their own.
"""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest

import tiny_model
from finetune_advisor import tuning
from finetune_advisor.costs import gpus
from finetune_advisor.costs.gpus import Machine
from finetune_advisor.errors import BadInput, require
from finetune_advisor.models.chat import ChatFormat
from finetune_advisor.models.local import LocalModel
from finetune_advisor.models.quiet import quiet
from finetune_advisor.records import Message, TrainingPair
from finetune_advisor.tuning import presets, process, trl
from finetune_advisor.tuning.chat_files import NON_PREFERRED
from finetune_advisor.tuning.follow import TrainingFailed
from finetune_advisor.tuning.pairs import NO_LOSS
from finetune_advisor.tuning.trl import Trl
from finetune_advisor.tuning.work import TuningStatus, TuningWork
from trl_case import PAIRS, QUICK, WANTED, answers, local, program, trained, until, work

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "colour", "parameters": {"type": "object", "properties": {}}},
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    """So small a model is slower on several, the more so beside other work."""
    require("torch", extra="local").set_num_threads(1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.build(tmp_path_factory.mktemp("tiny"))


def preferred(pairs: Sequence[TrainingPair]) -> list[TrainingPair]:
    """The pairs with their neighbours' answers as the worse ones."""
    return [
        replace(pair, messages=(*pair.messages[:-1], replace(pair.messages[-1], extra={NON_PREFERRED: other.answer})))
        for pair, other in zip(pairs, [*pairs[1:], pairs[0]], strict=True)
    ]


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_an_adapter_is_learnt_and_answers(tiny: Path, tmp_path: Path, method: str) -> None:
    run = trained(replace(QUICK, method=method), work(tiny, tmp_path, held=PAIRS[:3]))
    assert answers(local(tiny).with_adapter(Path(run.adapter))) == WANTED
    config = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["r"], config["lora_alpha"], config["use_dora"]) == (4, 32, method == "dora")
    assert (run.examples, run.steps, run.base, run.options["epochs"]) == (6, 42, str(tiny), 14)
    lengths = QUICK.estimate(work(tiny, tmp_path)).tokens
    assert run.tokens == lengths
    splits = {point.split for point in run.losses}
    assert splits == {"train", "validation"} and run.losses[-1].loss < run.losses[0].loss
    assert "library_name: peft" in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert str(tiny) not in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert not (tmp_path / "checkpoints").exists()


def test_all_weights_are_trained_and_lie_there_as_a_model(tiny: Path, tmp_path: Path) -> None:
    run = trained(replace(QUICK, method="full", learning_rate=1e-2), work(tiny, tmp_path))
    assert answers(LocalModel(run.adapter, dtype="float32", device="cpu")) == WANTED
    model = require("transformers", extra="local").AutoModelForCausalLM.from_pretrained(tiny)
    assert run.trainable_parameters == sum(weights.numel() for weights in model.parameters())


def test_the_merged_model_answers_like_the_adapter(tiny: Path, tmp_path: Path) -> None:
    trained(replace(QUICK, merge=True), work(tiny, tmp_path))
    assert answers(local(tmp_path / "merged")) == WANTED


def test_preferences_are_learnt(tiny: Path, tmp_path: Path) -> None:
    trainer = replace(QUICK, task="dpo", metric="accuracy")
    run = trained(trainer, work(tiny, tmp_path, preferred(PAIRS), preferred(PAIRS)))
    before, after = (margin(tiny, folder) for folder in (None, Path(run.adapter)))
    assert after > before + 1
    rows = [json.loads(line) for line in (tmp_path / "data" / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    assert (rows[0]["chosen"], rows[0]["rejected"]) == ("red", "green")
    assert not any(NON_PREFERRED in turn for turn in rows[0]["prompt"])


def margin(tiny: Path, adapter: Path | None) -> float:
    """By how much the better answers are more likely than the worse ones, in mean log-likelihood."""
    torch, transformers = require("torch", extra="local"), require("transformers", extra="local")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny)
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny)
    if adapter:
        with quiet():
            model = require("peft", extra="local").PeftModel.from_pretrained(model, adapter)
    chat = ChatFormat(tokenizer, (3,))
    gaps: list[float] = []
    for pair, other in zip(PAIRS, [*PAIRS[1:], PAIRS[0]], strict=True):
        ids = torch.tensor([chat.prompt(pair.messages)])
        with torch.no_grad():
            scores = model(input_ids=ids).logits[0, -1].log_softmax(-1)
        better, worse = (tokenizer(text)["input_ids"][0] for text in (pair.answer, other.answer))
        gaps.append(float(scores[better] - scores[worse]))
    return sum(gaps) / len(gaps)


def test_packed_examples_do_not_see_each_other(tiny: Path, tmp_path: Path) -> None:
    """One row with all six examples has the loss of the six by themselves, before anything is learnt."""
    first = {"learning_rate": 1e-9, "max_steps": 1, "evaluations": 0}
    losses: list[float] = []
    for packing in (True, False):
        trainer = replace(QUICK, packing=packing, max_length=128, batch_size=6, **first)
        run = trained(trainer, work(tiny, tmp_path / str(packing), held=PAIRS))
        losses.append(next(point.loss for point in run.losses if point.split == "validation"))
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_packing_makes_fewer_steps(tiny: Path, tmp_path: Path) -> None:
    run = trained(replace(QUICK, packing=True, max_length=64, epochs=2), work(tiny, tmp_path))
    assert run.steps == 2, "six examples of 19 tokens fit into two rows, which are one batch"


def test_it_stops_early_and_keeps_the_best_checkpoint(tiny: Path, tmp_path: Path) -> None:
    """Validated on answers that contradict the training, learning more is worse."""
    contrary = [replace(pair, answer=other.answer) for pair, other in zip(PAIRS, PAIRS[1:] + PAIRS[:1], strict=True)]
    run = trained(replace(QUICK, patience=2, epochs=40, evaluations=40), work(tiny, tmp_path, held=contrary))
    validation = {point.step: point.loss for point in run.losses if point.split == "validation"}
    assert run.best_step == min(validation, key=lambda step: validation[step])
    assert run.steps < 40 * 3 and len([step for step in validation if step > run.best_step]) == 2


def test_long_examples_are_left_out(tiny: Path, tmp_path: Path) -> None:
    long = TrainingPair(messages=tiny_model.asked("fig " * 50), answer="red")
    trainer, job = replace(QUICK, epochs=1, max_length=40), work(tiny, tmp_path, [*PAIRS, long])
    assert trainer.estimate(job).assumed == ("1 examples are too long and left out.",)
    assert trained(trainer, job).examples == 6
    assert "1 left out because they are too long" in trainer.watch(job).events[0].message


def test_an_interrupted_training_needs_a_word_before_it_goes_on(tiny: Path, tmp_path: Path) -> None:
    QUICK.prepare(work(tiny, tmp_path))
    (tmp_path / "checkpoints" / "checkpoint-3").mkdir(parents=True)
    with pytest.raises(SystemExit, match=r"add --resume"):
        program(tmp_path)
    program(tmp_path, "--resume")
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file(), "a half written checkpoint is passed over"


def test_other_data_or_settings_begin_anew(tiny: Path, tmp_path: Path) -> None:
    job = work(tiny, tmp_path)
    first = replace(QUICK, epochs=1)
    trained(first, job)
    first.prepare(job)
    assert first.watch(job).state == "succeeded"
    for trainer, other in ((replace(QUICK, epochs=2), job), (first, work(tiny, tmp_path, PAIRS[:5]))):
        trainer.prepare(other)
        assert trainer.watch(other).state == "not started"
        assert not (tmp_path / "adapter_model.safetensors").exists()


THINKING = tiny_model.TEMPLATE.replace("assistant\n' }}", "assistant\nplease ' }}")
REFUSING = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + tiny_model.TEMPLATE
KNOWING = "{% if tools %}{{ tools | tojson }} {% endif %}" + tiny_model.TEMPLATE
CALL = {"id": "1", "type": "function", "function": {"name": "colour", "arguments": '{"of": "fig"}'}}
CONVERSATIONS = [
    PAIRS[0],
    TrainingPair(messages=(Message(role="user", content="what"),), answer="red green"),
    TrainingPair(messages=(Message(role="system", content="briefly"),), answer="red"),
    replace(PAIRS[1], tools=(TOOL,)),
    TrainingPair(
        messages=(
            *PAIRS[0].messages,
            Message(role="assistant", content="", extra={"tool_calls": [CALL]}),
            Message(role="tool", content="green", extra={"tool_call_id": "1"}),
        ),
        answer="the colour is green",
        tools=(TOOL,),
    ),
]


@pytest.mark.parametrize("template", [tiny_model.TEMPLATE, THINKING, REFUSING, KNOWING, None])
@pytest.mark.parametrize("pair", CONVERSATIONS)
def test_what_is_learnt_is_what_is_asked_later(tiny: Path, template: str | None, pair: TrainingPair) -> None:
    tokenizer = require("transformers", extra="local").AutoTokenizer.from_pretrained(tiny)
    tokenizer.chat_template = template
    chat = ChatFormat(tokenizer, (3,))
    prompt, answer = chat.prompt(pair.messages, pair.tools), chat.answer(pair.messages, pair.answer, pair.tools)
    examples = runpy.run_path(str(trl.SCRIPTS / "examples.py"))
    its = examples["Chat"](tokenizer, [3])
    supervised, preference = rows(pair)
    made = examples["encoded"](supervised, its)
    assert made == {"input_ids": prompt + answer, "labels": [NO_LOSS] * len(prompt) + answer}
    other = examples["encoded"](preference, its)
    assert (other["prompt_ids"], other["chosen_ids"]) == (prompt, answer)


def rows(pair: TrainingPair) -> tuple[Any, Any]:
    """The pair as the trainer writes it for answers and for preferences."""
    last = replace(pair.messages[-1], extra={**pair.messages[-1].extra, NON_PREFERRED: "blue"})
    texts = [
        cast(Any, trainer)._texts(TuningWork(source="m", train=[given], validation=[], folder=Path()))
        for trainer, given in (
            (Trl(), pair),
            (Trl(task="dpo"), replace(pair, messages=(*pair.messages[:-1], last))),
        )
    ]
    supervised, preference = (json.loads(text["data/train.jsonl"]) for text in texts)
    return supervised, preference


def test_the_2024_guide_has_todays_names() -> None:
    found = presets.find("text-to-sql-2024")
    assert "philschmid" in found.source and "warmup" in found.differs
    settings = Trl(preset="text-to-sql-2024").settings
    wanted = {
        "method": "qlora",
        "rank": 256,
        "alpha": 128,
        "dropout": 0.05,
        "targets": "all-linear",
        "learning_rate": 2e-4,
        "epochs": 3,
        "batch_size": 3,
        "accumulation": 2,
        "max_length": 3072,
        "packing": True,
        "scheduler": "constant",
        "warmup": 0.03,
        "max_grad_norm": 0.3,
    }
    assert settings == {**Trl().settings, **wanted}
    assert Trl(preset="text-to-sql-2024", rank=16, method="lora").settings["rank"] == 16


@pytest.mark.parametrize("name", list(presets.table()))
def test_every_preset_is_accepted_by_the_trainer_and_the_program(name: str, tmp_path: Path) -> None:
    settings = {**Trl(preset=name).settings, "model": "m"}
    (tmp_path / "settings.json").write_text(json.dumps({**settings, "method": "lora"}), encoding="utf-8")
    read = runpy.run_path(str(trl.SCRIPTS / "training_settings.py"))["read_settings"]
    assert vars(read(tmp_path, None)) == {**settings, "method": "lora"}


def test_the_learning_rate_goes_with_task_and_method() -> None:
    rates = [Trl(task=task, method=method).settings["learning_rate"] for task, method in DEFAULTS]
    assert rates == [2e-4, 2e-5, 1e-5, 1e-6]


DEFAULTS = [("sft", "dora"), ("sft", "full"), ("dpo", "lora"), ("dpo", "full")]


@pytest.mark.parametrize(
    "wrong",
    [
        {"preset": "text-to-sql"},
        {"method": "prefix"},
        {"task": "kto"},
        {"scheduler": "steep"},
        {"metric": "f1"},
        {"rank": 0},
        {"rank": 8.5},
        {"packing": 1},
        {"learning_rate": 0.0},
        {"gpus": 0},
        {"task": "dpo", "packing": True},
        {"method": "full", "merge": True},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        tuning.create("trl", **wrong)


@pytest.mark.skipif(require("torch", extra="local").cuda.is_available(), reason="this machine can train in 4 bits")
def test_four_bits_need_a_graphics_card(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="needs a CUDA graphics card"):
        Trl(method="qlora").prepare(work(tiny, tmp_path))
    (tmp_path / "settings.json").write_text('{"model": "m", "method": "qlora"}', encoding="utf-8")
    with pytest.raises(SystemExit, match="needs a CUDA GPU; this machine has none"):
        program(tmp_path)
    with pytest.raises(BadInput, match="CUDA devices, not 9"):
        Trl(gpus=9).prepare(work(tiny, tmp_path))


def test_data_that_cannot_be_trained_is_refused(tiny: Path, tmp_path: Path) -> None:
    for trainer, job, reason in (
        (Trl(), work(tiny, tmp_path, []), "nothing to train on"),
        (Trl(patience=1), work(tiny, tmp_path), "needs validation data"),
        (Trl(task="dpo"), work(tiny, tmp_path), "no worse answer"),
        (Trl(), replace(work(tiny, tmp_path), source="fake"), "pretended model"),
    ):
        with pytest.raises(BadInput, match=reason):
            trainer.prepare(job)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"model": "m", "rnak": 8}, "no setting 'rnak'"),
        ({}, "no model is named"),
        ({"model": "m", "rank": "8"}, "has to be of type int"),
        ({"model": "m", "method": "prefix"}, "it can be lora, qlora, dora, full"),
        ({"model": "no/such/folder/anywhere"}, "cannot be loaded"),
    ],
)
def test_the_program_refuses_in_one_sentence(
    tmp_path: Path, settings: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(SystemExit, match=sentence) as refused:
        program(tmp_path)
    assert str(refused.value).startswith("error: ") and "\n" not in str(refused.value)


def ended(folder: Path, code: int, said: str) -> TuningStatus:
    """How a training stands whose process ended so."""
    folder.mkdir(exist_ok=True)
    process.start(folder, [sys.executable, "-c", f"print({said!r})\nraise SystemExit({code})"])
    until(lambda: process.state(folder) == "ended")
    return Trl().watch(work(folder, folder))


def test_a_failure_says_why(tmp_path: Path) -> None:
    status = ended(tmp_path / "refused", 1, "error: the data is odd.\nTraceback of a launcher")
    assert (status.state, status.message) == ("failed", "The training failed: the data is odd.")
    status = ended(tmp_path / "crashed", 1, "Traceback\nRuntimeError: no such kernel\n")
    assert status.message == "The training failed: RuntimeError: no such kernel"
    with pytest.raises(TrainingFailed, match="no such kernel"):
        Trl().result(work(tmp_path, tmp_path / "crashed"))


def test_lines_of_the_progress_that_are_half_written_are_passed_over(tmp_path: Path) -> None:
    whole = {"at": "2026-11-22T00:00:00+00:00", "step": 3, "total": 9}
    lines = [json.dumps(whole), json.dumps({**whole, "step": 4, "train_loss": 0.5})]
    (tmp_path / "progress.jsonl").write_text("\n".join([*lines, lines[1][:30]]), encoding="utf-8")
    status = Trl().watch(work(tmp_path, tmp_path))
    assert (status.done, status.total) == (4, 9)
    assert [event.message for event in status.events] == ["step 4 of 9: training loss 0.5000"]


def test_the_estimate_counts_with_the_models_own_tokenizer(tiny: Path, tmp_path: Path) -> None:
    tokenizer = require("transformers", extra="local").AutoTokenizer.from_pretrained(tiny)
    chat = ChatFormat(tokenizer, (3,))
    tokens = sum(len(chat.prompt(pair.messages)) + len(chat.answer(pair.messages, pair.answer)) for pair in PAIRS)
    found = QUICK.estimate(work(tiny, tmp_path))
    assert (found.tokens, found.epochs, found.usd) == (14 * tokens, 14, None)


def test_the_estimate_without_the_tokenizer_says_what_it_rests_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = Trl(epochs=2).estimate(replace(work(tmp_path, tmp_path), source="nobody/no-such-model"))
    assert found.tokens > 0 and "o200k_base" in found.assumed[0]


def test_the_time_is_reckoned_where_the_card_is_known(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(require("torch", extra="local").cuda, "is_available", lambda: True)
    cards: list[Machine] = [gpus.find("A100-80"), Machine(name="unheard of", memory_gib=8)]

    def this_machine(device: str) -> Machine:
        return cards.pop(0)

    monkeypatch.setattr(trl, "this_machine", this_machine)
    known, unknown = (QUICK.estimate(work(tiny, tmp_path)) for _ in range(2))
    assert known.seconds is not None and known.seconds > 0 and unknown.seconds is None
    assert any("not measured" in sentence for sentence in known.assumed)
    assert known.usd is None or known.usd > Decimal(0)


def test_several_cards_are_launched_by_accelerate(tmp_path: Path) -> None:
    command = cast(Any, Trl(gpus=4, merge=True))._command(tmp_path)
    assert command[:3] == [sys.executable, "-m", "accelerate.commands.launch"]
    assert command[command.index("--num_processes") + 1] == "4"
    assert command[command.index("--folder") + 1] == command[command.index("--output") + 1] == str(tmp_path)
    assert "--merge" in command and "accelerate.commands.launch" not in cast(Any, Trl())._command(tmp_path)


def test_it_is_pushed_only_when_asked(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []

    class Hub:
        def create_repo(self, name: str, **options: Any) -> None:
            calls.append({"name": name, **options})

        def upload_folder(self, **options: Any) -> None:
            calls.append(options)

    monkeypatch.setattr(require("huggingface_hub", extra="local"), "HfApi", Hub)
    Trl(epochs=1).prepare(work(tiny, tmp_path))
    program(tmp_path)
    assert not calls
    program(tmp_path, "--push-to", "me/it")
    assert calls[0] == {"name": "me/it", "private": True, "exist_ok": True}
    assert calls[1]["folder_path"] == tmp_path / "adapter"
    assert "settings.json" in calls[1]["ignore_patterns"]
