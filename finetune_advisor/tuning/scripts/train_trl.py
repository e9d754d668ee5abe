# pyright: basic, reportPrivateImportUsage=false
"""Train a language model with Hugging Face TRL on the data in this folder.

    python train_trl.py                              train, and leave the result in the folder `adapter`
    python train_trl.py --resume                     go on after an interruption
    python train_trl.py --merge                      also write the model with the adapter merged, into `merged`
    python train_trl.py --push-to NAME/REPOSITORY    also upload the result, private, to the Hugging Face hub
    accelerate launch --num_processes 4 train_trl.py     on four GPUs

It needs `pip install "trl>=1.16,<2" "transformers>=5.23,<6" "peft>=0.21,<0.22" "accelerate>=1.15,<2" "datasets>=5,<6"`
and torch, for method "qlora" bitsandbytes too; nothing else. It reads

    settings.json           the base model and what differs from the defaults in training_settings.py
    data/train.jsonl        a line each: {"messages": [..., {"role": "assistant", "content": "the answer"}]},
    data/validation.jsonl   for task "dpo": {"prompt": [messages], "chosen": "...", "rejected": "..."}; may be absent

and writes progress.jsonl as it goes on and training.json at the end. Only the answers' tokens are learnt, up to the
token that ends an answer; examples that are too long are left out, since cut off they would teach to go on and on.
After each epoch a checkpoint is written and the validation data looked at; the best checkpoint is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training_settings import Settings

METRICS = {
    ("sft", "loss"): "eval_loss",
    ("sft", "accuracy"): "eval_mean_token_accuracy",
    ("dpo", "loss"): "eval_loss",
    ("dpo", "accuracy"): "eval_rewards/accuracies",
}


@dataclass(frozen=True, kw_only=True)
class Data:
    """Examples as token ids, as TRL's trainers take them, and their lengths."""

    train: list[dict[str, list[int]]]
    validation: list[dict[str, list[int]]]
    tokens: int


def read_data(folder: Path, chat: Any, settings: Settings, note: Any) -> Data:
    """Both parts, without the examples that are too long."""
    from examples import encoded, longest, read_rows, tokens_read
    from training_settings import refuse

    parts = {}
    for part, limit in (("train", 0), ("validation", settings.validation_limit)):
        every = [encoded(row, chat) for row in read_rows(folder / "data" / f"{part}.jsonl", limit)]
        parts[part] = [example for example in every if longest(example) <= settings.max_length]
        left_out = len(every) - len(parts[part])
        note(message=f"{part}: {len(parts[part])} examples, {left_out} left out because they are too long")
    if not parts["train"]:
        refuse(f"data/train.jsonl has no example of at most {settings.max_length} tokens; raise max_length.")
    if settings.patience and not parts["validation"]:
        refuse("stopping early needs validation data; add data/validation.jsonl, or set patience to 0.")
    return Data(**parts, tokens=sum(map(tokens_read, parts["train"])))


def load(settings: Settings) -> tuple[Any, Any]:
    """The tokenizer and the base model; code that comes with a model is never run."""
    from training_settings import refuse
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(settings.model)
        return tokenizer, AutoModelForCausalLM.from_pretrained(settings.model, **number_format(settings))
    except (OSError, ValueError) as error:
        refuse(f"the model {settings.model} cannot be loaded: {str(error).strip().splitlines()[0]}")


def number_format(settings: Settings) -> dict[str, Any]:
    """The number format that the hardware is fast in; 4 bits for QLoRA."""
    import torch
    from transformers import BitsAndBytesConfig

    # A full fine-tuning's small updates would be rounded away in 16 bits: it multiplies in 16 and keeps 32.
    if settings.method == "full" or not torch.cuda.is_available():
        return {"dtype": torch.float32}
    if settings.method != "qlora":
        return {"dtype": half_precision()}
    quantised = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=half_precision(),
    )
    device = {"": int(os.environ.get("LOCAL_RANK", "0"))}
    return {"dtype": half_precision(), "quantization_config": quantised, "device_map": device}


def half_precision() -> Any:
    """bfloat16 where the GPU multiplies in it, else float16."""
    import torch

    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def adapter(model: Any, settings: Settings) -> Any:
    """What is added to the model; nothing for a full fine-tuning."""
    from peft import LoraConfig

    if settings.method == "full":
        return None
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets(model, settings),
        use_dora=settings.method == "dora",
        task_type="CAUSAL_LM",
    )


def targets(model: Any, settings: Settings) -> str | list[str]:
    """Names of the linear layers to adapt; the output layer stays as it is."""
    import torch
    from training_settings import refuse

    if settings.targets == "all-linear" and not settings.top_layers:
        return "all-linear"
    output = model.get_output_embeddings()
    linear = [name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear) and part is not output]
    wanted = [part.strip() for part in settings.targets.split(",")]
    lowest = model.config.get_text_config().num_hidden_layers - settings.top_layers if settings.top_layers else 0
    chosen = [name for name in linear if wanted == ["all-linear"] or name.rpartition(".")[2] in wanted]
    chosen = [name for name in chosen if next((int(part) for part in name.split(".") if part.isdigit()), 0) >= lowest]
    if not chosen:
        known = ", ".join(sorted({name.rpartition(".")[2] for name in linear}))
        refuse(f"the model has no linear layers named {settings.targets!r}; it has {known}.")
    return chosen


