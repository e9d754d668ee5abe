"""The training of a fine-tuning job: LoRA on the local model, with the last epochs kept as checkpoints.

A tuned model that is tuned further starts from its adapter's weights; what comes out is again one adapter, for the
same base.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from finetune_advisor.emulator.job_record import Metrics
from finetune_advisor.errors import require
from finetune_advisor.models import fake
from finetune_advisor.models.cache import writing_to
from finetune_advisor.models.hardware import Module
from finetune_advisor.records import LossPoint, Progress, TrainingPair, TrainingRun
from finetune_advisor.tuning.lora import Lora
from finetune_advisor.tuning.record import TrainingFolder, training_key
from finetune_advisor.tuning.sft import ADAPTER_FILES, Training, loss_points
from finetune_advisor.tuning.work import TuningWork

MOST_CHECKPOINTS = 3

Saved = Callable[[Sequence[LossPoint], int | None], None]
"""Told, at every save, of all losses so far, and of the step whose adapter was kept, if one was."""


@dataclass(frozen=True, kw_only=True)
class JobTraining:
    """What is trained, and where.

    `earlier` is the folder of the adapter to go on from, None for the bare base. The adapters of the last epochs lie
    in folders named by their steps in `folder` / "steps".
    """

    source: str
    options: Lora
    train: Sequence[TrainingPair]
    validation: Sequence[TrainingPair]
    folder: Path
    earlier: Path | None

    def run(self, progress: Progress, saved: Saved) -> tuple[TrainingRun, Path]:
        """Train to the end, or go on where a stopped training was.

        Args:
            progress: Called at every step; what it raises stops the training.
            saved: Called whenever the training can be gone on with.

        Returns:
            What it took, and the folder of the last step's adapter, which is the one that OpenAI gives out, too.
        """
        if self.source == fake.SOURCE:
            return self._pretend(progress), self.folder
        return self._train(progress, saved), self.step_folder(max(self._steps()))

    def step_folder(self, step: int) -> Path:
        """Where the adapter of a step is kept."""
        return self.folder / "steps" / str(step)

    def _steps(self) -> list[int]:
        return sorted(int(path.name) for path in (self.folder / "steps").iterdir() if path.name.isdigit())

    def _train(self, progress: Progress, saved: Saved) -> TrainingRun:
        options = _like(self.earlier, self.options) if self.earlier else self.options
        key = training_key(self.source, asdict(options), self.train, self.validation)
        place = _Place(self.folder, key, lambda checkpoint: self._keep(checkpoint, saved))
        known = place.finished()
        if known is not None:
            return known
        with writing_to(self.folder):
            place.begin()
            place.look()
            run = _Continued(options, self.source, place, progress, self.earlier).run(self.train, self.validation)
            place.finish(run)
        return run

    def _keep(self, checkpoint: Path, saved: Saved) -> None:
        state: dict[str, Any] = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        step: int = state["global_step"]
        wanted = step % state["eval_steps"] == 0 or step == state["max_steps"]
        if wanted and not self.step_folder(step).exists():
            _copy(checkpoint, self.step_folder(step))
            for old in self._steps()[:-MOST_CHECKPOINTS]:
                shutil.rmtree(self.step_folder(old))
        saved(loss_points(state["log_history"]), step if wanted else None)

    def _pretend(self, progress: Progress) -> TrainingRun:
        work = TuningWork(source=self.source, train=self.train, validation=self.validation, folder=self.folder)
        run = self.options.tune(work, progress)
        if self.earlier:
            memory = [*_memory(self.earlier), *_memory(self.folder)]
            text = json.dumps(list(dict.fromkeys(memory)), ensure_ascii=False)
            (self.folder / fake.MEMORY).write_text(text, encoding="utf-8")
        return run


def measurements(losses: Sequence[LossPoint], *, whole: bool) -> dict[int, Metrics]:
    """Losses by step, under OpenAI's names.

    Args:
        losses: As a training logs them.
        whole: Whether the validation losses are over the whole validation file.
    """
    found: dict[int, Metrics] = {}
    for point in losses:
        names = ["train_loss"] if point.split == "train" else ["valid_loss", *["full_valid_loss"] * whole]
        found.setdefault(point.step, {}).update(dict.fromkeys(names, point.loss))
    return found


class _Place(TrainingFolder):
    """Shows every checkpoint to somebody, once it is complete."""

    def __init__(self, path: Path, key: str, seen: Callable[[Path], None]) -> None:
        super().__init__(path, key)
        self._seen = seen

    def note(self, seconds: float) -> None:
        super().note(seconds)
        self.look()

    def look(self) -> None:
        """Show the newest, which a killed training may have left unseen."""
        checkpoint = self.last_checkpoint()
        if checkpoint is not None:
            self._seen(checkpoint)


class _Continued(Training):
    """Starts from the weights of an adapter, where there is one."""

    def __init__(
        self, options: Lora, source: str, place: TrainingFolder, progress: Progress, earlier: Path | None
    ) -> None:
        super().__init__(options, source, place, progress)
        self._earlier = earlier

    def _adapted(self) -> Module:
        model = super()._adapted()
        if self._earlier:
            weights = require("safetensors.torch", extra="local").load_file(self._earlier / ADAPTER_FILES[1])
            require("peft", extra="local").set_peft_model_state_dict(model, weights)
        return model


def _like(earlier: Path, options: Lora) -> Lora:
    """The options with the shape of that adapter."""
    config = json.loads((earlier / ADAPTER_FILES[0]).read_text(encoding="utf-8"))
    return replace(options, rank=config["r"], alpha=config["lora_alpha"])


def _copy(checkpoint: Path, folder: Path) -> None:
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in ADAPTER_FILES:
        shutil.copyfile(checkpoint / name, partial / name)
    os.replace(partial, folder)


def _memory(folder: Path) -> list[tuple[str, str]]:
    return [(prompt, answer) for prompt, answer in json.loads((folder / fake.MEMORY).read_text(encoding="utf-8"))]
