"""One supervised LoRA training with TRL.

On a CPU that multiplies in bfloat16 the adapter is bfloat16 too; there attention is by plain products (see
`attention`), and the layers below the trained ones read every example once (see `lower`).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from typing import Any

from finetune_advisor.errors import BadInput, require
from finetune_advisor.models.chat import ChatFormat, stop_tokens
from finetune_advisor.models.hardware import (
    Module,
    Tensor,
    Tokenizer,
    device_for,
    dtype_for,
    return_memory,
    use_physical_cores,
)
from finetune_advisor.models.quiet import quiet
from finetune_advisor.models.weights import loaded, placed
from finetune_advisor.records import LossPoint, Progress, TrainingPair, TrainingRun
from finetune_advisor.tuning.answer_loss import padded, trainer_class
from finetune_advisor.tuning.attention import attend_plainly
from finetune_advisor.tuning.lower import Tokens, raise_adapter, read_below
from finetune_advisor.tuning.options import LoraOptions
from finetune_advisor.tuning.pairs import Encoded, arranged, encoded, rows, schedule
from finetune_advisor.tuning.record import TrainingFolder

LOSSES_LOGGED = 20
SAVES = 3
"""Checkpoints from one evaluation to the next, where the steps can be divided so: a stop costs no more than that."""

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


class Training:
    """One training of one model.

    Args:
        options: What can be set.
        source: Folder or hub id of the base model.
        place: Where it is kept.
        progress: Called with steps done and in total.
    """

    def __init__(self, options: LoraOptions, source: str, place: TrainingFolder, progress: Progress) -> None:
        self._options = options
        self._source = source
        self._place = place
        self._progress = progress
        self._device = device_for(options.device)
        single_gpu()
        self._started = time.perf_counter()
        self._cut: tuple[int, Sequence[str]] | None = None

    def run(self, train: Sequence[TrainingPair], validation: Sequence[TrainingPair]) -> TrainingRun:
        """Train from the start or from the last checkpoint, and put the best adapter into the folder."""
        use_physical_cores()
        return_memory()
        learnt = self._encoded(train)
        checked = self._encoded(validation[: self._options.validation_limit])
        with quiet():
            self._progress("training", 0, self._options.steps(len(learnt)))
            trainer = self._trainer(learnt, checked)
            checkpoint = self._place.last_checkpoint()
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        best = trainer.state.best_global_step or trainer.state.global_step
        self._keep(best)
        record = self._record(trainer, learnt, best)
        del trainer, self._model
        return_memory()
        return record

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return loaded("AutoTokenizer", self._source)

    @cached_property
    def _model(self) -> Module:
        dtype = dtype_for(self._options.dtype, self._device)
        return placed(loaded("AutoModelForCausalLM", self._source, dtype=dtype), self._device, self._source)

    @cached_property
    def _chat(self) -> ChatFormat:
        return ChatFormat(self._tokenizer, stop_tokens(self._model, self._tokenizer))

    def _encoded(self, pairs: Sequence[TrainingPair]) -> list[Encoded]:
        return encoded(pairs, self._chat, self._options.max_length)

    def _trainer(self, learnt: Sequence[Encoded], checked: Sequence[Encoded]) -> Any:
        steps = self._options.steps(len(learnt))
        dataset = require("datasets", extra="local").Dataset
        states = self._read_below([*learnt, *checked]) if self._device == "cpu" else None
        batches = schedule(learnt, self._options.batch_size, steps, self._options.seed)
        validating = arranged(checked, 4 * self._options.batch_size, self._options.seed)
        trainer = trainer_class()(
            model=self._adapted(),
            args=self._arguments(len(learnt), bool(checked)),
            train_dataset=dataset.from_dict(rows(batches)),
            eval_dataset=dataset.from_dict(rows(validating)) if checked else None,
            processing_class=self._tokenizer,
            data_collator=partial(padded, states=states),
            callbacks=[self._watch()],
        )
        trainer.remove_callback(require("transformers", extra="local").PrinterCallback)
        return trainer

    def _read_below(self, examples: Sequence[Encoded]) -> Mapping[Tokens, Tensor]:
        """What the layers below the trained ones make of all examples; the model is left without them."""
        place = lowest_layer(self._model, self._options)
        targets = target_modules(self._model, self._options)
        states = read_below(self._model, place, [(*one.prompt, *one.answer) for one in examples])
        self._cut = (place, targets) if states else None
        attend_plainly(self._model)
        return states

    def _adapted(self) -> Module:
        peft = require("peft", extra="local")
        require("transformers", extra="local").set_seed(self._options.seed)
        config = peft.LoraConfig(
            r=self._options.rank,
            lora_alpha=self._options.alpha,
            lora_dropout=self._options.dropout,
            target_modules=target_modules(self._model, self._options),
            task_type="CAUSAL_LM",
        )
        # Adapters in the base's bfloat16 on the CPU; on CUDA, peft's float32 with autocast costs little.
        return peft.get_peft_model(self._model, config, autocast_adapter_dtype=self._device != "cpu")

    def _arguments(self, examples: int, has_validation: bool) -> Any:
        torch = require("torch", extra="local")
        on_cuda = self._device != "cpu"
        steps, every = self._options.steps(examples), self._options.evaluated_every(examples)
        return require("trl", extra="local").SFTConfig(
            output_dir=str(self._place.checkpoints),
            # A dataset row is a whole batch, so that the order of training is part of the data.
            per_device_train_batch_size=1,
            per_device_eval_batch_size=1,
            train_sampling_strategy="sequential",
            max_steps=steps,
            learning_rate=self._options.learning_rate,
            lr_scheduler_type=self._options.schedule + "_with_warmup" * (self._options.schedule == "constant"),
            warmup_steps=round(self._options.warmup * steps),
            seed=self._options.seed,
            logging_steps=max(1, steps // LOSSES_LOGGED),
            eval_strategy="steps" if has_validation else "no",
            eval_steps=every,
            save_strategy="steps",
            save_steps=next(every // parts for parts in (SAVES, 2, 1) if every % parts == 0),
            save_total_limit=2,
            metric_for_best_model="loss" if has_validation else None,
            greater_is_better=False if has_validation else None,
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
            use_cpu=not on_cuda,
            bf16=on_cuda and self._model.dtype == torch.bfloat16,
            fp16=on_cuda and self._model.dtype == torch.float16,
            gradient_checkpointing=on_cuda,
            dataloader_pin_memory=on_cuda,
            report_to="none",
            disable_tqdm=True,
            log_level="error",
        )

    def _watch(self) -> Any:
        """A callback that reports steps and notes the seconds that are in a checkpoint."""

        def on_step_end(_: object, args: object, state: Any, control: object, **rest: object) -> None:
            self._progress("training", state.global_step, state.max_steps)

        def on_save(_: object, args: object, state: object, control: object, **rest: object) -> None:
            self._place.note(time.perf_counter() - self._started)

        base = require("transformers", extra="local").TrainerCallback
        return type("Watch", (base,), {"on_step_end": on_step_end, "on_save": on_save})()

    def _keep(self, step: int) -> None:
        for name in ADAPTER_FILES:
            shutil.copyfile(self._place.checkpoints / f"checkpoint-{step}" / name, self._place.path / name)
        if self._cut:
            raise_adapter(self._place.path, *self._cut)

    def _record(self, trainer: Any, learnt: Sequence[Encoded], best_step: int) -> TrainingRun:
        steps = self._options.steps(len(learnt))
        batches = schedule(learnt, self._options.batch_size, steps, self._options.seed)
        return TrainingRun(
            adapter=str(self._place.path),
            base=self._source,
            options=asdict(self._options),
            examples=len(learnt),
            steps=steps,
            best_step=best_step,
            tokens=sum(one.length for batch in batches for one in batch),
            trainable_parameters=sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
            seconds=self._place.seconds + time.perf_counter() - self._started,
            losses=loss_points(trainer.state.log_history),
        )


def target_modules(model: Module, options: LoraOptions) -> str | list[str]:
    """What peft is to adapt.

    Raises:
        BadInput: No module has such a name.
    """
    if options.targets == "all-linear" and not options.top_layers:
        return "all-linear"
    linear = require("torch", extra="local").nn.Linear
    output = model.get_output_embeddings()
    names = [name for name, module in model.named_modules() if isinstance(module, linear) and module is not output]
    wanted = [part.strip() for part in options.targets.split(",")]
    chosen = [name for name in names if wanted == ["all-linear"] or name.rpartition(".")[2] in wanted]
    lowest = lowest_layer(model, options)
    chosen = [name for name in chosen if layer_of(name) >= lowest]
    if not chosen:
        known = ", ".join(sorted({name.rpartition(".")[2] for name in names}))
        raise BadInput(f"The model has no linear layers named {options.targets!r}.", hint=f"Known: {known}.")
    return chosen


def lowest_layer(model: Module, options: LoraOptions) -> int:
    """The number of the lowest layer that is adapted."""
    layers = model.config.get_text_config().num_hidden_layers
    return max(0, layers - options.top_layers) if options.top_layers else 0


def layer_of(name: str) -> int:
    """The number of the layer that a module's name stands for; 0 where there is none."""
    return next((int(part) for part in name.split(".") if part.isdigit()), 0)


def loss_points(history: Sequence[dict[str, Any]]) -> tuple[LossPoint, ...]:
    """The losses in a trainer's log."""
    train = [LossPoint(step=e["step"], loss=float(e["loss"]), split="train") for e in history if "loss" in e]
    checks = [e for e in history if "eval_loss" in e]
    validation = [LossPoint(step=e["step"], loss=float(e["eval_loss"]), split="validation") for e in checks]
    return tuple(sorted(train + validation, key=lambda point: point.step))


def single_gpu() -> None:
    """TRL does not train on several GPUs from one process.

    Raises:
        BadInput: More than one GPU is visible.
    """
    if require("torch", extra="local").cuda.device_count() > 1:
        raise BadInput("Training needs a single GPU to be visible.", hint="Set CUDA_VISIBLE_DEVICES=0.")
