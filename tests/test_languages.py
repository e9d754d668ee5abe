"""What tokens cost in each language of the data."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from finetune_advisor.datasets import languages, load
from finetune_advisor.datasets.languages import script
from finetune_advisor.errors import Missing
from finetune_advisor.records import Example, Message

URDU = "گھر میں مہمان بہت آتے ہیں۔ ایک بار میں زیادہ سے زیادہ کتنی چائے بن سکتی ہے؟"
CHINESE = "请问蒸饭锅保修多久？我三年前买的。"
ENGLISH = "How long is the warranty of the kettle that I bought last winter?"


def example(text: str, answer: str = "") -> Example:
    asked = (Message(role="system", content="Reply briefly."), Message(role="user", content=text))
    return Example(id=text, messages=asked, answer=answer)


def words(text: str) -> int:
    return len(text.split())


def test_the_shipped_sample_is_told_apart() -> None:
    with_languages = load.load(Path(str(files("finetune_advisor") / "sample" / "messages.jsonl"))).examples
    found = languages.languages(with_languages)
    assert found is not None
    told = {row.code: row.examples for row in found.rows}
    assert told == {"en": 287, "ur": 21, "ar": 12, "zh": 12, "de": 9, "es": 7, "": 3, "fr": 1}
    assert found.reference == "English"
    by_code = {row.code: row for row in found.rows}
    assert by_code["en"].relative == 1
    assert by_code["ur"].tokens_per_character > by_code["de"].tokens_per_character
    assert by_code["zh"].tokens_per_word is None
    assert "o200k_base" in found.counted_by


def test_tokens_are_counted_by_the_counter_that_is_given() -> None:
    found = languages.languages(
        [example(ENGLISH, "one year"), example(URDU, "ایک"), example(URDU, "دو")], words, "words"
    )
    assert found is not None
    urdu, english = found.rows
    assert (urdu.name, urdu.examples, english.name, english.examples) == ("Urdu", 2, "English", 1)
    assert english.tokens_per_word == urdu.tokens_per_word == 1
    assert english.tokens_per_example == words(ENGLISH) + 2
    assert urdu.relative == pytest.approx((words(URDU) + 1) / (words(ENGLISH) + 2))
    assert found.counted_by == "words"


def test_without_english_the_most_frequent_language_is_compared_with() -> None:
    found = languages.languages([example(CHINESE), example(URDU), example(URDU)])
    assert found is not None
    assert found.reference == "Urdu"
    assert found.rows[0].relative == 1


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ok", "Latin script, language not sure"),
        ("سلام", "Arabic script, language not sure"),
        ("无", "Chinese characters, language not sure"),
        ("😭 12", "No letters"),
        ("", "No letters"),
    ],
)
def test_short_texts_are_told_by_their_script(text: str, name: str) -> None:
    found = languages.languages([example(text)])
    assert found is not None
    assert (found.rows[0].code, found.rows[0].name) == ("", name)
    assert found.rows[0].relative == 1


def test_without_the_library_the_script_counts_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str, *, extra: str) -> None:
        raise Missing(f"This needs {module}.")

    monkeypatch.setattr(languages, "require", missing)
    languages.identifier.cache_clear()
    try:
        found = languages.languages([example(URDU)], words, "words")
    finally:
        languages.identifier.cache_clear()
    assert found is not None
    assert found.rows[0].name == "Arabic script, language not sure"
    assert found.detected_by == "the script of the letters"


def test_every_language_that_is_told_apart_has_a_name() -> None:
    identifier = languages.identifier()
    names = languages.names()
    assert set(identifier.labels) == set(names)
    assert all(len(code) == 2 for code in names)


def test_no_examples_no_table() -> None:
    assert languages.languages([]) is None


def test_the_script_of_most_letters_counts() -> None:
    assert script("Lumbok 一次最多能煮几杯米饭呢朋友") == "Cjk"
    assert script("1 + 1") == ""
