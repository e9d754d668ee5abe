"""The run of a case by a process of its own: start, watch, pause, go on, cancel, and a budget that it keeps to.

A job is a row in the store of the case. The process that works on it, `python -m finetune_advisor.jobs CASE ID`,
writes a heartbeat there about every second and looks at what is wanted of it; whether it lives is judged by the
heartbeat alone. It needs nobody: the app may be closed, restarted or opened twice. `finetune-advisor run` works on a
job too, in its own process, so that the app shows it.

The budget counts the time of all processes that worked on the job, from their start, up to their last heartbeat. What
is running when it is nearly used up ends at its next sign of progress, or else with the whole process; the store
holds every batch of answers up to then.
"""

from __future__ import annotations

import contextlib
import faulthandler
import math
import os
import subprocess
import sys
import threading
import time
import traceback
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from finetune_advisor import case, charts, experiment
from finetune_advisor.case import Case, trust
from finetune_advisor.errors import AdvisorError, BadInput, StoreProblem
from finetune_advisor.experiment.charges import Budget, OverBudget
from finetune_advisor.experiment.money import assumptions_of, spreads
from finetune_advisor.experiment.pace import Pace
from finetune_advisor.experiment.session import ALONE, Crew
from finetune_advisor.experiment.watch import DATA, REPORT, Event
from finetune_advisor.records import Progress, Results, no_progress
from finetune_advisor.report import files
from finetune_advisor.store import FILE, Job, JobState, Step, Store

__all__ = ["Ended", "Job", "Step", "cancel", "latest", "pause", "resume", "run", "serve", "start"]

LOG = "job.log"
BUDGET: JobState = "budget used up"
LIVE: tuple[JobState, ...] = ("starting", "running")
RESUMABLE: tuple[JobState, ...] = ("paused", "stopped", BUDGET, "failed")

HEARTBEAT_SECONDS = 1.0
STALE = timedelta(seconds=15)
"""A job whose heartbeat is older has stopped."""
MARGIN_SECONDS = 3.0
"""So long before the limit a job is told to end at its next sign of progress."""
LAST_SECONDS = 2.0
"""So long before the limit its process is ended, which leaves time to write down why."""
PATIENCE_SECONDS = 30.0
"""So long after a pause or an end was asked for, the process is ended in the middle of a step."""

SECRETS = ("KEY", "TOKEN", "SECRET", "PASSWORD")

_NOT_STARTED = AdvisorError("The run could not be started.", hint=f"{LOG} in the case folder says more.")


