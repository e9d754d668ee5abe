"""Where and with what a recipe trains. Plug-in point: entry-point group ``finetune_advisor.recipes``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

from finetune_advisor import plugins
from finetune_advisor.recipes.guide import Stage
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.recipes.training_data import TrainingData

GROUP = "recipes"
TABLE = {
    "trl": "finetune_advisor.recipes.trl:Trl",
    "trl-cli": "finetune_advisor.recipes.trl_cli:TrlCli",
    "unsloth": "finetune_advisor.recipes.unsloth:Unsloth",
    "axolotl": "finetune_advisor.recipes.axolotl:Axolotl",
    "llamafactory": "finetune_advisor.recipes.llamafactory:LlamaFactory",
    "autotrain": "finetune_advisor.recipes.autotrain:AutoTrain",
    "openai": "finetune_advisor.recipes.openai:OpenAI",
    "azure": "finetune_advisor.recipes.azure:Azure",
    "together": "finetune_advisor.recipes.together:Together",
    "fireworks": "finetune_advisor.recipes.fireworks:Fireworks",
}


class Provider(Protocol):
    """Writes a recipe for one trainer.

    `title` is its name, `sentence` says in one sentence what it is and what to know first.
    """

    @property
    def title(self) -> str: ...  # noqa: D102
    @property
    def sentence(self) -> str: ...  # noqa: D102
    def files(self, recipe: Recipe, data: TrainingData) -> Mapping[str, str]:
        """The text of each file, by its path in the folder."""
        ...

    def stages(self, recipe: Recipe) -> tuple[Stage, ...]:
        """The steps to the tuned model, with their commands; needs no data, so that it can be shown at once."""
        ...


def create(name: str) -> Provider:
    """The provider of that name.

    Raises:
        BadInput: There is none; the hint lists the known names.
    """
    return cast(Provider, plugins.create(GROUP, TABLE, name, {}))


def providers() -> list[tuple[str, str, str]]:
    """Name, title and sentence of each provider, ours first."""
    names = sorted(plugins.known(GROUP, TABLE), key=lambda name: [*TABLE, name].index(name))
    return [(name, made.title, made.sentence) for name in names for made in [create(name)]]
