"""The benchmark of the store, in a tiny size: all contenders give the same answers, and every table has its rows."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import measured, store_speed
from benchmarks.store_files import Files, Size
from finetune_advisor.store import Store


@pytest.fixture(scope="module", name="files")
def made_files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(folder=tmp_path_factory.mktemp("bench") / "store", size=Size(fits=3, examples=60)).made()


def _fewer(asked: store_speed.Pandas) -> object:
    return len(asked.frame) - 1


def test_all_contenders_agree(files: Files) -> None:
    found = store_speed.reading(files, rounds=1)
    assert [row["question"] for row in found.rows] == list(store_speed.QUESTIONS.values())
    assert {row["all agree"] for row in found.rows} == {"yes"}


def test_a_contender_that_answers_otherwise_is_told(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_speed.Pandas, "count", _fewer)
    agree = {row["question"]: row["all agree"] for row in store_speed.reading(files, rounds=1).rows}
    assert [name for name, same in agree.items() if same != "yes"] == [store_speed.QUESTIONS["count"]]


def test_answers_are_the_same_after_a_migration(files: Files) -> None:
    rows = store_speed.migrating(files).rows
    assert [row["answers"] for row in rows] == ["60", "120", "180"]
    assert {row["the same answers"] for row in rows} == {"yes"}


def test_the_tables_are_printed_and_written(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measured, "RUNS", tmp_path)
    size = ["--fits", "3", "--examples", "60", "--rounds", "1"]
    monkeypatch.setattr(sys, "argv", ["store_speed", str(files.folder), *size, "--what", "results"])
    store_speed.main()
    written = json.loads((tmp_path / "store_results.json").read_text(encoding="utf-8"))
    assert len(written["rows"]) == 3
    assert "results.json" in capsys.readouterr().out


def test_writing_leaves_no_trace_in_the_store(files: Files) -> None:
    with Store(files.now) as store:
        before = store.answered(files.size.fit_names[0], "test")
    assert all(row["answers/s"] > 0 for row in store_speed.writing(files, rounds=1, total=70).rows)
    with Store(files.now) as store:
        assert store.answered(files.size.fit_names[0], "test") == before
        assert not store.answered("again 0", "test")
