"""Classification without a language model, against the figures of the data's own README."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from finetune_advisor.approaches import Bench
from finetune_advisor.approaches.classical import Classical, grams
from finetune_advisor.errors import BadInput, Missing
from finetune_advisor.models import embedded
from finetune_advisor.records import Example, Message, Reply, Task, TaskKind, no_progress

DATA = Path(__file__).parents[1].parent / "shared" / "data"


def example(question: str, answer: str) -> Example:
    return Example(id=question, messages=(Message(role="user", content=question),), answer=answer)


def banking77(part: str) -> list[Example]:
    path = DATA / f"banking77_{part}.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not on this machine")
    chats = [json.loads(line)["messages"] for line in path.read_text(encoding="utf-8").splitlines()]
    return [example(chat[1]["content"], chat[2]["content"]) for chat in chats]


def first_of_each(examples: Sequence[Example], count: int) -> list[Example]:
    seen: Counter[str] = Counter()
    kept: list[Example] = []
    for one in examples:
        seen[one.answer] += 1
        if seen[one.answer] <= count:
            kept.append(one)
    return kept


def bench(train: Sequence[Example]) -> Bench:
    return Bench(
        task=Task(kind=TaskKind.CLASSIFICATION, metric="label"),
        train=train,
        validation=(),
        passages=(),
        model=None,
        folder=Path("fit"),
        seed=0,
        progress=no_progress,
    )


def answers(approach: Classical, train: Sequence[Example], asked: Sequence[Example]) -> list[str]:
    fitted = approach.fit(bench(train))
    replies = [reply for batch in fitted.model.batches(fitted.ask(asked)) for reply in fitted.model.answer(batch)]
    return [reply.text for reply in replies if isinstance(reply, Reply)]


def accuracy(approach: Classical, train: Sequence[Example], asked: Sequence[Example]) -> float:
    given = answers(approach, train, asked)
    return sum(text == one.answer for text, one in zip(given, asked, strict=True)) / len(asked)


@pytest.mark.parametrize(("per_class", "expected"), [(20, 0.759), (10_003, 0.894)])
def test_words_reach_the_known_accuracy_on_banking77(per_class: int, expected: float) -> None:
    train = first_of_each(banking77("train"), per_class)
    assert accuracy(Classical(), train, banking77("test")) == pytest.approx(expected, abs=0.02)


def test_embeddings_beat_words_where_examples_are_few() -> None:
    try:
        embedded.sentence_encoder_folder()
    except Missing as error:
        pytest.skip(f"the embedded sentence encoder is not on this machine: {error.message}")
    wanted = {"card_arrival", "exchange_rate", "lost_or_stolen_card", "top_up_failed", "age_limit", "pin_blocked"}
    train = first_of_each([e for e in banking77("train") if e.answer in wanted], 2)
    asked = first_of_each([e for e in banking77("test") if e.answer in wanted], 12)
    assert accuracy(Classical(features="embedding"), train, asked) > accuracy(Classical(), train, asked) + 0.05


SCRIPTS = [
    example("我要退款", "refund"),
    example("请给我退款", "refund"),
    example("包裹在哪里", "delay"),
    example("我的包裹还没到", "delay"),
    example("رقم واپس کریں", "refund"),
    example("پارسل کہاں ہے", "delay"),
    example("?!", "unclear"),
    example("👍", "thanks"),
]


def test_words_work_in_scripts_without_spaces() -> None:
    asked = [example("想退款", ""), example("包裹没到", ""), example("میری رقم", ""), example("👍👍", "")]
    assert answers(Classical(), SCRIPTS, asked) == ["refund", "delay", "refund", "thanks"]


def test_word_pairs_are_features() -> None:
    assert grams("Not my Card") == ["not", "my", "card", "not my", "my card"]
    assert grams("?!") == ["?!"]


def test_usage_has_seconds_and_no_tokens() -> None:
    model = Classical().fit(bench(SCRIPTS)).model
    (batch,) = model.batches(Classical().fit(bench(SCRIPTS)).ask(SCRIPTS))
    replies = [reply for reply in model.answer(batch) if isinstance(reply, Reply)]
    assert len(replies) == len(SCRIPTS)
    assert all(reply.usage.seconds > 0 and reply.usage.prompt_tokens == 0 for reply in replies)
    assert (model.simulated, model.tunable, model.source) == (False, False, "")
    assert "scikit-learn" in model.describe()["library"]


def test_the_last_user_message_decides() -> None:
    turns = (
        Message(role="user", content="包裹在哪里"),
        Message(role="assistant", content="?"),
        Message(role="user", content="我要退款"),
    )
    assert answers(Classical(), SCRIPTS, [Example(id="x", messages=turns, answer="")]) == ["refund"]


def test_one_class_is_refused() -> None:
    with pytest.raises(BadInput, match="two different labels"):
        Classical().fit(bench([example("a", "same"), example("b", "same")]))


def test_an_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        Classical().fit(bench(SCRIPTS)).model.with_adapter(tmp_path)
