"""What AutoTrain says while it trains: the only place where its progress, its losses and its errors can be seen.

It keeps no checkpoints and no `trainer_state.json` when it tunes a language model, and it exits with 0 when that fails.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal, cast

from finetune_advisor.records import LossPoint
from finetune_advisor.tuning.work import TuningEvent

LONGEST = 300
"""So many characters of a line are shown."""

_EVENT = re.compile(r"(INFO|WARNING|ERROR) +\| (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) \| [\w.]+:\w+:\d+ - (.+)")
_LOSS = re.compile(r":on_log:\d+ - \{'loss': ([-+.\w]+)")
_BAR = re.compile(r"\b(\d+)/(\d+) \[")
_EVERY = re.compile(r"Logging steps: (\d+)")
_TRAINING = "Starting to train..."
_RAISED = re.compile(r"^[\w.]*(?:Error|Exception|Interrupt)\b.*", re.MULTILINE)

_CAUSES = {
    "torchvision": "Its torchvision does not fit its torch, and texts need none: "
    "`pip uninstall -y torchvision timm` in AutoTrain's environment.",
    "No such file or directory: 'accelerate'": "The program `accelerate` is not beside `autotrain`: install "
    "AutoTrain's environment again.",
    "CUDA is required": 'int4 and int8 need an NVIDIA GPU: set quantization = "".',
    "does not recognize this architecture": "AutoTrain's transformers 4.48 is of January 2025 and does not know this "
    "model: train it with the tuner lora or trl.",
    "out of memory": 'Set a smaller batch_size or block_size, or quantization = "int4".',
}
"""Hints by what stands in the log."""


@dataclass(frozen=True)
class Log:
    """The log of one training."""

    text: str

    @cached_property
    def losses(self) -> tuple[LossPoint, ...]:
        """The training losses; AutoTrain takes no others."""
        found = _EVERY.search(self.text)
        every = int(found[1]) if found else 1
        values = [float(value) for value in _LOSS.findall(self.text)]
        return tuple(LossPoint(step=n * every, loss=loss, split="train") for n, loss in enumerate(values, 1))

    @cached_property
    def steps(self) -> tuple[int, int]:
        """Optimiser steps done and in total; zeros before the first."""
        bars = _BAR.findall(self.text.partition(_TRAINING)[2])
        return (int(bars[-1][0]), int(bars[-1][1])) if bars else (0, 0)

    @cached_property
    def events(self) -> tuple[TuningEvent, ...]:
        """What it said, with the losses in plain words."""
        return tuple(_event(found) for found in _EVENT.finditer(self.text))

    @property
    def error(self) -> str:
        """The last thing that went wrong, in its own words."""
        errors = [event.message for event in self.events if event.level == "error"] or _RAISED.findall(self.text)
        lines = errors or self.text.split("\n")
        return next((line.strip()[:LONGEST] for line in reversed(lines) if line.strip()), "it said nothing")

    @property
    def hint(self) -> str:
        """What to do about it; "" where the cause is not known."""
        return next((hint for words, hint in _CAUSES.items() if words in self.text), "")


def _event(found: re.Match[str]) -> TuningEvent:
    level, time, message = found.groups()
    loss = _LOSS.search(found[0])
    return TuningEvent(
        at=datetime.strptime(time, "%Y-%m-%d %H:%M:%S").astimezone(UTC),
        message=f"Training loss: {loss[1]}" if loss else message[:LONGEST],
        level=cast(Literal["info", "warning", "error"], level.lower()),
    )
