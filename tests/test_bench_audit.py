"""The audit's benchmark on a few hundred rows: what it makes up is found by both sides, and its table is whole."""

import json
from pathlib import Path

import pytest

from benchmarks import audit, audit_once, chats, cookbook_check, measured
from finetune_advisor.experiment import audit as ours

pytestmark = pytest.mark.skipif(not chats.DATA.is_dir(), reason="the shared data folder is not here")
ROWS = 600


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "chats.jsonl"
    chats.write(path, ROWS, seed=3)
    return path


def test_rows_are_made_the_same_every_time(file: Path, tmp_path: Path) -> None:
    kinds = chats.write(tmp_path / "again.jsonl", ROWS, seed=3)
    assert (tmp_path / "again.jsonl").read_bytes() == file.read_bytes()
    assert 0 < kinds.total() < ROWS / 10


def test_both_sides_count_the_same_faults(file: Path) -> None:
    with file.open(encoding="utf-8") as lines:
        dataset, broken = cookbook_check.read(list(lines))
    theirs = cookbook_check.format_errors(dataset)
    found = audit_once.counts(ours(file).findings)
    assert found["invalid_json"] + found["blank_line"] == broken
    for code in ("message_unrecognized_key", "unrecognized_role", "missing_content"):
        assert found[code] == theirs[code]


@pytest.mark.parametrize("library", ["tiktoken", "quicktok"])
def test_the_script_prints_tokens_and_bill(file: Path, library: str, capsys: pytest.CaptureFixture[str]) -> None:
    cookbook_check.main(str(file), library, "20")
    printed = capsys.readouterr().out.splitlines()
    assert json.loads(printed[0])["rows"] <= 20
    assert printed[-1].startswith("billed tokens per epoch: ")


def test_both_vocabularies_count_the_same() -> None:
    one, other = (cookbook_check.counter(library) for library in ("tiktoken", "quicktok"))
    assert all(one(text) == other(text) for text in chats.phrases()[:300])


def test_a_process_is_measured_with_its_memory(file: Path) -> None:
    run = audit.run("benchmarks.audit_once", str(file))
    assert json.loads(run.printed)["lines"][0].startswith("chats.jsonl: ")
    assert run.gib > 0.01
    row = audit.row("x", [run], 2.0)
    assert row["seconds"] == 2 * run.seconds
    assert measured.table([row]).count("\n") == 2


def test_recall_is_counted_on_texts_of_each_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "LENGTHS", (100, 400))
    found = audit.recall(20)
    assert list(found) == ["100 letters", "400 letters"]
    assert all(0 < each["both"] <= min(each["exact"], each["sketched"]) for each in found.values())
