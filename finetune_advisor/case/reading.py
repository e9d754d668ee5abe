"""Read a case folder and check what stands in it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from finetune_advisor import approaches, metrics, questions
from finetune_advisor.case.sections import FILE, ArmSection, Case
from finetune_advisor.errors import BadInput

_LEADS_OUT = re.compile(r"^(/(?!\*)|[\\~]|[A-Za-z]:|file:)|(^|[/\\])\.\.([/\\]|$)")


def read(folder: Path, *, inside: bool = False) -> Case:
    """Read and check a case folder.

    Args:
        folder: The folder that holds `case.toml`.
        inside: Refuse paths that lead out of the folder, for a case that comes from elsewhere. A person's own case
            may name any file that this person can read.

    Raises:
        BadInput: No case there, or something in it is not usable; the message names the key.
    """
    return check(plain_text(folder / FILE), folder, inside=inside)


def plain_text(path: Path) -> str:
    """The text of a `case.toml`, without a byte-order mark.

    Raises:
        BadInput: It is missing, unreadable, or not TOML.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        tomllib.loads(text)
    except OSError as error:
        raise BadInput(
            f"There is no readable {FILE} in {path.parent}.", hint=f"finetune-advisor new {path.parent} makes one."
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadInput(f"{path} is not valid TOML: {error}.", hint="Mend that line and try again.") from error
    return text


def check(text: str, folder: Path, *, inside: bool = False) -> Case:
    """The case that a text of `case.toml` states, checked as `read` checks it.

    Args:
        text: Valid TOML.
        folder: The folder that it belongs to; nothing is read from there.
        inside: As for `read`.

    Raises:
        BadInput: Something in it is not usable; the message names the key.
    """
    path = folder / FILE
    try:
        case = Case.model_validate({**tomllib.loads(text), "folder": folder})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(_counted(part) for part in first["loc"]) or "the file"
        what = first["msg"].removeprefix("Value error, ")
        raise BadInput(f"{path.name}: {where}: {what}.", hint="The README explains every key.") from error
    if inside:
        _check_inside(case)
    _check_names(case)
    return case


def _counted(part: str | int) -> str:
    """A part of a key; places in lists count from 1, as people count."""
    return part if isinstance(part, str) else str(part + 1)


def _check_inside(case: Case) -> None:
    outside = next(((key, value) for key, value in _paths(case) if _LEADS_OUT.search(value)), None)
    if outside:
        raise BadInput(
            f"{FILE}: {outside[0]} names {outside[1]!r}, which lies outside the case folder.",
            hint="Put the file into the case folder and name it by its path from there.",
        )


def _paths(case: Case) -> Iterator[tuple[str, str]]:
    """Every text of a case that may be taken for a path, with its key; plug-ins may read files their options name."""
    yield from case.files.items()
    yield from _texts("task.metric_options", case.task.metric_options)
    for model in case.models:
        yield from _texts(f"models.{model.name}.options", model.options)
    for arm in case.arms:
        yield from _texts(f"arms.{arm.approach}.settings", arm.settings)


def _texts(where: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[str, object]", value).items():
            yield from _texts(f"{where}.{key}", item)
    elif isinstance(value, list):
        for item in cast("list[object]", value):
            yield from _texts(where, item)


def _check_names(case: Case) -> None:
    """Every name in the case must stand for something."""
    with _naming("task.metric"):
        metrics.create(case.metric, **case.task.metric_options)
    names = [model.name for model in case.models]
    if len(set(names)) < len(names):
        raise BadInput("Two models of the case have the same name.", hint="Give each [[models]] its own name.")
    for model in case.models:
        with _naming(f"models.{model.name}"):
            model.make()
    for number, arm in enumerate(case.arms, start=1):
        with _naming(f"arms.{number}"):
            _check_arm(arm, names)
    questions.check(case.answers)


def _check_arm(arm: ArmSection, names: list[str]) -> None:
    approaches.named(arm.approach)
    unknown = next((name for name in arm.models or () if name not in names), None)
    if unknown is not None:
        raise BadInput(
            f"Arm {arm.approach} names the model {unknown!r}, which the case does not have.",
            hint="Models of the case: " + (", ".join(names) or "none") + ".",
        )


@contextmanager
def _naming(key: str) -> Generator[None]:
    """Say which key of the case an error is about."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{key}: {error.message}", hint=error.hint) from error