def arguments(settings: Settings, checkpoints: Path, validated: bool) -> dict[str, Any]:
    """How to train, by the names that SFTConfig and DPOConfig share."""
    import torch

    cuda = torch.cuda.is_available()
    bfloat16 = cuda and half_precision() == torch.bfloat16
    strategy = "steps" if settings.evaluations else "epoch"
    every = 1 / max(2, settings.evaluations)
    metric = METRICS[settings.task, settings.metric]
    return {
        "output_dir": str(checkpoints),
        "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps or -1,
        "per_device_train_batch_size": settings.batch_size,
        "per_device_eval_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.accumulation,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": settings.scheduler + "_with_warmup" * (settings.scheduler == "constant"),
        "warmup_steps": settings.warmup,
        "max_grad_norm": settings.max_grad_norm,
        "eval_strategy": strategy if validated else "no",
        "save_strategy": strategy,
        "eval_steps": every,
        "save_steps": every,
        "save_total_limit": 2,
        "load_best_model_at_end": validated,
        "metric_for_best_model": metric if validated else None,
        "greater_is_better": settings.metric == "accuracy" if validated else None,
        "restore_callback_states_from_checkpoint": True,
        "bf16": bfloat16,
        "fp16": cuda and not bfloat16,
        "activation_checkpointing": cuda,
        "dataloader_pin_memory": cuda,
        "logging_steps": 0.05,
        "report_to": "none",
        "disable_tqdm": True,
        "seed": settings.seed,
    }


def build(settings: Settings, model: Any, tokenizer: Any, data: Data, checkpoints: Path, callbacks: list) -> Any:
    """TRL's trainer for the task."""
    from datasets import Dataset
    from examples import longest
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    class Supervised(SFTTrainer):
        """SFT with batches of like lengths in an order that a resumed training meets again."""

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return by_length([longest(example) for example in data.train], settings)

    class Preferences(DPOTrainer):
        """DPO on token ids that are made already, so that prompts are the very ones that are asked later."""

        def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
            return dataset

    make: Any
    validated = bool(data.validation)
    shared = arguments(settings, checkpoints, validated)
    if settings.task == "dpo":
        make, config = Preferences, DPOConfig(**shared, beta=settings.beta, max_length=None)
    else:
        rows: dict[str, Any] = {"max_length": None}
        if settings.packing:
            rows = {"packing": True, "max_length": settings.max_length}
        make, config = SFTTrainer if settings.packing else Supervised, SFTConfig(**shared, **rows)
    return make(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(data.train),
        eval_dataset=Dataset.from_list(data.validation) if validated else None,
        processing_class=tokenizer,
        peft_config=adapter(model, settings),
        callbacks=callbacks,
    )


def by_length(lengths: list[int], settings: Settings) -> Any:
    """A sampler of batches of like lengths, shuffled by seed and epoch; transformers' own forgets its order."""
    import torch
    from transformers.trainer_pt_utils import get_length_grouped_indices

    class ByLength(torch.utils.data.Sampler):
        epoch = 0

        def __len__(self) -> int:
            return len(lengths)

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

        def __iter__(self) -> Iterator[int]:
            chance = torch.Generator().manual_seed(settings.seed + self.epoch)
            size = settings.batch_size * settings.accumulation
            return iter(get_length_grouped_indices(lengths, size, generator=chance))

    return ByLength()


