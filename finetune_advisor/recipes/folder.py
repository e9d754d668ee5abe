"""A recipe as files: in a folder, or as a zip file to download."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from finetune_advisor.case import Case
from finetune_advisor.errors import BadInput
from finetune_advisor.recipes.guide import Stage
from finetune_advisor.recipes.provider import create
from finetune_advisor.recipes.recipe import Recipe, chosen
from finetune_advisor.recipes.training_data import training_data
from finetune_advisor.records import Progress, Results, no_progress

TOP = "recipe"
"""The folder that everything lies in, in the zip file."""


def files(recipe: Recipe, provider: str = "trl", progress: Progress = no_progress) -> Mapping[str, str]:
    """The text of each file of a recipe, by its path in the folder.

    Args:
        recipe: What is to be trained.
        provider: Who trains; see `providers`.
        progress: Told about reading and searching.

    Raises:
        AdvisorError: There is no such provider, the data cannot be read, or is not what was measured; see
            `training_data`.
    """
    made = create(provider)
    return made.files(recipe, training_data(recipe, progress))


def stages(recipe: Recipe, provider: str = "trl") -> tuple[Stage, ...]:
    """The steps to the tuned model, with their commands.

    Args:
        recipe: What is to be trained.
        provider: Who trains; see `providers`.

    Raises:
        BadInput: There is no such provider.
    """
    return create(provider).stages(recipe)


def write(
    case: Case,
    results: Results | None,
    folder: Path,
    arm: str | None = None,
    provider: str = "trl",
    progress: Progress = no_progress,
) -> None:
    """Write a folder that trains a tuned arm of a case without this program.

    Args:
        case: The case.
        results: What was measured; None where nothing was.
        folder: Made where it is not there; files of the same names are replaced.
        arm: The arm's name; the best tuned one where None.
        provider: Who trains; see `providers`.
        progress: Told about reading and searching.

    Raises:
        AdvisorError: No arm tunes a model, there is no such provider, the data cannot
            be read, or the folder cannot be written.
    """
    made = files(chosen(case, results, arm), provider, progress)
    try:
        for name, text in made.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode("utf-8"))
    except OSError as error:
        raise BadInput(f"{folder} cannot be written: {error.strerror}.", hint="Name another folder.") from error


def to_zip(
    case: Case,
    results: Results | None,
    arm: str | None = None,
    provider: str = "trl",
    progress: Progress = no_progress,
) -> bytes:
    """The same folder as a zip file.

    Args:
        case: The case.
        results: What was measured; None where nothing was.
        arm: The arm's name; the best tuned one where None.
        provider: Who trains; see `providers`.
        progress: Told about reading and searching.

    Raises:
        AdvisorError: No arm tunes a model, there is no such provider, or the data cannot
            be read.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files(chosen(case, results, arm), provider, progress).items():
            archive.writestr(f"{TOP}/{name}", text.encode("utf-8"))
    return stream.getvalue()
