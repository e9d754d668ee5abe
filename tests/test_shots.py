"""How many examples fit into a prompt, and what they add to its price."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from finetune_advisor import case, models
from finetune_advisor.experiment import shots
from finetune_advisor.experiment.prepare import Prepared, prepare
from finetune_advisor.experiment.shots import BY_THE_HOUR, UNCACHED, Fitting, fitting
from finetune_advisor.records import no_progress
from oracle import write_case

PRICES = """[[price]]
name = "toy"
values.usd_per_mtok_input = 2
values.usd_per_mtok_output = 8
"""
CACHED = "values.usd_per_mtok_cached = 0.5\n"
MODEL = '[[models]]\nname = "oracle"\nprovider = "oracle"\n{price}options = {{ context_window = {window} }}\n'

# A toy question is 13 words, its label one, and the rules are 13 words: "Answer with exactly one of these labels ...".
SHOT, RULES, QUESTION = 14, 13, 13


pytestmark = pytest.mark.usefixtures("oracle")


def made(folder: Path, *, window: int = 2048, rows: int = 60, prices: str = "") -> tuple[case.Case, Prepared]:
    model = MODEL.format(window=window, price='price = "toy"\n' if prices else "")
    extra = '[money]\nprices = "prices.toml"\n' if prices else ""
    write_case(folder, rows=rows, model=model, extra=extra)
    (folder / "prices.toml").write_text(prices, encoding="utf-8")
    read = case.read(folder)
    return read, prepare(read, [], no_progress)


def fitted(folder: Path, *, window: int = 2048, rows: int = 60, prices: str = "") -> Fitting:
    read, prepared = made(folder, window=window, rows=rows, prices=prices)
    return fitting(read, prepared, prepared.models["oracle"])


def test_as_many_fit_as_the_window_holds_beside_question_and_answer(tmp_path: Path) -> None:
    found = fitted(tmp_path / "c", window=200)
    assert found.longest_prompt == RULES + QUESTION
    assert found.tokens_per_shot == found.longest_shot == SHOT
    assert found.answer_tokens == 16
    assert found.most == found.surely == (200 - RULES - QUESTION - 16) // SHOT
    assert [row.shots for row in found.table] == [0, 1, 2, 4, 8, 11]
    assert [row.added_tokens for row in found.table[:3]] == [0, SHOT, 2 * SHOT]
    assert found.table[0].prompt_tokens == RULES + QUESTION


def test_no_more_than_there_are_to_learn_from(tmp_path: Path) -> None:
    read, prepared = made(tmp_path / "c", window=10**6)
    assert fitting(read, prepared, prepared.models["oracle"]).most == len(prepared.parts["train"])


def test_where_the_question_alone_is_too_long_none_fits(tmp_path: Path) -> None:
    found = fitted(tmp_path / "c", window=30)
    assert found.most == found.surely == 0
    assert [row.shots for row in found.table] == [0]


def test_a_machine_by_the_hour_has_no_price_before_it_is_measured(tmp_path: Path) -> None:
    found = fitted(tmp_path / "c")
    assert found.note == BY_THE_HOUR
    assert all(row.added_usd is row.added_usd_cached is None for row in found.table)


def test_each_shot_costs_its_tokens(tmp_path: Path) -> None:
    found = fitted(tmp_path / "c", prices=PRICES)
    assert found.note == ""
    for row in found.table:
        assert row.added_usd == Decimal(row.shots * SHOT * 2 * 1000) / 1_000_000
        assert row.added_usd_cached is None


def test_what_all_prompts_begin_with_is_cheaper_from_the_length_that_is_cached(tmp_path: Path) -> None:
    table = fitted(tmp_path / "c", window=10**6, rows=240, prices=PRICES + CACHED).table
    short = [row for row in table if RULES + row.added_tokens < 1024]
    long = [row for row in table if RULES + row.added_tokens >= 1024]
    assert len(short) > 2
    assert long
    assert all(row.added_usd_cached == row.added_usd for row in short)
    for row in long:
        assert row.added_usd is not None
        assert row.added_usd_cached is not None
        # The rules are cached too then, which costs less than nothing more.
        assert float(row.added_usd_cached) == pytest.approx(float(row.added_usd) / 4 - RULES * 1.5e-3)


def test_prompts_that_begin_differently_are_not_cached(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    read, _ = made(folder, prices=PRICES + CACHED)
    lines = (folder / "examples.jsonl").read_text(encoding="utf-8").splitlines()
    system = '{"messages": [{"role": "system", "content": "You are desk %d."}, '
    mixed = [line.replace('{"messages": [', system % place) for place, line in enumerate(lines)]
    (folder / "examples.jsonl").write_text("\n".join(mixed) + "\n", encoding="utf-8")
    prepared = prepare(read, [], no_progress)
    found = fitting(read, prepared, prepared.models["oracle"])
    assert found.note == UNCACHED
    assert found.table[1].added_usd is not None
    assert found.table[1].added_usd_cached is None


def test_a_text_is_counted_without_what_stands_around_a_message() -> None:
    count = shots.text_counter(models.create("fake"))
    assert (count(""), count("one two three")) == (0, 3)
