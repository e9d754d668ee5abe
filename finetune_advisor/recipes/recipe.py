"""What is to be trained, and how: one tuned arm of a case, with its settings and what was measured on it."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

from finetune_advisor import approaches
from finetune_advisor.case import Case, ModelSection
from finetune_advisor.errors import BadInput
from finetune_advisor.experiment import arms
from finetune_advisor.models.embedded import EmbeddedModel
from finetune_advisor.records import ArmResult, Cost, Results, Settings
from finetune_advisor.tuning.options import LoraOptions

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)

EMBEDDED_FOLDER = "base"
"""Where a recipe puts the embedded model's weights."""

ORIGINAL = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""The embedded model as it was published, unquantised; for trainers that take no folder of ours."""

PLACEHOLDER = "PATH_OR_ID"
"""Stands where whoever trains has to name the model."""

HOSTED_NAME = re.compile(r"[\w.:-]+", re.ASCII)
"""What a provider may call a model."""


@dataclass(frozen=True, kw_only=True)
class Base:
    """The model that is trained.

    Args:
        name: What people see.
        id: What a trainer loads: a hub id, or a folder inside the recipe; "" where whoever trains has to say it.
        licence: As far as it is known here, in a sentence.
    """

    name: str
    id: str
    licence: str


UNKNOWN = Base(name="that you name", id="", licence="Not known here: read it before you train.")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One tuned arm of a case.

    Args:
        case: The case.
        results: What was measured; None where nothing was.
        arm: The arm's name.
        approach: Its approach by name.
        settings: The options of the approach.
        section: The model as the case states it.
        measured: The arm's result; None where it was not run.
    """

    case: Case
    results: Results | None
    arm: str
    approach: str
    settings: Settings
    section: ModelSection
    measured: ArmResult | None

    @property
    def options(self) -> LoraOptions:
        """Every option of the training: as it was measured, or else as the arm states it."""
        training = self.measured.training if self.measured else None
        stated: dict[str, Any] = {
            "seed": self.case.data.seed,
            **self.settings,
            **self.settings.get("options", {}),
            **(training.options if training else {}),
        }
        # What a provider calls it; "auto" is no number of passes.
        if isinstance(stated.get("n_epochs"), int):
            stated["epochs"] = stated["n_epochs"]
        known = {field.name for field in fields(LoraOptions)} - {"device", "dtype"}
        return LoraOptions(**{name: value for name, value in stated.items() if name in known})

    @property
    def base(self) -> Base:
        """The model that is trained."""
        match self.section.provider:
            case "embedded":
                licence = "Apache-2.0, which allows commercial use."
                return Base(name=EmbeddedModel.ID, id=EMBEDDED_FOLDER, licence=licence)
            case "huggingface":
                return _from_hub(str(self.section.options.get("id", "")))
            case "openai" | "azure" if self.hosted(self.section.provider):
                licence = "The provider's terms hold: the model cannot be taken elsewhere."
                return Base(name=self.hosted(self.section.provider), id="", licence=licence)
            case _:
                licence = "Not known here: read the licence of the model that you take."
                return Base(name=self.section.name, id="", licence=licence)

    @property
    def embedded(self) -> bool:
        """Whether the model is the one that comes along with this program."""
        return self.section.provider == "embedded"

    @property
    def loaded_as(self) -> str:
        """What a trainer of others loads: the model's id on the hub, or what stands in its place."""
        return ORIGINAL if self.embedded else self.base.id or PLACEHOLDER

    def hosted(self, provider: str) -> str:
        """What the provider calls the model, where the case has one of that provider's; else ""."""
        stated = self.section.options.get("model") or self.section.options.get("id") or self.section.name
        known = self.section.provider == provider and HOSTED_NAME.fullmatch(str(stated))
        return str(stated) if known else ""

    @property
    def simulated(self) -> bool:
        """Whether only a pretended model was asked, or would be."""
        return self.section.provider == "fake"

    @property
    def cost(self) -> Cost | None:
        """What the arm costs; None where it was not run."""
        costs = self.results.costs if self.results else ()
        return next((cost for cost in costs if cost.arm == self.arm), None)


def _from_hub(id: str) -> Base:
    # A path is of use on this machine alone, and whatever else is not an id does not belong into a script.
    if not HUB_ID.fullmatch(id):
        name = re.split(r"[\\/]", id.rstrip("\\/"))[-1]
        return Base(name=name, id="", licence="Not known here: look into the model's folder for it.")
    return Base(name=id, id=id, licence=f"Not known here: read it at https://huggingface.co/{id} before you train.")


def possible(case: Case, results: Results | None) -> tuple[Recipe, ...]:
    """A recipe for each tuned arm, the one that the verdict weighs first; those that were measured, where any was."""
    return _measured(case, results) or _planned(case, results)


def chosen(case: Case, results: Results | None, arm: str | None = None) -> Recipe:
    """The recipe of an arm.

    Args:
        case: The case.
        results: What was measured; None where nothing was.
        arm: The arm's name; the first of `possible` where None.

    Raises:
        BadInput: No arm tunes a model, or none has that name.
    """
    found = possible(case, results)
    if not found:
        raise BadInput("No arm of this case tunes a model.", hint='Add one: [[arms]] approach = "tuned"')
    recipe = next((recipe for recipe in found if arm in (None, recipe.arm)), None)
    if recipe is None:
        names = ", ".join(recipe.arm for recipe in found)
        raise BadInput(f"No tuned arm of this case is called {arm!r}.", hint=f"Tuned arms: {names}.")
    return recipe


def _measured(case: Case, results: Results | None) -> tuple[Recipe, ...]:
    sections = {section.name: section for section in case.models}
    tuned = [arm for arm in (results.arms if results else ()) if arm.tuned and arm.model in sections]
    best = results.verdict.best_tuned if results else None
    return tuple(
        Recipe(
            case=case,
            results=results,
            arm=arm.name,
            approach=arm.approach,
            settings=arm.settings,
            section=sections[arm.model],
            measured=arm,
        )
        for arm in sorted(tuned, key=lambda arm: (arm.name != best, -arm.score))
    )


def _planned(case: Case, results: Results | None) -> tuple[Recipe, ...]:
    sections = {section.name: section for section in case.models}
    made = {name: each.make() for name, each in sections.items()}
    return tuple(
        Recipe(
            case=case,
            results=results,
            arm=plan.name,
            approach=plan.approach,
            settings=asdict(cast(Any, approaches.create(plan.approach, **plan.grid[0]))),
            section=sections[plan.model_name],
            measured=None,
        )
        for plan in arms.plans(case, made)
        if plan.model_name in sections and _trains(plan, case)
    )


def _trains(plan: arms.Plan, case: Case) -> bool:
    """Whether the arm trains a model that can be trained, on documents that the case has."""
    kind = approaches.named(plan.approach)
    tunable = plan.model is not None and plan.model.tunable
    return kind.tuned and tunable and (case.data.documents is not None or not kind.needs_documents)
