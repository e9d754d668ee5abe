"""LoRA by Hugging Face's AutoTrain Advanced 0.8.36, which runs in an environment of its own (docs/autotrain.md)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from finetune_advisor.errors import BadInput, Missing
from finetune_advisor.models.cache import writing_to
from finetune_advisor.models.chat import ChatFormat
from finetune_advisor.models.hardware import Tokenizer
from finetune_advisor.models.weights import loaded
from finetune_advisor.records import Progress, TrainingRun
from finetune_advisor.tuning import process
from finetune_advisor.tuning.autotrain_files import AutoTrainFolder, config, local_folder, texts
from finetune_advisor.tuning.autotrain_log import Log
from finetune_advisor.tuning.follow import TrainingFailed, follow
from finetune_advisor.tuning.options import check_types
from finetune_advisor.tuning.pairs import Encoded, encoded
from finetune_advisor.tuning.record import FINISHED, TrainingFolder, training_key
from finetune_advisor.tuning.sft import LOSSES_LOGGED
from finetune_advisor.tuning.work import State, TuningEstimate, TuningStatus, TuningWork

VARIABLE = "FINETUNE_ADVISOR_AUTOTRAIN"
"""The environment variable with the path of the `autotrain` program."""

UNMAINTAINED = (
    "AutoTrain Advanced has been unmaintained since January 2025 (version 0.8.36); it still runs, with the "
    "transformers of that time, in an environment of its own."
)
PACKED = (
    "AutoTrain packs the texts into blocks, cutting them where a block ends, and learns the prompts as well as the "
    "answers."
)
UNVALIDATED = (
    "AutoTrain takes no validation loss when it tunes a language model and keeps the last state; its seed cannot be "
    "set, so two trainings on the same data differ."
)
INSTALL = (
    "python3.11 -m venv autotrain-env && "
    "autotrain-env/bin/pip install torch==2.13.0 autotrain-advanced==0.8.36 && "
    "autotrain-env/bin/pip uninstall -y torchvision timm && "
    f'export {VARIABLE}="$PWD/autotrain-env/bin/autotrain"'
)
"""What gives it an environment of its own."""

LOOK_SECONDS = 2.0
"""From one look at a running training to the next."""

_RUN = 'unset SPACE_ID ENDPOINT_ID; cd "$1" && exec "$2" --config config.yml'
"""AutoTrain finds its project by a name without a path, and pauses the Space that these variables name."""
_LARGEST = 2048
"""AutoTrain puts its own limit in place of a tokenizer's that is above this."""


