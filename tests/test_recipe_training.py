"""A recipe trains for real without the advisor: what is learnt, what is kept, and what a stop costs."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tiny_model
from finetune_advisor import recipes
from finetune_advisor.errors import require
from finetune_advisor.models.local import LocalModel
from finetune_advisor.models.quiet import quiet
from finetune_advisor.recipes.training_data import chat_lines
from finetune_advisor.records import Batch, Reply, Request, TrainingPair
from finetune_advisor.tuning.sft import target_modules
from recipe_case import HUB, PAIRS, QUICK, made


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.build(tmp_path_factory.mktemp("tiny"))


def from_folder(tiny: Path) -> str:
    return HUB.format(id=tiny.as_posix())


def train(folder: Path, *options: str) -> None:
    """Run the recipe's program in this process, which has torch loaded already."""
    argv = sys.argv
    sys.argv = ["train.py", *options]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            runpy.run_path(str(folder / "train.py"), run_name="__main__")
    finally:
        sys.argv = argv


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_folder_trains_in_a_process_of_its_own_and_the_adapter_answers(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "recipe"
    recipes.write(made(tmp_path / "case", from_folder(tiny)), None, folder)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": "", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "train.py", "--model", str(tiny)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "train: 6 examples, 0 left out" in done.stdout
    assert re.search(r"The adapter of step \d+ of 42 is in", done.stdout)

    config = json.loads((folder / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (4, 16, 0.0)
    tuned = LocalModel(str(tiny), dtype="float32", device="cpu").with_adapter(folder / "adapter")
    requests = [Request(example_id=pair.answer, messages=pair.messages, max_tokens=4) for pair in PAIRS]
    replies = tuned.answer(Batch(requests=(*requests,)))
    assert [reply.text for reply in replies if isinstance(reply, Reply)] == [pair.answer for pair in PAIRS]

    monkeypatch.chdir(folder)
    answering, merging = blocks((folder / "serve.md").read_text(encoding="utf-8"), "python")
    capsys.readouterr()
    with quiet():
        exec(answering, {})
        exec(merging, {})
    said, wanted = capsys.readouterr().out.splitlines()
    assert f"wanted: {said}" == wanted and said in tiny_model.COLOURS
    merged = LocalModel(str(folder / "merged"), dtype="float32", device="cpu")
    assert [reply.text for reply in merged.answer(Batch(requests=(*requests,))) if isinstance(reply, Reply)] == [
        pair.answer for pair in PAIRS
    ]


def test_an_interrupted_training_goes_on(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipes.write(made(tmp_path / "case", from_folder(tiny), "epochs = 2, batch_size = 3"), None, tmp_path)
    train(tmp_path, "--model", str(tiny))
    assert sorted(path.name for path in (tmp_path / "checkpoints").glob("*-*")) == ["checkpoint-2", "checkpoint-4"]
    shutil.rmtree(tmp_path / "checkpoints" / "checkpoint-4")
    shutil.rmtree(tmp_path / "adapter")
    with pytest.raises(SystemExit):
        train(tmp_path, "--model", str(tiny))
    assert "add --resume, or remove" in capsys.readouterr().err
    train(tmp_path, "--model", str(tiny), "--resume")
    state = json.loads((tmp_path / "checkpoints" / "checkpoint-4" / "trainer_state.json").read_text(encoding="utf-8"))
    assert state["global_step"] == 4
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    assert "of 4 is in" in capsys.readouterr().out


def test_there_is_nothing_to_go_on_with(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipes.write(made(tmp_path / "case", from_folder(tiny)), None, tmp_path)
    with pytest.raises(SystemExit):
        train(tmp_path, "--model", str(tiny), "--resume")
    assert "nothing to go on with" in capsys.readouterr().err


def test_the_best_checkpoint_by_validation_is_kept(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Validated on answers that contradict the training, the first checkpoint is the best."""
    recipes.write(made(tmp_path / "case", from_folder(tiny), QUICK), None, tmp_path)
    contrary = [replace(pair, answer=other.answer) for pair, other in zip(PAIRS, PAIRS[1:] + PAIRS[:1], strict=True)]
    (tmp_path / "data" / "validation.jsonl").write_text(chat_lines(contrary), encoding="utf-8")
    train(tmp_path, "--model", str(tiny))
    found = re.search(r"The adapter of step (\d+) of 42", capsys.readouterr().out)
    assert found and int(found[1]) < 42


def prepared_by_trl(folder: Path, model: Path) -> Any:
    """The training set as TRL prepares it from the recipe's data and settings, with the tokenizer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = runpy.run_path(str(folder / "train.py"))
        transformers, trl = require("transformers", extra="local"), require("trl", extra="local")
        tokenizer = program["with_template"](transformers.AutoTokenizer.from_pretrained(model))
        loaded = transformers.AutoModelForCausalLM.from_pretrained(model)
        trainer = trl.SFTTrainer(
            model=loaded,
            args=program["settings"](False),
            train_dataset=program["dataset"](program["conversations"]("train", tokenizer)),
            processing_class=tokenizer,
            peft_config=program["adapter"](loaded),
        )
    return trainer, tokenizer


def learnt(row: Mapping[str, Any], tokenizer: Any) -> tuple[str, str]:
    """What is read and what is learnt of a prepared row, as text."""
    split = next(at for at, label in enumerate(row["labels"]) if label != -100)
    assert row["labels"][split:] == row["input_ids"][split:]
    return tokenizer.decode(row["input_ids"][:split]), tokenizer.decode(row["input_ids"][split:])


def test_the_loss_is_on_the_answer_only_and_long_examples_are_left_out(tiny: Path, tmp_path: Path) -> None:
    recipes.write(made(tmp_path / "case", from_folder(tiny), "top_layers = 1"), None, tmp_path)
    long = TrainingPair(messages=tiny_model.asked("fig " * 1100), answer="red")
    (tmp_path / "data" / "train.jsonl").write_text(chat_lines([long, *PAIRS]), encoding="utf-8")
    trainer, tokenizer = prepared_by_trl(tmp_path, tiny)
    assert len(trainer.train_dataset) == len(PAIRS)
    prompts, answers = zip(*(learnt(row, tokenizer) for row in trainer.train_dataset), strict=True)
    assert all(prompt.endswith("assistant") for prompt in prompts)
    assert [answer.split() for answer in answers] == [[pair.answer, "<|im_end|>"] for pair in PAIRS]


@pytest.mark.parametrize("settings", ["top_layers = 1", "top_layers = 0"])
def test_the_layers_that_are_adapted_are_those_of_the_measured_training(
    tiny: Path, tmp_path: Path, settings: str
) -> None:
    recipe = recipes.chosen(made(tmp_path / "case", from_folder(tiny), settings), None)
    recipes.write(recipe.case, None, tmp_path)
    model = require("transformers", extra="local").AutoModelForCausalLM.from_pretrained(tiny)
    found = runpy.run_path(str(tmp_path / "train.py"))["adapter"](model).target_modules
    wanted = target_modules(model, recipe.options)
    assert found == (wanted if isinstance(wanted, str) else {*wanted})


def test_a_model_without_a_chat_template(tmp_path: Path) -> None:
    """The texts stand one below the other, as where the advisor asks and trains such a model."""
    model = tiny_model.build(tmp_path / "model", template=None)
    recipes.write(made(tmp_path / "case", from_folder(model)), None, tmp_path)
    trainer, tokenizer = prepared_by_trl(tmp_path, model)
    assert {learnt(row, tokenizer) for row in trainer.train_dataset} == {
        (" ".join(message.content for message in pair.messages), f"{pair.answer} <|im_end|>") for pair in PAIRS
    }


def test_a_template_that_refuses_a_system_message(tmp_path: Path) -> None:
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + tiny_model.TEMPLATE
    model = tiny_model.build(tmp_path / "model", template=refusing)
    recipes.write(made(tmp_path / "case", from_folder(model)), None, tmp_path)
    trainer, tokenizer = prepared_by_trl(tmp_path, model)
    prompt, _ = learnt(trainer.train_dataset[0], tokenizer)
    assert "answer briefly what is" in prompt and "system" not in prompt
