"""Asking a provider: money is reserved first, answers are kept as they come, and the budget holds whatever happens."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_advisor.costs import prices
from finetune_advisor.costs.pricing import Rates
from finetune_advisor.errors import Missing
from finetune_advisor.experiment.charges import Budget, OverBudget, most_usd, price_name, usd_of
from finetune_advisor.experiment.remote import ASKED_AGAIN, Till, ask_remote
from finetune_advisor.models import RemoteModel, is_remote
from finetune_advisor.records import Batch, Failure, Message, Reply, Request, Settings, Usage
from finetune_advisor.store import Charge, Store

Answering = Callable[[Request, int], Reply | Failure]


class Provider:
    """A model of gpt-6-luna's price that answers as it is told and counts what it was asked."""

    addresses = ("api.example.com",)

    def __init__(self, answering: Answering, *, concurrency: int = 8) -> None:
        self.name = self.source = "gpt-6-luna"
        self.simulated = self.tunable = False
        self.context_window = 100_000
        self.concurrency = concurrency
        self.secret = ""
        self.trainer: tuple[str, Settings] = ("", {})
        self.asked: Counter[str] = Counter()
        self.at_once = self.most_at_once = 0
        self._answering = answering
        self._lock = threading.Lock()

    def describe(self) -> Settings:
        return {"id": "gpt-6-luna", "provider": "openai"}

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return sum(len(message.content.split()) for message in messages)

    def batches(self, requests: Sequence[Request]) -> list[Batch]:
        return [Batch(requests=(request,)) for request in requests]

    def answer(self, batch: Batch) -> list[Reply | Failure]:
        (request,) = batch.requests
        with self._lock:
            self.asked[request.example_id] += 1
            time_asked = self.asked[request.example_id]
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return [self._answering(request, time_asked)]
        finally:
            with self._lock:
                self.at_once -= 1

    def with_adapter(self, folder: Path) -> Provider:
        return self


LOST = Failure(kind="lost", message="The connection broke.")


def requests(count: int) -> list[Request]:
    text = "What is the capital of the country with the number "
    return [
        Request(example_id=f"e{n}", messages=(Message(role="user", content=f"{text}{n}?"),), max_tokens=20)
        for n in range(count)
    ]


def right(request: Request, time_asked: int = 1) -> Reply:
    return Reply(text=f"answer to {request.example_id}", usage=Usage(prompt_tokens=15, completion_tokens=5))


class Shelf:
    """What was kept, and the money beside it."""

    def __init__(self, store: Store, *, limit: Decimal | None = None) -> None:
        self.store = store
        self.budget = Budget(store=store, job="j", limit=limit)
        self.kept: dict[str, Reply | Failure] = {}

    def keep(self, batch: Batch, outcomes: Sequence[Reply | Failure], charge: Charge | None) -> None:
        for request, outcome in zip(batch.requests, outcomes, strict=True):
            assert request.example_id not in self.kept
            self.kept[request.example_id] = outcome
        if charge is not None:
            self.store.settle(charge)

    def ask(self, model: RemoteModel, wanted: Sequence[Request], tell: Callable[[], None] = lambda: None) -> None:
        todo = [batch for batch in model.batches(wanted) if batch.requests[0].example_id not in self.kept]
        ask_remote(model, todo, Till(budget=self.budget, table=prices.load()), self.keep, tell)


RATES = Rates(fresh=Decimal("0.125"), cached=Decimal("0.01"), written=Decimal("0.125"), output=Decimal("0.5"))


def test_every_answer_is_kept_once_and_charged_by_its_tokens(tmp_path: Path) -> None:
    model = Provider(right)
    assert is_remote(Provider(right))
    with Store(tmp_path) as store:
        shelf = Shelf(store)
        shelf.ask(model, requests(40))
        assert shelf.kept == {f"e{n}": right(requests(40)[n]) for n in range(40)}
        assert {charge.state for charge in store.charges("j")} == {"charged"}
        assert store.charged("j") == shelf.budget.charged == 40 * (15 * Decimal("0.125") + 5 * Decimal("0.5")) / 10**6
    assert set(model.asked.values()) == {1}


def test_no_more_than_allowed_are_asked_at_once(tmp_path: Path) -> None:
    def slowly(request: Request, time_asked: int) -> Reply:
        time.sleep(0.01)
        return right(request)

    model = Provider(slowly, concurrency=5)
    with Store(tmp_path) as store:
        Shelf(store).ask(model, requests(30))
    assert 2 <= model.most_at_once <= 5


@pytest.mark.parametrize("concurrency", [1, 8, 64])
def test_in_a_storm_nothing_is_lost_and_the_budget_holds(tmp_path: Path, concurrency: int) -> None:
    """What arrived is never asked again; what the provider may have charged stays below the limit all the time."""
    chance = random.Random(concurrency)
    spent: list[Decimal] = []

    def stormy(request: Request, time_asked: int) -> Reply | Failure:
        spent.append(usd_of([right(request)], RATES))
        return LOST if chance.random() < 0.3 else right(request)

    wanted = requests(300)
    model = Provider(stormy, concurrency=concurrency)
    limit = 100 * most_usd(wanted[:1], RATES)
    with Store(tmp_path) as store:
        shelf = Shelf(store, limit=limit)
        with pytest.raises(OverBudget, match="does not allow"):
            shelf.ask(model, wanted)
        assert 0 < len(shelf.kept) < 300
        assert sum(spent) <= store.charged("j") == shelf.budget.charged <= limit
        once = dict(shelf.kept)
        shelf.budget.limit = None
        shelf.ask(model, wanted)
        assert len(shelf.kept) == 300 and once.items() <= shelf.kept.items()
    answered = [name for name, outcome in shelf.kept.items() if isinstance(outcome, Reply)]
    assert len(answered) > 290
    assert all(shelf.kept[name] == right(wanted[int(name[1:])]) for name in answered)


