"""The wording of prompts, the choice of demonstrations, retrieval and training, each against known answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from finetune_advisor import approaches, tuning
from finetune_advisor.approaches import Bench, prompts
from finetune_advisor.approaches.prompting import FewShot, NearestShot, ZeroShot
from finetune_advisor.approaches.rag import Rag
from finetune_advisor.approaches.tuned import Tuned, TunedRag
from finetune_advisor.errors import BadInput
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
    TrainingPair,
    TrainingRun,
    Usage,
    no_progress,
)
from finetune_advisor.tuning.work import TuningWork


class StubModel:
    """Counts one token a word and answers its own name."""

    def __init__(self, *, name: str = "stub", tunable: bool = True, context_window: int = 4096) -> None:
        self.name = name
        self.simulated = True
        self.tunable = tunable
        self.context_window = context_window
        self.source = "stub-weights"

    def describe(self) -> Settings:
        return {"name": self.name}

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return sum(len(message.content.split()) for message in messages)

    def batches(self, requests: Sequence[Request]) -> list[Batch]:
        return [Batch(requests=tuple(requests))]

    def answer(self, batch: Batch) -> list[Reply | Failure]:
        return [Reply(text=self.name, usage=Usage()) for _ in batch.requests]

    def with_adapter(self, folder: Path) -> Model:
        return StubModel(name=f"{self.name} + {folder.name}")


@dataclass
class StubTuner:
    """Remembers what it was given instead of training."""

    options: dict[str, Any] = field(default_factory=dict[str, Any])
    source: str = ""
    train: list[TrainingPair] = field(default_factory=list[TrainingPair])
    validation: list[TrainingPair] = field(default_factory=list[TrainingPair])

    def tune(self, work: TuningWork, progress: Progress) -> TrainingRun:
        self.source, self.train, self.validation = work.source, list(work.train), list(work.validation)
        return TrainingRun(
            adapter=str(work.folder / "adapter"),
            base=work.source,
            options=self.options,
            examples=len(work.train),
            steps=1,
            best_step=1,
            tokens=1,
            trainable_parameters=1,
            seconds=0.0,
        )


@pytest.fixture
def tuner(monkeypatch: pytest.MonkeyPatch) -> StubTuner:
    stub = StubTuner()

    def create(name: str, **options: Any) -> tuning.Tuner:
        assert name == "lora"
        stub.options = options
        return stub

    monkeypatch.setattr(tuning, "create", create)
    return stub


def example(question: str, answer: str, *, system: str = "Be brief.", name: str = "") -> Example:
    own = (Message(role="system", content=system),) if system else ()
    messages = (*own, Message(role="user", content=question))
    return Example(id=name or question, messages=messages, answer=answer, references=(answer,))


INTENTS = [
    example(f"{verb} my {thing}", label)
    for label, verb in (("lost", "I lost"), ("refund", "Refund"), ("delay", "Where stays"))
    for thing in ("card", "parcel", "phone", "new winter coat")
]
PASSAGES = [
    Passage(id="p0", document_id="d0", title="Pump", text="Hold the blue button for ten seconds."),
    Passage(id="p1", document_id="d0", title="", text="The lamp of the heater burns for 900 hours."),
    Passage(id="p2", document_id="d1", title="Boat", text="The boat is named Aurelia."),
]
FACTS = [
    example("Which button does the pump have?", "blue button"),
    example("What is the boat named?", "Aurelia"),
    example("Who painted the boat?", "nobody knows"),
    example("How long burns the lamp?", "900 hours"),
]


def bench(
    train: Sequence[Example] = INTENTS,
    *,
    kind: TaskKind = TaskKind.CLASSIFICATION,
    passages: Sequence[Passage] = (),
    model: Model | None = None,
    instruction: str = "",
    seed: int = 0,
) -> Bench:
    return Bench(
        task=Task(kind=kind, metric="exact", instruction=instruction, max_answer_tokens=7),
        train=train,
        validation=train[-2:],
        passages=passages,
        model=model or StubModel(),
        folder=Path("fit"),
        seed=seed,
        progress=no_progress,
    )


def rule(kind: TaskKind, *answers: str) -> str:
    return prompts.rules(Task(kind=kind, metric="exact"), [example("?", answer) for answer in answers])


def test_the_label_list_is_sorted_or_as_given() -> None:
    assert rule(TaskKind.CLASSIFICATION, "b", "a", "b") == (
        "Answer with exactly one of these labels and nothing else: a, b"
    )
    given = Task(kind=TaskKind.CLASSIFICATION, metric="label", labels=("z", "a"))
    assert prompts.rules(given, []).endswith("nothing else: z, a")


def test_json_keys_and_closed_values_come_from_training() -> None:
    answers = [
        json.dumps({"intent": intent, "slots": [{"slot": "city", "value": f"Town {n}"}], "urgent": n > 1})
        for n, intent in enumerate(["buy", "sell", "buy", "sell"])
    ]
    assert rule(TaskKind.JSON, *answers).splitlines() == [
        'Reply with one JSON object with the keys "intent", "slots", "urgent" and nothing else.',
        'slots[] has the keys "slot", "value".',
        'intent is one of: "buy", "sell"',
        'slots[].slot is one of: "city"',
        "urgent is one of: false, true",
    ]


@pytest.mark.parametrize(
    "answers",
    [
        ("no json", "[1, 2]"),
        tuple(json.dumps({f"key {n}": 1}) for n in range(41)),
        ("[" * 100_000,),
        (),
    ],
    ids=["not objects", "no fixed keys", "endless nesting", "none"],
)
def test_json_without_fixed_keys_gets_the_plain_rule(answers: tuple[str, ...]) -> None:
    assert rule(TaskKind.JSON, *answers) == "Reply with one JSON object and nothing else."


@pytest.mark.parametrize(
    ("kind", "answers", "expected"),
    [
        (TaskKind.NUMERIC, ["3 + 4 = 7\n#### 7"], 'End with the final number after "#### ".'),
        (TaskKind.NUMERIC, ["7", "1,200"], "Answer with the number and nothing else."),
        (TaskKind.NUMERIC, ["so it is 7", "12"], "End with the final number."),
        (TaskKind.SUMMARY, ["one two three four five six"], "Reply with a summary of about 6 words and nothing else."),
        (TaskKind.SUMMARY, ["我們提出一種方法"], "Reply with a summary and nothing else."),
        (TaskKind.QA, ["Paris"], "Answer with the shortest exact answer and nothing else."),
        (TaskKind.SQL, ["SELECT 1"], "Reply with one SQL query and nothing else."),
        (TaskKind.TEXT, ["Dear customer"], ""),
    ],
)
def test_rules_by_kind(kind: TaskKind, answers: list[str], expected: str) -> None:
    assert rule(kind, *answers) == expected


def test_zero_shot_keeps_the_system_message_first() -> None:
    fitted = ZeroShot().fit(bench(FACTS, kind=TaskKind.QA, instruction="Answer in English."))
    (request,) = fitted.ask([example("Why?", "secret", system="Be kind.")])
    assert request == Request(
        example_id="Why?",
        messages=(
            Message(
                role="system",
                content="Be kind.\nAnswer in English.\nAnswer with the shortest exact answer and nothing else.",
            ),
            Message(role="user", content="Why?"),
        ),
        max_tokens=7,
    )


def test_no_system_message_where_there_is_nothing_to_say() -> None:
    (request,) = ZeroShot().fit(bench(kind=TaskKind.TEXT)).ask([example("Hello", "", system="")])
    assert [message.role for message in request.messages] == ["user"]


def test_an_instruction_that_the_data_repeats_is_said_once() -> None:
    fitted = ZeroShot().fit(bench(kind=TaskKind.TEXT, instruction="Be brief."))
    assert fitted.ask([INTENTS[0]])[0].messages[0].content == "Be brief."


def test_earlier_turns_and_tool_calls_are_kept() -> None:
    call = Message(role="assistant", content="", extra={"tool_calls": [{"id": "c1"}]})
    turns = (Message(role="user", content="Weather?"), call, Message(role="tool", content="18 °C"))
    asked = Example(id="x", messages=(Message(role="developer", content="Own."), *turns), answer="18")
    (request,) = FewShot(shots=1).fit(bench()).ask([asked])
    assert request.messages[0].role == "developer"
    assert request.messages[-3:] == turns
    (request,) = (
        Rag(depth=1, retriever="bm25")
        .fit(bench(passages=PASSAGES))
        .ask([replace(asked, messages=(Message(role="user", content="pump"), call))])
    )
    assert [message.role for message in request.messages] == ["system", "user", "assistant"]
    assert request.messages[1].content.startswith("Context:\n[1] Pump: Hold")


def shots_of(request: Request) -> list[tuple[str, str]]:
    turns = request.messages[1:-1]
    return [(user.content, reply.content) for user, reply in zip(turns[::2], turns[1::2], strict=True)]


def test_few_shot_spreads_over_the_classes_and_shares_its_start() -> None:
    requests = FewShot(shots=4).fit(bench()).ask([example("a?", ""), example("b?", "")])
    assert requests[0].messages[:-1] == requests[1].messages[:-1]
    labels = [label for _, label in shots_of(requests[0])]
    assert len(labels) == 4
    assert set(labels[:3]) == {"lost", "refund", "delay"}
    assert set(shots_of(requests[0])) <= {(e.question, e.answer) for e in INTENTS}


def test_the_seed_decides_which_shots() -> None:
    chosen = {tuple(shots_of(FewShot().fit(bench(seed=seed)).ask([INTENTS[0]])[0])) for seed in range(6)}
    assert len(chosen) > 1


def test_few_shot_prefers_short_and_different_answers() -> None:
    train = [example(f"Fact {n}?", f"answer {n // 2}") for n in range(10)]
    train += [example(f"Fact {n}? " + "long " * 30, "x") for n in range(10)]
    (request,) = FewShot(shots=5).fit(bench(train, kind=TaskKind.QA)).ask([FACTS[0]])
    assert {answer for _, answer in shots_of(request)} == {f"answer {n}" for n in range(5)}


def test_shots_that_would_fill_the_context_are_passed_over() -> None:
    train = [example("word " * 60, "a"), example("short one", "a"), example("x" * 500, "b")]
    (request,) = FewShot(shots=2).fit(bench(train, model=StubModel(context_window=100))).ask([FACTS[0]])
    # 25 tokens a shot: 60 words are too many, one word of 500 letters is not.
    assert sorted(question for question, _ in shots_of(request)) == ["short one", "x" * 500]


def test_nearest_shots_end_with_the_nearest() -> None:
    fitted = NearestShot(shots=3, retriever="bm25").fit(bench())
    (request,) = fitted.ask([example("I lost the new winter coat", "")])
    assert shots_of(request)[-1] == ("I lost my new winter coat", "lost")
    assert len(shots_of(request)) == 3


def test_nearest_shots_never_hold_the_question_itself() -> None:
    copies = [example("i lost  my CARD", "lost", name="copy"), example("I lost my card ", "refund", name="other")]
    fitted = NearestShot(shots=8, retriever="bm25").fit(bench([*INTENTS, *copies]))
    (request,) = fitted.ask([INTENTS[0]])
    assert len(shots_of(request)) == 8
    assert not any("lost my card" in " ".join(question.casefold().split()) for question, _ in shots_of(request))


def test_rag_numbers_its_passages_and_names_them() -> None:
    fitted = Rag(depth=2, retriever="bm25").fit(bench(FACTS, kind=TaskKind.QA, passages=PASSAGES))
    (request,) = fitted.ask([example("How many hours for the lamp? It is Aurelia's.", "secret")])
    assert request.passages == ("p1", "p2")
    assert request.messages[-1].content == (
        "Context:\n[1] The lamp of the heater burns for 900 hours.\n[2] Boat: The boat is named Aurelia.\n\n"
        "Question: How many hours for the lamp? It is Aurelia's."
    )
    assert request.messages[0].content.startswith("Be brief.\nEach question comes with passages")


def test_rag_without_a_hit_asks_the_bare_question() -> None:
    fitted = Rag(retriever="bm25").fit(bench(FACTS, kind=TaskKind.QA, passages=PASSAGES))
    (request,) = fitted.ask([example("完全不同", "")])
    assert request.passages == ()
    assert request.messages[-1].content == "完全不同"


def test_rag_demonstrations_have_passages_that_hold_the_answer() -> None:
    unheard = [example(f"Who painted the {color} boat?", f"painter of {color}") for color in ("red", "blue", "green")]
    task = bench([*unheard, *FACTS, *unheard], kind=TaskKind.QA, passages=PASSAGES)
    requests = Rag(shots=2, retriever="bm25").fit(task).ask([FACTS[2], FACTS[0]])
    assert requests[0].messages[:5] == requests[1].messages[:5]
    for question, answer in shots_of(requests[0]):
        assert question.count("\n[") == 1
        assert answer in question


def test_tuned_learns_the_short_prompt(tuner: StubTuner) -> None:
    approach = Tuned(learning_rate=5e-4, max_steps=9)
    fitted = approach.fit(bench(instruction="A long instruction.", seed=3))
    assert tuner.source == "stub-weights"
    assert tuner.options["seed"] == 3
    assert (tuner.options["learning_rate"], tuner.options["max_steps"]) == (5e-4, 9)
    assert [pair.answer for pair in tuner.train] == [e.answer for e in INTENTS]
    assert len(tuner.validation) == 2
    assert fitted.model.name == "stub + adapter"
    assert fitted.training is not None
    assert [request.messages for request in fitted.ask(INTENTS)] == [pair.messages for pair in tuner.train]
    assert fitted.ask(INTENTS[:1])[0].messages == INTENTS[0].messages


def test_tuned_rag_learns_what_it_will_be_asked(tuner: StubTuner) -> None:
    fitted = TunedRag(depth=2, retriever="bm25").fit(bench(FACTS, kind=TaskKind.QA, passages=PASSAGES))
    assert [request.messages for request in fitted.ask(FACTS)] == [pair.messages for pair in tuner.train]
    painted = tuner.train[2]
    assert "Aurelia" in painted.messages[-1].content
    assert painted.answer == "nobody knows"
    assert painted.messages[0].content == "Be brief."
    assert len(tuner.validation) == 2


@pytest.mark.parametrize("name", ["tuned", "tuned_rag"])
def test_what_is_learnt_comes_with_its_tools(tuner: StubTuner, name: str) -> None:
    tools = ({"type": "function", "function": {"name": "find"}},)
    train = [replace(each, tools=tools if n % 2 else ()) for n, each in enumerate(FACTS)]
    options = {"retriever": "bm25"} if name == "tuned_rag" else {}
    approaches.create(name, **options).fit(bench(train, kind=TaskKind.QA, passages=PASSAGES))
    assert [pair.tools for pair in tuner.train] == [(), tools, (), tools]
    assert [pair.tools for pair in tuner.validation] == [(), tools]


@pytest.mark.parametrize("name", ["zero_shot", "few_shot", "nearest_shot", "rag", "tuned", "tuned_rag"])
def test_json_answers_are_asked_for_with_their_schema(tuner: StubTuner, name: str) -> None:
    train = [replace(each, answer=json.dumps({"fact": each.answer})) for each in FACTS]
    options = {} if name in ("zero_shot", "few_shot", "tuned") else {"retriever": "bm25"}
    task = bench(train, kind=TaskKind.JSON, passages=PASSAGES)
    (request,) = approaches.create(name, **options).fit(task).ask(FACTS[:1])
    assert request.answer_schema == {
        "type": "object",
        "properties": {"fact": {"type": "string"}},
        "required": ["fact"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize("name", ["rag", "tuned_rag"])
def test_retrieval_without_documents_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="documents"):
        approaches.create(name).fit(bench())


@pytest.mark.parametrize("name", ["tuned", "tuned_rag"])
def test_a_model_that_cannot_be_trained_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="stub cannot be trained"):
        approaches.create(name).fit(bench(passages=PASSAGES, model=StubModel(tunable=False)))


def test_no_model_is_refused() -> None:
    with pytest.raises(BadInput, match="language model"):
        ZeroShot().fit(replace(bench(), model=None))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("few_shot", {"shots": 0}),
        ("few_shot", {"shots": "four"}),
        ("nearest_shot", {"shots": 1.5}),
        ("rag", {"depth": 0}),
        ("rag", {"shots": -1}),
        ("tuned_rag", {"depth": 0}),
        ("classical", {"features": "magic"}),
        ("zero_shot", {"shots": 4}),
        ("prompt_magic", {}),
    ],
)
def test_bad_options_are_one_sentence(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        approaches.create(name, **options)


def test_an_unknown_retriever_is_refused() -> None:
    with pytest.raises(BadInput, match="retrieval"):
        NearestShot(retriever="oracle").fit(bench())


def test_the_values_of_an_answer() -> None:
    assert prompts.values('{"queue": "bench", "answer": "46 days", "n": [1, 2]}') == ["bench", "46 days", "1", "2"]
    assert prompts.values("46 days") == ["46 days"]
