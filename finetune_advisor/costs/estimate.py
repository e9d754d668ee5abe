"""What a fine-tuning will need before anything is run: memory, speed, time and money, each with an interval.

The likely value is counted (`memory`, `speed`); the interval is as wide as those formulas missed published
measurements by, nine times in ten. A short probe on the machine itself replaces the formulas' guess of its speed.

    options = EstimateOptions(model="llama-3.1-8b", method="lora", micro_batch=2, seq=2048, gpu="A100-80")
    print(estimate(options).to_json())
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

from finetune_advisor.costs import gpus, memory, prices, speed
from finetune_advisor.costs.gpus import THIS_MACHINE, Gpu, Machine
from finetune_advisor.costs.memory import GIB, Training
from finetune_advisor.costs.probed import MEMORY_FOLD, Probe
from finetune_advisor.costs.shape import Config, Shape, load
from finetune_advisor.errors import BadInput
from finetune_advisor.records import Price

ANSWERING_MEMORY_FOLD = 1.15
ANSWERING_SPEED_FOLD = 1.3
"""Factors each way: the largest errors on the published points of answering, 9 of memory and 7 of speed
(benchmarks/LOG.md)."""


BUSY = 0.2
"""A share of the processors from which on other work is said to disturb a probe."""

_INTERVAL = "Interval: nine in ten published measurements of sources that were not fitted lie within it."


@dataclass(frozen=True, kw_only=True)
class Range:
    """A figure with the ends between which it lies nine times in ten."""

    low: float
    likely: float
    high: float


@dataclass(frozen=True, kw_only=True)
class EstimateOptions:
    """One training job.

    Args:
        model: A shape, a config, a path, a shipped name or a hub id (see `shape.load`).
        method: "lora", "qlora" (4-bit base) or "full".
        micro_batch: Examples that one card works on at a time.
        seq: Tokens of the longest example, or of a packed row.
        rank: LoRA's rank.
        targets: Adapted matrices: "all", or a list such as "q,v".
        checkpointing: Whether layers are recomputed in the backward pass.
        gpu: A card of the table, one of your own, or "this machine", which needs a probe.
        gpus: How many.
        tokens: Tokens to train on in all, over all epochs, padding not counted; without it no time and no money.
        mean_tokens: Tokens of an example on average; without it every row counts as full.
        packing: Examples share rows of `seq` tokens, so that nothing is padded.
        optimizer: "adamw", "adamw-fp32" (32-bit master copy), "adamw-8bit" or "paged".
        accumulation: Micro-batches per step of the optimizer.
        double_quantisation: Whether QLoRA's scales are in 8 bits too.
        fused: Compiled or fused kernels with a loss in pieces (torchtune's, Liger's, Unsloth's).
        sharding: "copies" (each card holds all), "shards" (FSDP 2, ZeRO-3), "flat" (FSDP 1, whose accumulated
            gradients are whole on each card), or "auto": copies where they fit, else shards.
        usd_per_hour: What you pay for one card; else the range of prices seen, where there is one.
        probe: What a few steps on the machine measured.
    """

    model: str | Config | Shape
    method: str = "lora"
    micro_batch: int = 1
    seq: int = 2048
    rank: int = 8
    targets: str = "all"
    checkpointing: bool = True
    gpu: str | Gpu = "A100-80"
    gpus: int = 1
    tokens: int | None = None
    mean_tokens: float | None = None
    packing: bool = False
    optimizer: str = "adamw"
    accumulation: int = 1
    double_quantisation: bool = True
    fused: bool = False
    sharding: str = "auto"
    usd_per_hour: float | None = None
    probe: Probe | None = None

    def __post_init__(self) -> None:
        memory.check_names(self.method, self.optimizer, self.sharding)
        for name in ("micro_batch", "seq", "rank", "gpus", "accumulation"):
            _positive(name, getattr(self, name), whole=True)
        for name in ("tokens", "mean_tokens", "usd_per_hour"):
            if getattr(self, name) is not None:
                _positive(name, getattr(self, name), whole=name == "tokens")
        if self.probe is not None:
            _positive("tokens_per_second of the probe", self.probe.tokens_per_second)
        if self.mean_tokens is not None and self.mean_tokens > self.seq:
            raise BadInput("The mean of the examples' tokens is above the longest.", hint="Raise seq, or cut examples.")


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a job needs.

    `peak_gib` is what tensors take on each card at most (`torch.cuda.max_memory_allocated`); `card_gib` adds what the
    allocator holds back and what CUDA takes, so it is what the card must have, and `fits` says whether it does at the
    likely value. `tokens_per_second` are real tokens of all cards together. `usd` is for the hours of all cards, from
    the cheapest price at the fastest to the dearest at the slowest. `answering_gib` and
    `answering_tokens_per_second` are for one request at a time on one card, with `seq` tokens of context; the speed is
    None where it is not known.
    """

    model: str
    gpu: str
    gpus: int
    parameters: int
    trainable: int
    peak_gib: Range
    card_gib: Range
    fits: bool
    tokens_per_second: Range
    seconds: Range | None
    usd: Range | None
    answering_gib: Range
    answering_tokens_per_second: Range | None
    parts_gib: Mapping[str, float]
    sharded: bool
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Plain data for a file or a terminal, figures rounded to four digits."""
        return _rounded(asdict(self))


def estimate(
    options: EstimateOptions,
    *,
    remember: memory.Calibration = memory.CALIBRATION,
    pace: speed.Calibration = speed.CALIBRATION,
) -> Estimate:
    """Estimate a job.

    Args:
        options: The job.
        remember: The fitted numbers of the memory's formulas.
        pace: Those of the speed's.

    Raises:
        BadInput: The card or a matrix is unknown, the config is unusable, or the probe ran on another card.
        Missing: The model's config is not on this machine.
    """
    shape = options.model if isinstance(options.model, Shape) else load(options.model)
    card = _card(options)
    training = _training(options, shape, card)
    sizes = memory.parts(shape, training, remember)
    peak = _peak(sum(sizes.values()) / GIB, options.probe, remember)
    need = Range(**{end: card_gib(value) for end, value in asdict(peak).items()})
    rate = _rate(options, shape, training, card, pace)
    seconds = _seconds(options.tokens, rate)
    return Estimate(
        model=shape.name,
        gpu=card.name,
        gpus=options.gpus,
        parameters=shape.parameters,
        trainable=trainable(shape, training),
        peak_gib=peak,
        card_gib=need,
        fits=need.likely <= card.memory_gib,
        tokens_per_second=rate,
        seconds=seconds,
        usd=_usd(seconds, options, card),
        answering_gib=_around(_answering_bytes(options, shape) / GIB, ANSWERING_MEMORY_FOLD),
        answering_tokens_per_second=_answering_rate(options, shape, card),
        parts_gib={name: size / GIB for name, size in sizes.items() if size},
        sharded=training.shards > 1,
        assumptions=_assumptions(options, training, card),
        warnings=_warnings(options, shape, card, need),
    )


def trainable(shape: Shape, training: Training) -> int:
    """Parameters that are trained."""
    if training.method == "full":
        return shape.parameters
    return memory.adapter_parameters(shape, training.rank, training.targets)


def mean_and_longest(lengths: Sequence[int], seq: int) -> tuple[float, int]:
    """`mean_tokens` and `seq` for the options, from the tokenised examples' lengths, each cut at `seq`.

    Raises:
        BadInput: There are no examples.
    """
    if not lengths:
        raise BadInput("There are no examples to estimate for.", hint="Give the length of every tokenised example.")
    cut = [min(length, seq) for length in lengths]
    return sum(cut) / len(cut), max(cut)


def _card(options: EstimateOptions) -> Machine:
    probed_on = options.probe.machine if options.probe else None
    if options.gpu == THIS_MACHINE:
        if probed_on is None:
            raise BadInput("How fast this machine is, is not known.", hint="Probe it, or name a card.")
        return probed_on
    card = gpus.find(options.gpu) if isinstance(options.gpu, str) else options.gpu
    if probed_on is not None and probed_on.name != card.name:
        raise BadInput(
            f"The probe ran on {probed_on.name}, not on {card.name}.",
            hint="Name no card to estimate for this machine, or leave the probe out.",
        )
    return card


def one_card(options: EstimateOptions, shape: Shape) -> Training:
    """The job as one card does it that holds all of the model."""
    same = ("method", "micro_batch", "seq", "rank", "checkpointing", "optimizer", "fused", "double_quantisation")
    made: Any = {name: getattr(options, name) for name in same}
    return Training(
        **made,
        targets=() if options.method == "full" else memory.targets(options.targets, shape),
        accumulation=options.accumulation > 1,
        shards=1,
        flat=False,
    )


def _training(options: EstimateOptions, shape: Shape, card: Machine) -> Training:
    training = one_card(options, shape)
    shared = replace(training, shards=options.gpus, flat=options.sharding == "flat")
    if options.sharding != "auto":
        return training if options.sharding == "copies" else shared
    fits = card_gib(sum(memory.parts(shape, training).values()) / GIB) <= card.memory_gib
    return training if fits else shared


def _peak(likely: float, probe: Probe | None, remember: memory.Calibration) -> Range:
    if probe is not None and probe.peak_gib is not None:
        return _around(probe.peak_gib, MEMORY_FOLD)
    return _around(likely, remember.fold)


def card_gib(peak_gib: float) -> float:
    """What a card must have for tensors of that size: with what the allocator holds back and what CUDA takes."""
    return peak_gib * memory.RESERVE + memory.CONTEXT_BYTES / GIB


def _rate(options: EstimateOptions, shape: Shape, training: Training, card: Machine, pace: speed.Calibration) -> Range:
    if options.probe is not None:
        return _around(options.probe.tokens_per_second, options.probe.fold)
    if not isinstance(card, Gpu):
        raise BadInput(f"How fast {card.name} is, is not known.", hint="Probe it, or name a card.")
    return _around(_tokens_per_second(options, shape, training, card, pace), pace.fold)


def _tokens_per_second(
    options: EstimateOptions, shape: Shape, training: Training, card: Gpu, pace: speed.Calibration
) -> float:
    row = row_tokens(options)
    tokens = training.micro_batch * row
    at_work = replace(training, checkpointing=False, seq=max(1, round(row)))
    kept = memory.parts(shape, at_work)
    seconds = speed.step_seconds(
        shape,
        training,
        card,
        tokens=tokens,
        length=attended_tokens(options),
        kept=kept["kept for the backward pass"] + kept["logits and loss"],
        calibration=pace,
    )
    return tokens * real_share(options) * options.gpus / seconds


def row_tokens(options: EstimateOptions) -> float:
    """Tokens of a row as computed: the longest of its batch where rows are padded.

    The longest of b examples is taken as the mean times 1 + (1/2 + ... + 1/b) / 2: exponential lengths would have no
    half, equal ones no second term.
    """
    if options.packing or options.mean_tokens is None:
        return options.seq
    spread = sum(1 / n for n in range(2, options.micro_batch + 1)) / 2
    return min(options.seq, options.mean_tokens * (1 + spread))


def attended_tokens(options: EstimateOptions) -> float:
    """Tokens that attention looks over at most: a row's, or an example's where several share a row."""
    row = row_tokens(options)
    return min(row, options.mean_tokens or row) if options.packing else row


def real_share(options: EstimateOptions) -> float:
    """The share of a row's tokens that is no padding."""
    return 1.0 if options.packing or options.mean_tokens is None else options.mean_tokens / row_tokens(options)


def _answering_bytes(options: EstimateOptions, shape: Shape) -> float:
    quantised = options.method == "qlora"
    double = options.double_quantisation
    return sum(memory.inference_bytes(shape, quantised=quantised, batch=1, context=options.seq, double=double).values())


def _answering_rate(options: EstimateOptions, shape: Shape, card: Machine) -> Range | None:
    if options.probe is not None and options.probe.answering_tokens_per_second is not None:
        return _around(options.probe.answering_tokens_per_second, options.probe.fold)
    if not isinstance(card, Gpu):
        return None
    quantised = options.method == "qlora"
    rate = speed.decode_tokens_per_second(shape, card, quantised=quantised, batch=1, context=options.seq)
    return _around(rate, ANSWERING_SPEED_FOLD)


def _seconds(tokens: int | None, rate: Range) -> Range | None:
    if tokens is None:
        return None
    return Range(low=tokens / rate.high, likely=tokens / rate.likely, high=tokens / rate.low)


def _usd(seconds: Range | None, options: EstimateOptions, card: Machine) -> Range | None:
    hourly = _hourly(options, card)
    if seconds is None or hourly is None:
        return None
    low, high = (float(price.value) for price in hourly)
    hours = options.gpus / 3600
    # The middle of a range of prices is its geometric mean, which is as many times the low as it is under the high.
    return Range(
        low=seconds.low * hours * low,
        likely=seconds.likely * hours * (low * high) ** 0.5,
        high=seconds.high * hours * high,
    )


@functools.cache
def _prices() -> prices.PriceTable:
    return prices.load()


def _hourly(options: EstimateOptions, card: Machine) -> tuple[Price, Price] | None:
    """The cheapest and the dearest price of one card's hour."""
    if options.usd_per_hour is None:
        return _prices().hourly_range(card.rented_as) if card.rented_as else None
    own = prices.given(card.name, str(options.usd_per_hour), "usd_per_hour")
    return own, own


def _around(likely: float, fold: float) -> Range:
    return Range(low=likely / fold, likely=likely, high=likely * fold)


def _positive(name: str, value: object, *, whole: bool = False) -> None:
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value) or value <= 0:
        raise BadInput(f"{name} is {value!r}.", hint=f"Give a {'whole ' if whole else ''}number above 0.")


