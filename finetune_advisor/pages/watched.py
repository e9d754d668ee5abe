"""A training as a page sees it: everything that asks its provider is done in the background."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from decimal import Decimal
from functools import partial

from finetune_advisor.case import Case, trust
from finetune_advisor.errors import AdvisorError
from finetune_advisor.experiment.charges import Budget
from finetune_advisor.experiment.trainings import ArmTraining
from finetune_advisor.experiment.trainings import start as start_training
from finetune_advisor.pages.background import AT_ONCE_SECONDS, LOOK_AGAIN_SECONDS, start
from finetune_advisor.store import Store
from finetune_advisor.tuning import TuningStatus

LOOK_SECONDS = 5.0
"""From one look at a training to the next."""

LOOKING = "Looking how it stands"


class Watched:
    """A training as it was last seen; all sessions share it.

    `status` is None while nothing is known, `error` why the last thing that was asked of it was refused, `doing` what
    is being done that somebody waits for.

    Args:
        case: Its case.
        training: What is watched.
    """

    def __init__(self, case: Case, training: ArmTraining) -> None:
        self._case = case
        self._training = training
        self._lock = threading.Lock()
        self._work: Future[TuningStatus] | None = None
        self.status: TuningStatus | None = None
        self.error: AdvisorError | None = None
        self.doing = ""
        self.again()

    @property
    def pace(self) -> float | None:
        """Seconds after which there may be something new to see; None where there will be nothing."""
        if self.doing:
            return LOOK_AGAIN_SECONDS
        live = self.status is not None and self.status.state in ("waiting", "running", "paused")
        return LOOK_SECONDS if live and self.error is None else None

    def look(self) -> None:
        """Ask how it stands, unless something is being asked already."""
        with self._lock:
            if self._work is None:
                self._work = start(self._look)

    def again(self) -> None:
        """Ask how it stands, for somebody who waits for it."""
        self._do(LOOKING, self._look)

    def begin(self, limit: Decimal | None) -> None:
        """Start it, where what it is expected to cost is within the limit."""
        self._do("Checking and sending the data", partial(self._begin, limit))

    def end(self) -> None:
        """Cancel it."""
        self._do("Cancelling", self._end)

    def take(self) -> None:
        """Take over what was found out, if something was."""
        work = self._work
        if work is None:
            return
        wait([work], AT_ONCE_SECONDS)
        with self._lock:
            if work.done() and work is self._work:
                self._work, self.doing = None, ""
                self._taken(work)

    def _taken(self, work: Future[TuningStatus]) -> None:
        try:
            self.status, self.error = work.result(), None
        except AdvisorError as error:
            self.error = error

    def _do(self, what: str, work: Callable[[], TuningStatus]) -> None:
        # A look that is under way is dropped: what it finds is older than what is done now.
        with self._lock:
            self.error, self.doing, self._work = None, what, start(work)

    def _look(self) -> TuningStatus:
        if self._training.started:
            trust.check(self._case)
        return self._training.status()

    def _begin(self, limit: Decimal | None) -> TuningStatus:
        trust.check(self._case)
        with Store(self._case.folder) as store, store.exclusive():
            start_training(self._training, Budget(store=store, job=self._training.work.what, limit=limit))
        return self._training.status()

    def _end(self) -> TuningStatus:
        trust.check(self._case)
        self._training.cancel()
        return self._training.status()
