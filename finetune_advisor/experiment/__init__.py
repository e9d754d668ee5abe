"""Run a case: audit, arms, results. The public functions of the room."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from finetune_advisor.case import FILE, Case, guess_kind, read
from finetune_advisor.datasets import audit as auditing
from finetune_advisor.datasets import load
from finetune_advisor.errors import StoreProblem
from finetune_advisor.experiment import arms, learning, side_effects
from finetune_advisor.experiment.prepare import Prepared, prepare
from finetune_advisor.experiment.results import Further, assemble
from finetune_advisor.records import SCHEMA_VERSION, Example, Finding, Part, Progress, Results, Task, no_progress
from finetune_advisor.store import FILE as STORE
from finetune_advisor.store import Lock, Store

__all__ = ["Audit", "audit", "run", "stored"]


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What `check` found, and a few lines that describe the data."""

    findings: tuple[Finding, ...]
    lines: tuple[str, ...]

    def to_json(self) -> str:
        """The findings as JSON, each with file, line, code, severity and message."""
        found = [asdict(finding) for finding in self.findings]
        counts = Counter(finding.severity for finding in self.findings)
        return json.dumps({"schema": SCHEMA_VERSION, "findings": found, "counts": counts}, ensure_ascii=False, indent=1)


def audit(path: Path, progress: Progress = no_progress) -> Audit:
    """Audit a case folder, or a single data file.

    Raises:
        BadInput: It cannot be read at all.
    """
    return _audit_file(path) if path.is_file() and path.name != FILE else _audit_case(path, progress)


def _audit_case(path: Path, progress: Progress) -> Audit:
    case = read(path.parent if path.name == FILE else path)
    locks: list[Lock] = []
    if (case.folder / STORE).exists():
        with Store(case.folder) as store:
            locks = store.locks()
    prepared = prepare(case, locks, progress)
    split = prepared.split
    lines = (
        f"{case.title}: {prepared.task.kind}, judged by {prepared.task.metric}",
        f"{len(split.train)} train, {len(split.validation)} validation, {len(split.test)} test examples "
        f"in {split.groups} groups of near duplicates; test split {split.hash[:12]}",
        f"{prepared.documents} documents, {len(prepared.passages)} passages",
    )
    return Audit(findings=prepared.findings, lines=lines)


def _audit_file(path: Path) -> Audit:
    loaded = load.load(path)
    parts: dict[Part, tuple[Example, ...]] = {"train": loaded.examples}
    found = loaded.findings
    if loaded.examples:
        kind = guess_kind(loaded.examples)
        found += auditing.audit(parts, Task(kind=kind, metric=""), known=found)
    return Audit(findings=found, lines=(f"{path.name}: {len(loaded.examples)} usable examples",))


def run(case: Case, progress: Progress = no_progress, *, relock: bool = False) -> Results:
    """Run every arm of a case and judge; what is stored is not computed again.

    Args:
        case: The case, from `finetune_advisor.case.read`.
        progress: Told what is being done.
        relock: Lock a new test split because the data changed; the results will say so.

    Raises:
        AdvisorError: Bad data, a missing model, a store in use, a full disk.
    """
    with Store(case.folder) as store, store.exclusive():
        prepared = _locked(case, store, progress, relock=relock)
        return _assemble(case, prepared, store, progress)


def stored(case: Case, progress: Progress = no_progress) -> Results:
    """The results of the arms that are complete in the store; nothing is asked, trained or written.

    Raises:
        StoreProblem: Nothing has been run yet.
    """
    if not (case.folder / STORE).exists():
        raise StoreProblem(f"Nothing has been run in {case.folder} yet.", hint=f"finetune-advisor run {case.folder}")
    with Store(case.folder) as store:
        prepared = prepare(case, store.locks(), progress)
        return _assemble(case, prepared, store, progress, ask=False)


def _locked(case: Case, store: Store, progress: Progress, *, relock: bool) -> Prepared:
    locks = store.locks()
    prepared = prepare(case, locks, progress, relock=relock)
    if relock or not locks:
        store.lock(hash=prepared.split_hash, data_hash=prepared.data_hash, body=json.dumps(asdict(prepared.split)))
    return prepared


def _assemble(case: Case, prepared: Prepared, store: Store, progress: Progress, *, ask: bool = True) -> Results:
    session = arms.Session(prepared=prepared, store=store, progress=progress, ask=ask)
    runs, skipped = arms.run_arms(case, session)
    return assemble(case, prepared, store.locks(), runs, skipped, _further(case, session, runs))


def _further(case: Case, session: arms.Session, runs: Sequence[arms.ArmRun]) -> Further:
    section, curve = case.learning_curve, None
    if section is not None:
        measured = learning.measure(
            runs,
            session,
            shares=section.shares,
            seeds=section.seeds,
            worthwhile=case.goal.worthwhile_difference,
            usd_per_example=case.money.usd_per_label,
        )
        curve = measured.curve if measured else None
    return Further(learning_curve=curve, side_effects=side_effects.measure(session, runs))
