"""What a run tells about its steps as it goes: the arms, and what comes before and after them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from finetune_advisor.records import ArmResult
from finetune_advisor.store import StepState

DATA, LEARNING_CURVE, SIDE_EFFECTS, REPORT = "Data", "Learning curve", "Side effects", "Report"
"""The steps that are no arms."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a step has to do that takes time: answers to ask for, and trainings."""

    answers: int = 0
    trainings: int = 0


@dataclass(frozen=True, kw_only=True)
class Event:
    """A step changed its state. `work` is None where it cannot be told; a finished arm has its result."""

    step: str
    state: StepState
    reason: str = ""
    work: Work | None = None
    result: ArmResult | None = None


Watch = Callable[[Event], None]
"""Called whenever a step changes its state."""


def unwatched(event: Event) -> None:
    """A `Watch` that nobody looks at."""
