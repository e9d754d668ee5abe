"""What every approach has to do, ours and those of installed packages, with a model and a tuner that only pretend."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import FrozenInstanceError, asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest

from finetune_advisor import approaches, plugins, tuning
from finetune_advisor.approaches import Approach, Bench
from finetune_advisor.models import Model
from finetune_advisor.records import (
    Batch,
    Example,
    Failure,
    Message,
    Passage,
    Progress,
    Reply,
    Request,
    Settings,
    Task,
    TaskKind,
    TrainingRun,
    Usage,
)
from finetune_advisor.tuning.work import TuningWork

NAMES = sorted(plugins.known(approaches.GROUP, approaches.TABLE))


class StubModel:
    """Answers nothing in particular."""

    def __init__(self) -> None:
        self.name = "stub"
        self.simulated = True
        self.tunable = True
        self.context_window = 4096
        self.source = "stub"

    def describe(self) -> Settings:
        return {}

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return sum(len(message.content) for message in messages)

    def batches(self, requests: Sequence[Request]) -> list[Batch]:
        return [Batch(requests=tuple(requests))]

    def answer(self, batch: Batch) -> list[Reply | Failure]:
        return [Reply(text="lost", usage=Usage()) for _ in batch.requests]

    def with_adapter(self, folder: Path) -> Model:
        return self


class StubTuner:
    """Trains nothing."""

    def tune(self, work: TuningWork, progress: Progress) -> TrainingRun:
        return TrainingRun(
            adapter=str(work.folder),
            base=work.source,
            options={},
            examples=len(work.train),
            steps=1,
            best_step=1,
            tokens=0,
            trainable_parameters=0,
            seconds=0.0,
        )


def example(question: str, answer: str) -> Example:
    messages = (Message(role="system", content="Name the intent."), Message(role="user", content=question))
    return Example(id=f"id of {question}", messages=messages, answer=answer, references=(answer,))


TRAIN = [
    example(f"{start} {thing}", label)
    for label, start in (("lost", "I lost my"), ("refund", "Refund the"), ("退款", "我要退款"))
    for thing in ("card", "parcel", "phone", "coat")
]
ASKED = [example("I lost my hat", "lost"), example("我要退款 please", "退款"), example("👍", "refund")]
PASSAGES = [Passage(id="p0", document_id="d0", title="Hats", text="A lost hat waits at the desk.")]


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    def create(_: str, **options: Any) -> tuning.Tuner:
        return StubTuner()

    monkeypatch.setattr(tuning, "create", create)
    return request.param


@pytest.fixture
def approach(name: str) -> Approach:
    made: Any = approaches.create(name)
    # Words alone, so that no encoder is needed.
    return replace(made, retriever="bm25") if any(f.name == "retriever" for f in fields(made)) else made


@pytest.fixture
def bench(approach: Approach, tmp_path: Path) -> Bench:
    kind = sorted(approach.kinds)[0] if approach.kinds else TaskKind.CLASSIFICATION
    return Bench(
        task=Task(kind=TaskKind(kind), metric="label", max_answer_tokens=9),
        train=TRAIN,
        validation=TRAIN[:3],
        passages=PASSAGES if approach.needs_documents else (),
        model=StubModel() if approach.needs_model else None,
        folder=tmp_path,
        seed=1,
        progress=lambda what, done, total: None,
    )


def test_requests_are_aligned_with_examples(approach: Approach, bench: Bench) -> None:
    requests = approach.fit(bench).ask(ASKED)
    assert [request.example_id for request in requests] == [e.id for e in ASKED]
    for request, asked in zip(requests, ASKED, strict=True):
        assert request.max_tokens == 9
        assert request.messages[-1].role == "user"
        assert asked.question in request.messages[-1].content
        assert request.messages[0].content.startswith("Name the intent.")


def test_fitting_again_gives_the_same_prompts(approach: Approach, bench: Bench) -> None:
    first = approach.fit(bench).ask(ASKED)
    fitted = approach.fit(bench)
    assert fitted.ask(ASKED) == first
    assert [fitted.ask([asked])[0] for asked in ASKED] == first


def test_answers_of_the_asked_are_never_read(approach: Approach, bench: Bench) -> None:
    fitted = approach.fit(bench)
    blind = [replace(e, answer="?", references=("?",), meta={"answer": "?"}, file="f", line=9) for e in ASKED]
    assert fitted.ask(blind) == fitted.ask(ASKED)


def test_the_tools_of_an_example_come_with_its_request(approach: Approach, bench: Bench) -> None:
    tool = {"type": "function", "function": {"name": "find"}}
    plain, told = approach.fit(bench).ask([ASKED[0], replace(ASKED[0], tools=(tool,))])
    assert (plain.tools, told.tools) == ((), (tool,))
    assert plain.messages == told.messages


def test_every_batch_is_answered_in_order(approach: Approach, bench: Bench) -> None:
    fitted = approach.fit(bench)
    requests = fitted.ask([*ASKED, *TRAIN])
    batches = fitted.model.batches(requests)
    assert sorted(r.example_id for batch in batches for r in batch.requests) == sorted(r.example_id for r in requests)
    assert [len(fitted.model.answer(batch)) for batch in batches] == [len(batch.requests) for batch in batches]
    assert fitted.ask([]) == []


def test_training_is_reported_by_those_that_train(approach: Approach, bench: Bench) -> None:
    assert (approach.fit(bench).training is not None) is approach.tuned


def test_options_are_frozen_and_can_be_stored(approach: Approach, name: str) -> None:
    made: Any = approach
    options = asdict(made)
    assert approaches.create(name, **json.loads(json.dumps(options))) == approach
    if options:
        with pytest.raises(FrozenInstanceError):
            setattr(made, next(iter(options)), None)


def test_the_grid_names_options_and_the_default_is_in_it(approach: Approach, name: str) -> None:
    kind = approaches.named(name)
    made: Any = approach
    assert kind.title
    for option, values in kind.grid.items():
        assert asdict(made)[option] in values
        for value in values:
            approaches.create(name, **{option: value})


def test_progress_stays_within_its_total(approach: Approach, bench: Bench) -> None:
    seen: list[tuple[str, int, int]] = []

    def watch(what: str, done: int, total: int) -> None:
        seen.append((what, done, total))

    approach.fit(replace(bench, progress=watch))
    assert all(what and 0 <= done <= total for what, done, total in seen)
