"""How a training by `scripts/train_trl.py` stands, from the files in its folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ValidationError

from finetune_advisor.records import LossPoint
from finetune_advisor.tuning import process
from finetune_advisor.tuning.work import State, TuningCheckpoint, TuningEvent, TuningStatus

LOG_LINES = 200
REFUSED = "error: "
"""How the program's own sentences begin."""


class Finished(BaseModel):
    """What training.json says."""

    examples: int
    steps: int
    best_step: int
    tokens: int
    trainable_parameters: int
    seconds: float
    losses: list[LossPoint]


class _Line(BaseModel):
    """A line of progress.jsonl."""

    at: datetime
    step: int = 0
    total: int = 0
    message: str = ""
    checkpoint: str = ""
    train_loss: float | None = None
    validation_loss: float | None = None
    validation_accuracy: float | None = None

    @property
    def said(self) -> str:
        """The line as a sentence; "" where it only counts steps."""
        figures = {"training loss": self.train_loss, "validation loss": self.validation_loss}
        told = ", ".join(f"{name} {value:.4f}" for name, value in figures.items() if value is not None)
        return self.message or (f"step {self.step} of {self.total}: {told}" if told else "")


def finished(folder: Path) -> Finished | None:
    """The record of a training that came to its end."""
    try:
        return Finished.model_validate_json((folder / "training.json").read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def progress_of(folder: Path, *, complete: bool) -> TuningStatus:
    """How the training in a folder stands.

    Args:
        folder: The training's folder.
        complete: Whether all that is wanted of it lies there.
    """
    lines = [*_lines(folder / "progress.jsonl")]
    state = _state(folder, complete=complete)
    message, hint = _reason(folder) if state == "failed" else ("", "")
    steps = [line for line in lines if line.total]
    return TuningStatus(
        state=state,
        job=folder.name,
        done=steps[-1].step if steps else 0,
        total=steps[-1].total if steps else 0,
        events=tuple(TuningEvent(at=line.at, message=line.said) for line in lines if line.said),
        checkpoints=tuple(_checkpoints(steps, folder / "checkpoints")),
        message=message,
        hint=hint,
    )


def _state(folder: Path, *, complete: bool) -> State:
    now = process.state(folder)
    if now == "running":
        return "running"
    if complete and process.exit_code(folder) in (0, None):
        return "succeeded"
    if now == "none":
        return "not started"
    return "cancelled" if process.cancelled(folder) else "failed"


def _reason(folder: Path) -> tuple[str, str]:
    """Why it failed, and what to do."""
    again = "Start it again: it goes on from its last checkpoint."
    code = process.exit_code(folder)
    if code is None:
        return "The training's process died without a word; the machine may have been restarted.", again
    if code < 0:
        return f"The training was ended by signal {-code}, often because the memory was too small.", again
    told = [line.strip() for line in process.log(folder, LOG_LINES).splitlines() if line.strip()]
    refused = [line.removeprefix(REFUSED) for line in told if line.startswith(REFUSED)]
    last = (refused or told or [f"It ended with exit code {code}."])[-1]
    return f"The training failed: {last}", f"{folder / process.LOG} says more."


def _checkpoints(lines: Iterable[_Line], place: Path) -> Iterator[TuningCheckpoint]:
    """Each checkpoint with the losses that were last told before it; one that is gone has no name."""
    known: dict[str, float | None] = {"train_loss": None, "validation_loss": None, "validation_accuracy": None}
    found: dict[int, TuningCheckpoint] = {}
    for line in lines:
        known |= {name: value for name in known if (value := getattr(line, name)) is not None}
        if line.checkpoint:
            folder = place / line.checkpoint
            name = str(folder) if folder.is_dir() else ""
            found[line.step] = TuningCheckpoint(step=line.step, name=name, **known)
    return iter(found.values())


def _lines(file: Path) -> Iterator[_Line]:
    """The lines so far; one that is half written, or was when its process was killed, is passed over."""
    if not file.exists():
        return
    for text in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            yield _Line.model_validate_json(text)
        except ValidationError:
            continue