class Ended(AdvisorError):
    """A run ended before it was done, because somebody wanted it or the budget is used up."""

    exit_code = 6

    def __init__(self, state: JobState, message: str, *, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.state: JobState = state


def start(folder: Path, *, minutes: float | None = None, usd: Decimal | None = None, relock: bool = False) -> Job:
    """Start a new job in the background; what is stored is not computed again.

    Args:
        folder: The case folder.
        minutes: The most time to work; None for as long as it takes.
        usd: The most money to spend, machine time at the price of the case; None for whatever it takes.
        relock: Lock a new test split because the data changed.

    Raises:
        BadInput: The case or a limit is not usable.
        StoreProblem: A job is running in that folder already.
    """
    loaded = case.read(folder)
    job = latest(folder)
    if job and job.state in LIVE:
        raise StoreProblem(f"A run is going on in {folder} already.", hint="Wait for its end, or pause or cancel it.")
    with Store(folder) as store:
        job = _added(loaded, store, minutes, usd, relock=relock)
    _launch(folder, job)
    return job


def latest(folder: Path) -> Job | None:
    """The job that is running, else the newest one; None where there was none."""
    if not (folder / FILE).exists():
        return None
    with Store(folder) as store:
        found = [_seen(job) for job in store.jobs()]
    return max(found, key=lambda job: (job.state in LIVE, job.created), default=None)


def pause(folder: Path) -> Job | None:
    """Ask the running job to end at its next sign of progress, so that it can go on later."""
    return _want(folder, "paused")


def cancel(folder: Path) -> Job | None:
    """Ask the running job to end, or give up one that could go on; what is stored is kept."""
    return _want(folder, "cancelled")


def resume(folder: Path, *, minutes: float | None = None, usd: Decimal | None = None) -> Job:
    """Go on with a job that was paused, was stopped, failed, or has used up its budget.

    Args:
        folder: The case folder.
        minutes: A new limit for the job as a whole, what was worked already included; None keeps the old one.
        usd: The same for money.

    Raises:
        BadInput: The case or a limit is not usable, or the limit is used up already.
        StoreProblem: There is no such job.
    """
    loaded, job = case.read(folder), latest(folder)
    if job is None or job.state not in RESUMABLE:
        raise StoreProblem(f"There is no run in {folder} to go on with.", hint=f"finetune-advisor run {folder}")
    _check(minutes, usd)
    now = datetime.now(UTC)
    job = replace(
        job,
        state="starting",
        minutes=minutes or job.minutes,
        usd=usd or job.usd,
        usd_per_hour=_usd_per_hour(loaded),
        started=now,
        heartbeat=now,
        error="",
        hint="",
    )
    if job.seconds_limit is not None and job.seconds_limit - job.seconds <= MARGIN_SECONDS:
        raise BadInput(f"The budget of {_budget(job)} is used up already.", hint="Give a higher one to go on.")
    changed = ("state", "wanted", "minutes", "usd", "usd_per_hour", "started", "heartbeat", "error", "hint")
    with Store(folder) as store:
        store.change_job(job.id, **{name: getattr(job, name) for name in changed})
    _launch(folder, job)
    return job


def run(
    loaded: Case,
    progress: Progress = no_progress,
    *,
    minutes: float | None = None,
    usd: Decimal | None = None,
    relock: bool = False,
    on: str = "",
) -> Results:
    """Work on a new job in this process, to its end, and write the report.

    Args:
        loaded: The case.
        progress: Told what is being done.
        minutes: The most time to work; None for as long as it takes.
        usd: The most money to spend, machine time at the price of the case; None for whatever it takes.
        relock: Lock a new test split because the data changed.
        on: Where the work is done, as `experiment.crew_on` takes it; on this machine where empty.

    Raises:
        Ended: The budget is used up, or somebody paused or cancelled the job.
        AdvisorError: Bad data, a missing model, a store in use, a full disk.
    """
    with Store(loaded.folder) as store, store.exclusive(), experiment.crew_on(on, loaded) as crew:
        return _work(loaded, store, _added(loaded, store, minutes, usd, relock=relock), progress, crew)


def serve(folder: Path, id: str) -> None:
    """Work on a job that is in the store, as a process of its own does; what goes wrong is in its row afterwards."""
    with Store(folder) as store:
        try:
            with store.exclusive():
                _work(case.read(folder), store, _job(store, id), no_progress)
        except (Ended, OverBudget):
            pass
        except Exception as error:
            if not isinstance(error, AdvisorError):
                print(_scrubbed("".join(traceback.format_exception(error))), file=sys.stderr)
            # Past its start the job's row knows already; or it belongs to the process that holds the store.
            store.change_job(id, among=("starting",), **_outcome(error))


def _seen(job: Job) -> Job:
    """A job as it is now, which its row does not say where nobody writes into it any more."""
    if job.state in LIVE and datetime.now(UTC) - job.heartbeat < STALE:
        return job
    steps = tuple(replace(step, state="waiting") if step.state == "running" else step for step in job.steps)
    state = "stopped" if job.state in LIVE else job.state
    return replace(job, state=state, wanted=None, seconds_left=None, steps=steps)


def _want(folder: Path, state: JobState) -> Job | None:
    job = latest(folder)
    if job is None or (job.state not in LIVE and (state == "paused" or job.state not in RESUMABLE)):
        return job
    with Store(folder) as store:
        store.change_job(job.id, wanted=state)
        if job.state not in LIVE:
            store.change_job(job.id, state=state)
    return latest(folder)


def _added(loaded: Case, store: Store, minutes: float | None, usd: Decimal | None, *, relock: bool) -> Job:
    _check(minutes, usd)
    trust.check(loaded)
    spreads(loaded)  # refuses before any work what the verdict would refuse after all of it
    id, now = uuid.uuid4().hex, datetime.now(UTC)
    limits = {"minutes": minutes, "usd": usd, "usd_per_hour": _usd_per_hour(loaded)}
    store.add_job(id=id, state="starting", relock=relock, created=now, started=now, heartbeat=now, **limits)
    return _job(store, id)


def _job(store: Store, id: str) -> Job:
    return next(job for job in store.jobs() if job.id == id)


def _check(minutes: float | None, usd: Decimal | None) -> None:
    for limit in (minutes, usd):
        if limit is not None and not (math.isfinite(limit) and limit > 0):
            raise BadInput(f"A budget is a number above 0, not {limit}.", hint="Leave it out for no limit.")


def _usd_per_hour(loaded: Case) -> Decimal:
    return assumptions_of(loaded).machine.usd_per_hour.value


def _budget(job: Job) -> str:
    by_time = job.minutes is not None and job.minutes * 60 == job.seconds_limit
    return f"{job.minutes:g} minutes" if by_time else f"${job.usd}"


def _launch(folder: Path, job: Job) -> None:
    """Start the process that works on a job. Keys reach it by the environment, like everything else there."""
    command = [sys.executable, "-m", "finetune_advisor.jobs", str(folder.resolve()), job.id]
    with (folder / LOG).open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )

    def bury() -> None:
        # Somebody has to wait for it, or it would stay a zombie after its end.
        if process.wait():
            with contextlib.suppress(AdvisorError), Store(folder) as store:
                store.change_job(job.id, among=("starting",), **_outcome(_NOT_STARTED))

    threading.Thread(target=bury, daemon=True).start()


