"""Graphics cards: what they compute and hold, from dated rows in gpus.toml."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from typing import Any

from finetune_advisor.errors import BadInput

THIS_MACHINE = "this machine"
"""The name of the machine that a probe has measured."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a training runs on: a card, or a computer without one.

    `memory_gib` is what a training may take of it at most. `rented_as` names its rows among the prices by the hour,
    empty where none was read.
    """

    name: str
    memory_gib: float
    rented_as: str = ""


@dataclass(frozen=True, kw_only=True)
class Gpu(Machine):
    """One card whose figures are known.

    `tflops` is the dense 16-bit peak, never the sparse one that data sheets print first. `memory_gib` is what CUDA
    offers of it, `gb_per_second` its bandwidth, `link_gb_per_second` that to its neighbour.
    """

    tflops: float
    gb_per_second: float
    link_gb_per_second: float
    source: str
    checked: str
    aliases: tuple[str, ...] = ()


@functools.cache
def table() -> dict[str, Gpu]:
    """Every card by name; of several rows for one card the last counts."""
    text = (files("finetune_advisor.costs") / "gpus.toml").read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = tomllib.loads(text)["gpu"]
    cards = [_card(**row) for row in rows]
    return {card.name: card for card in cards}


def _card(*, aliases: list[str], checked: date, **rest: Any) -> Gpu:
    return Gpu(aliases=tuple(aliases), checked=checked.isoformat(), **rest)


def find(name: str) -> Gpu:
    """The card of that name or alias; capitals, spaces, underscores and a closing GB do not matter.

    Raises:
        BadInput: No such card is in the table; the hint lists the known ones.
    """
    wanted = _plain(name)
    for card in table().values():
        if wanted in {_plain(known) for known in (card.name, *card.aliases)}:
            return card
    raise BadInput(f"No graphics card is known by the name {name!r}.", hint="Known: " + ", ".join(table()) + ".")


def _plain(name: str) -> str:
    bare = "".join(letter for letter in name.lower() if letter.isalnum())
    return bare.removeprefix("nvidia").removesuffix("gb")