def test_what_is_lost_again_and_again_ends_as_a_failure(tmp_path: Path) -> None:
    model = Provider(lambda request, _: LOST if request.example_id == "e1" else right(request))
    with Store(tmp_path) as store:
        shelf = Shelf(store)
        shelf.ask(model, requests(3))
        lost = [charge for charge in store.charges() if charge.state == "lost"]
    assert model.asked == {"e0": 1, "e1": 1 + ASKED_AGAIN, "e2": 1}
    assert shelf.kept["e1"] == Failure(kind="error", message="The connection broke.")
    assert len(lost) == 1 + ASKED_AGAIN


def test_a_refusal_ends_the_run_but_what_is_under_way_is_kept(tmp_path: Path) -> None:
    def refused_at_ten(request: Request, time_asked: int) -> Reply:
        if request.example_id == "e10":
            raise Missing("The key is wrong.")
        time.sleep(0.02)
        return right(request)

    model = Provider(refused_at_ten, concurrency=4)
    with Store(tmp_path) as store:
        shelf = Shelf(store)
        with pytest.raises(Missing, match="key is wrong"):
            shelf.ask(model, requests(30))
        assert set(shelf.kept) == set(model.asked) - {"e10"}
        assert store.charged("j") == usd_of(shelf.kept.values(), RATES)


def test_refusals_without_a_single_answer_end_the_run_and_are_not_stored(tmp_path: Path) -> None:
    """A misspelt model's name is not a score of 0."""
    refusal = Failure(kind="error", message="There is no such model.")
    with Store(tmp_path) as store:
        shelf = Shelf(store)
        with pytest.raises(Missing, match="none of the first 8 requests: There is no such model"):
            shelf.ask(Provider(lambda request, _: refusal), requests(40))
        assert shelf.kept == {}
        assert "reserved" not in {charge.state for charge in store.charges()}
        shelf.ask(Provider(lambda request, _: right(request) if request.example_id == "e5" else refusal), requests(6))
        assert len(shelf.kept) == 6


def test_a_pause_keeps_what_is_under_way(tmp_path: Path) -> None:
    class Paused(Exception):
        pass

    def tell() -> None:
        if sum(model.asked.values()) >= 8:
            raise Paused

    def slowly(request: Request, time_asked: int) -> Reply:
        time.sleep(0.05)
        return right(request)

    model = Provider(slowly, concurrency=4)
    with Store(tmp_path) as store:
        shelf = Shelf(store)
        with pytest.raises(Paused):
            shelf.ask(model, requests(30), tell)
        assert set(shelf.kept) == set(model.asked) and len(shelf.kept) < 30


def test_a_reservation_of_a_killed_run_counts_as_spent(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        Budget(store=store, job="j").require("a request", Decimal("0.4"))
    with Store(tmp_path) as store:
        again = Budget(store=store, job="j", limit=Decimal(1))
        assert again.charged == Decimal("0.4")
        assert again.reserve("another", Decimal("0.7")) is None
        assert Budget(store=store, job="k", limit=Decimal(1)).reserve("another", Decimal("0.7"))


def test_a_training_is_paid_once_however_often_the_run_goes_on(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        for _ in range(3):
            Budget(store=store, job="j", limit=Decimal(2)).once("the training abc", Decimal("1.5"))
        assert store.charged("j") == Decimal("1.5")
        with pytest.raises(OverBudget):
            Budget(store=store, job="j", limit=Decimal(2)).once("the training xyz", Decimal("1.5"))


@given(st.text(max_size=60), st.integers(1, 100), st.integers(0, 200), st.integers(0, 100))
def test_a_reservation_is_never_too_small(text: str, max_tokens: int, tokens: int, written: int) -> None:
    """A byte-level vocabulary has at most one token a byte."""
    request = Request(example_id="e", messages=(Message(role="user", content=text),), max_tokens=max_tokens)
    tokens, written = min(tokens, len(text.encode("utf-8", "replace"))), min(written, max_tokens)
    reply = Reply(text="", usage=Usage(prompt_tokens=tokens, completion_tokens=written))
    assert usd_of([reply], RATES) <= most_usd([request], RATES)


def test_prices_are_named_as_the_table_names_them() -> None:
    assert price_name({"provider": "openai", "id": "gpt-6-luna"}) == "gpt-6-luna"
    assert (
        price_name({"provider": "openai", "id": "gpt-4.1-mini-2025-04-14"}, tuned=True) == "ft:gpt-4.1-mini-2025-04-14"
    )
    azure = {"provider": "azure", "id": "my-deployment", "base": "gpt-4o-mini-2024-07-18"}
    assert price_name(azure) == "azure:gpt-4o-mini-2024-07-18"
    assert price_name(azure, tuned=True) == "azure:ft:gpt-4o-mini-2024-07-18"
    assert price_name({"provider": "compatible", "id": "qwen"}) == ""