@dataclass(frozen=True, kw_only=True)
class AutoTrain:
    """Trains a LoRA adapter of all linear layers, with the loss on prompts and answers.

    Args:
        command: Path of the `autotrain` program; "" for that of FINETUNE_ADVISOR_AUTOTRAIN, else the one on the PATH.
        learning_rate: Peak learning rate.
        epochs: Passes over the data.
        batch_size: Blocks that are computed together.
        accumulation: Batches in a step.
        rank: Rank of the update of each weight matrix.
        alpha: The update is scaled by alpha / rank.
        dropout: Dropout before the update.
        block_size: Tokens of a block; the texts are put one after the other and cut into blocks.
        max_length: In tokens; longer examples are left out.
        scheduler: How the learning rate falls, by transformers' name.
        optimizer: By transformers' name.
        weight_decay: Of the optimizer.
        warmup_ratio: Share of the steps in which the learning rate rises.
        quantization: "int4" or "int8" for a base of so many bits, on an NVIDIA GPU; "" for float32.
        mixed_precision: "fp16" or "bf16" on a GPU; "" for none.
    """

    command: str = ""
    learning_rate: float = 2e-4
    epochs: int = 3
    batch_size: int = 2
    accumulation: int = 1
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05
    block_size: int = 1024
    max_length: int = 2048
    scheduler: str = "linear"
    optimizer: str = "adamw_torch"
    weight_decay: float = 0.0
    warmup_ratio: float = 0.1
    quantization: str = ""
    mixed_precision: str = ""

    def __post_init__(self) -> None:
        check_types(self)
        counts = ("epochs", "batch_size", "accumulation", "rank", "alpha", "block_size", "max_length")
        for name in (*counts, "learning_rate"):
            if getattr(self, name) <= 0:
                raise BadInput(f"{name} has to be above 0, not {getattr(self, name)}.")
        known = {"quantization": ("", "int4", "int8"), "mixed_precision": ("", "fp16", "bf16")}
        for name, values in known.items():
            if getattr(self, name) not in values:
                hint = "Known: " + ", ".join(repr(value) for value in values) + "."
                raise BadInput(f"There is no {name} {getattr(self, name)!r}.", hint=hint)

    @property
    def settings(self) -> dict[str, Any]:
        """The options that decide what comes out; where the program lies is none of them."""
        return {name: value for name, value in asdict(self).items() if name != "command"}

    def tune(self, work: TuningWork, progress: Progress) -> TrainingRun:
        """Train from start to end, or follow a training that runs already; one that was cut off begins anew.

        Args:
            work: What to train; its validation is not used, as AutoTrain keeps the last state.
            progress: Called with steps done and in total.

        Raises:
            BadInput: Nothing to learn, or too little for one block.
            Missing: The base model or AutoTrain is not to be had.
            TrainingFailed: AutoTrain failed.
        """
        return self._finished(work) or follow(self, work, progress, every_seconds=LOOK_SECONDS)

    def estimate(self, work: TuningWork) -> TuningEstimate:
        """Tokens that will be read; time and money are not known."""
        return TuningEstimate(
            tokens=self._tokens(*self._learnt(work)),
            epochs=self.epochs,
            usd=None,
            seconds=None,
            assumed=(UNMAINTAINED, PACKED, UNVALIDATED),
        )

    def prepare(self, work: TuningWork) -> None:
        """Write settings, texts and base model, unless this very training runs or has succeeded.

        Raises:
            BadInput: Nothing to learn, or too little for one block.
            Missing: The base model is not to be had.
        """
        if self._finished(work):
            return
        with writing_to(work.folder):
            self._place(work).begin()
            files = _files(work)
            # `begin` has removed what belongs to another training.
            if files.config.is_file() and _state(work) in ("running", "succeeded"):
                return
            process.cancel(work.folder)
            process.forget(work.folder)
            (work.folder / process.LOG).unlink(missing_ok=True)
            self._fill(work, files)

    def start(self, work: TuningWork) -> None:
        """Start AutoTrain in the background, unless it runs or has ended.

        Raises:
            Missing: AutoTrain is not to be had.
        """
        if self._finished(work) or _state(work) in ("running", "succeeded"):
            return
        program, files = self._program(), _files(work)
        shutil.rmtree(files.project, ignore_errors=True)
        argv = ["sh", "-c", _RUN, "sh", str(files.path.resolve()), str(program)]
        process.start(work.folder, argv, env=_environment(program, files))

    def watch(self, work: TuningWork) -> TuningStatus:
        """How it stands. AutoTrain's exit code says nothing, so success is an adapter on the disk."""
        known = self._finished(work)
        state: State = "succeeded" if known else _state(work)
        log = _log(work)
        done, total = (known.steps, known.steps) if known else log.steps
        failed = state == "failed"
        return TuningStatus(
            state=state,
            done=done,
            total=total,
            events=log.events,
            message=f"AutoTrain failed: {log.error}" if failed else "",
            hint=(log.hint or f"All that it said is in {work.folder / process.LOG}.") if failed else "",
        )

    def cancel(self, work: TuningWork) -> None:
        """End it; nothing of it is left to go on with."""
        process.cancel(work.folder)

    def result(self, work: TuningWork) -> TrainingRun:
        """Put the adapter into the folder and take everything else away but the log.

        Raises:
            TrainingFailed: It has not succeeded.
        """
        known = self._finished(work)
        if known:
            return known
        if _state(work) != "succeeded":
            raise TrainingFailed("AutoTrain has left no adapter.", hint=_log(work).hint)
        with writing_to(work.folder):
            parameters = _files(work).take_adapter(work.source, work.folder)
            shutil.copyfile(_files(work).config, work.folder / _files(work).config.name)
            run = self._record(work, parameters)
            self._place(work).finish(run)
        return run

    def _place(self, work: TuningWork) -> TrainingFolder:
        return TrainingFolder(work.folder, training_key(work.source, self.settings, work.train, work.validation))

    def _finished(self, work: TuningWork) -> TrainingRun | None:
        if not (work.folder / FINISHED).is_file():
            return None
        known = self._place(work).finished()
        return replace(known, adapter=str(work.folder)) if known else None

    def _learnt(self, work: TuningWork) -> tuple[Tokenizer, list[Encoded]]:
        if not work.train:
            raise BadInput("There is nothing to train on: the training part is empty.")
        tokenizer = loaded("AutoTokenizer", work.source)
        stops = () if tokenizer.eos_token_id is None else (tokenizer.eos_token_id,)
        return tokenizer, encoded(work.train, ChatFormat(tokenizer, stops), self.max_length)

    def _block(self, tokenizer: Tokenizer) -> int:
        known: int = tokenizer.model_max_length
        return min(self.block_size, self.max_length if known > _LARGEST else known)

    def _blocks(self, tokenizer: Tokenizer, learnt: Sequence[Encoded]) -> int:
        tokens, block = sum(one.length for one in learnt), self._block(tokenizer)
        if tokens < block:
            raise BadInput(
                f"The training texts have {tokens} tokens together, too few for one block of {block}.",
                hint=f"Set block_size = {max(1, tokens // 8)}, or add examples.",
            )
        return tokens // block

    def _tokens(self, tokenizer: Tokenizer, learnt: Sequence[Encoded]) -> int:
        return self._blocks(tokenizer, learnt) * self._block(tokenizer) * self.epochs

    def _fill(self, work: TuningWork, files: AutoTrainFolder) -> None:
        tokenizer, learnt = self._learnt(work)
        steps = self.epochs * -(-self._blocks(tokenizer, learnt) // (self.batch_size * self.accumulation))
        files.fill(
            local_folder(work.source), texts(learnt, tokenizer), config(self._params(max(1, steps // LOSSES_LOGGED)))
        )

    def _params(self, logged_every: int) -> dict[str, Any]:
        names = {"learning_rate": "lr", "accumulation": "gradient_accumulation", "max_length": "model_max_length"}
        names |= {"rank": "lora_r", "alpha": "lora_alpha", "dropout": "lora_dropout"}
        given = {names.get(name, name): None if value == "" else value for name, value in self.settings.items()}
        return {**given, "logging_steps": logged_every}

    def _program(self) -> Path:
        wanted = self.command or os.environ.get(VARIABLE) or "autotrain"
        found = shutil.which(wanted)
        if found is None:
            raise Missing(f"There is no program {wanted}, which this training needs.", hint=INSTALL)
        return Path(found).resolve()

    def _record(self, work: TuningWork, parameters: int) -> TrainingRun:
        tokenizer, learnt = self._learnt(work)
        log = _log(work)
        return TrainingRun(
            adapter=str(work.folder),
            base=work.source,
            options=self.settings,
            examples=len(learnt),
            steps=log.steps[0],
            best_step=log.steps[0],
            tokens=self._tokens(tokenizer, learnt),
            trainable_parameters=parameters,
            seconds=process.seconds(work.folder),
            losses=log.losses,
        )


def _files(work: TuningWork) -> AutoTrainFolder:
    return AutoTrainFolder(TrainingFolder(work.folder, "").checkpoints)


def _log(work: TuningWork) -> Log:
    try:
        return Log((work.folder / process.LOG).read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return Log("")


def _state(work: TuningWork) -> State:
    match process.state(work.folder):
        case "none":
            return "not started"
        case "running":
            return "running"
        case "ended" | "dead":
            if _files(work).has_adapter:
                return "succeeded"
            return "cancelled" if process.cancelled(work.folder) else "failed"


def _environment(program: Path, files: AutoTrainFolder) -> dict[str, str]:
    return {
        "PATH": os.pathsep.join([str(program.parent), os.environ.get("PATH", "")]),
        # Its default runs code that comes with a model.
        "ALLOW_REMOTE_CODE": "false",
        "PAUSE_ON_FAILURE": "0",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(files.cache.resolve()),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONUNBUFFERED": "1",
    }
