"""Named settings of a TRL training, each with its source."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

from finetune_advisor.errors import BadInput

BASE = "sft-lora"
"""What the others are laid over; it names every setting."""

Value = int | float | str | bool


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Settings under a name. `differs` says where they cannot be what their source did."""

    name: str
    title: str
    source: str
    settings: Mapping[str, Value]
    differs: str = ""


def find(name: str) -> Preset:
    """The preset of that name, with every setting.

    Raises:
        BadInput: There is none; the hint lists the known ones.
    """
    known = table()
    if name not in known:
        raise BadInput(f"There is no preset named {name!r}.", hint="Known: " + ", ".join(known) + ".")
    found = known[name]
    return replace(found, settings={**known[BASE].settings, **found.settings})


@functools.cache
def table() -> dict[str, Preset]:
    """Every preset by name, each with only what it sets itself."""
    text = (files("finetune_advisor.tuning") / "presets.toml").read_text(encoding="utf-8")
    rows: dict[str, dict[str, Any]] = tomllib.loads(text)
    return {name: Preset(name=name, **row) for name, row in rows.items()}


def default(task: str, method: str) -> str:
    """The preset for a task ("sft", "dpo") and a method where none is named."""
    return f"{task}-{'full' if method == 'full' else 'lora'}"
