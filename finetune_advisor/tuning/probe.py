"""A few training steps on this machine, so that an estimate need not assume how fast it is.

Where all layers would take too long or too much memory, one layer and a few are measured, and every further layer is
taken to cost what those few cost on average; where a row would take too long, a shorter one is measured and scaled by
its arithmetic. What else the machine does meanwhile is in the figures. Not covered: 4-bit weights, several cards, fused
kernels, adapters of experts and of the output layer, and optimizers other than AdamW, which count as AdamW does.

    options = EstimateOptions(model="smollm2-135m", gpu=THIS_MACHINE, micro_batch=8, seq=128)
    print(estimate(replace(options, probe=measure(options))).to_json())
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from statistics import median, quantiles
from typing import cast

from finetune_advisor.costs import gpus, memory, speed
from finetune_advisor.costs.estimate import EstimateOptions, attended_tokens, one_card, real_share, row_tokens
from finetune_advisor.costs.gpus import Machine
from finetune_advisor.costs.memory import GIB, Training
from finetune_advisor.costs.probed import Probe
from finetune_advisor.costs.shape import Config, Shape, from_config, read
from finetune_advisor.errors import BadInput, require
from finetune_advisor.models.hardware import device_for, dtype_for, return_memory, use_physical_cores
from finetune_advisor.models.quiet import quiet
from finetune_advisor.records import Progress, no_progress
from finetune_advisor.tuning.rehearsal import Rehearsal, Rows, Timing

SECONDS = 20.0
STEPS = 6
"""Steps that a measurement should have time for, the first, which is not counted, among them."""

PILOT_TOKENS = 64
MEMORY_SHARE = 0.7
"""Of the free memory, what the probe may be expected to take."""


def measure(
    options: EstimateOptions,
    *,
    learnt: float = 1.0,
    seconds: float = SECONDS,
    progress: Progress = no_progress,
) -> Probe:
    """Train with random weights in the real shape for about so many seconds; CUDA where there is any, else the CPU.

    Args:
        options: The job; its card and its probe, if any, do not matter.
        learnt: The share of an example's tokens that carry the loss; with LoRA the others are cheaper.
        seconds: To be spent, about; loading libraries comes on top, and a busy machine can take twice as long.
        progress: Called with measurements done and in total.

    Raises:
        BadInput: Not covered, too large for this machine, or the machine is too busy to be measured.
        Missing: The model's config, torch, transformers or peft is not on this machine.
    """
    _check(options, learnt)
    torch = require("torch", extra="local")
    use_physical_cores()
    others = require("psutil", extra="local").cpu_percent(interval=0.5) / 100
    try:
        with quiet():
            measurement = _Measurement(options=options, learnt=learnt, seconds=seconds, progress=progress)
            return replace(measurement.probe(), others=others)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _too_large() from error
    finally:
        return_memory()


def this_machine(device: str) -> Machine:
    """What the probe runs on: the table's card where the driver's name is known, with the memory that it really has."""
    if device == "cpu":
        threads = require("torch", extra="local").get_num_threads()
        total = require("psutil", extra="local").virtual_memory().total
        return Machine(name=f"CPU, {threads} thread{'s' * (threads > 1)}", memory_gib=total / GIB)
    cuda = require("torch", extra="local").cuda
    name, total = cuda.get_device_name(), cuda.get_device_properties(0).total_memory / GIB
    try:
        return replace(gpus.find(name), memory_gib=total)
    except BadInput:
        return Machine(name=name, memory_gib=total)


def _check(options: EstimateOptions, learnt: float) -> None:
    if options.method == "qlora":
        raise BadInput("The probe does not measure 4-bit training.", hint="Probe lora, or estimate without a probe.")
    if options.gpus > 1:
        raise BadInput(f"The probe measures one card, not {options.gpus}.", hint="Probe with one card.")
    if isinstance(options.model, Shape):
        raise BadInput("The probe needs the model's config, not its shape.", hint="Give a name or a config.json.")
    if not 0 < learnt <= 1:
        raise BadInput(f"The share of learnt tokens is {learnt}.", hint="Give a share above 0, at most 1.")


def _too_large() -> BadInput:
    return BadInput("The probe does not fit into this machine's memory.", hint="Lower micro_batch or seq.")


@dataclass(frozen=True, kw_only=True)
class _Measurement:
    options: EstimateOptions
    learnt: float
    seconds: float
    progress: Progress

    def probe(self) -> Probe:
        """Measure."""
        self.progress("probing", 0, 3)
        pace = self._pilot()
        self.progress("probing", 1, 3)
        rows = self._rows(pace)
        layers = self._layers(pace, rows)
        if layers == self.shape.layers:
            return self._made(self.rehearsal.run(layers, rows, 0.7 * self.seconds), rows, layers)
        one = self.rehearsal.run(1, rows, 0.15 * self.seconds)
        self.progress("probing", 2, 3)
        some = self.rehearsal.run(layers, rows, 0.5 * self.seconds)
        return self._made(scaled(one, some, layers, self.shape.layers), rows, layers)

    @cached_property
    def rehearsal(self) -> Rehearsal:
        model = cast(str | Config, self.options.model)
        config = read(model)
        device = device_for("auto")
        return Rehearsal(
            options=self.options,
            config=config,
            shape=from_config(config, name=str(model)),
            device=device,
            dtype=dtype_for("auto", device),
        )

    @property
    def shape(self) -> Shape:
        return self.rehearsal.shape

    @cached_property
    def training(self) -> Training:
        return one_card(self.options, self.shape)

    def _row(self, count: int, length: int) -> Rows:
        # The first token of a row is never learnt.
        longest = min(length, self.shape.context or length)
        return Rows(count=count, length=longest, learnt=max(1, min(longest - 1, round(self.learnt * longest))))

    def _whole(self) -> Rows:
        return self._row(self.options.micro_batch, max(2, round(row_tokens(self.options))))

    def _pilot(self) -> float:
        """Roughly the FLOP/s of one layer and the output, on a few tokens."""
        whole = self._whole()
        small = self._row(1, min(whole.length, PILOT_TOKENS)) if self.rehearsal.device == "cpu" else whole
        timing = self.rehearsal.run(1, small, 0.0)
        return small.tokens * self._flops(1, small.length) / min(timing.steps)

    def _flops(self, layers: int, length: float) -> float:
        """Arithmetic of one token; the output is computed, forward and backward, for learnt tokens alone."""
        unlearnt = (1 - self.learnt) * 4.0 * self.shape.head if self.options.method == "lora" else 0.0
        return speed.training_flops(replace(self.shape, layers=layers), self.training, length) - unlearnt

    def _rows(self, pace: float) -> Rows:
        """The job's rows, or as much of them as one layer takes a tenth of the time for."""
        whole = self._whole()
        if self.rehearsal.device != "cpu":
            return whole
        tokens = int(0.1 * self.seconds * pace / self._flops(1, whole.length))
        count = max(1, min(whole.count, tokens // whole.length))
        return self._row(count, max(2, min(whole.length, tokens // count)))

    def _layers(self, pace: float, rows: Rows) -> int:
        """All layers, or as many as there is time and memory for."""

        def affordable(layers: int) -> bool:
            step = rows.tokens * self._flops(layers, rows.length) / pace
            return STEPS * step <= 0.5 * self.seconds and self._bytes(layers, rows) <= free

        free = MEMORY_SHARE * _free_bytes(self.rehearsal.device)
        if self._bytes(min(2, self.shape.layers), rows) > free:
            raise _too_large()
        least = min(2, self.shape.layers)
        return next((layers for layers in range(self.shape.layers, least, -1) if affordable(layers)), least)

    def _bytes(self, layers: int, rows: Rows) -> float:
        training = replace(self.training, micro_batch=rows.count, seq=rows.length)
        return sum(memory.parts(replace(self.shape, layers=layers), training).values())

    def _made(self, timing: Timing, rows: Rows, layers: int) -> Probe:
        self.progress("probing", 3, 3)
        step, every = median(timing.steps), self.shape.layers
        longer = self._flops(every, rows.length) / self._flops(every, attended_tokens(self.options))
        return Probe(
            tokens_per_second=rows.tokens / step * longer * real_share(self.options),
            peak_gib=timing.peak_gib,
            answering_tokens_per_second=1 / timing.token_seconds,
            machine=this_machine(self.rehearsal.device),
            scaled=layers < every or rows.tokens < self._whole().tokens,
            shortened=rows.tokens < self._whole().tokens / 2,
            spread=_spread(timing.steps),
            note=self._note(timing, rows, layers),
        )

    def _note(self, timing: Timing, rows: Rows, layers: int) -> str:
        dtype = str(self.rehearsal.dtype).removeprefix("torch.")
        learnt = 1.0 if self.options.method == "full" else self.learnt
        return (
            f"{len(timing.steps)} steps of {rows.count} x {rows.length} tokens, loss on {learnt:.0%} of them, "
            f"{layers} of {self.shape.layers} layers, random weights in {dtype}"
        )


def scaled(one: Timing, some: Timing, layers: int, every: int) -> Timing:
    """What all layers would have taken, by what those from the second on took on average.

    Raises:
        BadInput: More layers took no longer.
    """
    # Steps vary by a factor, so those of the whole model are taken to vary as those of the part did.
    factor = _extended(median(one.steps), median(some.steps), layers, every) / median(some.steps)
    peaks = (one.peak_gib, some.peak_gib)
    return Timing(
        steps=tuple(factor * step for step in some.steps),
        token_seconds=_extended(one.token_seconds, some.token_seconds, layers, every),
        peak_gib=None if peaks[0] is None or peaks[1] is None else _extended(peaks[0], peaks[1], layers, every),
    )


def _extended(one: float, some: float, layers: int, every: int) -> float:
    if some <= one:
        raise BadInput(
            "More layers took no longer than one: something else keeps this machine busy.",
            hint="Probe again when less runs on it.",
        )
    return one + (every - 1) * (some - one) / (layers - 1)


def _spread(times: tuple[float, ...]) -> float:
    """The ninth tenth of the steps in the first: the slowest and the fastest without single outliers."""
    tenths = quantiles(times, n=10, method="inclusive")
    return tenths[-1] / tenths[0]


def _free_bytes(device: str) -> int:
    if device == "cpu":
        return require("psutil", extra="local").virtual_memory().available
    return require("torch", extra="local").cuda.mem_get_info()[0]
