"""TRL's program in a process of its own: stopped and gone on with, and alone, without this package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tiny_model
from finetune_advisor.errors import require
from finetune_advisor.records import no_progress
from finetune_advisor.tuning import trl
from finetune_advisor.tuning.follow import TrainingFailed
from finetune_advisor.tuning.trl import Trl
from trl_case import PAIRS, QUICK, WANTED, answers, local, trained, until, work


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.build(tmp_path_factory.mktemp("tiny"))


def tensors(folder: Path) -> dict[str, Any]:
    return require("safetensors.torch", extra="local").load_file(folder / "adapter_model.safetensors")


def distance(one: Path, other: Path) -> float:
    """The largest difference between the weights of two adapters."""
    left, right = tensors(one), tensors(other)
    return max(float((left[name] - right[name]).abs().max()) for name in {*left, *right})


def test_a_cancelled_training_goes_on_in_another_process_and_ends_the_same(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    require("torch", extra="local").set_num_threads(1)
    trainer = replace(QUICK, epochs=40, evaluations=20, dropout=0.1)
    reference = trained(trainer, work(tiny, tmp_path / "calm", held=PAIRS[:3]))
    job = work(tiny, tmp_path / "stopped", held=PAIRS[:3])
    assert trainer.watch(job).state == "not started"
    trainer.prepare(job)
    trainer.start(job)
    trainer.start(job)
    until(lambda: bool(trainer.watch(job).checkpoints) or trainer.watch(job).ended)
    trainer.cancel(job)
    stopped = trainer.watch(job)
    assert stopped.state == "cancelled" and 0 < stopped.done < stopped.total == 120
    assert Path(stopped.checkpoints[-1].name).is_dir() and stopped.checkpoints[-1].validation_loss is not None
    with pytest.raises(TrainingFailed, match="cancelled"):
        trainer.result(job)
    trainer.start(job)
    assert trainer.watch(job).state == "cancelled", "what has ended is not started by itself"

    steps: list[tuple[int, int]] = []

    def told(what: str, done: int, total: int) -> None:
        steps.append((done, total))

    run = trainer.tune(job, told)
    assert steps[-1] == (120, 120)
    assert any(event.message.startswith("going on from checkpoint-") for event in trainer.watch(job).events)
    assert distance(job.folder, tmp_path / "calm") < 1e-5
    assert (run.steps, run.best_step, run.tokens) == (120, reference.best_step, reference.tokens)
    assert answers(local(tiny).with_adapter(job.folder)) == WANTED
    assert trainer.tune(job, no_progress) == run, "found again"


def test_the_program_runs_without_this_package(tiny: Path, tmp_path: Path) -> None:
    for file in trl.SCRIPTS.glob("*.py"):
        shutil.copy(file, tmp_path)
        assert "finetune_advisor" not in file.read_text(encoding="utf-8")
    Trl(epochs=2).prepare(work(tiny, tmp_path))
    code = (
        "import sys, runpy\nsys.modules['finetune_advisor'] = None\n"
        "sys.argv = ['train_trl.py', '--merge']\nrunpy.run_path('train_trl.py', run_name='__main__')"
    )
    command = [sys.executable, "-I", "-c", code]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "The result of step 2 of 2 is in" in done.stdout
    assert (tmp_path / "adapter" / "adapter_config.json").is_file() and (tmp_path / "merged" / "config.json").is_file()