def _work(loaded: Case, store: Store, job: Job, progress: Progress, crew: Crew = ALONE) -> Results:
    with _Pulse(loaded.folder, job) as pulse:

        def told(what: str, done: int, total: int) -> None:
            progress(what, done, total)
            pulse.progress(what, done, total)

        budget = Budget(store=store, job=job.id, limit=job.usd, machine=pulse.machine_usd)
        pulse.budget = budget
        results = experiment.run_held(
            loaded, store, told, relock=job.relock, watch=pulse.watch, budget=budget, crew=crew
        )
        files.write(loaded.reports, results, charts.figure)
        pulse.watch(Event(step=REPORT, state="done"))
        return results


def _outcome(error: BaseException | None) -> dict[str, Any]:
    """What a job's row says about its end."""
    state: JobState = "failed"
    message, hint = "", ""
    if error is None:
        state = "done"
    elif isinstance(error, AdvisorError):
        state = _state_of(error)
        message, hint = error.message, error.hint
    elif isinstance(error, KeyboardInterrupt):
        state, message, hint = "paused", "The run was stopped from the keyboard.", "Go on with it whenever you like."
    else:
        message = f"The run ended with an unexpected error ({type(error).__name__})."
        hint = f"{LOG} in the case folder says more. What was stored is kept."
    return {"state": state, "wanted": None, "error": message, "hint": hint, "seconds_left": None}


def _state_of(error: AdvisorError) -> JobState:
    if isinstance(error, OverBudget):
        return BUDGET
    return error.state if isinstance(error, Ended) else "failed"


def _scrubbed(text: str) -> str:
    """The text without the values of the environment's keys."""
    for name, value in os.environ.items():
        if len(value) >= 8 and any(word in name.upper() for word in SECRETS):
            text = text.replace(value, "***")
    return text


