"""What a training leaves in its folder, so that it can be gone on with, and is never done twice.

`started.json` says which training the checkpoints belong to and how many seconds went into them; `training.json`
is written last, so a folder that has it is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from finetune_advisor.records import Settings, TrainingPair, TrainingRun

STARTED = "started.json"
FINISHED = "training.json"
CHECKPOINTS = "checkpoints"


class _Finished(BaseModel):
    key: str
    run: dict[str, Any]


class _Started(BaseModel):
    key: str
    seconds: float


def training_key(
    source: str, options: Settings, train: Sequence[TrainingPair], validation: Sequence[TrainingPair]
) -> str:
    """A hash of all that decides what a training gives. Where on the disk the base model lies does not."""
    data = [_data(pair) for pair in (*train, *validation)]
    name = Path(source).name if Path(source).is_dir() else source
    text = json.dumps([name, dict(options), len(train), data], sort_keys=True, default=dict)
    return hashlib.sha256(text.encode()).hexdigest()


def _data(pair: TrainingPair) -> list[Any]:
    # Tools and calls come last, so that pairs without any keep the key that their finished trainings have.
    beside = [pair.tools, [message.extra for message in pair.messages]]
    texts = [*((message.role, message.content) for message in pair.messages), pair.answer]
    return [*texts, beside] if pair.tools or any(message.extra for message in pair.messages) else texts


class TrainingFolder:
    """The folder of one training.

    Args:
        path: The folder.
        key: The `training_key` of the training.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.checkpoints = path / CHECKPOINTS
        self.seconds = 0.0
        self._key = key

    def finished(self) -> TrainingRun | None:
        """This training, where the folder holds it complete."""
        try:
            record = _Finished.model_validate_json((self.path / FINISHED).read_bytes())
            run = TypeAdapter(TrainingRun).validate_python({**record.run, "adapter": str(self.path)})
        except (OSError, ValidationError):
            return None
        return run if record.key == self._key else None

    def begin(self) -> None:
        """Make the folder ready: what belongs to another training goes, `seconds` of earlier attempts is read."""
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / FINISHED).unlink(missing_ok=True)
        started = self._started()
        if started.key == self._key:
            self.seconds = started.seconds
        else:
            shutil.rmtree(self.checkpoints, ignore_errors=True)
            self.note(0.0)

    def note(self, seconds: float) -> None:
        """Note how many seconds of this attempt, after those of earlier ones, are in the checkpoints."""
        write_json(self.path / STARTED, {"key": self._key, "seconds": self.seconds + seconds})

    def finish(self, run: TrainingRun) -> None:
        """Mark the training complete and remove its checkpoints."""
        write_json(self.path / FINISHED, {"key": self._key, "run": asdict(run)})
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        (self.path / STARTED).unlink(missing_ok=True)

    def last_checkpoint(self) -> Path | None:
        """The newest complete checkpoint; its state file is the last to be written."""
        found = sorted(self.checkpoints.glob("checkpoint-*"), key=lambda path: -int(path.name.rpartition("-")[2]))
        return next((path for path in found if _is_complete(path)), None)

    def _started(self) -> _Started:
        try:
            return _Started.model_validate_json((self.path / STARTED).read_bytes())
        except (OSError, ValidationError):
            return _Started(key="", seconds=0.0)


def _is_complete(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write a file of a training whole or not at all."""
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(dict(content), indent=1), encoding="utf-8")
    os.replace(partial, file)
