"""AutoTrain: what it is given, how it is followed, what is believed of it; a real run where its environment is."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stub_autotrain
import tiny_model
from finetune_advisor import tuning
from finetune_advisor.errors import BadInput, Missing, require
from finetune_advisor.models.embedded import chat_model_folder
from finetune_advisor.models.local import LocalModel
from finetune_advisor.models.quiet import quiet
from finetune_advisor.models.weights import loaded
from finetune_advisor.records import Batch, Message, Reply, Request, TrainingPair, no_progress
from finetune_advisor.tuning import autotrain, process
from finetune_advisor.tuning.autotrain import AutoTrain
from finetune_advisor.tuning.autotrain_files import AutoTrainFolder
from finetune_advisor.tuning.follow import TrainingFailed
from finetune_advisor.tuning.work import TuningWork

SAMPLE = Path(autotrain.__file__).parents[1] / "sample" / "messages.jsonl"
REAL = os.environ.get(autotrain.VARIABLE, "")
FIELDS = re.findall(
    r"\w+",
    """model project_name data_path train_split valid_split add_eos_token block_size model_max_length padding trainer
    use_flash_attention_2 log disable_gradient_checkpointing logging_steps eval_strategy save_total_limit
    auto_find_batch_size mixed_precision lr epochs batch_size warmup_ratio gradient_accumulation optimizer scheduler
    weight_decay max_grad_norm seed chat_template quantization target_modules merge_adapter peft lora_r lora_alpha
    lora_dropout model_ref dpo_beta max_prompt_length max_completion_length prompt_text_column text_column
    rejected_text_column push_to_hub username token unsloth distributed_backend""",
)
"""Of LLMTrainingParams in AutoTrain Advanced 0.8.36; it ignores others with a warning."""
PEFT_0_14: dict[str, Any] = {
    "alpha_pattern": {},
    "auto_mapping": None,
    "base_model_name_or_path": "base",
    "bias": "none",
    "eva_config": None,
    "exclude_modules": None,
    "fan_in_fan_out": False,
    "inference_mode": True,
    "init_lora_weights": True,
    "layer_replication": None,
    "layers_pattern": None,
    "layers_to_transform": None,
    "loftq_config": {},
    "lora_alpha": 8,
    "lora_bias": False,
    "lora_dropout": 0.05,
    "megatron_config": None,
    "megatron_core": "megatron.core",
    "modules_to_save": None,
    "peft_type": "LORA",
    "r": 4,
    "rank_pattern": {},
    "revision": None,
    "target_modules": ["up_proj", "k_proj", "v_proj", "down_proj", "o_proj", "gate_proj", "q_proj"],
    "task_type": "CAUSAL_LM",
    "use_dora": False,
    "use_rslora": False,
}
"""What peft 0.14 writes."""
TORCHVISION = """  File "site-packages/torchvision/_meta_registrations.py", line 163, in <module>
    @torch.library.register_fake("torchvision::nms")
RuntimeError: operator torchvision::nms does not exist
INFO     | 2026-11-23 02:02:25 | autotrain.parser:run:229 - Job ID: 12593
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def adapter(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of the tiny model as peft 0.14 saves it where AutoTrain has changed the vocabulary's size."""
    peft, torch = require("peft", extra="local"), require("torch", extra="local")
    safetensors = require("safetensors.torch", extra="local")
    folder = tmp_path_factory.mktemp("adapter")
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=PEFT_0_14["target_modules"], init_lora_weights=False)
    with quiet():
        peft.get_peft_model(loaded("AutoModelForCausalLM", str(tiny)), config).save_pretrained(folder)
    (folder / "adapter_config.json").write_text(json.dumps(PEFT_0_14), encoding="utf-8")
    weights = folder / "adapter_model.safetensors"
    tensors = {
        **safetensors.load_file(weights),
        "base_model.model.model.embed_tokens.weight": torch.zeros(3, 32),
        "base_model.model.lm_head.weight": torch.zeros(3, 32),
    }
    safetensors.save_file(tensors, weights)
    return folder


