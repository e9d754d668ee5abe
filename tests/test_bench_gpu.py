"""The GPU benchmark with two narrow layers on the CPU: same work on both sides, and what is missing is said."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu, gpu_jobs, measured
from benchmarks.gpu_jobs import OURS, Figure, Job, Size
from finetune_advisor.errors import require
from finetune_advisor.models.chat import ChatFormat
from finetune_advisor.tuning.pairs import encoded

TINY = Size(name="tiny", config=gpu.TINY, length=48, examples=8, micro_batch=2, prompt=24, answer=6)


def here(job: Job) -> list[Figure]:
    """A job in this process, which has torch loaded already."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return gpu_jobs.done(job)


@pytest.fixture(name="job", scope="module")
def with_weights(tmp_path_factory: pytest.TempPathFactory) -> Job:
    made = Job(kind="weights", size=TINY, folder=str(tmp_path_factory.mktemp("tiny")), device="cpu", batches=(1, 3))
    assert here(made) == []
    return made


def test_the_whole_benchmark_runs_small(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measured, "RUNS", tmp_path)
    monkeypatch.setitem(gpu.NEEDED, "vLLM", ("no_such_library",))
    gpu.main(["--tiny", "--rounds", "1", "--folder", str(Path(job.folder).parent)], here)
    assert "tiny, answering, vLLM: no_such_library is not installed" in capsys.readouterr().out
    trained, answered = (_rows(tmp_path / f"gpu_{kind}.json") for kind in ("training", "answering"))
    assert [(row["lengths"], row["trained by"]) for row in trained] == [
        *(("equal", OURS), ("equal", "SFTTrainer")),
        *(("mixed", OURS), ("mixed", "SFTTrainer")),
    ]
    assert [(row["batch"], row["answered by"]) for row in answered] == [
        *((1, OURS), (1, "generate")),
        *((3, OURS), (3, "generate")),
    ]
    assert [row["same answers"] for row in answered] == ["1 of 1", "1 of 1", "3 of 3", "3 of 3"]
    assert all(row["estimated GiB"] and row["peak GiB"] for row in (*trained, *answered))


def _rows(file: Path) -> list[dict[str, Any]]:
    return json.loads(file.read_text(encoding="utf-8"))["rows"]


@pytest.mark.parametrize("lengths", ["equal", "mixed"])
def test_the_tokens_of_a_training_are_counted_right(job: Job, lengths: str) -> None:
    pairs, tokens = gpu_jobs.examples(TINY, lengths)
    tokenizer = require("transformers", extra="local").AutoTokenizer.from_pretrained(job.folder)
    made = encoded(pairs, ChatFormat(tokenizer, (tokenizer.eos_token_id,)), TINY.length)
    assert sum(one.length for one in made) == tokens
    assert lengths == "mixed" or tokens == TINY.examples * TINY.length


def test_a_training_is_timed_from_the_middle_to_the_end(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([10.0, 14.0])

    def now(_: Job) -> float:
        return next(times)

    monkeypatch.setattr(gpu_jobs, "now", now)
    marks = gpu_jobs.Marks(job)
    for step in range(9):
        marks("training", step, 8)
    assert marks.second_half == 4.0


def test_a_job_in_a_process_of_its_own(job: Job) -> None:
    (figure,) = gpu.apart(replace(job, kind="matrix"))
    assert figure.rate > 0 and not figure.failure
    (failed,) = gpu.apart(replace(job, kind="nonsense"))
    assert failed.failure == "KeyError: 'nonsense'" and not failed.rate


def test_what_our_own_errors_say_is_kept(job: Job, tmp_path: Path) -> None:
    given, found = tmp_path / "job.json", tmp_path / "found.json"
    wrong = replace(job, kind="answering", contender=OURS, folder=str(tmp_path))
    given.write_text(json.dumps(asdict(wrong), default=dict), encoding="utf-8")
    gpu_jobs.do_file(given, found)
    (figure,) = json.loads(found.read_text(encoding="utf-8"))
    assert "holds no model" in figure["failure"]


def test_it_says_that_it_needs_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(require("torch", extra="local").cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as ended:
        gpu.main([])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_card_is_named_as_the_table_knows_it() -> None:
    assert gpu.known("NVIDIA H100 80GB HBM3") == "H100-SXM" and gpu.known("NVIDIA H200") == "H200"
    assert gpu.known("some other card") == gpu.known("") == ""


def test_the_real_shapes_are_what_they_are_called() -> None:
    for name, billions in (("1b", 1.24), ("8b", 8.03)):
        assert gpu.size_named(name).shape.parameters / 1e9 == pytest.approx(billions, abs=0.01)