def _assumptions(options: EstimateOptions, training: Training, card: Machine) -> tuple[str, ...]:
    stated = [
        *_card_words(card),
        _price_words(_hourly(options, card)),
        *(options.probe.words() if options.probe else [_INTERVAL]),
        "Training alone: evaluation, saving and the start are not in the time.",
        f"Answering: one request at a time, {options.seq} tokens of context, "
        f"weights in {4 if training.method == 'qlora' else 16} bits, plain PyTorch; a serving engine is faster.",
    ]
    if options.mean_tokens is None and not options.packing:
        stated.append(f"Every row counts as {options.seq} tokens; with the data's mean the time is closer.")
    if training.method == "qlora":
        stated.append("4.127 bits per parameter of the layers' matrices (QLoRA, 2305.14314); the rest in 16 bits.")
    if options.gpus > 1:
        held = f"each card holds 1/{training.shards} of it" if training.shards > 1 else "each card holds all of it"
        stated.append(f"{options.gpus} cards: {held}.")
    return tuple(stated)


def _card_words(card: Machine) -> list[str]:
    if not isinstance(card, Gpu):
        return [f"{card.name}: {card.memory_gib:.1f} GiB of memory."]
    return [f"{card.name}: {card.tflops:g} TFLOP/s dense, {card.gb_per_second:g} GB/s ({card.source}; {card.checked})."]


