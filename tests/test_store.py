from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from finetune_advisor.errors import NoSpace, StoreProblem
from finetune_advisor.records import Failure, LossPoint, Message, Reply, Request, TrainingRun, Usage
from finetune_advisor.store import FILE, VERSION, Store, Stored


def answered(name: str, text: str = "yes") -> Stored:
    request = Request(example_id=name, messages=(Message(role="user", content="سوال 🙂"),), max_tokens=4)
    return Stored(request=request, outcome=Reply(text=text, usage=Usage(prompt_tokens=3, seconds=0.5)))


def test_answers_come_back_as_they_were(tmp_path: Path) -> None:
    failed = Stored(request=answered("b").request, outcome=Failure(kind="too_long", message="9 tokens"))
    with Store(tmp_path) as store:
        store.add("fit", "test", [answered("a"), failed])
    with Store(tmp_path) as store:
        assert store.answers("fit", "test") == {"a": answered("a"), "b": failed}
        assert store.answers("fit", "validation") == {}
        assert store.answers("other", "test") == {}


def test_a_batch_is_stored_whole_or_not_at_all(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.add("fit", "test", [answered("a")])
        with pytest.raises(StoreProblem):
            store.add("fit", "test", [answered("b"), answered("a")])
        assert set(store.answers("fit", "test")) == {"a"}


def test_a_newer_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.add("fit", "test", [answered("a")])
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute(f"PRAGMA user_version={VERSION + 1}")
    db.close()
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(StoreProblem, match="newer version"):
        Store(tmp_path)
    assert (tmp_path / FILE).read_bytes() == before


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("not a database, but long enough to look at" * 30, encoding="utf-8")
    with pytest.raises(StoreProblem, match="cannot be read as a store"):
        Store(tmp_path)


def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.add("fit", "test", [answered("a")])
        pages = sqlite3.connect(tmp_path / FILE).execute("PRAGMA page_count").fetchone()[0]
        store._db.execute(f"PRAGMA max_page_count={pages}")  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(NoSpace, match="full"):
            store.add("fit", "test", [answered(f"b{i}", text="x" * 10_000) for i in range(50)])
        assert set(store.answers("fit", "test")) == {"a"}
        store._db.execute("PRAGMA max_page_count=1000000")  # pyright: ignore[reportPrivateUsage]
        store.add("fit", "test", [answered("b")])
        assert set(store.answers("fit", "test")) == {"a", "b"}


def test_two_runs_on_one_store(tmp_path: Path) -> None:
    with Store(tmp_path) as first, Store(tmp_path) as second:
        with first.exclusive(), pytest.raises(StoreProblem, match="Another run"), second.exclusive():
            pass
        with second.exclusive():
            pass


def test_touches_count_fits_not_restarts(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.touch("RAG", "split", "fit1")
        store.touch("RAG", "split", "fit1")
        assert store.touches("RAG", "split") == 1
        store.touch("RAG", "split", "fit2")
        assert store.touches("RAG", "split") == 2
        assert store.touches("RAG", "other split") == 0


def test_locks_and_trainings_are_kept(tmp_path: Path) -> None:
    run = TrainingRun(
        adapter="a", base="b", options={"rank": 8}, examples=1, steps=2, best_step=2, tokens=3,
        trainable_parameters=4, seconds=5.0, losses=(LossPoint(step=1, loss=0.5, split="train"),),
    )  # fmt: skip
    with Store(tmp_path) as store:
        store.lock(hash="h1", data_hash="d", body="{}")
        store.lock(hash="h2", data_hash="d", body="{}")
        store.save_fit("fit", "LoRA", "{}", run)
        store.save_fit("plain", "RAG", "{}", None)
    with Store(tmp_path) as store:
        assert [lock.hash for lock in store.locks()] == ["h1", "h2"]
        assert store.locks()[0].locked_at.tzinfo is not None
        assert store.training("fit") == run
        assert store.training("plain") is None