@pytest.fixture
def program(tmp_path: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A program that behaves as `autotrain` does."""
    file = tmp_path / "bin" / "autotrain"
    file.parent.mkdir()
    file.write_text(f'#!/bin/sh\nexec {sys.executable} {stub_autotrain.__file__} "$@"\n', encoding="utf-8")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("STUB_ADAPTER", str(adapter))
    monkeypatch.setattr(autotrain, "LOOK_SECONDS", 0.05)
    return str(file)


@pytest.fixture
def work(tiny: Path, tmp_path: Path) -> TuningWork:
    return TuningWork(source=str(tiny), train=tiny_model.pairs(), validation=(), folder=tmp_path / "fit")


def made(program: str = "", **options: Any) -> AutoTrain:
    return AutoTrain(command=program, block_size=16, **options)


def prepared(work: TuningWork, trainer: AutoTrain) -> AutoTrainFolder:
    trainer.prepare(work)
    return AutoTrainFolder(work.folder / "checkpoints")


def settings(folder: AutoTrainFolder) -> dict[str, Any]:
    return require("yaml", extra="local").safe_load(folder.config.read_text(encoding="utf-8"))


def tuned(trainer: AutoTrain, work: TuningWork) -> tuning.TrainingRun:
    return trainer.tune(work, no_progress)


def when(is_so: Callable[[], bool]) -> None:
    """Look until it is so."""
    last = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < last, "it never was so"
        time.sleep(0.02)


def answer(model: LocalModel, question: tuple[Message, ...]) -> Reply:
    (reply,) = model.answer(Batch(requests=(Request(example_id="1", messages=question, max_tokens=24),)))
    assert isinstance(reply, Reply)
    return reply


def test_the_settings_name_everything_that_autotrain_asks_for(work: TuningWork) -> None:
    config = settings(prepared(work, made(quantization="int4", learning_rate=1e-5)))
    assert {"task", "base_model", "project_name", "log", "backend", "data", "params", "hub"} == set(config)
    assert set(config["data"]) == {"path", "train_split", "valid_split", "chat_template", "column_mapping"}
    assert set(config["params"]) <= set(FIELDS)
    assert (config["params"]["lr"], config["params"]["quantization"]) == (1e-5, "int4")
    assert config["params"]["mixed_precision"] is None
    assert re.fullmatch(r"[a-z0-9-]{1,50}", config["project_name"])


def test_nothing_goes_to_a_hub_and_no_token_is_written(work: TuningWork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_a_secret_of_mine")
    folder = prepared(work, made())
    assert settings(folder)["hub"] == {"username": None, "token": None, "push_to_hub": False}
    written = [file.read_bytes() for file in work.folder.rglob("*") if file.is_file()]
    assert not any(b"hf_a_secret" in content for content in written)


def test_the_data_are_the_rendered_conversations(work: TuningWork) -> None:
    lines = (prepared(work, made()).path / "data" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 6
    text = json.loads(lines[0])["text"].split()
    assert text[0] == "<|im_start|>"
    assert text[-1] == "red"


def test_the_base_model_is_adapted_and_its_weights_are_not_copied(work: TuningWork) -> None:
    base = prepared(work, made()).path / "base"
    assert json.loads((base / "config.json").read_text(encoding="utf-8"))["rope_theta"] == 10000.0
    tokenizer = json.loads((base / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert (base / "model.safetensors").is_symlink()


def test_the_estimate_is_in_whole_blocks_and_says_what_it_rests_on(work: TuningWork) -> None:
    estimate = made(epochs=2).estimate(work)
    tokenizer = loaded("AutoTokenizer", work.source)
    folder = prepared(work, made(epochs=2))
    lines = (folder.path / "data" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    tokens = sum(len(tokenizer(json.loads(line)["text"])["input_ids"]) + 1 for line in lines)
    assert estimate.tokens == tokens // 16 * 16 * 2
    assert autotrain.UNMAINTAINED in estimate.assumed and "January 2025" in autotrain.UNMAINTAINED
    assert (estimate.epochs, estimate.usd, estimate.seconds) == (2, None, None)


def test_a_training_leaves_an_adapter_that_todays_peft_puts_on_the_base(program: str, work: TuningWork) -> None:
    seen: list[tuple[str, int, int]] = []
    run = made(program).tune(
        tiny_model.work(work.source, work.train, (), work.folder), lambda what, done, of: seen.append((what, done, of))
    )
    assert (run.adapter, run.base, run.examples) == (str(work.folder), work.source, 6)
    assert (run.steps, run.best_step) == (2, 2)
    assert [(point.step, point.loss, point.split) for point in run.losses] == [
        (1, 4.001, "train"),
        (2, 3.6218, "train"),
    ]
    assert run.trainable_parameters == 2 * 4 * (4 * 32 + 32 + 16 + 16 + 32 + 3 * 32 + 3 * 48)
    assert run.tokens == made().estimate(work).tokens and run.seconds > 0
    assert "command" not in run.options and json.loads(json.dumps(dict(run.options))) == dict(run.options)
    assert seen[-1] == ("training", 2, 2)
    base = LocalModel(work.source, device="cpu", dtype="float32")
    asked = tiny_model.asked("fig")
    assert answer(base.with_adapter(work.folder), asked).text != answer(base, asked).text


def test_only_the_adapter_the_settings_and_the_log_stay(program: str, work: TuningWork) -> None:
    tuned(made(program), work)
    names = {path.name for path in work.folder.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "config.yml", process.LOG} < names
    assert "checkpoints" not in names
    config = json.loads((work.folder / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == work.source
    with require("safetensors", extra="local").safe_open(work.folder / "adapter_model.safetensors", "pt") as weights:
        assert all("lora_" in name for name in weights.keys())  # noqa: SIM118


def test_a_finished_training_is_returned_without_training(program: str, work: TuningWork) -> None:
    first = tuned(made(program), work)
    before = {file: file.stat().st_mtime_ns for file in work.folder.rglob("*")}
    trainer = made("no-such-program")
    assert tuned(trainer, work) == first
    trainer.prepare(work)
    trainer.start(work)
    assert trainer.watch(work).state == "succeeded" and trainer.result(work) == first
    assert {file: file.stat().st_mtime_ns for file in work.folder.rglob("*")} == before


def test_exit_code_0_without_an_adapter_is_a_failure_with_its_reason(
    program: str, work: TuningWork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "says.txt").write_text(TORCHVISION, encoding="utf-8")
    monkeypatch.setenv("STUB_SAYS", str(tmp_path / "says.txt"))
    with pytest.raises(TrainingFailed, match="operator torchvision::nms does not exist") as caught:
        tuned(made(program), work)
    assert "pip uninstall -y torchvision timm" in caught.value.hint
    assert process.exit_code(work.folder) == 0
    assert made(program).watch(work).state == "failed"
    with pytest.raises(TrainingFailed):
        made(program).result(work)


def test_after_a_failure_it_can_be_tried_again(
    program: str, work: TuningWork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "says.txt").write_text(stub_autotrain.failed("a passing trouble"), encoding="utf-8")
    monkeypatch.setenv("STUB_SAYS", str(tmp_path / "says.txt"))
    with pytest.raises(TrainingFailed):
        tuned(made(program), work)
    monkeypatch.delenv("STUB_SAYS")
    assert tuned(made(program), work).steps == 2
    assert "a passing trouble" not in (work.folder / process.LOG).read_text(encoding="utf-8")


def test_a_running_training_is_found_again_and_can_be_cancelled(
    program: str, work: TuningWork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB_HANGS", str(tmp_path / "never"))
    trainer = made(program)
    assert trainer.watch(work).state == "not started"
    trainer.prepare(work)
    trainer.start(work)
    when(lambda: trainer.watch(work).done == 2)
    other = made(program)
    other.prepare(work)
    other.start(work)
    status = other.watch(work)
    assert (status.state, status.done, status.total) == ("running", 2, 2)
    assert any(event.message == "Training loss: 4.001" for event in status.events)
    other.cancel(work)
    assert trainer.watch(work).state == "cancelled"
    assert (work.folder / process.LOG).read_text(encoding="utf-8").count("Starting to train...") == 1


def test_other_options_end_the_old_training_and_begin_anew(
    program: str, work: TuningWork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB_HANGS", str(tmp_path / "never"))
    made(program).prepare(work)
    made(program).start(work)
    monkeypatch.delenv("STUB_HANGS")
    assert tuned(made(program, epochs=1), work).options["epochs"] == 1


def test_it_runs_without_a_models_own_code_and_without_the_hub(
    program: str, work: TuningWork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPACE_ID", "me/space")
    monkeypatch.setenv("STUB_HANGS", str(tmp_path / "go"))
    trainer = made(program)
    trainer.prepare(work)
    trainer.start(work)
    when(lambda: trainer.watch(work).done == 2)
    project = AutoTrainFolder(work.folder / "checkpoints").project
    environment = json.loads((project / "environment.json").read_text(encoding="utf-8"))
    trainer.cancel(work)
    assert environment["PATH"].split(os.pathsep)[0] == str(Path(program).parent.resolve())
    assert (environment["ALLOW_REMOTE_CODE"], environment["HF_HUB_OFFLINE"]) == ("false", "1")
    assert environment["HF_DATASETS_CACHE"].startswith(str(work.folder.resolve()))
    assert "SPACE_ID" not in environment


def test_without_autotrain_the_commands_that_install_it_are_named(
    work: TuningWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(autotrain.VARIABLE, raising=False)
    monkeypatch.setenv("PATH", "")
    trainer = made()
    trainer.prepare(work)
    with pytest.raises(Missing, match="no program autotrain") as caught:
        trainer.start(work)
    assert "autotrain-advanced==0.8.36" in caught.value.hint and autotrain.VARIABLE in caught.value.hint


def test_the_guide_names_the_same_commands() -> None:
    guide = (Path(autotrain.__file__).parents[2] / "docs" / "autotrain.md").read_text(encoding="utf-8")
    assert all(f"\n{command}\n" in guide for command in autotrain.INSTALL.split(" && "))


def test_the_environment_variable_names_the_program(
    program: str, work: TuningWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(autotrain.VARIABLE, program)
    assert tuned(made(), work).steps == 2


def test_too_few_texts_for_a_block_are_bad_input(work: TuningWork) -> None:
    for do in (AutoTrain().estimate, AutoTrain().prepare):
        with pytest.raises(BadInput, match="too few for one block of 1024") as caught:
            do(work)
        assert "block_size = " in caught.value.hint


def test_nothing_to_learn_is_bad_input(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing to train on"):
        AutoTrain().tune(tiny_model.work(tiny, [], [], tmp_path), no_progress)


@pytest.mark.parametrize(
    "options",
    [{"epochs": 0}, {"rank": "8"}, {"learning_rate": 0.0}, {"quantization": "int2"}, {"mixed_precision": "fp8"}],
)
def test_bad_options_are_bad_input(options: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=next(iter(options))):
        tuning.create("autotrain", **options)


def test_it_is_a_trainer() -> None:
    assert isinstance(tuning.create("autotrain"), tuning.Trainer)


def test_a_model_of_the_hub_is_fetched_and_adapted_too(
    tiny: Path, work: TuningWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def snapshot(name: str, **patterns: object) -> str:
        asked.append(name)
        return str(tiny)

    def from_tiny(kind: str, source: str) -> Any:
        return loaded(kind, str(tiny))

    monkeypatch.setattr(require("huggingface_hub", extra="local"), "snapshot_download", snapshot)
    monkeypatch.setattr(autotrain, "loaded", from_tiny)
    of_hub = TuningWork(source="someone/tiny", train=work.train, validation=(), folder=work.folder)
    assert (prepared(of_hub, made()).path / "base" / "model.safetensors").exists()
    assert asked == ["someone/tiny"]


def test_a_model_that_cannot_be_fetched_is_missing(
    tiny: Path, work: TuningWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    def snapshot(name: str, **patterns: object) -> str:
        raise OSError("no network")

    def from_tiny(kind: str, source: str) -> Any:
        return loaded(kind, str(tiny))

    monkeypatch.setattr(require("huggingface_hub", extra="local"), "snapshot_download", snapshot)
    monkeypatch.setattr(autotrain, "loaded", from_tiny)
    of_hub = TuningWork(source="someone/tiny", train=work.train, validation=(), folder=work.folder)
    with pytest.raises(Missing, match="someone/tiny"):
        made().prepare(of_hub)


@pytest.mark.slow
@pytest.mark.skipif(not REAL, reason=f"{autotrain.VARIABLE} does not name an AutoTrain to run")
def test_the_real_autotrain_trains_the_embedded_model(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()[:24]]
    pairs = [
        TrainingPair(
            messages=tuple(Message(role=turn["role"], content=turn["content"]) for turn in row["messages"][:-1]),
            answer=row["messages"][-1]["content"],
        )
        for row in rows
    ]
    source = str(chat_model_folder())
    trainer = AutoTrain(learning_rate=2e-3, epochs=3, batch_size=2, block_size=128, rank=8, alpha=16)
    run = trainer.tune(tiny_model.work(source, pairs, [], tmp_path / "fit"), no_progress)
    assert run.examples == 24 and run.steps >= 20
    assert run.losses[-1].loss < run.losses[0].loss - 1
    base = LocalModel(source, device="cpu", dtype="float32")
    asked = pairs[0].messages
    assert not answer(base, asked).text.startswith('{"queue": "')
    assert answer(base.with_adapter(tmp_path / "fit"), asked).text.startswith('{"queue": "')
