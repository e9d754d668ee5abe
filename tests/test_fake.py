"""The fake model: seeded, as skilled as it is told to be, and honest about being fake."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_advisor.errors import Missing
from finetune_advisor.models.fake import FakeModel, overlap, write_adapter
from finetune_advisor.records import Failure, Message, Reply, Request, TrainingPair

ANSWERS = {str(n): ("yes" if n % 3 else "no") for n in range(600)}


def asked(example_id: str, text: str = "is it so?", *, max_tokens: int = 20) -> Request:
    return Request(example_id=example_id, messages=(Message(role="user", content=text),), max_tokens=max_tokens)


def texts(model: FakeModel, requests: list[Request]) -> list[str]:
    replies = [reply for batch in model.batches(requests) for reply in model.answer(batch)]
    return [reply.text if isinstance(reply, Reply) else reply.kind for reply in replies]


def share_right(model: FakeModel) -> float:
    given_answers = texts(model, [asked(example_id) for example_id in ANSWERS])
    return sum(text == right for text, right in zip(given_answers, ANSWERS.values(), strict=True)) / len(ANSWERS)


@pytest.mark.parametrize("skill", [0.0, 0.3, 0.7, 1.0])
def test_it_is_right_as_often_as_it_is_told(skill: float) -> None:
    assert share_right(FakeModel(skill=skill, answers=ANSWERS)) == pytest.approx(skill, abs=0.06)


def test_an_adapter_makes_it_better(tmp_path: Path) -> None:
    write_adapter(tmp_path, [TrainingPair(messages=(Message(role="user", content="q"),), answer="a")])
    tuned = FakeModel(skill=0.3, tuned_skill=0.9, answers=ANSWERS).with_adapter(tmp_path)
    assert share_right(tuned) == pytest.approx(0.9, abs=0.06)
    with pytest.raises(Missing, match="no adapter"):
        FakeModel().with_adapter(tmp_path / "nowhere")


def test_the_seed_decides() -> None:
    requests = [asked(example_id) for example_id in ANSWERS]
    first = texts(FakeModel(answers=ANSWERS, seed=1), requests)
    assert texts(FakeModel(answers=ANSWERS, seed=1), requests) == first
    assert texts(FakeModel(answers=ANSWERS, seed=2), requests) != first


def test_an_answer_does_not_depend_on_what_is_asked_with_it() -> None:
    model = FakeModel(answers=ANSWERS)
    requests = [asked(example_id) for example_id in ANSWERS]
    assert texts(model, requests[::-1]) == texts(model, requests)[::-1]


def test_told_nothing_it_repeats_the_last_example_or_the_prompt() -> None:
    shots = (
        Message(role="user", content="one?"),
        Message(role="assistant", content="first"),
        Message(role="user", content="two?"),
        Message(role="assistant", content="second"),
        Message(role="user", content="three?"),
    )
    request = Request(example_id="x", messages=shots, max_tokens=9)
    assert texts(FakeModel(), [request]) == ["second"]
    assert texts(FakeModel(), [asked("x", "a b c d e f g")]) == ["c d e f g"]


def test_failures_come_about_as_often_as_asked_for_and_always_in_the_same_places() -> None:
    model = FakeModel(answers=ANSWERS, fail_every=10)
    given_answers = texts(model, [asked(example_id) for example_id in ANSWERS])
    assert 0.05 < given_answers.count("error") / len(ANSWERS) < 0.15
    assert texts(model, [asked(example_id) for example_id in ANSWERS]) == given_answers
    assert set(texts(FakeModel(fail_every=1), [asked("1"), asked("2")])) == {"error"}


def test_long_prompts_and_long_answers() -> None:
    model = FakeModel(context_window=20, answers={"1": "one two three"}, skill=1.0)
    (failure,) = model.answer(model.batches([asked("1", "word " * 30, max_tokens=2)])[0])
    (reply,) = model.answer(model.batches([asked("1", max_tokens=2)])[0])
    assert isinstance(failure, Failure) and failure.kind == "too_long"
    assert isinstance(reply, Reply) and (reply.text, reply.finish) == ("one two", "length")


def test_it_says_that_it_only_pretends() -> None:
    assert FakeModel.simulated
    assert FakeModel(skill=0.2).describe()["skill"] == 0.2


@given(st.text(), st.text())
def test_overlap_is_a_similarity(one: str, other: str) -> None:
    assert overlap(one, other) == overlap(other, one)
    assert 0 <= overlap(one, other) <= 1
    assert overlap(one, one) == (1.0 if one.split() else 0.0)
