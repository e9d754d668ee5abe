from __future__ import annotations

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from finetune_advisor import store as stores
from finetune_advisor.errors import NoSpace, StoreProblem
from finetune_advisor.records import Failure, Interval, LossPoint, Message, Reply, Request, TrainingRun, Usage
from finetune_advisor.store import FILE, MIGRATIONS, VERSION, Step, Store, Stored


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


def test_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    failed = Stored(request=answered("b").request, outcome=Failure(kind="error", message="refused"))
    with Store(tmp_path) as store:
        store.add("fit", "test", [answered("a"), failed, answered("c\0'?]")])
        store.add("fit", "validation", [answered("v")])
        store.add("other", "test", [answered("o")])
        assert store.answered("fit", "test") == {"a", "b", "c\0'?]"}
        assert store.answered("none", "test") == set()
        assert store.outcomes("fit", "test") == {
            "a": answered("a").outcome,
            "b": failed.outcome,
            "c\0'?]": answered("a").outcome,
        }
        assert store.answers("fit", "test", ["c\0'?]", "b", "o", "v"]) == {"b": failed, "c\0'?]": answered("c\0'?]")}
        assert store.answers("fit", "test", []) == {}


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


def test_a_store_of_the_first_version_is_migrated_and_keeps_what_it_holds(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as db:
        db.executescript(f"{MIGRATIONS[0]} PRAGMA user_version=1;")
        db.execute("INSERT INTO touches VALUES ('RAG', 'split', 'fit', '2026-01-01')")
    db.close()
    with Store(tmp_path) as store:
        assert store.touches("RAG", "split") == 1
        assert store.jobs() == []


def third(folder: Path, stored: list[Stored]) -> None:
    """A store as the third version wrote it: bodies in the tree of their keys."""
    with closing(sqlite3.connect(folder / FILE)) as db, db:
        db.executescript(f"PRAGMA journal_mode=WAL; {';'.join(MIGRATIONS[:3])}; PRAGMA user_version=3")
        codec = TypeAdapter(Stored)
        for each in stored:
            row = ("fit", "test", each.request.example_id, codec.dump_json(each).decode(), "2026-01-01")
            db.execute("INSERT INTO answers VALUES (?, ?, ?, ?, ?)", row)
        db.execute("INSERT INTO charges (job, what, usd, state, at) VALUES ('j', 'w', '1.5', 'charged', '2026-01-01')")


def test_a_store_of_the_third_version_is_migrated_and_keeps_every_answer(tmp_path: Path) -> None:
    names = ["b", "a", "سوال"]
    third(tmp_path, [answered(name, text=name * 3000) for name in names])
    with Store(tmp_path) as store:
        assert store.answers("fit", "test") == {name: answered(name, text=name * 3000) for name in names}
        assert store.charged("j") == Decimal("1.5")
        store.add("fit", "test", [answered("c")])
        with pytest.raises(StoreProblem):
            store.add("fit", "test", [answered("a")])
    with Store(tmp_path) as store:
        assert store.count("fit", "test") == 4


def test_a_migration_that_does_not_come_to_its_end_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    third(tmp_path, [answered("a")])
    with monkeypatch.context() as broken:
        broken.setattr(stores, "MIGRATIONS", (*MIGRATIONS[:3], f"{MIGRATIONS[3]}; INSERT INTO nowhere VALUES (1)"))
        with pytest.raises(StoreProblem, match="nowhere"):
            Store(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (3,)
        assert db.execute("SELECT example_id FROM answers").fetchall() == [("a",)]
    with Store(tmp_path) as store:
        assert store.answers("fit", "test") == {"a": answered("a")}


def test_an_old_store_that_many_open_at_once_is_migrated_once(tmp_path: Path) -> None:
    third(tmp_path, [answered(str(at)) for at in range(200)])

    def opened(_: int) -> int:
        with Store(tmp_path) as store:
            return store.count("fit", "test")

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(opened, range(40))) == {200}


WRITER = """
import sys
from pathlib import Path
from finetune_advisor.records import Message, Reply, Request, Usage
from finetune_advisor.store import Store, Stored

def answered(name):
    request = Request(example_id=name, messages=(Message(role="user", content="q" * 2000),), max_tokens=4)
    return Stored(request=request, outcome=Reply(text="yes", usage=Usage()))

with Store(Path(sys.argv[1])) as store:
    for batch in range(100_000):
        store.add("fit", "test", [answered(f"{batch} {at}") for at in range(32)])
        print(batch, flush=True)
"""


def test_a_killed_run_leaves_every_batch_that_it_had_stored_and_whole_ones_only(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        told = max(int(writer.stdout.readline()) for _ in range(5))
        writer.kill()
    with Store(tmp_path) as store:
        names = store.answered("fit", "test")
        assert store.outcomes("fit", "test").keys() == names
    assert len(names) % 32 == 0
    assert names >= {f"{batch} {at}" for batch in range(told + 1) for at in range(32)}


def test_many_may_open_a_new_store_at_once(tmp_path: Path) -> None:
    def opened(_: int) -> int:
        with Store(tmp_path) as store:
            return len(store.jobs())

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(opened, range(40))) == {0}


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


def add_job(store: Store, id: str) -> datetime:
    now = datetime.now(UTC)
    given = {"relock": False, "usd": Decimal("0.10"), "usd_per_hour": Decimal("1.20")}
    store.add_job(id=id, state="starting", created=now, started=now, heartbeat=now, **given)
    return now


def test_jobs_come_back_as_they_were(tmp_path: Path) -> None:
    interval = Interval(low=0.1, high=0.9, level=0.95, method="mid-P")
    steps = (Step(name="سوال", state="done", score=0.5, interval=interval, n=9), Step(name="b", reason="no"))
    with Store(tmp_path) as store:
        now = add_job(store, "one")
        add_job(store, "two")
        assert store.change_job("one", state="running", seconds=1.5, steps=steps, pid=7, relock=True)
    with Store(tmp_path) as store:
        one, two = store.jobs()
    assert (one.id, one.state, one.created, one.steps, one.pid, one.relock) == ("one", "running", now, steps, 7, True)
    assert (two.id, two.state, two.wanted, two.steps, two.relock) == ("two", "starting", None, (), False)
    assert (one.usd, one.usd_per_hour, one.minutes) == (Decimal("0.10"), Decimal("1.20"), None)


def test_a_job_is_changed_only_in_the_states_that_are_named(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_job(store, "one")
        assert not store.change_job("one", among=["running", "paused"], state="failed")
        assert store.jobs()[0].state == "starting"
        assert store.change_job("one", among=["running", "starting"], state="failed")
        assert store.jobs()[0].state == "failed"


def test_the_tighter_limit_of_a_job_binds(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_job(store, "one")
        store.change_job("one", minutes=2, seconds=150)
        first = store.jobs()[0]
        store.change_job("one", minutes=9)
        second = store.jobs()[0]
        store.change_job("one", minutes=None, usd_per_hour=Decimal(0))
        free = store.jobs()[0]
    assert (first.seconds_limit, second.seconds_limit, free.seconds_limit) == (120, 300, None)
    assert (first.usd_spent, first.usd_left) == (Decimal("0.05"), Decimal("0.05"))
    assert (free.usd_spent, free.usd_left) == (0, Decimal("0.10"))


def test_answers_are_counted(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.add("fit", "test", [answered("a"), answered("b")])
        assert (store.count("fit", "test"), store.count("fit", "validation")) == (2, 0)
