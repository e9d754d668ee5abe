"""A process of a Ray cluster that holds one model: it trains and answers, and keeps nothing.

Whoever asks has the store and the trainings' files; a worker gets both requests and adapters, and gives back answers
and files.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import filelock

from finetune_advisor import __version__, models
from finetune_advisor.errors import require
from finetune_advisor.models import Model
from finetune_advisor.models.cache import cache_folder, writing_to
from finetune_advisor.records import Batch, Failure, Reply, Settings, TrainingPair
from finetune_advisor.tuning import Tuner, TuningWork

LOOKING = "looking"
"""The group of calls that are answered while the worker does something else."""

Files = Mapping[str, bytes]
"""A folder's files by name."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A training's files, in Ray's memory. The reference lies in a tuple, so that only who needs them fetches them."""

    key: str
    files: tuple[Any]


class Worker:
    """One model on one device.

    Args:
        provider: The model's provider.
        options: What the model takes.
        cpus: How many CPUs Ray has given to it.
    """

    def __init__(self, provider: str, options: Settings, cpus: int) -> None:
        # Before torch is loaded, so that a worker with a whole machine computes as this program does there.
        physical = require("psutil", extra="local").cpu_count(logical=False) or cpus
        os.environ["OMP_NUM_THREADS"] = str(min(cpus, physical))
        self._model = models.create(provider, **options)
        self._tuned: dict[str, Model] = {}
        self._folder = TemporaryDirectory(prefix="finetune-advisor-")
        self._done = (0, 0)

    def about(self) -> tuple[str, Settings]:
        """The version of this program here, and what the model is.

        Raises:
            Missing: The model is not to be had here.
        """
        return __version__, self._model.describe()

    def progress(self) -> tuple[int, int]:
        """Steps of the training done, and in total."""
        return self._done

    def train(self, tuner: Tuner, train: Sequence[TrainingPair], validation: Sequence[TrainingPair], key: str) -> Files:
        """Train, or go on where a worker was lost that kept its checkpoints in the same cache; gives the files."""
        folder = cache_folder() / "ray" / key
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(folder.with_suffix(".lock")):
                source = self._model.source
                work = TuningWork(source=source, train=train, validation=validation, folder=folder)
                tuner.tune(work, self._tell)
                files = read_files(folder)
                shutil.rmtree(folder)
        return files

    def answer(self, batch: Batch, fit: Fit | None) -> list[Reply | Failure]:
        """Answer one batch, with the training that is named."""
        return (self._fitted(fit) if fit else self._model).answer(batch)

    def _tell(self, what: str, done: int, total: int) -> None:
        self._done = (done, total)

    def _fitted(self, fit: Fit) -> Model:
        if fit.key not in self._tuned:
            folder = Path(self._folder.name) / fit.key
            write_files(folder, require("ray", extra="ray").get(fit.files[0]))
            self._tuned[fit.key] = self._model.with_adapter(folder)
        return self._tuned[fit.key]


def read_files(folder: Path) -> Files:
    """The files of a folder; folders in it are left out."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def write_files(folder: Path, files: Files) -> None:
    """Put the folder there with these files and no others, whole or not at all.

    Raises:
        NoSpace: The disk is full.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    with writing_to(folder):
        for each in (partial, folder):
            shutil.rmtree(each, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, content in files.items():
            (partial / Path(name).name).write_bytes(content)
        partial.rename(folder)
