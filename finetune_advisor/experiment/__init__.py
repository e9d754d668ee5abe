"""Run a case: audit, arms, results. The public functions of the room."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from finetune_advisor import approaches
from finetune_advisor.case import FILE, Case, guess_kind, read
from finetune_advisor.datasets import audit as auditing
from finetune_advisor.datasets import load, stream
from finetune_advisor.errors import Missing, StoreProblem
from finetune_advisor.experiment import arms, learning, side_effects
from finetune_advisor.experiment.charges import Budget
from finetune_advisor.experiment.money import price_table
from finetune_advisor.experiment.notes import notes
from finetune_advisor.experiment.prepare import Prepared, prepare
from finetune_advisor.experiment.rejudging import rejudge
from finetune_advisor.experiment.remote import Till
from finetune_advisor.experiment.results import Further, assemble
from finetune_advisor.experiment.session import ALONE, Crew
from finetune_advisor.experiment.spread import crew_on
from finetune_advisor.experiment.watch import DATA, LEARNING_CURVE, REPORT, SIDE_EFFECTS, Event, Watch, Work, unwatched
from finetune_advisor.records import (
    SCHEMA_VERSION,
    Example,
    Finding,
    LearningCurve,
    Part,
    Progress,
    Results,
    SideEffect,
    Task,
    no_progress,
)
from finetune_advisor.store import FILE as STORE
from finetune_advisor.store import Lock, Store

__all__ = ["Audit", "audit", "crew_on", "opened", "rejudge", "run", "run_held", "stored"]


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
    if stream.takes(path):
        audited = stream.audit_file(path)
        return Audit(findings=audited.findings, lines=(f"{path.name}: {audited.examples} usable examples",))
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
        return run_held(case, store, progress, relock=relock)


def run_held(
    case: Case,
    store: Store,
    progress: Progress = no_progress,
    *,
    relock: bool = False,
    watch: Watch = unwatched,
    budget: Budget | None = None,
    crew: Crew = ALONE,
) -> Results:
    """The same as `run`, on a store that the caller holds.

    Args:
        case: The case.
        store: Its store, held by `Store.exclusive`.
        progress: Told what is being done.
        relock: Lock a new test split because the data changed.
        watch: Told of every step when it begins and ends, the report excepted: whoever writes it ends it.
        budget: What may be spent at providers; None for as much as it takes.
        crew: Who does the work, from `crew_on`.

    Raises:
        AdvisorError: Bad data, a missing model, a full disk.
    """
    watch(Event(step=DATA, state="running"))
    prepared = _locked(case, store, progress, relock=relock)
    watch(Event(step=DATA, state="done"))
    _announce(case, prepared, watch)
    prices = {model.name: model.price for model in case.models}
    till = Till(budget=budget or Budget(store=store), table=price_table(case), prices=prices)
    return _assemble(case, prepared, store, progress, till=till, watch=watch, crew=crew)


def stored(case: Case, progress: Progress = no_progress) -> Results:
    """The results of the arms that are complete in the store; nothing is asked, trained or written.

    Raises:
        StoreProblem: Nothing has been run yet.
    """
    if not (case.folder / STORE).exists():
        raise StoreProblem(f"Nothing has been run in {case.folder} yet.", hint=f"finetune-advisor run {case.folder}")
    with Store(case.folder) as store:
        prepared = prepare(case, store.locks(), progress)
        return _assemble(case, prepared, store, progress)


@contextmanager
def opened(case: Case, progress: Progress = no_progress) -> Generator[tuple[Prepared, Store]]:
    """The data of a case on its locked split, and the store, held for as long as the context lasts.

    Raises:
        AdvisorError: Bad data, a store in use.
    """
    with Store(case.folder) as store, store.exclusive():
        yield _locked(case, store, progress, relock=False), store


def _locked(case: Case, store: Store, progress: Progress, *, relock: bool) -> Prepared:
    locks = store.locks()
    prepared = prepare(case, locks, progress, relock=relock)
    if relock or not locks:
        store.lock(hash=prepared.split_hash, data_hash=prepared.data_hash, body=json.dumps(asdict(prepared.split)))
    return prepared


def _announce(case: Case, prepared: Prepared, watch: Watch) -> None:
    """Tell what there will be to do, in its order."""
    plans = arms.plans(case, prepared.models)
    works = {plan.name: arms.work(plan, prepared) for plan in plans if not arms.unfit(plan, prepared)}
    for plan in plans:
        watch(Event(step=plan.name, state="waiting", work=works.get(plan.name, Work())))
    tuned = [plan for plan in plans if plan.name in works and approaches.named(plan.approach).tuned]
    if case.learning_curve and tuned:
        watch(Event(step=LEARNING_CURVE, state="waiting"))
    if tuned:
        watch(Event(step=SIDE_EFFECTS, state="waiting", work=_everyday(len(tuned))))
    watch(Event(step=REPORT, state="waiting", work=Work()))


def _everyday(tuned: int) -> Work:
    """The everyday prompts, to each tuned model and its base."""
    return Work(answers=2 * tuned * len(side_effects.prompts()))


def _assemble(
    case: Case,
    prepared: Prepared,
    store: Store,
    progress: Progress,
    *,
    till: Till | None = None,
    watch: Watch = unwatched,
    crew: Crew = ALONE,
) -> Results:
    session = arms.Session(
        prepared=prepared, store=store, progress=progress, ask=till is not None, till=till, crew=crew
    )
    done = arms.run_arms(case, session, watch)
    further = replace(_further(case, session, done.runs, watch), refusals=done.refusals, notes=notes(done.runs))
    watch(Event(step=REPORT, state="running"))
    return assemble(case, prepared, store.locks(), done.runs, done.skipped, further)


def _further(case: Case, session: arms.Session, runs: Sequence[arms.ArmRun], watch: Watch) -> Further:
    tuned = [run for run in runs if run.result.tuned]
    if not tuned:
        return Further()
    curve = _learning_curve(case, session, runs, watch)
    return Further(learning_curve=curve, side_effects=_side_effects(session, runs, watch))


def _side_effects(session: arms.Session, runs: Sequence[arms.ArmRun], watch: Watch) -> tuple[SideEffect, ...]:
    """None where a model cannot be asked any more: what was measured before is not lost by that."""
    watch(Event(step=SIDE_EFFECTS, state="running", work=_everyday(sum(run.result.tuned for run in runs))))
    try:
        effects = side_effects.measure(session, runs)
    except Missing as error:
        watch(Event(step=SIDE_EFFECTS, state="failed", reason=f"{error.message} {error.hint}"))
        return ()
    watch(Event(step=SIDE_EFFECTS, state="done"))
    return effects


def _learning_curve(
    case: Case, session: arms.Session, runs: Sequence[arms.ArmRun], watch: Watch
) -> LearningCurve | None:
    section = case.learning_curve
    if section is None:
        return None
    watch(Event(step=LEARNING_CURVE, state="running"))
    measured = learning.measure(
        runs,
        session,
        shares=section.shares,
        seeds=section.seeds,
        worthwhile=case.goal.worthwhile_difference,
        usd_per_example=case.money.usd_per_label,
    )
    if measured is None:
        watch(Event(step=LEARNING_CURVE, state="skipped", reason="There are too few examples for two sizes."))
        return None
    watch(Event(step=LEARNING_CURVE, state="done"))
    return measured.curve
