"""The benchmark of a whole case, on a two-layer model and in this process: both sides ask the same and agree."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import tiny_model
from benchmarks import by_hand, measured, whole_case
from benchmarks.whole_case import Arm, Ran, Side
from finetune_advisor import cli
from finetune_advisor.models.quiet import quiet

CASE = """
schema = 1
title = "Colours of fruit"

[task]
kind = "text"
metric = "chrf"

[data]
train = "train.jsonl"
validation = "validation.jsonl"
test = "test.jsonl"
documents = "documents"

[[models]]
name = "tiny"
provider = "huggingface"
options = {{ id = {id}, dtype = "float32", device = "cpu" }}

[[arms]]
approach = "zero_shot"

[[arms]]
approach = "few_shot"
settings = {{ shots = [1, 2] }}

[[arms]]
approach = "rag"
settings = {{ depth = 1, shots = 0, retriever = "bm25" }}

[[arms]]
approach = "tuned"
settings = {{ epochs = 2, batch_size = 2, rank = 2, top_layers = 1 }}
"""

HOW = {"batch_size": 1, "dtype": "auto"}
MAINS = {"benchmarks.by_hand": by_hand.main, "benchmarks.whole_case": whole_case.main}


@pytest.fixture(name="source", scope="module")
def tiny_case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("case")
    model = tiny_model.build(tmp_path_factory.mktemp("model"))
    (folder / "case.toml").write_text(CASE.format(id=json.dumps(str(model))), encoding="utf-8")
    (folder / "documents").mkdir()
    for fruit, colour in zip(tiny_model.FRUIT, tiny_model.COLOURS, strict=True):
        text = f"the colour of the {fruit} is {colour}"
        (folder / "documents" / f"{fruit}.txt").write_text(text, encoding="utf-8")
    for part, words in {"train": ("is", "please"), "validation": ("what",), "test": ("briefly",)}.items():
        lines = [json.dumps(_example(word, place)) for word in words for place in range(len(tiny_model.FRUIT))]
        (folder / f"{part}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def _example(word: str, place: int) -> dict[str, Any]:
    asked = [{"role": m.role, "content": m.content} for m in tiny_model.asked(f"{word} {tiny_model.FRUIT[place]}")]
    return {"messages": [*asked, {"role": "assistant", "content": tiny_model.COLOURS[place]}]}


class Recorded:
    """Runs programs in this process, and remembers which."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, module: str, arguments: Sequence[str], log: Path) -> Ran:
        self.names.append(f"{module.rpartition('.')[2]} {Path(arguments[-1]).stem}")
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if module == "finetune_advisor":
                assert CliRunner().invoke(cli.main, arguments).exit_code == 0
            else:
                MAINS[module](arguments)
        return Ran(seconds=100.0, peak_gib=1.5, others=0.25)


def test_both_sides_ask_the_same_and_agree_and_nothing_is_done_twice(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measured, "RUNS", tmp_path / "runs")
    work = tmp_path / "work"
    run = Recorded()
    for side in ("ours", "by-hand"):
        whole_case.main([str(source), "--only", side], run, work)
    assert run.names == [
        "whole_case prompts",
        "finetune_advisor --json",
        "by_hand test",
        *("by_hand validation shots 1", "by_hand validation shots 2", "by_hand test"),
        *("by_hand search", "by_hand test"),
        *("by_hand train", "by_hand test"),
    ]
    ours, hand = whole_case.read_ours(work), whole_case.ByHand(work, HOW, run).read()
    assert list(ours.arms) == list(hand.arms) == ["Zero-shot", "Few-shot", "RAG", "LoRA"]
    for name in ("Zero-shot", "Few-shot", "RAG"):
        assert ours.arms[name].scores == hand.arms[name].scores and any(ours.arms[name].scores)
    assert len(ours.arms["LoRA"].scores) == len(hand.arms["LoRA"].scores) == 6
    assert ours.seconds == 100.0 and sum(ours.rest.values()) + sum(a.seconds for a in ours.arms.values()) == 100.0

    capsys.readouterr()
    whole_case.main([str(source)], run, work)
    assert len(run.names) == 10
    printed = capsys.readouterr().out
    for text in ("| LoRA |", "| the whole | 100 |", "25% (ours)"):
        assert text in printed
    written = json.loads((tmp_path / "runs" / "whole_case.json").read_text(encoding="utf-8"))
    assert [row["arm"] for row in written["rows"]] == [*ours.arms, "start, data, side effects, report", "the whole"]

    whole_case.main([str(source), "--only", "by-hand", "--arms", "zero_shot", "--again"], run, work)
    assert run.names[10:] == ["by_hand test"]


def test_both_sides_read_the_same_prompts(source: Path, tmp_path: Path) -> None:
    file = tmp_path / "prompts.json"
    whole_case.write_prompts(source, file)
    asked = json.loads(file.read_text(encoding="utf-8"))
    arms = {arm["approach"]: arm for arm in asked["arms"]}
    few = arms["few_shot"]["settings"]
    assert [setting["label"] for setting in few] == ["shots 1", "shots 2"]
    assert len(few[0]["validation"]) == 6 and len(few[1]["test"][0]) - len(few[0]["test"][0]) == 2
    assert "Context:" in arms["rag"]["settings"][0]["test"][0][-1]["content"]
    learnt = arms["tuned"]["learnt"]
    assert len(learnt["train"]) == 12 and learnt["train"][0]["completion"][0]["content"] in tiny_model.COLOURS
    assert learnt["lora"] | {"layers": [1], "epochs": 2, "rank": 2} == learnt["lora"]


def test_a_case_keeps_the_chosen_arms(source: Path, tmp_path: Path) -> None:
    from finetune_advisor import case

    whole_case.fresh(source, tmp_path / "case")
    whole_case.keep_arms(tmp_path / "case", ["rag", "zero_shot"])
    assert [arm.approach for arm in case.read(tmp_path / "case").arms] == ["zero_shot", "rag"]


def test_what_is_not_known_yet_is_left_blank() -> None:
    one = Arm(scores=(1.0, 0.0), pieces={"test": 3.0, "train": 4.0}, peak_gib=2.0)
    made = whole_case.rows(Side(), Side(arms={"LoRA": one}), lambda name: "never")
    assert made[0]["by hand, s"] == "7" and made[0]["score, by hand"] == "0.500"
    assert made[0]["ours, s"] == made[0]["times as fast"] == made[1]["by hand, s"] == ""


def test_a_program_is_timed_and_its_failure_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "10000")
    took = whole_case.ran("platform", [], tmp_path / "log")
    assert took.seconds > 0 and 0.001 < took.peak_gib < 16 and 0 <= took.others < 1.1
    with pytest.raises(SystemExit, match=r"failed; .*log says why"):
        whole_case.ran("benchmarks.by_hand", [str(tmp_path / "no.json")], tmp_path / "log")


def test_a_peer_that_is_not_installed_is_named(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "by-hand").mkdir()
    whole_case.write_prompts(source, tmp_path / "by-hand" / "prompts.json")
    monkeypatch.setitem(by_hand.LIBRARIES, "train", ("no_such_library.part",))
    notes = whole_case.ByHand(tmp_path, HOW, Recorded()).do(["tuned"])
    assert notes == ["LoRA by hand: no_such_library is not installed: pip install no_such_library"]
