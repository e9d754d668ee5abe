"""A recipe trains for real without the advisor: what is learnt, what is kept, and what a stop costs."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import types
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


def test_trls_command_line_trains_by_the_configuration(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes.write(made(tmp_path / "case", from_folder(tiny), QUICK), None, tmp_path, provider="trl-cli")
    text = (tmp_path / "config.yaml").read_text(encoding="utf-8")
    there = text.replace("PATH_OR_ID", tiny.as_posix()).replace("bf16: true", "bf16: false")
    (tmp_path / "config.yaml").write_text(there, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")
        sft = require("trl.scripts.sft", extra="local")
        parsed = sft.make_parser().parse_args_and_config(["--config", "config.yaml"], fail_with_unknown_args=True)
        sft.main(*parsed)
    assert learns(tiny, tmp_path / "adapter")


def test_unsloths_program_trains_with_its_calls(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unsloth needs a GPU; in its place stand transformers and peft, called as it is called."""
    monkeypatch.setitem(sys.modules, "unsloth", unsloth())
    recipes.write(made(tmp_path / "case", from_folder(tiny), QUICK), None, tmp_path, provider="unsloth")
    program = (tmp_path / "train.py").read_text(encoding="utf-8")
    on_cpu = program.replace("fp16=not is_bfloat16_supported(),", "fp16=False,")
    (tmp_path / "train.py").write_text(on_cpu, encoding="utf-8")
    train(tmp_path, "--model", str(tiny))
    assert learns(tiny, tmp_path / "adapter")


def unsloth() -> Any:
    """A module with the calls of Unsloth that the program makes."""
    transformers, peft = require("transformers", extra="local"), require("peft", extra="local")

    class FastLanguageModel:
        @staticmethod
        def from_pretrained(model_name: str, max_seq_length: int, load_in_4bit: bool) -> tuple[Any, Any]:
            loaded = transformers.AutoModelForCausalLM.from_pretrained(model_name)
            return loaded, transformers.AutoTokenizer.from_pretrained(model_name)

        @staticmethod
        def get_peft_model(
            model: Any,
            r: int,
            lora_alpha: int,
            lora_dropout: float,
            target_modules: list[str],
            finetune_last_n_layers: int | None,
            use_gradient_checkpointing: str,
            random_state: int,
        ) -> Any:
            transformers.set_seed(random_state)
            config = peft.LoraConfig(
                r=r, lora_alpha=lora_alpha, lora_dropout=lora_dropout, target_modules=target_modules
            )
            return peft.get_peft_model(model, config)

    module: Any = types.ModuleType("unsloth")
    module.FastLanguageModel = FastLanguageModel
    module.is_bfloat16_supported = lambda: False
    return module


def learns(base: Path, adapter: Path) -> bool:
    """Whether the adapter answers all pairs."""
    tuned = LocalModel(str(base), dtype="float32", device="cpu").with_adapter(adapter)
    requests = [Request(example_id=pair.answer, messages=pair.messages, max_tokens=4) for pair in PAIRS]
    replies = tuned.answer(Batch(requests=(*requests,)))
    return [reply.text for reply in replies if isinstance(reply, Reply)] == [pair.answer for pair in PAIRS]
