"""Everything about a case in one record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from finetune_advisor.records.data import Finding, SplitSummary, Task
from finetune_advisor.records.evidence import (
    Answered,
    ArmResult,
    Comparison,
    Disagreement,
    LearningCurve,
    Power,
    SideEffect,
)
from finetune_advisor.records.money import Cost, Route
from finetune_advisor.records.verdict import SignOff, Verdict


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Everything that is needed to repeat a result."""

    schema: int
    time: datetime
    version: str
    commit: str
    packages: Mapping[str, str]
    machine: str
    seed: int
    data_hash: str
    split_hash: str
    prices: str


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """An arm that its provider does not train, or whose training failed: why, and what can be done instead."""

    arm: str
    reason: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class Results:
    """All results of a case.

    `clusters` says which test examples belong together, in the order of the arms' scores; none where that was not
    kept. `horizon_months` is over how many months the money counts. `refusals` are those of the `skipped` arms that a
    provider refused to train.
    """

    title: str
    task: Task
    documents: int
    passages: int
    split: SplitSummary
    findings: tuple[Finding, ...]
    answered: tuple[Answered, ...]
    arms: tuple[ArmResult, ...]
    skipped: Mapping[str, str]
    comparisons: tuple[Comparison, ...]
    power: Power | None
    costs: tuple[Cost, ...]
    requests_per_month: int
    needed_score: float | None
    verdict: Verdict
    disagreements: tuple[Disagreement, ...]
    provenance: Provenance
    notes: tuple[str, ...] = ()
    learning_curve: LearningCurve | None = None
    side_effects: tuple[SideEffect, ...] = ()
    routes: tuple[Route, ...] = ()
    clusters: tuple[int, ...] = ()
    horizon_months: int = 12
    sign_off: SignOff | None = None
    refusals: tuple[Refusal, ...] = ()

    @property
    def simulated(self) -> bool:
        """Whether any model only pretended."""
        return any(arm.simulated for arm in self.arms)
