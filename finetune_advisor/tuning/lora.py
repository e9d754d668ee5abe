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


@dataclass(frozen=True, kw_only=True)
class Lora(LoraOptions):
    """Trains a LoRA adapter, with the loss on the answers only. See `LoraOptions` for what can be set."""

    def tune(
        self,
        source: str,
        train: Sequence[TrainingPair],
        validation: Sequence[TrainingPair],
        folder: Path,
        progress: Progress,
    ) -> TrainingRun:
        """Train, or go on where a killed training stopped, and leave the best checkpoint's adapter in `folder`.

        A training that is complete in `folder`, with the same options and data, is returned as it is.

        Args:
            source: Folder or hub id of the base model; "fake" for the fake model.
            train: What to learn.
            validation: What decides which checkpoint is best; without any, the last one is.
            folder: Where checkpoints and the adapter go.
            progress: Called with steps done and in total.

        Returns:
            What the training took. `seconds` includes those of stopped attempts that were gone on with.

        Raises:
            BadInput: Nothing to learn, or every example is too long.
            Missing: The base model is not to be had.
            NoSpace: The disk is full.
        """
        if not train:
            raise BadInput("There is nothing to train on: the training part is empty.")
        place = TrainingFolder(folder, training_key(source, asdict(self), train, validation))
        known = place.finished()
        if known is not None:
            return replace(known, adapter=str(folder))
        with writing_to(folder):
            place.begin()
            if source == fake.SOURCE:
                run = self._pretend(train, folder, progress)
            else:
                run = Training(self, source, place, progress).run(train, validation)
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
