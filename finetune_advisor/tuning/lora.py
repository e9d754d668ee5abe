"""LoRA, by TRL and peft for real models and in no time for the fake one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from finetune_advisor.errors import BadInput
from finetune_advisor.models import fake
from finetune_advisor.models.cache import writing_to
from finetune_advisor.records import LossPoint, Progress, TrainingPair, TrainingRun
from finetune_advisor.tuning.options import LoraOptions
from finetune_advisor.tuning.record import TrainingFolder, training_key
from finetune_advisor.tuning.sft import Training
from finetune_advisor.tuning.work import TuningWork


@dataclass(frozen=True, kw_only=True)
class Lora(LoraOptions):
    """Trains a LoRA adapter, with the loss on the answers only. See `LoraOptions` for what can be set."""

    def tune(self, work: TuningWork, progress: Progress) -> TrainingRun:
        """Train, or go on where a killed training stopped, and leave the best checkpoint's adapter in the folder.

        A training that is complete in the folder, with the same options and data, is returned as it is.

        Args:
            work: What to train. Its source is a folder or hub id, or "fake" for the fake model; its validation decides
                which checkpoint is best; without any, the last one is.
            progress: Called with steps done and in total.

        Returns:
            What the training took. `seconds` includes those of stopped attempts that were gone on with.

        Raises:
            BadInput: Nothing to learn, or every example is too long.
            Missing: The base model is not to be had.
            NoSpace: The disk is full.
        """
        if not work.train:
            raise BadInput("There is nothing to train on: the training part is empty.")
        place = TrainingFolder(work.folder, training_key(work.source, asdict(self), work.train, work.validation))
        known = place.finished()
        if known is not None:
            return replace(known, adapter=str(work.folder))
        with writing_to(work.folder):
            place.begin()
            if work.source == fake.SOURCE:
                run = self._pretend(work.train, work.folder, progress)
            else:
                run = Training(self, work.source, place, progress).run(work.train, work.validation)
            place.finish(run)
        return run

    def _pretend(self, train: Sequence[TrainingPair], folder: Path, progress: Progress) -> TrainingRun:
        fake.write_adapter(folder, train)
        steps = self.steps(len(train))
        progress("training", steps, steps)
        words = sum(fake.FakeModel().count_tokens(pair.messages) + len(pair.answer.split()) for pair in train)
        falling = LossPoint(step=steps, loss=0.1, split="train")
        return TrainingRun(
            adapter=str(folder),
            base=fake.SOURCE,
            options=asdict(self),
            examples=len(train),
            steps=steps,
            best_step=steps,
            tokens=words * self.epochs,
            trainable_parameters=0,
            seconds=0.0,
            losses=(replace(falling, step=1, loss=3.0), falling),
        )