def _price_words(hourly: tuple[Price, Price] | None) -> str:
    if hourly is None:
        return "No price of this card was read: give usd_per_hour."
    low, high = hourly
    if low.basis == "user":
        return f"${low.value:f} an hour and card, as given."
    offers = _offer(low) if low == high else f"{_offer(low)} to {_offer(high)}"
    old = " A price was checked over 90 days ago." if prices.stale(hourly, datetime.now(UTC).date()) else ""
    return f"{offers} an hour and card.{old}"


def _offer(price: Price) -> str:
    return f"${price.value:f} ({price.source}; {price.checked})"


def _warnings(options: EstimateOptions, shape: Shape, card: Machine, need: Range) -> tuple[str, ...]:
    found: list[str] = []
    if shape.context and options.seq > shape.context:
        found.append(f"{options.seq} tokens are more than the model's context of {shape.context}.")
    if need.likely <= card.memory_gib < need.high:
        found.append(f"It may not fit: up to {need.high:.1f} GiB are possible, the card has {card.memory_gib:g}.")
    if options.probe and options.probe.others > BUSY:
        found.append(
            f"Other work took {options.probe.others:.0%} of the processors just before the probe: the speed is that "
            "of a busy machine. Probe again when it is idle."
        )
    return tuple(found)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in cast(dict[str, Any], value).items()}
    return [_rounded(item) for item in cast(tuple[Any, ...], value)] if isinstance(value, tuple) else value