class _Pulse(threading.Thread):
    """Keeps the row of a job up to date while this process works on it, and sees that the process ends in time."""

    def __init__(self, folder: Path, job: Job) -> None:
        super().__init__(daemon=True)
        self._folder = folder
        self._job = job
        self._pace = Pace(job.steps)
        # Starting the process is part of the work.
        waited = max(0.0, (datetime.now(UTC) - job.started).total_seconds())
        self._began = time.monotonic() - waited
        self.budget: Budget | None = None
        self._patience_ends = math.inf
        self._stopped = threading.Event()
        self._order: Ended | None = None

    def __enter__(self) -> _Pulse:
        end = self._end
        if math.isfinite(end) and sys.__stderr__:
            # Where native code holds the interpreter, nothing but another native thread can keep to the limit.
            seconds = max(0.001, end - time.monotonic())
            faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)
        with Store(self._folder) as store:
            store.change_job(self._job.id, **self._row())
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stopped.set()
        self.join()
        outcome = _outcome(error)
        for step in self._pace.steps():
            if step.state == "waiting" and outcome["state"] == "done":
                self.watch(Event(step=step.name, state="skipped", reason="There was nothing to do."))
            if step.state == "running" and outcome["state"] == "failed":
                self.watch(Event(step=step.name, state="failed", reason=outcome["error"]))
        with Store(self._folder) as store:
            store.change_job(self._job.id, **{**self._row(), **outcome})
        faulthandler.cancel_dump_traceback_later()

    def machine_usd(self) -> Decimal:
        """What the machine time so far costs, that of earlier processes included."""
        return Decimal(str(self._worked())) / 3600 * self._job.usd_per_hour

    def _worked(self) -> float:
        return self._job.seconds + time.monotonic() - self._began

    @property
    def _end(self) -> float:
        """When the budget ends by this process's clock; what providers charge makes it earlier."""
        charged = self.budget.charged if self.budget else self._job.usd_charged
        limit = replace(self._job, usd_charged=charged).seconds_limit
        return math.inf if limit is None else self._began + limit - self._job.seconds

    @property
    def _deadline(self) -> float:
        """When the process is ended in the middle of a step."""
        return min(self._end - LAST_SECONDS, self._patience_ends)

    def watch(self, event: Event) -> None:
        """A step changed its state."""
        if self._job.relock and event.step == DATA and event.state == "done":
            # The new split is locked by now: going on later must not lock another.
            with Store(self._folder) as store:
                store.change_job(self._job.id, relock=False)
        self._pace.watch(event)

    def progress(self, what: str, done: int, total: int) -> None:
        """So much is done; where the run is to end, this ends it."""
        self._pace.progress(what, done, total)
        if self._order:
            raise self._order

    def run(self) -> None:
        """Beat until the work is done, or its time is over."""
        while True:
            self._hurry()
            with contextlib.suppress(AdvisorError), Store(self._folder) as store:
                store.change_job(self._job.id, **self._row())
                self._look(_job(store, self._job.id).wanted)
            until = self._deadline if self._order else self._end - MARGIN_SECONDS
            if self._stopped.wait(min(HEARTBEAT_SECONDS, max(0.01, until - time.monotonic()))):
                return

    def _hurry(self) -> None:
        now = time.monotonic()
        if now >= self._end - MARGIN_SECONDS and not (self._order and self._order.state == BUDGET):
            self._order = self._used_up()
        if now >= self._deadline:
            self._exit()

    def _look(self, wanted: JobState | None) -> None:
        if wanted is None or self._order:
            return
        self._patience_ends = time.monotonic() + PATIENCE_SECONDS
        message = f"The run was {wanted} before its end."
        self._order = Ended(wanted, message, hint="What was answered is stored: run again to go on.")

    def _used_up(self) -> Ended:
        steps = self._pace.steps()
        done = sum(step.state == "done" for step in steps)
        message = f"The budget of {_budget(self._job)} is used up: {done} of {len(steps)} steps are finished."
        return Ended(BUDGET, message, hint="Go on with a higher budget: nothing that is stored is computed again.")

    def _exit(self) -> NoReturn:
        """End the process in the middle of a step; the store is made for that."""
        order = self._order or self._used_up()
        with contextlib.suppress(AdvisorError), Store(self._folder) as store:
            store.change_job(self._job.id, **{**self._row(), **_outcome(order)})
        if sys.__stderr__:
            print(f"Error: {order.message}\nHint: {order.hint}", file=sys.__stderr__, flush=True)
        os._exit(order.exit_code)

    def _row(self) -> dict[str, Any]:
        return {
            "state": "running",
            "heartbeat": datetime.now(UTC),
            "seconds": self._worked(),
            "usd_charged": self.budget.charged if self.budget else self._job.usd_charged,
            "seconds_left": self._pace.seconds_left(),
            "steps": self._pace.steps(),
            "pid": os.getpid(),
            "error": "",
            "hint": "",
        }


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2])
