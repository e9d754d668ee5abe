"""The command line as a person meets it: one sentence, a hint and an exit code for whatever is wrong."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from finetune_advisor import cli
from finetune_advisor.report import document
from finetune_advisor.store import FILE, VERSION, Store
from oracle import toy_rows, write_case

FAKE = '[[models]]\nname = "pretender"\nprovider = "fake"\n'


pytestmark = pytest.mark.usefixtures("oracle")


def call(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(cli.main, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in result.output
    return result


def refused(result: Result, code: int, sentence: str) -> None:
    assert result.exit_code == code, result.output
    lines = result.stderr.splitlines()[-2:]
    assert [line.split(":")[0] for line in lines] == ["Error", "Hint"], result.stderr
    assert sentence in lines[0], result.stderr


def test_every_command_has_help_and_json() -> None:
    for name, command in cli.main.commands.items():
        assert command.help, name
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert getattr(parameter, "help", None), f"{name} {parameter.name}"
        assert "as_json" in {parameter.name for parameter in command.params}, name


def test_help_names_the_exit_codes() -> None:
    assert "130 interrupted" in " ".join(call("--help").output.split())


def test_from_new_to_report(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in toy_rows(90)), encoding="utf-8")
    folder = tmp_path / "case"
    made = call("new", folder, "--examples", rows, "--title", 'Say "refund"', "--json")
    assert json.loads(made.stdout)["case"] == str(folder)
    text = (folder / "case.toml").read_text(encoding="utf-8")
    assert 'kind = "classification"' in text
    embedded = text.index("[[models]]"), text.index("# One table an arm")
    text = (
        text[: embedded[0]]
        + FAKE
        + text[embedded[1] :].replace('approach = "nearest_shot"', 'approach = "zero_shot"', 1)
    )
    (folder / "case.toml").write_text(text.replace("settings = { shots = [4, 8] }", "", 2), encoding="utf-8")
    assert call("check", folder).exit_code == 0
    results = document.from_json(call("run", folder, "--json").stdout)
    assert results.simulated
    assert results.title == 'Say "refund"'
    assert results.verdict.decision.value == "NOT YET"
    for name in ("report.html", "report.md", "results.json"):
        assert "simulated" in (folder / "report" / name).read_text(encoding="utf-8").lower()
    again = call("report", folder)
    assert again.exit_code == 0
    assert "(simulated)" in again.output


def test_new_leaves_a_case_alone(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "c")
    before = (folder / "case.toml").read_bytes()
    refused(call("new", folder), 2, "holds a case already")
    assert (folder / "case.toml").read_bytes() == before


def test_new_sample_can_be_checked(tmp_path: Path) -> None:
    assert call("new", tmp_path / "s", "--sample").exit_code == 0
    found = json.loads(call("check", tmp_path / "s", "--json").stdout)
    assert [f for f in found["findings"] if f["severity"] == "error"] == []


def test_check_lists_findings_as_json(tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text('{"messages": []}\nnot json\n', encoding="utf-8")
    result = call("check", file, "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)["findings"]
    assert {(f["line"], f["code"], f["severity"]) for f in found} >= {
        (1, "missing_messages_list", "error"),
        (2, "invalid_json", "error"),
    }
    assert all(set(f) == {"file", "line", "code", "severity", "message"} for f in found)


BAD_DATA: list[tuple[str, bytes, str]] = [
    ("empty", b"", "empty"),
    ("binary", bytes(range(256)) * 8, "examples.jsonl"),
    ("truncated", b'{"messages": [{"role": "user", "content": "x"}, {"role": "assi', "no usable example"),
]


@pytest.mark.parametrize(("what", "content", "sentence"), BAD_DATA, ids=[b[0] for b in BAD_DATA])
def test_unreadable_data(tmp_path: Path, what: str, content: bytes, sentence: str) -> None:
    folder = write_case(tmp_path / what)
    (folder / "examples.jsonl").write_bytes(content)
    refused(call("run", folder), 2, sentence)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_other_encodings_run(tmp_path: Path, encoding: str) -> None:
    folder = write_case(tmp_path / "c", model=FAKE, arms='[[arms]]\napproach = "zero_shot"\n')
    text = (folder / "examples.jsonl").read_text(encoding="utf-8").replace("ada", "Zoé")
    (folder / "examples.jsonl").write_bytes(text.encode(encoding))
    assert call("run", folder).exit_code == 0


def test_one_class_only(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "c")
    text = (folder / "examples.jsonl").read_text(encoding="utf-8")
    for label in ("repair", "delivery"):
        text = text.replace(f'"content": "{label}"', '"content": "refund"')
    (folder / "examples.jsonl").write_text(text, encoding="utf-8")
    refused(call("run", folder), 2, "has the label 'refund'")


def test_labels_in_test_that_training_never_saw(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "c", model=FAKE, arms='[[arms]]\napproach = "zero_shot"\n')
    rows = toy_rows(60)
    for name, part in (("train", rows[:40]), ("test", rows[40:])):
        text = "".join(json.dumps(row) + "\n" for row in part)
        (folder / f"{name}.jsonl").write_text(text.replace("repair", "mending") if name == "test" else text, "utf-8")
    toml = (folder / "case.toml").read_text(encoding="utf-8")
    toml = toml.replace('examples = "examples.jsonl"', 'train = "train.jsonl"\ntest = "test.jsonl"')
    (folder / "case.toml").write_text(toml, encoding="utf-8")
    result = call("check", folder)
    assert result.exit_code == 1
    assert "label_unseen_in_training" in result.output
    (folder / "test.jsonl").write_text("", encoding="utf-8")
    refused(call("run", folder), 2, "test.jsonl")


def test_documents_without_text(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "c")
    (folder / "docs").mkdir()
    (folder / "docs" / "a.txt").write_text(" \n", encoding="utf-8")
    toml = (folder / "case.toml").read_text(encoding="utf-8")
    (folder / "case.toml").write_text(toml.replace("[data]", '[data]\ndocuments = "docs"'), encoding="utf-8")
    refused(call("run", folder), 2, "text")


def test_an_unknown_model_on_this_machine(tmp_path: Path) -> None:
    model = '[[models]]\nname = "m"\nprovider = "huggingface"\noptions = { id = "./no/such/model" }\n'
    refused(call("run", write_case(tmp_path / "c", model=model)), 3, "no/such/model")


def test_no_case_there(tmp_path: Path) -> None:
    refused(call("run", tmp_path), 2, "no readable case.toml")
    refused(call("report", tmp_path / "gone"), 2, "no readable case.toml")


def test_a_store_from_the_future(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "c")
    with sqlite3.connect(folder / FILE) as db:
        db.execute(f"PRAGMA user_version={VERSION + 1}")
    db.close()
    refused(call("run", folder), 4, "newer version")


def test_two_runs_at_once(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "c")
    with Store(folder) as store, store.exclusive():
        refused(call("run", folder), 4, "Another run is using")


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_case(tmp_path / "c", model=FAKE, arms='[[arms]]\napproach = "zero_shot"\n')
    assert call("run", folder).exit_code == 0
    (folder / "report" / "report.html").unlink()
    (folder / "report" / "report.html.part").symlink_to("/dev/full")
    refused(call("report", folder), 5, "disk is full")


@pytest.mark.parametrize("full", ["nests.md", "messages.jsonl"])
def test_a_disk_that_fills_up_leaves_no_half_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: str) -> None:
    whole, copied = tmp_path / "whole", shutil.copyfile
    call("new", whole, "--sample")
    data = ("--examples", whole / "messages.jsonl", "--documents", whole / "documents")

    def copy(source: str | Path, target: str | Path, **rest: Any) -> str | Path:
        if Path(source).name == full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        return copied(source, target, **rest)

    for name, options in (("sample", ("--sample",)), ("own", data)):
        with monkeypatch.context() as patched:
            patched.setattr(shutil, "copyfile", copy)
            refused(call("new", tmp_path / name, *options), 5, "disk is full")
        assert not (tmp_path / name / "case.toml").exists(), "a part would be taken for a case"
        assert call("new", tmp_path / name, *options).exit_code == 0
        assert len(list((tmp_path / name / "documents").iterdir())) == len(list((whole / "documents").iterdir()))


def test_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("finetune_advisor.experiment.run_held", interrupt)
    result = call("run", write_case(tmp_path / "c"))
    assert result.exit_code == 130
    assert "run again to go on" in result.stderr


def test_a_missing_extra_says_how_to_install_it(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['streamlit'] = None\n"
        "from finetune_advisor.cli import main\n"
        f"main(['app', {str(tmp_path / 'c')!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "pip install 'finetune-advisor[app]'" in done.stderr
    assert "Traceback" not in done.stderr
