"""A tiny model, a quick training of it, and TRL's program run in this process, for the tests of the TRL trainer."""

from __future__ import annotations

import runpy
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import tiny_model
from finetune_advisor.models.local import LocalModel
from finetune_advisor.models.quiet import quiet
from finetune_advisor.records import Batch, Reply, Request, TrainingPair, TrainingRun
from finetune_advisor.tuning import trl
from finetune_advisor.tuning.trl import Trl
from finetune_advisor.tuning.work import TuningWork

PAIRS = tiny_model.pairs()
QUICK = Trl(epochs=14, batch_size=2, learning_rate=1e-2, rank=4, evaluations=2)
WANTED = [pair.answer for pair in PAIRS]


def work(
    model: Path, folder: Path, train: Sequence[TrainingPair] = PAIRS, held: Sequence[TrainingPair] = ()
) -> TuningWork:
    return TuningWork(source=str(model), train=train, validation=held, folder=folder)


def program(folder: Path, *options: str) -> None:
    """Run the program in this process, which has torch loaded already."""
    argv, path = sys.argv, [*sys.path]
    sys.argv = ["train_trl.py", "--folder", str(folder), *options]
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            runpy.run_path(str(trl.PROGRAM), run_name="__main__")
    finally:
        sys.argv, sys.path[:] = argv, path


def trained(trainer: Trl, job: TuningWork) -> TrainingRun:
    """Train in this process where the trainer would start one of its own."""
    trainer.prepare(job)
    program(job.folder, "--output", str(job.folder), *(["--merge"] if trainer.merge else []))
    return trainer.result(job)


def answers(model: LocalModel, pairs: Sequence[TrainingPair] = PAIRS) -> list[str]:
    requests = [Request(example_id=pair.answer, messages=pair.messages, max_tokens=4) for pair in pairs]
    return [reply.text for reply in model.answer(Batch(requests=(*requests,))) if isinstance(reply, Reply)]


def local(model: Path) -> LocalModel:
    return LocalModel(str(model), dtype="float32", device="cpu")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
