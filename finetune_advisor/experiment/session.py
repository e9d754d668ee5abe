"""What the arms of a run share, and how their answers get into the store: a batch at a time, none asked twice.

A step that is about to ask says first what it needs. Whoever works alone goes on at once and asks where the answer is
used; a crew on other machines has the answers in the store by the time that it goes on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from finetune_advisor.experiment.prepare import Prepared
from finetune_advisor.experiment.remote import Till, ask_remote, checked
from finetune_advisor.models import Model, is_remote
from finetune_advisor.records import Batch, Failure, Part, Progress, Reply, Request, Settings
from finetune_advisor.store import Charge, Store, Stored

if TYPE_CHECKING:
    from finetune_advisor.experiment.arms import Attempt


@dataclass(frozen=True, kw_only=True)
class Need:
    """Answers that have to be in the store before a step can go on; model and requests are made when asked for.

    Args:
        session: With the store, and told about the progress.
        key: The name under which the answers are stored.
        part: The part of the data under which they are stored.
        what: What is being done.
        ids: The examples that are to be answered.
        model: Who is asked.
        requests: All requests of the part: batches are made of all, so that they are the same after an interruption.
        attempt: What has to be fitted first, if anything.
    """

    session: Session
    key: str
    part: Part
    what: str
    ids: Sequence[str]
    model: Callable[[], Model]
    requests: Callable[[], Sequence[Request]]
    attempt: Attempt | None = None

    @property
    def met(self) -> bool:
        """Whether all answers are stored."""
        return self.session.store.answered(self.key, self.part).issuperset(self.ids)


Steps = Generator[Sequence[Need], None, None]
"""Work that says what it needs, then goes on; what a need cannot be met for is thrown into it."""


def ahead(needs: Sequence[Need]) -> Steps:
    """Work that only needs answers, all of them at the same time."""
    yield needs


class Crew(Protocol):
    """Who does the work of a run."""

    def describe(self, model: Model) -> Settings:
        """What the model is, exactly, where it answers."""
        ...

    def carry_out(self, work: Sequence[tuple[Model | None, Steps]], progress: Progress) -> None:
        """Bring all work to its end, each with the model that it asks, if it asks one."""
        ...


class Alone:
    """This process does everything, one thing after the other."""

    def describe(self, model: Model) -> Settings:
        """What the model is here."""
        return model.describe()

    def carry_out(self, work: Sequence[tuple[Model | None, Steps]], progress: Progress) -> None:
        """In turn; each asks for itself what it needs."""
        for _, steps in work:
            deque(steps, maxlen=0)


ALONE = Alone()


@dataclass(frozen=True, kw_only=True)
class Session:
    """What all arms of a run share. Without `ask`, nothing is computed: only what is stored counts.

    `till` knows prices and budget; without it, models at providers are not asked.
    """

    prepared: Prepared
    store: Store
    progress: Progress
    ask: bool = True
    till: Till | None = None
    crew: Crew = ALONE


@dataclass(frozen=True, kw_only=True)
class Asking:
    """A need in the course of being met."""

    need: Need
    model: Model
    requests: Sequence[Request]

    @classmethod
    def of(cls, need: Need) -> Asking:
        """Fit what has to be fitted, and word the requests."""
        return cls(need=need, model=need.model(), requests=need.requests())

    @cached_property
    def stored(self) -> set[str]:
        """The examples whose answers are stored."""
        return self.need.session.store.answered(self.need.key, self.need.part)

    @cached_property
    def todo(self) -> list[Batch]:
        """Batches that hold what is not stored yet."""
        made = self.model.batches(self.requests)
        return [batch for batch in made if any(each.example_id not in self.stored for each in batch.requests)]

    def keep(self, batch: Batch, outcomes: Sequence[Reply | Failure], charge: Charge | None = None) -> None:
        """Put a batch's answers into the store, with what they cost."""
        pairs = zip(batch.requests, outcomes, strict=True)
        fresh = [Stored(request=r, outcome=outcome) for r, outcome in pairs if r.example_id not in self.stored]
        self.need.session.store.add(self.need.key, self.need.part, fresh, charge)
        self.stored.update(each.request.example_id for each in fresh)

    def tell(self) -> None:
        """Show the progress; may raise to end the run."""
        self.need.session.progress(self.need.what, len(self.stored), len(self.requests))


def ask(need: Need) -> None:
    """Ask what is not stored yet; every batch is in the store before the next one is asked."""
    asking = Asking.of(need)
    if is_remote(asking.model):
        ask_remote(asking.model, asking.todo, checked(need.session.till), asking.keep, asking.tell)
    else:
        for batch in asking.todo:
            asking.tell()
            asking.keep(batch, asking.model.answer(batch))
    asking.tell()
