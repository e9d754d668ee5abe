"""How long one training step and one answered token take, from what a card can compute, move and be told.

A step takes what its arithmetic and its memory traffic need together, or what the host needs to launch the work of all
layers, whichever is longer: short batches on a fast card wait for the host.
"""

from __future__ import annotations

from dataclasses import dataclass

from finetune_advisor.costs.gpus import Gpu
from finetune_advisor.costs.memory import NF4_BITS, Training, adapter_parameters
from finetune_advisor.costs.shape import Shape


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The numbers that are fitted to measurements, the same for every model, card and trainer.

    `efficiency` is the share of the dense peak that large matrix products reach. `traffic` is how often what the
    layers keep is moved. `layer_seconds` and `adapter_seconds` are the host's time for one layer and for one adapted
    matrix of a step. `unpack` is how often the bandwidth's time 4-bit weights take to unpack.
    `sharded` is the share of its speed that a card keeps where cards share one copy of the model. `fold` is the factor
    each way within which nine in ten points lie of sources that were not used for fitting.
    """

    efficiency: float
    traffic: float
    layer_seconds: float
    adapter_seconds: float
    unpack: float
    sharded: float
    fold: float


CALIBRATION = Calibration(
    efficiency=0.74, traffic=6.0, layer_seconds=0.00256, adapter_seconds=0.00089, unpack=3.9, sharded=0.5, fold=1.44
)

DECODE_LAYER_SECONDS = 0.001
"""Host time of one layer for one token (litgpt on A100: 0.98 to 1.27 ms for 16 to 40 layers, formula C4)."""


def training_flops(shape: Shape, training: Training, length: float) -> float:
    """Arithmetic of one token: 6N for full training, 4N + 6 per LoRA parameter, 2N more where layers are recomputed.

    Attention adds, per pass, 2 x layers x width x length (causal: half of the square), three passes in all and a
    fourth where layers are recomputed (formulas C1 to C3).
    """
    attention = 2.0 * shape.layers * shape.heads * shape.head_dim * length
    passes = 4 if training.checkpointing else 3
    if training.method == "full":
        return (2 * passes) * shape.matmul + passes * attention
    adapters = adapter_parameters(shape, training.rank, training.targets)
    return (2 * passes - 2) * shape.matmul + 6.0 * adapters + passes * attention


def step_seconds(
    shape: Shape, training: Training, gpu: Gpu, *, tokens: float, length: float, kept: float, calibration: Calibration
) -> float:
    """Seconds of one step of one card.

    Args:
        shape: The model.
        training: How it is trained.
        gpu: The card.
        tokens: Tokens computed in the step, padding included.
        length: The length of a sequence, on average.
        kept: Bytes that the layers and the loss keep for that many tokens without recomputing.
        calibration: The fitted numbers.
    """
    arithmetic = tokens * training_flops(shape, training, length) / (gpu.tflops * 1e12 * calibration.efficiency)
    moved = (calibration.traffic * kept + _weights_moved(shape, training, calibration)) / (gpu.gb_per_second * 1e9)
    gathered = _gathered(shape, training) / (gpu.link_gb_per_second * 1e9)
    seconds = max(arithmetic + moved, gathered, _host_seconds(shape, training, calibration))
    return seconds / (calibration.sharded if training.shards > 1 else 1.0)


def _gathered(shape: Shape, training: Training) -> float:
    if training.shards == 1:
        return 0.0
    # Every pass gathers all layers; full training also scatters the gradients.
    passes = (3 if training.checkpointing else 2) + (1 if training.method == "full" else 0)
    width = NF4_BITS[True] / 8 if training.method == "qlora" else 2.0
    return passes * width * shape.linear() * (training.shards - 1) / training.shards


def _weights_moved(shape: Shape, training: Training, calibration: Calibration) -> float:
    passes = 3 if training.checkpointing else 2
    if training.method == "full":
        # Every step also reads weights, gradients and moments, and writes weights and moments.
        return passes * 2.0 * shape.linear() + 16.0 * shape.parameters
    if training.method == "lora":
        return passes * 2.0 * shape.linear()
    # 4-bit weights are read, written in 16 bits and read again.
    return passes * shape.linear() * calibration.unpack * (NF4_BITS[True] / 8 + 4)


def _host_seconds(shape: Shape, training: Training, calibration: Calibration) -> float:
    adapted = 0 if training.method == "full" else len(training.targets)
    passes = 4 / 3 if training.checkpointing else 1.0
    layer = calibration.layer_seconds + calibration.adapter_seconds * adapted
    return shape.layers * layer * passes * (0.5 if training.fused else 1.0)


def decode_tokens_per_second(shape: Shape, gpu: Gpu, *, quantised: bool, batch: int, context: int) -> float:
    """Tokens per second of all sequences together while answering (formula C4).

    A step is bound by the host, by reading weights and caches, or by arithmetic, whichever is slowest. With 4-bit
    weights the host has more to launch (litgpt on A100: 1.3 to 2.2 ms a layer), so that they are slower, not faster.
    """
    host = shape.layers * DECODE_LAYER_SECONDS * (1.6 if quantised else 1.0)
    read = shape.parameters * (NF4_BITS[True] / 8 if quantised else 2.0) + batch * context * shape.kv_bytes_per_token()
    arithmetic = 2.0 * shape.matmul * batch / (gpu.tflops * 1e12 * CALIBRATION.efficiency)
    return batch / max(host, read / (gpu.gb_per_second * 1e9 * 0.8), arithmetic)