class Progress:
    """progress.jsonl: a line for what happened, for whoever watches."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "progress.jsonl"
        self.started = time.monotonic()
        self.told = 0.0
        self.earlier = 0.0

    def note(self, **line: Any) -> None:
        """Add a line; of several processes only the first one does."""
        if os.environ.get("RANK", "0") == "0":
            line = {"at": datetime.now(UTC).isoformat(), **line}
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    @property
    def seconds(self) -> float:
        """Seconds of this attempt and of what it goes on with."""
        return self.earlier + time.monotonic() - self.started

    def go_on(self, checkpoint: Path) -> None:
        """Take over the seconds that are in a checkpoint."""
        spent = checkpoint / "seconds.txt"
        self.earlier = float(spent.read_text(encoding="utf-8")) if spent.exists() else 0.0
        self.note(message=f"going on from {checkpoint.name}")

    def callback(self) -> Any:
        """What the trainer tells."""
        from transformers import TrainerCallback

        progress = self

        class Watch(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
                if time.monotonic() - progress.told >= 1:
                    progress.told = time.monotonic()
                    progress.note(step=state.global_step, total=state.max_steps)

            def on_log(self, args: Any, state: Any, control: Any, logs: dict, **rest: Any) -> None:
                if figures := losses(logs):
                    progress.note(step=state.global_step, total=state.max_steps, **figures)

            def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
                name = f"checkpoint-{state.global_step}"
                if state.is_world_process_zero:
                    spent = Path(args.output_dir) / name / "seconds.txt"
                    spent.write_text(str(progress.seconds), encoding="utf-8")
                progress.note(step=state.global_step, total=state.max_steps, checkpoint=name)

        return Watch()


def losses(logs: dict[str, float]) -> dict[str, float]:
    """The figures of a log entry that people ask for, by plain names."""
    names = {
        "loss": "train_loss",
        "eval_loss": "validation_loss",
        "eval_mean_token_accuracy": "validation_accuracy",
        "eval_rewards/accuracies": "validation_accuracy",
    }
    return {plain: float(logs[name]) for name, plain in names.items() if name in logs}


def last_checkpoint(checkpoints: Path) -> Path | None:
    """The newest complete checkpoint; its state file is the last to be written."""
    found = sorted(checkpoints.glob("checkpoint-*"), key=lambda path: -int(path.name.rpartition("-")[2]))
    return next((path for path in found if is_complete(path)), None)


def is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def train(settings: Settings, folder: Path, output: Path) -> None:
    """Train from the start or from the last checkpoint, and save the best one."""
    from examples import Chat, stop_tokens
    from transformers import EarlyStoppingCallback, PrinterCallback, set_seed

    progress = Progress(folder)
    set_seed(settings.seed)
    tokenizer, model = load(settings)
    data = read_data(folder, Chat(tokenizer, stop_tokens(model, tokenizer)), settings, progress.note)
    callbacks = [progress.callback(), *([EarlyStoppingCallback(settings.patience)] if settings.patience else [])]
    trainer = build(settings, model, tokenizer, data, folder / "checkpoints", callbacks)
    trainer.remove_callback(PrinterCallback)
    checkpoint = last_checkpoint(folder / "checkpoints")
    if checkpoint:
        progress.go_on(checkpoint)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    trainer.save_model(str(output))
    if trainer.is_world_process_zero():
        finish(settings, folder, output, record(settings, trainer, data, progress.seconds))


def record(settings: Settings, trainer: Any, data: Data, seconds: float) -> dict[str, Any]:
    """What the training took and came to."""
    state = trainer.state
    points = [
        {"step": entry["step"], "loss": figures[f"{split}_loss"], "split": split}
        for entry in state.log_history
        for figures in [losses(entry)]
        for split in ("train", "validation")
        if f"{split}_loss" in figures
    ]
    return {
        "settings": asdict(settings),
        "examples": len(data.train),
        "steps": state.global_step,
        "planned_steps": state.max_steps,
        "best_step": state.best_global_step or state.global_step,
        "tokens": round(data.tokens * state.epoch),
        "trainable_parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        "seconds": seconds,
        "losses": points,
    }


def finish(settings: Settings, folder: Path, output: Path, training: dict[str, Any]) -> None:
    """Write the model card and, last of all, training.json."""
    from publishing import card

    (output / "training_args.bin").unlink(missing_ok=True)
    (output / "README.md").write_text(card(training), encoding="utf-8")
    partial = folder / "training.partial"
    partial.write_text(json.dumps(training, indent=1), encoding="utf-8")
    os.replace(partial, folder / "training.json")
    print(f"The result of step {training['best_step']} of {training['steps']} is in {output}")


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train a language model with TRL on the data in a folder.")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent, help="settings and data (this folder)")
    parser.add_argument("--output", type=Path, help="where the result goes (the folder `adapter` in it)")
    parser.add_argument("--model", help="folder or Hugging Face id of the base model (as in settings.json)")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--merge", action="store_true", help="also write the merged model")
    parser.add_argument("--push-to", metavar="NAME/REPOSITORY", help="also upload the result, private")
    return parser.parse_args()


def main() -> None:
    """Train where that is not done yet, then merge and upload where that is asked for."""
    sys.path.insert(0, str(Path(__file__).parent))
    from publishing import merge, push
    from training_settings import read_settings, refuse

    given = options()
    folder = given.folder.resolve()
    output = (given.output or folder / "adapter").resolve()
    settings = read_settings(folder, given.model)
    if given.merge and settings.method == "full":
        refuse("a full fine-tuning has nothing to merge; its result is a whole model already.")
    if not (folder / "training.json").exists():
        if (folder / "checkpoints").exists() and not given.resume:
            refuse(f"an interrupted training lies in {folder / 'checkpoints'}; add --resume, or remove that folder.")
        try_to_train(settings, folder, output)
    first = os.environ.get("RANK", "0") == "0"
    if given.merge and first:
        merge(settings.model, output, folder / "merged")
    if given.push_to and first:
        push(output, given.push_to)


def try_to_train(settings: Settings, folder: Path, output: Path) -> None:
    """Train; where a library or memory is missing, say so in one sentence."""
    from training_settings import refuse

    try:
        train(settings, folder, output)
    except ModuleNotFoundError as error:
        refuse(f"{error.name} is not installed; the top of {Path(__file__).name} says what is needed.")
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and type(error).__name__ != "OutOfMemoryError":
            raise
        refuse("the memory is too small; lower batch_size and raise accumulation as much, or take method qlora.")


if __name__ == "__main__":
    main()
