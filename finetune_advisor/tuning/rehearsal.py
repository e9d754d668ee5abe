"""A model in its real widths with random weights, to be trained for a few steps that only time and memory are kept of.

LoRA's step is the one of `sft`, with the loss on the answers; full training's has the loss on every token.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from finetune_advisor.costs import memory
from finetune_advisor.costs.estimate import EstimateOptions
from finetune_advisor.costs.memory import GIB
from finetune_advisor.costs.shape import Config, Shape, text_part
from finetune_advisor.errors import BadInput, require
from finetune_advisor.models.hardware import Dtype, Module, Tensor
from finetune_advisor.tuning.answer_loss import KEEP_ACTIVATIONS_UP_TO, answer_loss, recompute_activations
from finetune_advisor.tuning.attention import attend_plainly
from finetune_advisor.tuning.options import LoraOptions
from finetune_advisor.tuning.pairs import NO_LOSS
from finetune_advisor.tuning.sft import target_modules

LEAST_STEPS = 2
MOST_STEPS = 12
PROMPT_TOKENS = 32
ANSWER_TOKENS = 5
BLOCK = 2**20

LAYER_COUNTS = ("num_hidden_layers", "n_layer", "n_layers")
NOT_WIDTHS = {"model_type", "aliases", "architectures", "auto_map", "dtype", "torch_dtype", "quantization_config"} | {
    *("_name_or_path", "transformers_version"),
}
"""Keys of a config that say nothing about the sizes of the matrices."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What a step computes: `count` rows of `length` tokens, of which the last `learnt` carry the loss."""

    count: int
    length: int
    learnt: int

    @property
    def tokens(self) -> int:
        """Tokens of a step."""
        return self.count * self.length


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of each step after the first, of one token of an answer, and the peak of the card's memory."""

    steps: tuple[float, ...]
    token_seconds: float
    peak_gib: float | None


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """A training that is tried out.

    Args:
        options: What is to be trained and how.
        config: Of the model.
        shape: Of the model.
        device: Where.
        dtype: The weights' number format, a torch dtype.
    """

    options: EstimateOptions
    config: Config
    shape: Shape
    device: str
    dtype: Dtype

    def run(self, layers: int, rows: Rows, seconds: float) -> Timing:
        """Train that many layers for about so many seconds, and at least a few steps.

        Raises:
            BadInput: transformers does not know such a model, or it has no such matrices.
        """
        model = self._model(layers)
        if self.device == "cpu":
            attend_plainly(model)
        token_seconds = self._token_seconds(model)
        step = self._step(self._trainable(model))
        batch = self._batch(rows)
        steps = self._timed(lambda: step(batch), seconds)
        return Timing(steps=steps, token_seconds=token_seconds, peak_gib=self._peak_gib(step, rows))

    def _model(self, layers: int) -> Module:
        torch = require("torch", extra="local")
        transformers = require("transformers", extra="local")
        no_init_weights = require("transformers.initialization", extra="local").no_init_weights
        try:
            with torch.device(self.device), no_init_weights():
                model = transformers.AutoModelForCausalLM.from_config(settings(self.config, layers), dtype=self.dtype)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            hint = "Estimate without a probe."
            raise BadInput(f"transformers cannot make a model of this config ({reason}).", hint=hint) from error
        fill(model)
        return model

    def _trainable(self, model: Module) -> Module:
        if self.options.method == "full":
            if self.options.checkpointing:
                model.activation_checkpointing_enable({"use_reentrant": False})
            return model.train()
        peft = require("peft", extra="local")
        config = peft.LoraConfig(r=self.options.rank, target_modules=self._modules(model), task_type="CAUSAL_LM")
        return peft.get_peft_model(model, config, autocast_adapter_dtype=self.device != "cpu").train()

    def _modules(self, model: Module) -> str | list[str]:
        chosen = memory.targets(self.options.targets, self.shape)
        every = chosen == memory.targets("all", self.shape)
        names = "all-linear" if every else ",".join(f"{name}_proj" for name in chosen)
        return target_modules(model, LoraOptions(targets=names))

    def _step(self, model: Module) -> Callable[[Mapping[str, Tensor]], None]:
        torch = require("torch", extra="local")
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)

        def step(batch: Mapping[str, Tensor]) -> None:
            with self._autocast():
                loss = self._loss(model, batch)
            loss.backward()
            optimizer.step()
            # Accumulated gradients stay in memory from step to step.
            optimizer.zero_grad(set_to_none=self.options.accumulation == 1)

        return step

    def _autocast(self) -> AbstractContextManager[Any]:
        torch = require("torch", extra="local")
        return torch.autocast(self.device, dtype=self.dtype, enabled=self.device != "cpu")

    def _loss(self, model: Module, batch: Mapping[str, Tensor]) -> Tensor:
        ids = batch["input_ids"]
        if self.options.method == "full":
            return model(input_ids=ids, labels=ids, use_cache=False).loss
        # On the CPU `sft` computes activations again for long batches alone.
        long = self.device != "cpu" or ids.numel() > KEEP_ACTIVATIONS_UP_TO
        recompute_activations(model, self.options.checkpointing and long)
        return answer_loss(model, batch, None)

    def _batch(self, rows: Rows) -> dict[str, Tensor]:
        torch = require("torch", extra="local")
        size = (rows.count, rows.length)
        ids = torch.randint(self.shape.vocabulary, size, device=self.device)
        labels = ids.clone()
        labels[:, : rows.length - rows.learnt] = NO_LOSS
        positions = torch.arange(rows.length, device=self.device).expand(size)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "position_ids": positions, "labels": labels}

    def _token_seconds(self, model: Module) -> float:
        """Seconds of one token of an answer, without an adapter (it can be merged)."""
        torch = require("torch", extra="local")
        length = min(PROMPT_TOKENS, self.shape.context or PROMPT_TOKENS) - ANSWER_TOKENS
        ids = torch.randint(self.shape.vocabulary, (1, max(1, length)), device=self.device)
        with torch.inference_mode():
            cache = model.eval()(input_ids=ids, use_cache=True).past_key_values
            times = [
                self._seconds(lambda: model(input_ids=ids[:, :1], past_key_values=cache, use_cache=True))
                for _ in range(ANSWER_TOKENS)
            ]
        return sorted(times)[len(times) // 2]

    def _timed(self, step: Callable[[], None], seconds: float) -> tuple[float, ...]:
        started = time.perf_counter()
        step()
        times: list[float] = []
        while len(times) < LEAST_STEPS or (len(times) < MOST_STEPS and time.perf_counter() - started < seconds):
            times.append(self._seconds(step))
        return tuple(times)

    def _seconds(self, work: Callable[[], object]) -> float:
        self._wait()
        started = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - started

    def _wait(self) -> None:
        if self.device != "cpu":
            require("torch", extra="local").cuda.synchronize()

    def _peak_gib(self, step: Callable[[Mapping[str, Tensor]], None], rows: Rows) -> float | None:
        """The peak with the longest rows; None on a CPU, and for what `_step` does not do as asked."""
        if self.device == "cpu" or self.options.optimizer != "adamw" or self.options.fused:
            return None
        cuda = require("torch", extra="local").cuda
        cuda.reset_peak_memory_stats()
        length = min(self.options.seq, self.shape.context or self.options.seq)
        step(self._batch(Rows(count=rows.count, length=length, learnt=max(1, rows.learnt * length // rows.length))))
        return cuda.max_memory_allocated() / GIB


def settings(config: Config, layers: int) -> Any:
    """The transformers config of the model with that many layers."""
    text = text_part(config)
    kept = {name: value for name, value in text.items() if name not in NOT_WIDTHS}
    kept |= {name: layers for name in LAYER_COUNTS if name in kept}
    if isinstance(kept.get("layer_types"), list):
        kept["layer_types"] = kept["layer_types"][:layers]
    return require("transformers", extra="local").AutoConfig.for_model(str(text.get("model_type", "")), **kept)


def fill(model: Module) -> None:
    """Random matrices, and ones for norms and biases: tiny activations would be slow, zeros would be fast."""
    torch = require("torch", extra="local")
    first = next(iter(model.parameters()))
    block = torch.randn(BLOCK, device=first.device, dtype=first.dtype) * 0.02
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() < 2:
                weight.fill_(1)
                continue
            for part in weight.view(-1).split(BLOCK):
                part.copy_(block[: len(part)])
