"""Trainers by name. Plug-in point: entry-point group ``finetune_advisor.tuning``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from finetune_advisor import plugins
from finetune_advisor.records import Progress, TrainingPair, TrainingRun

GROUP = "tuning"
TABLE = {
    "lora": "finetune_advisor.tuning.lora:Lora",
}


class Tuner(Protocol):
    """Trains an adapter on pairs of prompt and answer, with the loss on the answer only."""

    def tune(
        self,
        source: str,
        train: Sequence[TrainingPair],
        validation: Sequence[TrainingPair],
        folder: Path,
        progress: Progress,
    ) -> TrainingRun:
        """Train, or go on where a killed training stopped, and leave the best checkpoint's adapter in `folder`.

        Args:
            source: Folder or hub id of the base model (`Model.source`).
            train: What to learn.
            validation: What decides which checkpoint is best; never the test split.
            folder: Where checkpoints and the adapter go.
            progress: Called with steps done and in total.
        """
        ...


def create(name: str, **options: Any) -> Tuner:
    """The trainer of that name.

    Raises:
        BadInput: Unknown name or option.
    """
    return cast(Tuner, plugins.create(GROUP, TABLE, name, options))
