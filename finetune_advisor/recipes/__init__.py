"""How to go on: the four things that are needed, and a folder that trains the model without this program.

One route is offered, the one that works: LoRA with TRL on a machine of one's own. A `Recipe` and its `training_data`
know nothing of the route; another route is another module with a function from these to files.
"""

from finetune_advisor.recipes.facts import facts, settings
from finetune_advisor.recipes.folder import files, to_zip, write
from finetune_advisor.recipes.needs import Need, needs
from finetune_advisor.recipes.recipe import Recipe, chosen, possible
from finetune_advisor.recipes.trl import stages, train_script

__all__ = [
    "Need",
    "Recipe",
    "chosen",
    "facts",
    "files",
    "needs",
    "possible",
    "settings",
    "stages",
    "to_zip",
    "train_script",
    "write",
]
