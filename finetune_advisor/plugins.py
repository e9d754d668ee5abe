"""What all plug-in points share: a lazy table of names, third parties by entry point, and a clear error."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from finetune_advisor.errors import BadInput


def known(group: str, table: Mapping[str, str]) -> dict[str, str]:
    """All names of a plug-in point: ours, then those of installed packages.

    Args:
        group: The last part of the entry-point group, for example ``"metrics"``.
        table: Our own names, each with its ``"module:Class"``.
    """
    return {**_theirs(group, tuple(sys.path)), **table}


@cache
def _theirs(group: str, path: tuple[str, ...]) -> Mapping[str, str]:
    """What installed packages offer; looked up once for each search path, for it takes a while."""
    return {entry.name: entry.value for entry in entry_points(group=f"finetune_advisor.{group}")}


def load(group: str, table: Mapping[str, str], name: str) -> Any:
    """The class that a name stands for.

    Raises:
        BadInput: The name is unknown; the hint lists the known ones.
    """
    names = known(group, table)
    if name not in names:
        raise BadInput(f"There is no {group} entry named {name!r}.", hint="Known: " + ", ".join(sorted(names)) + ".")
    module, _, attribute = names[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def create(group: str, table: Mapping[str, str], name: str, options: Mapping[str, Any]) -> Any:
    """An object of a plug-in point, made from its options.

    Raises:
        BadInput: The name is unknown, or it has no such option.
    """
    made = load(group, table, name)
    try:
        return made(**options)
    except TypeError as error:
        raise BadInput(f"{name} cannot be made from {dict(options)!r}: {error}.") from error
