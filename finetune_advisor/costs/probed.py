"""What a short run on the machine itself measured, and how far a long run may be from it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from finetune_advisor.costs.gpus import Machine

MEMORY_FOLD = 1.05
"""Factor each way around a measured peak. Assumed: later batches may be longer."""

WHOLE_FOLD = 1.2
PART_FOLD = 1.35
SHORT_FOLD = 2.0
"""Factors each way around a measured speed, beside how steps differed: with the whole model at work, scaled up from
some of its layers, and from less than half of a step's tokens (on a CPU, one row alone ran at half the speed of four).
Assumed: a probe sees neither loading nor evaluation, nor what else the machine does later."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a few steps on the machine measured, with the very options of the estimate.

    Args:
        tokens_per_second: Real tokens of all cards.
        peak_gib: `torch.cuda.max_memory_allocated` of one card; None where only the speed was measured.
        answering_tokens_per_second: While answering one request.
        machine: What it ran on; None for the card of the estimate.
        scaled: Whether only a part of the model or of a step's tokens ran.
        shortened: Whether less than half of a step's tokens ran.
        spread: The slowest step over the fastest, single outliers left out.
        others: The share of the processors that other work took just before.
        note: What was run, in words.
    """

    tokens_per_second: float
    peak_gib: float | None = None
    answering_tokens_per_second: float | None = None
    machine: Machine | None = None
    scaled: bool = False
    shortened: bool = False
    spread: float = 1.0
    others: float = 0.0
    note: str = ""

    @property
    def fold(self) -> float:
        """The factor each way within which a long run's speed is expected."""
        return self._unseen * math.sqrt(self.spread)

    @property
    def _unseen(self) -> float:
        if self.shortened:
            return SHORT_FOLD
        return PART_FOLD if self.scaled else WHOLE_FOLD

    def words(self) -> tuple[str, ...]:
        """What was measured and what was not."""
        named = f"{self.machine.name}; " if self.machine else ""
        return (
            f"Speed measured by a probe on this machine: {named}{self.note or 'a few steps'}.",
            f"Its interval: how far the probe's steps differed, and a factor of {self._unseen:g} (assumed) for what it "
            "does not cover: other lengths, a longer run, other work on the machine.",
            "Memory measured by the same probe."
            if self.peak_gib
            else "Memory is counted as on a graphics card, not measured: the probe gave the speed alone.",
        )
