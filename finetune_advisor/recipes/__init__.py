"""How to go on: the four things that are needed, and a folder that trains the model without this program.

A `Recipe` and its `training_data` know nothing of who trains; each provider is a module that makes files of the two.
"""

from finetune_advisor.recipes.facts import facts, settings
from finetune_advisor.recipes.folder import files, stages, to_zip, write
from finetune_advisor.recipes.guide import Stage
from finetune_advisor.recipes.needs import Need, needs
from finetune_advisor.recipes.provider import GROUP, TABLE, Provider, create, providers
from finetune_advisor.recipes.recipe import Recipe, chosen, possible
from finetune_advisor.recipes.trl import train_script

__all__ = [
    "GROUP",
    "TABLE",
    "Need",
    "Provider",
    "Recipe",
    "Stage",
    "chosen",
    "create",
    "facts",
    "files",
    "needs",
    "possible",
    "providers",
    "settings",
    "stages",
    "to_zip",
    "train_script",
    "write",
]
