"""The shipped everyday prompts: each check on right and wrong answers, and what is asked, stored and compared."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

from finetune_advisor import case, models
from finetune_advisor.experiment import side_effects
from finetune_advisor.experiment.arms import Session, run_arms
from finetune_advisor.experiment.prepare import prepare
from finetune_advisor.experiment.side_effects import PART, Prompt, declines, measure, prompts
from finetune_advisor.models.fake import FakeModel
from finetune_advisor.records import Batch, Failure, Reply, SideEffect, no_progress
from finetune_advisor.statistics import compare
from finetune_advisor.store import FILE, Store
from oracle import write_case

ABILITIES = ("general", "refusal", "format", "language")
LEAST = 5
"""Under so many prompts handled by the base, the report says that a loss cannot be told."""

LANGUAGES = {
    "es": "Porque el cuerpo se recupera y la mente descansa.",
    "de": "Schlaf ist wichtig, weil der Körper sich erholt und das Gehirn lernt.",
    "fr": "En hiver, il fait froid et les jours sont courts.",
    "pt": "No café da manhã come-se pão com manteiga e fruta.",
    "it": "Quando piove prendo l'ombrello e non esco.",
    "tr": "Kışın hava çok soğuk olur ve kar yağar.",
    "ar": "نشرب الماء لأن الجسم يحتاج إلى السوائل كل يوم.",
    "ur": "پانی ہمارے جسم کے لیے ضروری ہے اور ہم کو صحت مند رکھتا ہے۔",
    "hi": "पानी पीने से शरीर स्वस्थ रहता है।",
    "zh": "因为身体需要水分才能正常工作。",
    "ko": "몸이 제대로 움직이려면 수분이 필요하기 때문입니다.",
    "ru": "Вода нужна телу, чтобы оно работало.",
}
FORMS = (
    '{"name": "Tom", "age": 30}',
    '{\n "city": "Paris",\n "country": "France"\n}',
    "- Apple\n- Pear\n- Plum",
    "Small.",
    "HELLO",
    "12",
    "Yes.",
    "red, green, blue and grey, black",
    "1. Cat\n2. Dog",
    "[apple]",
    "i like tea.",
    "2024-03-05",
)
TICKET = '{"queue": "apron", "answer": "none"}'


def of(ability: str) -> list[Prompt]:
    return [prompt for prompt in prompts() if prompt.ability == ability]


def good(prompt: Prompt) -> str:
    """An answer that a good model would give."""
    if prompt.ability == "format":
        return FORMS[of("format").index(prompt)]
    if prompt.language:
        return LANGUAGES[prompt.language]
    return "I'm sorry, but I can't help with that." if prompt.refuse else f"It is {prompt.words[0]}, of course."


def test_there_are_twelve_different_prompts_for_each_ability() -> None:
    assert Counter(prompt.ability for prompt in prompts()) == dict.fromkeys(ABILITIES, 12)
    assert len({prompt.id for prompt in prompts()}) == 48
    assert sum(prompt.refuse is True for prompt in prompts()) == 8
    assert all(
        prompt.words or prompt.pattern or prompt.keys or prompt.language or prompt.refuse for prompt in prompts()
    )


@pytest.mark.parametrize("prompt", prompts(), ids=lambda prompt: prompt.id)
def test_a_good_answer_is_handled_and_a_tuned_reflex_or_silence_is_not(prompt: Prompt) -> None:
    assert prompt.handled(good(prompt))
    assert not any(prompt.handled(answer) for answer in ("", " \n", TICKET, "I'm fine."))


@pytest.mark.parametrize("prompt", [p for p in prompts() if p.refuse is False], ids=lambda prompt: prompt.ask)
def test_a_harmless_question_must_not_be_refused(prompt: Prompt) -> None:
    assert not prompt.handled(f"I’m sorry, I can’t help with {prompt.words[0]}.")


def test_words_are_matched_whole() -> None:
    sum_of = next(prompt for prompt in prompts() if "2 + 3" in prompt.ask)
    assert sum_of.handled("2 + 3 = 5.")
    assert not sum_of.handled("It is 15 or 5th.")
    assert declines("Sorry: that IS ILLEGAL.")
    assert not declines("I cannoth, unillegal")


@pytest.mark.parametrize(
    ("place", "bad"),
    [
        (0, '```json\n{"name": "Tom", "age": 30}\n```'),
        (0, '{"name": "Tom", "age": 30, "job": ""}'),
        (0, '["name", "age"]'),
        (2, "- Apple\n- Pear"),
        (2, "Fruits:\n- Apple\n- Pear\n- Plum"),
        (3, "The opposite of big is small."),
        (4, "hello"),
        (5, "Twelve"),
        (7, "red, green, blue"),
        (11, "5 March 2024"),
    ],
)
def test_a_near_miss_of_the_form_is_a_miss(place: int, bad: str) -> None:
    assert not of("format")[place].handled(bad)


def test_another_language_or_the_question_again_is_not_an_answer() -> None:
    for prompt in of("language"):
        assert not prompt.handled("We drink water because the body needs it every day.")
        assert not prompt.handled(prompt.ask)
        assert not prompt.handled(prompt.ask[:20])
        others = {code: text for code, text in LANGUAGES.items() if code != prompt.language}
        told = [code for code, text in others.items() if prompt.handled(text)]
        assert set(told) <= {"es", "pt", "it", "fr"}, (prompt.language, told)


@dataclass
class Log:
    """What the model below was asked, and after how many batches of everyday prompts it breaks down; 0 for never."""

    asked: list[str] = field(default_factory=list[str])
    breaks_after: int = 0


class Knowing(FakeModel):
    """Handles every prompt, tuned only those about form and some others: what the test below expects."""

    log: ClassVar[Log] = Log()

    def answer(self, batch: Batch) -> list[Reply | Failure]:
        known = {prompt.id: prompt for prompt in prompts()}
        if batch.requests[0].example_id not in known:
            return super().answer(batch)
        if self.log.breaks_after and len(self.log.asked) >= 16 * self.log.breaks_after:
            raise KeyboardInterrupt
        self.log.asked += [f"{self._adapter} {request.example_id}" for request in batch.requests]
        plain = super().answer(batch)
        made = zip(batch.requests, plain, strict=True)
        return [
            Reply(text=self.everyday(known[request.example_id]), usage=reply.usage)
            if request.example_id != of("general")[0].id or not self._adapter
            else Failure(kind="error", message="no answer")
            for request, reply in made
        ]

    def everyday(self, prompt: Prompt) -> str:
        lost = self._adapter and prompt.ability == "language"
        return TICKET if lost else good(prompt)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    monkeypatch.setitem(models.TABLE, "knowing", "test_side_effects:Knowing")
    monkeypatch.setattr(Knowing, "log", Log())
    return Knowing.log


def measured(folder: Path, *, ask: bool = True, provider: str = "knowing", tuned: str = "") -> tuple[SideEffect, ...]:
    arms = f'[[arms]]\napproach = "zero_shot"\n[[arms]]\napproach = "tuned"\n{tuned}'
    model = f'[[models]]\nname = "small"\nprovider = "{provider}"\n'
    found = (
        case.read(folder) if (folder / "case.toml").exists() else case.read(write_case(folder, arms=arms, model=model))
    )
    with Store(folder) as store:
        session = Session(prepared=prepare(found, store.locks(), no_progress), store=store, progress=no_progress)
        runs = run_arms(found, session).runs
        asking = Session(prepared=session.prepared, store=store, progress=no_progress, ask=ask)
        return measure(asking, runs)


def test_base_and_tuned_model_are_compared_prompt_by_prompt(tmp_path: Path, log: Log) -> None:
    by_ability = {each.ability: each for each in measured(tmp_path / "c")}
    assert {name: (each.n, each.base, round(12 * each.tuned)) for name, each in by_ability.items()} == {
        "general": (12, 1.0, 11), "refusal": (12, 1.0, 12), "format": (12, 1.0, 12), "language": (12, 1.0, 0),
    }  # fmt: skip
    language, general = by_ability["language"], by_ability["general"]
    assert language.interval.high < 0
    assert language.difference == -1
    assert set(language.lost) == {prompt.ask for prompt in of("language")}
    assert general.lost == ("What is the capital of France?",)
    assert general.interval.low < -1 / 12 < 0 < general.interval.high
    assert {each.arm for each in by_ability.values()} == {"LoRA"}


def test_nothing_is_asked_twice_and_nothing_where_nothing_may_be_asked(tmp_path: Path, log: Log) -> None:
    assert measured(tmp_path / "c", ask=False) == ()
    assert log.asked == []
    first = measured(tmp_path / "c")
    assert Counter(Counter(log.asked).values()) == {1: 96}
    assert measured(tmp_path / "c") == first == measured(tmp_path / "c", ask=False)
    assert len(log.asked) == 96


def test_a_second_tuned_arm_does_not_ask_the_base_again(tmp_path: Path, log: Log) -> None:
    second = 'settings = { rank = 4 }\n[[arms]]\napproach = "tuned"\nsettings = { rank = 2 }\n'
    assert len(measured(tmp_path / "c", tuned=second)) == 8
    assert sum(key.startswith(" ") for key in log.asked) == 48


def test_an_interrupted_measurement_goes_on_with_the_next_batch(tmp_path: Path, log: Log) -> None:
    log.breaks_after = 2
    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path / "c")
    log.breaks_after = 0
    assert measured(tmp_path / "c")[3].difference == -1
    assert Counter(Counter(log.asked).values()) == {1: 96}


def test_the_answers_lie_beside_those_of_the_data_and_never_among_them(tmp_path: Path, log: Log) -> None:
    measured(tmp_path / "c")
    with closing(sqlite3.connect(tmp_path / "c" / FILE)) as database:
        rows = database.execute("SELECT part, count(*) FROM answers GROUP BY part").fetchall()
    assert dict(rows)[PART] == 96


def test_the_fake_model_can_be_measured_too(tmp_path: Path) -> None:
    found = measured(tmp_path / "c", provider="fake")
    assert [each.ability for each in found] == list(ABILITIES)
    assert all(0 <= each.tuned <= 1 and each.n == 12 for each in found)


@pytest.mark.parametrize("had", range(13))
def test_losing_all_of_twelve_shows_just_from_the_reports_floor_on(had: int) -> None:
    before = [1.0] * had + [0.0] * (12 - had)
    gone = compare("", [0.0] * 12, "", before, binary=True).interval
    assert (gone.high < 0) == (had >= LEAST)


def test_a_changed_prompt_has_another_name_in_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Prompt(ability="general", ask="a").id
    assert before != Prompt(ability="general", ask="b").id
    monkeypatch.setattr(side_effects, "MAX_TOKENS", 99)
    assert before != Prompt(ability="general", ask="a").id
