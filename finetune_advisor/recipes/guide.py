"""The guide in each folder: what was measured, what it will cost, the steps, the settings, what to check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import finetune_advisor
from finetune_advisor.recipes.checks import checks
from finetune_advisor.recipes.facts import facts, settings
from finetune_advisor.recipes.figures import Figure
from finetune_advisor.recipes.recipe import Base, Recipe
from finetune_advisor.recipes.rendering import rendered
from finetune_advisor.recipes.training_data import TrainingData
from finetune_advisor.report.formats import day

NO_SETTING = "no such setting"
LAST = "Ask the tuned model: `serve.md` shows how."


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step on the way: what is done, and the commands that do it."""

    words: str
    commands: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Guide:
    """What a README says that depends on the provider. All texts are ours, in Markdown; names in them are escaped.

    Args:
        purpose: What the folder does, after "This folder".
        base: Where the base model comes from.
        result: Where the tuned model is then.
        stages: The steps.
        figures: Cost and time.
        here: What the provider calls each setting, by the setting's name in `facts.settings`.
        contents: What each file is, by its path; the data files are known.
        expect: What to expect of time and score, given what was measured.
        differences: What is not as it was in the measured training.
        until: Until when it can be done.
        tuned: The model that is tuned, where it is another than the recipe's.
        last: The last step.
    """

    purpose: str
    base: str
    result: str
    stages: tuple[Stage, ...]
    figures: tuple[Figure, ...]
    here: Mapping[str, str]
    contents: Mapping[str, str]
    expect: str
    differences: tuple[str, ...] = ()
    until: tuple[str, ...] = ()
    tuned: Base | None = None
    last: str = LAST


def readme(recipe: Recipe, data: TrainingData, guide: Guide) -> str:
    """The README of a folder."""
    tuned = guide.tuned or recipe.base
    rows = [(name, value, guide.here.get(name, NO_SETTING)) for name, value in settings(recipe)]
    return rendered(
        "README.md.j2",
        recipe,
        data=data,
        guide=guide,
        facts=facts(recipe),
        settings=rows,
        tuned=tuned,
        checks=checks(recipe, tuned),
        version=finetune_advisor.__version__,
        today=day(datetime.now(UTC).date()),
    )
