"""What the README shows is what there is: code, commands, keys, exit codes, the tree, and the shipped configs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from finetune_advisor import case, cli
from finetune_advisor.approaches import TABLE as APPROACHES
from finetune_advisor.records import TaskKind
from oracle import write_case

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FAKE = '[[models]]\nname = "pretender"\nprovider = "fake"\n'


def test_the_python_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def toy(folder: Path) -> None:
        write_case(folder, model=FAKE)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(case, "sample", toy)
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(block, "README.md", "exec"), {})
    assert (tmp_path / "demo" / "store.sqlite").exists()


def test_every_command_line_is_known() -> None:
    lines = re.findall(r"^    (?:\S*/)?finetune-advisor ([a-z]+)([^#\n]*)", README, re.MULTILINE)
    assert {name for name, _ in lines} >= {"new", "check", "run", "app", "demo"}
    for name, rest in lines:
        options = {option for parameter in cli.main.commands[name].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= options, name


def test_every_make_target_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^    make (\w+)", README, re.MULTILINE):
        assert f"\n{target}:" in makefile, target


def test_the_key_table_is_complete() -> None:
    sections = {
        "task": case.TaskSection, "data": case.DataSection, "models": case.ModelSection, "arms": case.ArmSection,
        "goal": case.GoalSection, "money": case.MoneySection, "uncertainty": case.UncertaintySection,
        "learning_curve": case.LearningCurveSection, "sign_off": case.SignOffSection,
    }  # fmt: skip
    rows = re.findall(r"^\| `\[+(\w+)\]+ ?([^|]*)\|", README, re.MULTILINE)
    for name, section in sections.items():
        listed = set(re.findall(r"[a-z_]+", " ".join(keys for table, keys in rows if table == name)))
        assert listed == set(section.model_fields), name


def test_the_exit_codes_are_those_of_the_help() -> None:
    codes = re.findall(r"^\| (\d+) \|", README, re.MULTILINE)
    assert codes == re.findall(r"(\d+) [a-z]", cli.EXIT_CODES)


def test_the_tree_is_true() -> None:
    block = README[README.index("    app.py  ") : README.index("A plug-in point is")]
    named = re.findall(r"^    {1,2}(?:    )?([a-z_]+(?:\.py|/))", block, re.MULTILINE)
    package = ROOT / "finetune_advisor"
    for name in named:
        assert (ROOT / name).exists() or (package / name).exists(), name
    rooms = {p.name if p.is_file() else p.name + "/" for p in package.iterdir() if not p.name.startswith("_")}
    assert {room for room in rooms if room.endswith((".py", "/"))} <= set(named)


def test_the_shipped_configs_are_cases(tmp_path: Path) -> None:
    sample = case.read(ROOT / "finetune_advisor" / "sample")
    assert {arm.approach for arm in sample.arms} >= {
        "zero_shot",
        "few_shot",
        "nearest_shot",
        "rag",
        "tuned",
        "tuned_rag",
    }
    for kind in TaskKind:
        examples = tmp_path / f"{kind}.jsonl"
        examples.write_text(json.dumps({"prompt": "a", "completion": "b"}) + "\n", encoding="utf-8")
        folder = tmp_path / kind
        case.write_new(folder, title="T", kind=kind, examples=examples, documents=None)
        written = case.read(folder)
        assert written.task.kind is kind
        assert {arm.approach for arm in written.arms} == set(APPROACHES)


def test_pictures_are_there() -> None:
    for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / name).stat().st_size > 10_000, name
