"""docs/providers.md shows models, trainers and commands that there are."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

from finetune_advisor import approaches, cli, models, plugins, tuning

PROVIDERS = (Path(__file__).parents[1] / "docs" / "providers.md").read_text(encoding="utf-8")
MODELS, ARMS = (tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", PROVIDERS, re.DOTALL))


def test_the_models_can_be_made() -> None:
    for section in MODELS["models"]:
        made = models.create(section["provider"], name=section["name"], **section["options"])
        assert models.is_remote(made) and made.name == section["name"]


def test_the_arms_and_their_trainers_can_be_made() -> None:
    for arm in ARMS["arms"]:
        approach: Any = approaches.create(arm["approach"], **arm["settings"])
        assert tuning.create(approach.trainer or "openai", **approach.options)


def test_every_trainer_and_its_options_are_there() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]*(?:machine|OpenAI)[^|]* \| ([^|]*) \|$", PROVIDERS, re.MULTILINE)
    table = {name: options for name, options in rows if name in tuning.TABLE}
    assert set(table) == set(tuning.TABLE)
    for name in ("trl", "openai", "azure"):
        known = {field.name for field in fields(plugins.load(tuning.GROUP, tuning.TABLE, name))}
        said = set(re.findall(r"`([a-z_]+)`", table[name])) - {"text-to-sql-2024"}
        assert said <= known, name


def test_every_command_is_there() -> None:
    lines = re.findall(r"^    finetune-advisor ([a-z]+)([^#\n]*)", PROVIDERS, re.MULTILINE)
    assert {name for name, _ in lines} == {"tune", "run", "deployments"}
    for name, rest in lines:
        options = {option for parameter in cli.main.commands[name].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= options
