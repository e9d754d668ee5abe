"""The libraries of a recipe in exact versions: as measured, else as installed here, else as looked up."""

from __future__ import annotations

import re

from finetune_advisor.experiment.results import installed
from finetune_advisor.recipes.recipe import Recipe

LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")
"""What the measured training itself uses."""

LOOKED_UP = {
    "autotrain-advanced": "0.8.36",
    "axolotl": "0.21.0",
    "fireworks-ai": "1.2.30",
    "llamafactory": "0.9.5",
    "openai": "3.54.0",
    "together": "3.1.1",
    "unsloth": "2026.10.9",
}
"""The newest of each on 2026-11-22, whose settings and calls the recipes were written by."""

_VERSION = re.compile(r"[0-9][0-9A-Za-z.!+-]*")


def pinned(name: str, recipe: Recipe) -> str:
    """A line for a requirements file."""
    if name in LOOKED_UP:
        return f"{name}=={LOOKED_UP[name]}"
    measured = recipe.results.provenance.packages.get(name) if recipe.results else None
    # Results may come from elsewhere, and this becomes a command to copy.
    found = measured if measured and _VERSION.fullmatch(measured) else installed(name)
    return f"{name}=={found.partition('+')[0]}" if found else name


def requirements(recipe: Recipe, *names: str) -> str:
    """A requirements file."""
    return "".join(f"{pinned(name, recipe)}\n" for name in names)
