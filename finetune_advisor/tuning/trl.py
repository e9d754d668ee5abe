"""Hugging Face TRL in a process of its own: LoRA, QLoRA, DoRA or all weights, on answers or on preferences.

The program that trains is `scripts/train_trl.py`, which knows nothing of this package; its folder is all that both
share. Where the training ends in success, adapter or model lie in the folder itself.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from finetune_advisor.costs.estimate import EstimateOptions, mean_and_longest
from finetune_advisor.costs.estimate import estimate as estimated
from finetune_advisor.costs.gpus import Gpu
from finetune_advisor.datasets.tokens import TokenCounter, chat_tokens, encoding
from finetune_advisor.errors import AdvisorError, BadInput, require
from finetune_advisor.models import fake
from finetune_advisor.models.chat import ChatFormat, with_tools
from finetune_advisor.models.weights import loaded
from finetune_advisor.records import Message, Progress, TrainingPair, TrainingRun
from finetune_advisor.tuning import presets, process
from finetune_advisor.tuning.chat_files import NON_PREFERRED
from finetune_advisor.tuning.follow import TrainingFailed, follow
from finetune_advisor.tuning.presets import Value
from finetune_advisor.tuning.probe import this_machine
from finetune_advisor.tuning.trl_progress import Finished, finished, progress_of
from finetune_advisor.tuning.work import TuningEstimate, TuningStatus, TuningWork

SCRIPTS = Path(__file__).parent / "scripts"
PROGRAM = SCRIPTS / "train_trl.py"
SETTINGS = "settings.json"
LEFT_BY_ANOTHER = ("training.json", "progress.jsonl", process.LOG, "adapter_config.json", "config.json", "README.md")
CHECKPOINTS, MERGED = "checkpoints", "merged"
CHOICES = {
    "method": ("lora", "qlora", "dora", "full"),
    "task": ("sft", "dpo"),
    "scheduler": ("linear", "cosine", "constant"),
    "metric": ("loss", "accuracy"),
}
AT_LEAST_ONE = ("rank", "alpha", "epochs", "batch_size", "accumulation", "max_length")

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Trl:
    """A training by TRL. What is None is as the preset has it.

    Args:
        preset: Name of a preset; "" for the one that goes with task and method.
        method: "lora", "qlora" (the base in 4 bits, CUDA only), "dora", or "full" for all weights.
        task: "sft" learns the answers; "dpo" learns to prefer them to worse ones, which the last message of a
            prompt names as `non_preferred_output`.
        rank: Rank of the update of each weight matrix.
        alpha: The update is scaled by alpha / rank.
        dropout: Dropout before the update.
        targets: Last parts of the names of the modules to adapt, or "all-linear".
        top_layers: Adapt so many of the last layers only; 0 for all.
        learning_rate: Peak learning rate of AdamW.
        epochs: Passes over the data.
        max_steps: Stop after so many steps; 0 for no limit.
        batch_size: Examples in memory at once, on each GPU.
        accumulation: So many batches make a step.
        max_length: In tokens; longer examples are left out. With packing also the length of a row.
        packing: Put several examples into a row, so that nothing is padded.
        patience: Stop after so many evaluations without a better one; 0 for never.
        metric: "loss" or "accuracy" on the validation data, which decides which checkpoint is best.
        evaluations: Evaluations and checkpoints in all, at least 2; 0 for one after each epoch.
        validation_limit: The most validation examples that are looked at; 0 for all.
        scheduler: "linear", "cosine" or "constant".
        warmup: Share of the steps in which the learning rate rises.
        max_grad_norm: Longer gradients are cut to this length.
        beta: DPO: how much to stay near the base model.
        seed: Decides the adapter's first values and the order of the data.
        gpus: How many to use, by `accelerate launch` where they are several.
        merge: Also write the model with the adapter merged into it, into `merged`.
    """

    preset: str = ""
    method: str | None = None
    task: str | None = None
    rank: int | None = None
    alpha: int | None = None
    dropout: float | None = None
    targets: str | None = None
    top_layers: int | None = None
    learning_rate: float | None = None
    epochs: int | None = None
    max_steps: int | None = None
    batch_size: int | None = None
    accumulation: int | None = None
    max_length: int | None = None
    packing: bool | None = None
    patience: int | None = None
    metric: str | None = None
    evaluations: int | None = None
    validation_limit: int | None = None
    scheduler: str | None = None
    warmup: float | None = None
    max_grad_norm: float | None = None
    beta: float | None = None
    seed: int = 0
    gpus: int = 1
    merge: bool = False

    def __post_init__(self) -> None:
        _check(self.settings)
        if type(self.gpus) is not int or self.gpus < 1:
            raise BadInput(f"gpus has to be at least 1, not {self.gpus}.")
        if self.merge and self.settings["method"] == "full":
            raise BadInput("There is no adapter to merge where all weights are trained.", hint="Leave merge out.")

    @cached_property
    def settings(self) -> Mapping[str, Value]:
        """Every setting, those of the preset included.

        Raises:
            BadInput: There is no such preset.
        """
        given = {name: value for name, value in asdict(self).items() if value is not None}
        name = self.preset or presets.default(str(given.get("task", "sft")), str(given.get("method", "lora")))
        return {
            "seed": self.seed,
            **{key: given.get(key, value) for key, value in presets.find(name).settings.items()},
        }

    def tune(self, work: TuningWork, progress: Progress) -> TrainingRun:
        """Train, or find the training of the same data and settings again, and wait for its end.

        Raises:
            BadInput: The data or the settings cannot be trained.
            TrainingFailed: The training did not succeed.
        """
        return follow(self, work, progress, every_seconds=1)

    def estimate(self, work: TuningWork) -> TuningEstimate:
        """Tokens over all epochs; seconds where the card of this machine is known. Nothing is billed, so no dollars."""
        lengths, assumed = _lengths(work)
        most, epochs = self._number("max_length"), self._number("epochs")
        fitting = [length for length in lengths if length <= most]
        if len(fitting) < len(lengths):
            assumed += (f"{len(lengths) - len(fitting)} examples are too long and left out.",)
        tokens = sum(fitting) * epochs
        seconds = self._seconds(work, fitting, tokens) if tokens else None
        if seconds is not None:
            assumed += ("The time is reckoned for this machine's graphics card, not measured.",)
        return TuningEstimate(tokens=tokens, epochs=epochs, usd=None, seconds=seconds, assumed=assumed)

    def prepare(self, work: TuningWork) -> None:
        """Write settings and data into the folder; a training of other data that lies there is removed.

        A training of the same data that failed, was cancelled or died may be started again afterwards.

        Raises:
            BadInput: There is nothing to train on, a worse answer is missing, or this machine cannot train so.
        """
        self._check_machine(work)
        texts = self._texts(work)
        folder = work.folder
        if not all(_text(folder / name) == text for name, text in texts.items()):
            process.cancel(folder)
            _clear(folder)
            for name, text in texts.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(text, encoding="utf-8")
        if self.watch(work).state in ("failed", "cancelled"):
            process.forget(folder)

    def start(self, work: TuningWork) -> None:
        """Start the training unless it runs or has ended; one that died goes on from its last checkpoint."""
        if self.watch(work).state != "succeeded":
            process.start(work.folder, self._command(work.folder), env={"HF_HUB_DISABLE_TELEMETRY": "1"})

    def watch(self, work: TuningWork) -> TuningStatus:
        """How it stands, by the files that it writes."""
        return progress_of(work.folder, complete=self._complete(work.folder))

    def cancel(self, work: TuningWork) -> None:
        """End it; its checkpoints stay, so that it can go on after another `prepare`."""
        process.cancel(work.folder)

    def result(self, work: TuningWork) -> TrainingRun:
        """What the training took; its checkpoints are removed.

        Raises:
            TrainingFailed: It has not succeeded.
        """
        status, done = self.watch(work), finished(work.folder)
        if status.state != "succeeded" or done is None:
            raise TrainingFailed(status.message or f"The training is {status.state}.", hint=status.hint)
        shutil.rmtree(work.folder / CHECKPOINTS, ignore_errors=True)
        return self._run(work, done)

    def _run(self, work: TuningWork, done: Finished) -> TrainingRun:
        return TrainingRun(
            adapter=str(work.folder),
            base=work.source,
            options={**self.settings, "preset": self.preset, "gpus": self.gpus, "merge": self.merge},
            **done.model_dump(exclude={"losses"}),
            losses=tuple(done.losses),
        )

    def _number(self, name: str) -> int:
        return int(self.settings[name])

    def _complete(self, folder: Path) -> bool:
        """Whether all that is wanted lies in the folder, also where nobody can say how its process ended."""
        return finished(folder) is not None and (not self.merge or (folder / MERGED).is_dir())

    def _command(self, folder: Path) -> list[str]:
        launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1"]
        several = [*launch, "--num_processes", str(self.gpus)] if self.gpus > 1 else []
        place = str(folder.resolve())
        merging = ["--merge"] if self.merge else []
        return [sys.executable, *several, str(PROGRAM), "--folder", place, "--output", place, "--resume", *merging]

    def _texts(self, work: TuningWork) -> dict[str, str]:
        parts = {"train": work.train, "validation": work.validation}
        as_row = _preference if self.settings["task"] == "dpo" else _supervised
        data = {
            f"data/{part}.jsonl": "".join(json.dumps(as_row(pair), ensure_ascii=False) + "\n" for pair in pairs)
            for part, pairs in parts.items()
        }
        settings = {"model": _absolute(work.source), **self.settings}
        return {SETTINGS: json.dumps(settings, indent=1), **data}

    def _check_machine(self, work: TuningWork) -> None:
        if not work.train:
            raise BadInput("There is nothing to train on: the training part is empty.")
        if work.source == fake.SOURCE:
            raise BadInput("TRL cannot train the pretended model.", hint='Take trainer = "lora", which pretends too.')
        if self.settings["patience"] and not work.validation:
            raise BadInput("Stopping early needs validation data.", hint="Set patience = 0, or add validation data.")
        cards = int(require("torch", extra="local").cuda.device_count())
        if self.settings["method"] == "qlora":
            _check_quantised(cards)
        if self.gpus > max(1, cards):
            raise BadInput(f"This machine has {cards} CUDA devices, not {self.gpus}.", hint="Set gpus accordingly.")

    def _seconds(self, work: TuningWork, lengths: Sequence[int], tokens: int) -> float | None:
        if not require("torch", extra="local").cuda.is_available():
            return None
        try:
            found = estimated(self._job(work, this_machine("cuda"), lengths, tokens))
        except AdvisorError:
            return None
        return found.seconds.likely if found.seconds else None

    def _job(self, work: TuningWork, card: object, lengths: Sequence[int], tokens: int) -> EstimateOptions:
        if not isinstance(card, Gpu):
            raise BadInput("How fast this card is, is not known.")
        method, packing = str(self.settings["method"]), bool(self.settings["packing"])
        mean, longest = mean_and_longest(lengths, self._number("max_length"))
        return EstimateOptions(
            model=work.source,
            method="lora" if method == "dora" else method,
            micro_batch=self._number("batch_size"),
            seq=self._number("max_length") if packing else longest,
            rank=self._number("rank"),
            gpu=card,
            gpus=self.gpus,
            tokens=tokens,
            mean_tokens=mean,
            packing=packing,
            accumulation=self._number("accumulation"),
            optimizer="adamw-fp32" if method == "full" else "adamw",
        )


def _check(settings: Mapping[str, Value]) -> None:
    """Settings come from files."""
    for name, usual in presets.find(presets.BASE).settings.items():
        kinds = (int, float) if isinstance(usual, float) else (type(usual),)
        if type(settings[name]) not in kinds:
            raise BadInput(f"{name} cannot be {settings[name]!r}.", hint=f"It has to be of type {kinds[-1].__name__}.")
    for name, known in CHOICES.items():
        if settings[name] not in known:
            raise BadInput(f"{name} cannot be {settings[name]!r}.", hint="Known: " + ", ".join(known) + ".")
    low = [name for name in AT_LEAST_ONE if float(settings[name]) < 1]
    if low:
        raise BadInput(f"{low[0]} has to be at least 1, not {settings[low[0]]}.")
    if float(settings["learning_rate"]) <= 0:
        raise BadInput(f"learning_rate has to be above 0, not {settings['learning_rate']}.")
    if settings["task"] == "dpo" and settings["packing"]:
        raise BadInput("Preferences cannot be packed.", hint="Set packing = false.")


def _check_quantised(cards: int) -> None:
    if not cards:
        raise BadInput(
            "QLoRA keeps the model in 4 bits, which needs a CUDA graphics card; this machine has none.",
            hint='Take method = "lora".',
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise BadInput("QLoRA needs bitsandbytes, which is not installed.", hint="pip install bitsandbytes")


def _clear(folder: Path) -> None:
    """Remove what a training of other data or settings left."""
    process.forget(folder)
    for name in LEFT_BY_ANOTHER:
        (folder / name).unlink(missing_ok=True)
    for weights in folder.glob("*.safetensors*"):
        weights.unlink()
    for name in (CHECKPOINTS, MERGED):
        shutil.rmtree(folder / name, ignore_errors=True)


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _absolute(source: str) -> str:
    """The process runs elsewhere: a folder has to be named in full."""
    return str(Path(source).resolve()) if Path(source).is_dir() else source


def _supervised(pair: TrainingPair) -> Row:
    return {"messages": [*map(_turn, pair.messages), {"role": "assistant", "content": pair.answer}], **_tools(pair)}


def _preference(pair: TrainingPair) -> Row:
    worse = pair.messages[-1].extra.get(NON_PREFERRED) if pair.messages else None
    if not isinstance(worse, str) or not worse.strip():
        raise BadInput(
            "A training example has no worse answer to compare with, which preference tuning (DPO) needs.",
            hint='Give each prompt a preferred and a non-preferred answer, or set task = "sft".',
        )
    return {"prompt": [*map(_turn, pair.messages)], "chosen": pair.answer, "rejected": worse, **_tools(pair)}


def _tools(pair: TrainingPair) -> Row:
    """The tools, and the prompt with the tools in its text for a template that knows none."""
    if not pair.tools:
        return {}
    listed = [_turn(message) for message in with_tools(pair.messages, pair.tools)]
    return {"tools": [dict(tool) for tool in pair.tools], "listed": listed}


def _turn(message: Message) -> Row:
    extra = {key: value for key, value in message.extra.items() if key != NON_PREFERRED}
    return {"role": message.role, "content": message.content, **extra}


def _lengths(work: TuningWork) -> tuple[list[int], tuple[str, ...]]:
    """Tokens of each training example, and what the count rests on."""
    try:
        tokenizer = loaded("AutoTokenizer", work.source, local_files_only=True)
    except AdvisorError:
        counter = encoding()
        assumed = f"Counted with OpenAI's vocabulary {counter.name}: the model's own is not on this machine."
        return [_counted(pair, counter) for pair in work.train], (assumed,)
    chat = ChatFormat(tokenizer, (tokenizer.eos_token_id,))
    return [_exact(pair, chat) for pair in work.train], ()


def _exact(pair: TrainingPair, chat: ChatFormat) -> int:
    prompt = len(chat.prompt(pair.messages, pair.tools))
    return prompt + len(chat.answer(pair.messages, pair.answer, pair.tools))


def _counted(pair: TrainingPair, counter: TokenCounter) -> int:
    return chat_tokens([*map(_turn, pair.messages), {"role": "assistant", "content": pair.answer}], counter)
