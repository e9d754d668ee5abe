"""Near duplicates and the locked split."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import settings
from hypothesis import strategies as st

from finetune_advisor.datasets import duplicates, split
from finetune_advisor.errors import BadInput, require
from finetune_advisor.records import Example, Message, Task, TaskKind

LABELS = Task(kind=TaskKind.CLASSIFICATION, metric="label")
ANSWERS = Task(kind=TaskKind.QA, metric="exact")

WORDS = [
    "card",
    "account",
    "transfer",
    "refund",
    "limit",
    "blocked",
    "yesterday",
    "abroad",
    "twice",
    "slowly",
    "password",
    "branch",
    "cheque",
    "salary",
]


def example(number: int, question: str, answer: str = "a") -> Example:
    return Example(id=f"e{number:04}", messages=(Message(role="user", content=question),), answer=answer)


def many(count: int, labels: Sequence[str] = ("a", "b", "c")) -> list[Example]:
    drawn = random.Random(7)
    return [example(n, " ".join(drawn.sample(WORDS, 7)), labels[n % len(labels)]) for n in range(count)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How do I locate my card?", "  how do I  LOCATE my card? "),
        ("How do I locate my card?", "How do I locate my card"),
        ("Ｗｈｅｒｅ is it", "Where is it"),
        ("Can you tell me why my new card hasn't come?", "Can you tell me why my new card hasn't come yet?"),
        ("میرا کارڈ ابھی تک نہیں پہنچا، براہ کرم بتائیں کہ وہ کہاں ہے",
         "میرا کارڈ ابھی تک نہیں پہنچا، براہ کرم بتائیں کہ وہ کہاں ہے؟"),
        ("لم تصل بطاقتي حتى الآن، أرجو إخباري أين هي", "لم تصل بطاقتي حتى الآن، أرجو إخباري أين هي؟"),
        ("我的银行卡到现在还没有收到，请告诉我它现在在哪里", "我的银行卡到现在还没有收到，请告诉我它现在在哪里？"),
        ("A long complaint about it all. " * 10 + "Order 17.",
         "A long complaint about it all. " * 10 + "Order 18."),
    ],
)  # fmt: skip
def test_what_says_the_same_is_one_group(one: str, other: str) -> None:
    assert duplicates.groups([one, "something else entirely", other]) == [0, 1, 0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("yes", "no"),
        ("ok", "okay"),
        ("👍", "👎"),
        ("是", "否"),
        ("ہاں", "نہیں"),
        ("E17", "E18"),
        ("What does the error code E17 on my dishwasher in the kitchen mean, and what can I do about it?",
         "What does the error code E18 on my dishwasher in the kitchen mean, and what can I do about it?"),
        ("Is the part AB-17 for the large dishwasher still in stock, and how long would delivery take?",
         "Is the part AC-17 for the large dishwasher still in stock, and how long would delivery take?"),
        ("Please move 300 from my savings account to 500 of my other accounts as soon as you possibly can",
         "Please move 500 from my savings account to 300 of my other accounts as soon as you possibly can"),
        ("میری مشین پر خرابی کا کوڈ ۱۷ آ رہا ہے، براہ کرم بتائیں کہ اس کا کیا مطلب ہے اور میں کیا کروں",
         "میری مشین پر خرابی کا کوڈ ۱۸ آ رہا ہے، براہ کرم بتائیں کہ اس کا کیا مطلب ہے اور میں کیا کروں"),
        ("我的洗碗机显示错误代码E17，请问这是什么意思，我应该怎么办才能让它恢复正常工作，谢谢您的帮助和解答",
         "我的洗碗机显示错误代码E18，请问这是什么意思，我应该怎么办才能让它恢复正常工作，谢谢您的帮助和解答"),
        ("How do I activate my card?", "How do I deactivate my card?"),
    ],
)  # fmt: skip
def test_what_asks_for_two_things_stays_apart(one: str, other: str) -> None:
    assert duplicates.groups([one, other]) == [0, 1]


def test_exact_sees_no_near_duplicates() -> None:
    texts = ["Where is my card?", "where is  my card?", "Where is my card"]
    assert duplicates.exact(texts) == [0, 0, 1]
    assert duplicates.groups([]) == duplicates.exact([]) == []


@pytest.mark.parametrize("threshold", [0.8, 0.85, 0.9])
def test_grouping_agrees_with_comparing_every_pair(threshold: float) -> None:
    drawn = random.Random(3)
    texts = [" ".join(drawn.sample(WORDS[:9], 7)) for _ in range(600)]
    features = require("sklearn.feature_extraction.text", extra="all")
    ones = features.CountVectorizer(analyzer="char", ngram_range=(5, 5), binary=True).fit_transform(texts)
    rows = require("sklearn.preprocessing", extra="all").normalize(ones.astype(float))
    linked = (rows @ rows.T) >= threshold - 1e-9
    labels = require("scipy.sparse.csgraph", extra="all").connected_components(linked)[1].tolist()
    found = duplicates.groups(texts, threshold)
    assert len(set(found)) == len(set(labels)) == len(set(zip(found, labels, strict=True)))
    assert 1 < len(set(found)) < 600


def test_a_shared_instruction_is_not_part_of_what_is_asked() -> None:
    def asked(system: str, user: str) -> Example:
        return Example(
            id="x", answer="a", messages=(Message(role="system", content=system), Message(role="user", content=user))
        )

    texts = duplicates.prompt_texts(
        [asked("Classify.", "one"), asked("Classify.", "two"), asked("A document.", "Sum up")]
    )
    assert texts == ["one", "two", "A document.\nSum up"]


questions = st.lists(
    st.lists(st.sampled_from(WORDS[:6]), min_size=1, max_size=8).map(" ".join), min_size=10, max_size=60
)


def assert_sound(made: split.Split, rows: Sequence[Example]) -> None:
    ids = [*made.train, *made.validation, *made.test]
    assert sorted(ids) == sorted(row.id for row in rows)
    part_of = {each: name for name in split.PARTS for each in getattr(made, name)}
    numbers = duplicates.groups(duplicates.prompt_texts(rows))
    for number in set(numbers):
        assert len({part_of[row.id] for row, group in zip(rows, numbers, strict=True) if group == number}) == 1
    assert made.groups == len(set(numbers))


@settings(deadline=None, max_examples=60)
@hypothesis_given(questions, st.integers(0, 3), st.randoms(), st.sampled_from([LABELS, ANSWERS]))
def test_parts_are_complete_and_no_group_straddles_them(
    texts: list[str], seed: int, order: random.Random, task: Task
) -> None:
    rows = [example(number, text, "ab"[number % 2]) for number, text in enumerate(texts)]
    shuffled = rows[:]
    order.shuffle(shuffled)
    try:
        made = split.split(rows, task, seed=seed)
    except BadInput:
        assert len(set(duplicates.groups(texts))) < 4
        return
    assert_sound(made, rows)
    assert split.split(shuffled, task, seed=seed) == made


def test_shares_and_labels_are_kept() -> None:
    made = split.split(many(300), LABELS, seed=1)
    assert (len(made.train), len(made.validation), len(made.test)) == (165, 45, 90)
    assert made.label_counts["test"] == {"a": 30, "b": 30, "c": 30}
    assert made.label_counts["validation"] == {"a": 15, "b": 15, "c": 15}


def test_every_label_with_three_groups_is_in_each_part_and_a_single_one_in_train() -> None:
    names = [f"label {n:02}" for n in range(12)]
    rows = [row for row in many(36, names)]
    alone = example(99, "nothing like the other ones at all", "alone")
    made = split.split([*rows, alone], LABELS, seed=5)
    assert all(made.label_counts[part].keys() >= set(names) for part in split.PARTS)
    assert alone.id in made.train


def test_many_small_labels_still_add_up_to_the_shares() -> None:
    made = split.split(many(400, [f"label {n}" for n in range(40)]), LABELS, seed=2)
    assert abs(len(made.validation) - 60) <= 2
    assert abs(len(made.test) - 120) <= 2


def test_the_hash_follows_the_seed_and_the_rows() -> None:
    rows = many(60)
    one = split.split(rows, LABELS, seed=1)
    assert one.hash == split.split(rows[::-1], LABELS, seed=1).hash
    assert len({one.hash, split.split(rows, LABELS, seed=2).hash, split.split(rows[1:], LABELS, seed=1).hash}) == 3
    assert one.test != split.split(rows, LABELS, seed=2).test


def test_rows_can_be_limited() -> None:
    made = split.split(many(400), LABELS, seed=1, test_rows=100, train_rows=30, validation_rows=12)
    assert (len(made.train), len(made.validation)) == (30, 12)
    assert abs(len(made.test) - 100) <= 1
    assert made.label_counts["train"] == {"a": 10, "b": 10, "c": 10}


def test_the_same_row_twice_counts_once() -> None:
    rows = many(30)
    assert split.split([*rows, *rows], LABELS, seed=1) == split.split(rows, LABELS, seed=1)


def test_given_files_stay_what_they_are() -> None:
    rows = many(120)
    made = split.given(rows[:60], rows[60:80], rows[80:], LABELS, seed=1)
    assert made.test == tuple(sorted(row.id for row in rows[80:]))
    assert made.validation == tuple(sorted(row.id for row in rows[60:80]))
    assert made.train == tuple(sorted(row.id for row in rows[:60]))


def test_validation_is_carved_out_of_given_training_rows() -> None:
    rows = many(120)
    twin = replace(rows[0], id="twin")
    made = split.given([*rows[:80], twin], None, rows[80:], LABELS, seed=1)
    assert len(made.validation) == 12
    assert (rows[0].id in made.train) is ("twin" in made.train)
    assert_sound(
        replace(made, groups=len(set(duplicates.groups(duplicates.prompt_texts([*rows, twin]))))), [*rows, twin]
    )


def test_a_row_in_two_files_counts_for_the_test() -> None:
    rows = many(60)
    made = split.given(rows, rows[20:35], rows[30:], LABELS, seed=1)
    assert Counter([*made.train, *made.validation, *made.test]) == Counter(row.id for row in rows)
    assert len(made.test) == 30
    assert len(made.validation) == 10


def test_given_rows_can_be_limited() -> None:
    rows = many(300)
    made = split.given(rows[:200], None, rows[200:], LABELS, seed=1, train_rows=21, validation_rows=9, test_rows=30)
    assert (len(made.train), len(made.validation), len(made.test)) == (21, 9, 30)
    assert made.label_counts["test"] == {"a": 10, "b": 10, "c": 10}


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: split.split(many(9), LABELS, seed=1), "9 different examples"),
        (lambda: split.split(many(30, ["only"]), LABELS, seed=1), "'only'"),
        (lambda: split.split(many(30), LABELS, seed=1, test_rows=0), "test part"),
        (lambda: split.split(many(30), LABELS, seed=1, test=0.9, validation=0.2), "no split"),
        (lambda: split.split(many(30), LABELS, seed=1, train_rows=0), "0 rows"),
        (lambda: split.split([example(n, "the very same") for n in range(20)], ANSWERS, seed=1), "test part is empty"),
        (lambda: split.given(many(30), None, [], LABELS, seed=1), "test part is empty"),
        (lambda: split.given(many(30), None, many(30), LABELS, seed=1), "No training examples"),
        (lambda: split.given(many(30), None, many(30)[:15], LABELS, seed=1, validation_share=1.5), "no split"),
    ],
)
def test_what_cannot_be_split_is_said_with_a_hint(made: Callable[[], split.Split], said: str) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        made()
    assert caught.value.hint


def test_one_class_is_free_text_everywhere_else() -> None:
    assert split.split(many(30, ["same"]), ANSWERS, seed=1).label_counts == {}
