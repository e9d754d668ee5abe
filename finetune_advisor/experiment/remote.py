"""Ask a model at a provider: several requests at a time, money reserved before each, every answer stored at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import NoReturn

from finetune_advisor.costs.prices import PriceTable
from finetune_advisor.costs.pricing import Rates
from finetune_advisor.errors import Missing, StoreProblem
from finetune_advisor.experiment.charges import Budget, most_usd, rates_of, usd_of
from finetune_advisor.models import RemoteModel
from finetune_advisor.records import Batch, Failure, Reply
from finetune_advisor.store import Charge

ASKED_AGAIN = 5
"""So often a request is sent again whose answer may have been made but did not arrive."""

REFUSED_AT_FIRST = 8
"""So many batches without one answer among them end the run: a wrong model's name is not a score of 0."""

LOOK_SECONDS = 0.5
"""The longest wait between two signs of progress, at which a run can be paused."""

Outcomes = list[Reply | Failure]
Keep = Callable[[Batch, Sequence[Reply | Failure], Charge | None], None]


@dataclass(frozen=True, kw_only=True)
class Till:
    """What asking a provider takes: the budget, and the prices by the names that the case gives its models."""

    budget: Budget
    table: PriceTable
    prices: Mapping[str, str | None] = field(default_factory=dict[str, str | None])

    def rates(self, model: RemoteModel) -> Rates | None:
        """What its requests cost; None where nobody charges for them."""
        return rates_of(model, self.prices.get(model.name), self.table)


def checked(till: Till | None) -> Till:
    """The till.

    Raises:
        StoreProblem: There is none: this is not a run.
    """
    if till is None:
        raise StoreProblem("Not asked yet.", hint="finetune-advisor run asks it.")
    return till


@dataclass(frozen=True, kw_only=True)
class _Call:
    batch: Batch
    charge: Charge | None = None
    lost: int = 0


def ask_remote(model: RemoteModel, batches: Sequence[Batch], till: Till, keep: Keep, tell: Callable[[], None]) -> None:
    """Ask batches, `model.concurrency` at a time; all in one thread but the waiting for answers.

    Whatever ends this early, answers that are under way are waited for and kept: they are paid for.

    Args:
        model: Who is asked.
        batches: What has not been answered yet.
        till: Budget and prices.
        keep: Stores a batch's answers with what they cost.
        tell: Shows the progress; may raise to end the run.

    Raises:
        OverBudget: The next request might cost more than is left.
        AdvisorError: The provider refuses.
    """
    _Asking(model, till, keep, tell).run(deque(_Call(batch=batch) for batch in batches))


class _Asking:
    def __init__(self, model: RemoteModel, till: Till, keep: Keep, tell: Callable[[], None]) -> None:
        self._model = model
        self._budget = till.budget
        self._rates = till.rates(model)
        self._keep = keep
        self._tell = tell
        self._running: dict[Future[Outcomes], _Call] = {}
        self._doubtful: list[tuple[Batch, Outcomes, Charge | None]] | None = []

    def run(self, todo: deque[_Call]) -> None:
        with ThreadPoolExecutor(self._model.concurrency) as pool:
            try:
                while todo or self._running:
                    self._tell()
                    self._send(pool, todo)
                    todo.extend(self._take(LOOK_SECONDS))
                self._believe()
            except BaseException:
                self._take(None)
                self._forget()
                raise

    def _send(self, pool: ThreadPoolExecutor, todo: deque[_Call]) -> None:
        """Send as many as may run and as the budget allows for; where it allows for none, that ends the run."""
        while todo and len(self._running) < self._model.concurrency:
            charge = self._reserved(todo[0].batch)
            if charge is None and self._rates is not None:
                return
            call = replace(todo.popleft(), charge=charge)
            self._running[pool.submit(self._model.answer, call.batch)] = call

    def _reserved(self, batch: Batch) -> Charge | None:
        if self._rates is None:
            return None
        most = most_usd(batch.requests, self._rates)
        what = f"{len(batch.requests)} requests to {self._model.name}"
        return self._budget.reserve(what, most) if self._running else self._budget.require(what, most)

    def _take(self, seconds: float | None) -> list[_Call]:
        """Keep what has arrived within so many seconds, None for all of it; what is to be sent again."""
        again: list[_Call] = []
        done, _ = wait(self._running, timeout=seconds, return_when=FIRST_COMPLETED if seconds else "ALL_COMPLETED")
        refused: BaseException | None = None
        for future in done:
            call = self._running.pop(future)
            error = future.exception()
            if error is not None:
                refused = refused or error
                self._free(call)
            elif not self._kept(call, future.result()):
                again.append(replace(call, charge=None, lost=call.lost + 1))
        if refused is not None and seconds is not None:
            raise refused
        return again

    def _free(self, call: _Call) -> None:
        """The provider refused: nothing is charged."""
        if call.charge is not None:
            self._budget.store.settle(self._budget.settled(call.charge, Decimal(0)))

    def _kept(self, call: _Call, outcomes: Outcomes) -> bool:
        """Store the answers; False where the whole batch has to be asked again."""
        lost = any(isinstance(each, Failure) and each.kind == "lost" for each in outcomes)
        if lost and call.charge is not None:
            self._budget.lost(call.charge)
        if lost and call.lost < ASKED_AGAIN:
            return False
        kept = [_final(each) for each in outcomes]
        charge = None
        if call.charge is not None and self._rates is not None and not lost:
            charge = self._budget.settled(call.charge, usd_of(kept, self._rates))
        self._weigh(call.batch, kept, charge)
        return True

    def _weigh(self, batch: Batch, outcomes: Outcomes, charge: Charge | None) -> None:
        """Keep the answers, refusals only once something else was answered: all of them may be for one reason."""
        if self._doubtful is None:
            self._keep(batch, outcomes, charge)
            return
        self._doubtful.append((batch, outcomes, charge))
        refusals = [each for each in outcomes if isinstance(each, Failure) and each.kind == "error"]
        if len(refusals) < len(outcomes):
            self._believe()
        elif len(self._doubtful) >= REFUSED_AT_FIRST:
            self._doubted(refusals[0])

    def _believe(self) -> None:
        doubtful, self._doubtful = self._doubtful, None
        for batch, outcomes, charge in doubtful or ():
            self._keep(batch, outcomes, charge)

    def _forget(self) -> None:
        """Refusals are asked again by the next run; what they cost is not forgotten."""
        while self._doubtful:
            _, _, charge = self._doubtful.pop()
            if charge is not None:
                self._budget.store.settle(charge)

    def _doubted(self, refusal: Failure) -> NoReturn:
        self._forget()
        raise Missing(
            f"{self._model.name} answered none of the first {REFUSED_AT_FIRST} requests: {refusal.message}",
            hint="Check the model's id and options in case.toml, then run again. Nothing of it was stored.",
        )


def _final(outcome: Reply | Failure) -> Reply | Failure:
    """A lost answer, which nobody will ask for again, as an error."""
    return replace(outcome, kind="error") if isinstance(outcome, Failure) and outcome.kind == "lost" else outcome
