"""How much memory of a card a training needs, part by part, in bytes.

Counted from the tensors that PyTorch keeps for the backward pass (Korthikanti 2022's method for today's layers: no
attention scores, as fused attention keeps none; root-mean-square norms computed in 32 bits; gated feed-forward parts).
A frozen matrix needs its input only where an adapter sits on it, so LoRA keeps less than full training does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from finetune_advisor.costs.shape import Shape
from finetune_advisor.errors import BadInput

Method = Literal["lora", "qlora", "full"]
Optimizer = Literal["adamw", "adamw-fp32", "adamw-8bit", "paged"]
Sharding = Literal["auto", "copies", "shards", "flat"]

GIB = 2**30
ATTENTION = ("q", "k", "v", "o")
MLP = ("gate", "up", "down")
TARGETS = (*ATTENTION, *MLP, "head")

NF4_BITS = {True: 4.127, False: 4.5}
"""Bits per parameter by double quantisation: 4 and the scales, themselves in 8 bits or not (formula C8, QLoRA
2305.14314)."""

LOGIT_BYTES = 14
"""Per token and word: 16-bit logits, and 32-bit logits, log-probabilities and gradient of the stock loss (C9)."""

CHUNKS = 8
"""Pieces in which a fused loss computes the logits (torchtune's and Liger's default)."""

STATE_BYTES: Mapping[tuple[Optimizer, int], int] = {
    ("adamw", 2): 4,
    ("adamw", 4): 8,
    ("adamw-fp32", 2): 12,
    ("adamw-fp32", 4): 8,
    ("adamw-8bit", 2): 2,
    ("adamw-8bit", 4): 2,
    ("paged", 2): 0,
    ("paged", 4): 0,
}
"""The optimizer's bytes per trainable parameter, by the width of the parameter (formula C7): two moments in the
parameter's own format; in 32 bits with a 32-bit copy of 16-bit parameters; one byte each; in the machine's memory."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The numbers that are fitted to measurements (`benchmarks/estimator.py --fit`), few and the same for all.

    `kept` scales what the layers keep; `quantised_inputs` is how much of the inputs of 4-bit matrices is kept besides.
    `fold` is the factor each way within which nine in ten points lie of sources that were not used for fitting.
    """

    kept: float
    quantised_inputs: float
    fold: float


CALIBRATION = Calibration(kept=1.08, quantised_inputs=1.39, fold=1.33)

RESERVE = 1.05
"""What the allocator holds, in what tensors take (assumed: a few percent where batches are alike)."""

CONTEXT_BYTES = 0.5 * GIB
"""What CUDA and its libraries take before any tensor (0.3 to 0.6 GiB in common reports; assumed)."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What of a training its memory depends on; the estimate's options, checked and spelled out."""

    method: Method
    micro_batch: int
    seq: int
    rank: int
    targets: tuple[str, ...]
    checkpointing: bool
    optimizer: Optimizer
    accumulation: bool
    fused: bool
    double_quantisation: bool
    shards: int
    flat: bool

    @property
    def tokens(self) -> int:
        """Tokens that one card holds at a time."""
        return self.micro_batch * self.seq


def targets(wish: str, shape: Shape) -> tuple[str, ...]:
    """The adapted matrices by name: "all" is every matrix in the layers, else a list such as "q,v".

    Raises:
        BadInput: A name is unknown; the hint lists the known ones.
    """
    if wish.strip().lower() in {"all", "all-linear"}:
        return tuple(name for name in TARGETS if name != "head" and (name != "gate" or shape.gated))
    known = {name: name for name in TARGETS} | {f"{name}_proj": name for name in TARGETS} | {"lm_head": "head"}
    chosen = [part.strip().lower() for part in wish.split(",") if part.strip()]
    strange = [name for name in chosen if name not in known]
    if strange or not chosen:
        raise BadInput(
            f"There are no matrices named {', '.join(strange) or wish!r}.", hint=f"Known: all, {', '.join(TARGETS)}."
        )
    return tuple(name for name in TARGETS if name in {known[part] for part in chosen})


def adapter_parameters(shape: Shape, rank: int, chosen: tuple[str, ...]) -> int:
    """LoRA's parameters: the sum over adapted matrices of rank x (input width + output width), formula C6."""
    attention = sum(map(sum, _chosen(shape.attention, chosen)))
    dense = sum(map(sum, _chosen(shape.mlp(_dense_width(shape)), chosen)))
    expert = sum(map(sum, _chosen(shape.mlp(shape.intermediate), chosen)))
    shared = sum(map(sum, _chosen(shape.mlp(shape.shared_intermediate), chosen))) if shape.shared_intermediate else 0
    sparse_layers = shape.layers - shape.dense_layers if shape.experts else 0
    per_model = shape.layers * attention + (shape.layers - sparse_layers) * dense
    per_model += sparse_layers * (shape.experts * expert + shared)
    return rank * (per_model + (shape.hidden + shape.vocabulary if "head" in chosen else 0))


def _chosen(matrices: Mapping[str, tuple[int, int]], chosen: tuple[str, ...]) -> list[tuple[int, int]]:
    return [size for name, size in matrices.items() if name.split("_")[0] in chosen]


def _dense_width(shape: Shape) -> int:
    return shape.dense_intermediate if shape.experts else shape.intermediate


def quantised_bytes(shape: Shape, *, double: bool = True) -> float:
    """Weights with the layers' matrices in 4 bits; embedding, output layer, norms and biases stay in 16."""
    return shape.linear() * NF4_BITS[double] / 8 + (shape.parameters - shape.linear()) * 2


def parts(shape: Shape, training: Training, calibration: Calibration = CALIBRATION) -> dict[str, float]:
    """The parts of the peak in bytes, on one card: what `torch.cuda.max_memory_allocated` reports.

    With several cards that share one copy, each holds its shard and one gathered layer.
    """
    return {
        **_states(shape, training),
        "kept for the backward pass": calibration.kept * _layers_bytes(shape, training, calibration),
        "logits and loss": float(_logits_bytes(shape, training)),
        "unpacked weights": _unpacked_bytes(shape, training),
    }


def _states(shape: Shape, training: Training) -> dict[str, float]:
    quantised = training.method == "qlora"
    weights = quantised_bytes(shape, double=training.double_quantisation) if quantised else shape.parameters * 2.0
    adapters = 0 if training.method == "full" else adapter_parameters(shape, training.rank, training.targets)
    trainable, width = (shape.parameters, 2) if training.method == "full" else (adapters, 4)
    return {
        "weights": weights / training.shards,
        "adapters": adapters * 4.0 / training.shards,
        "gradients": _gradient_bytes(shape, training, trainable * width),
        "optimizer": trainable * STATE_BYTES[training.optimizer, width] / training.shards,
    }


def _gradient_bytes(shape: Shape, training: Training, own: float) -> float:
    if training.flat and training.accumulation:
        # FSDP 1 lays frozen and trained weights into one flat parameter, and keeps its gradient whole until it is
        # synchronised (pytorch pull request 126166 on the two kinds of accumulation).
        return shape.parameters * 2.0
    # Without accumulation gradients exist only while what was kept for them is going away.
    return own / training.shards if training.method != "full" or training.accumulation else 0.0


def _layers_bytes(shape: Shape, training: Training, calibration: Calibration) -> float:
    one = _layer_bytes_per_token(shape, training, calibration) * training.tokens
    if not training.checkpointing:
        return shape.layers * one
    # A checkpoint is one layer's input; while a layer is recomputed, all that it keeps is there too.
    return shape.layers * 2 * shape.hidden * training.tokens + one


def _layer_bytes_per_token(shape: Shape, training: Training, calibration: Calibration) -> float:
    width = _active_width(shape)
    wide, narrow = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    norm = 2 if shape.layer_norm or training.fused else 4
    gated = (4 if training.fused else 6) if shape.gated else 2
    kept = shape.norms * norm * shape.hidden + 2 * (2 * wide + 2 * narrow) + 4 * shape.heads + gated * width
    return kept + _input_bytes(shape, training, calibration)


def _input_bytes(shape: Shape, training: Training, calibration: Calibration) -> float:
    width = _active_width(shape)
    # Inputs of the matrices: query, key and value share one; so do gate and up. The output projection's is kept anyway.
    inputs = {"qkv": 2 * shape.hidden, "up": 2 * shape.hidden, "down": 2 * width}
    if training.method == "full":
        return sum(inputs.values())
    chosen = {"qkv" if name in ("q", "k", "v") else "up" if name == "gate" else name for name in training.targets}
    # An adapter's input passes a dropout, which keeps its result and a mask of one byte.
    adapted = sum(1.5 * inputs.get(name, 2 * shape.hidden) for name in chosen if name != "head")
    if training.method == "lora":
        return adapted
    return adapted + calibration.quantised_inputs * (sum(inputs.values()) + 2 * shape.hidden)


def _active_width(shape: Shape) -> int:
    if not shape.experts:
        return shape.intermediate
    return shape.intermediate * shape.experts_per_token + shape.shared_intermediate


def _logits_bytes(shape: Shape, training: Training) -> float:
    return training.tokens * shape.vocabulary * LOGIT_BYTES / (CHUNKS if training.fused else 1)


def _unpacked_bytes(shape: Shape, training: Training) -> float:
    largest = max(
        rows * columns for rows, columns in (*shape.attention.values(), *shape.mlp(_dense_width(shape)).values())
    )
    if training.method == "qlora":
        return 2.0 * largest
    if training.shards == 1:
        return 0.0
    # Gathered: the layer at work, the one fetched ahead, and embedding and output layer, which belong to no layer.
    outer = shape.parameters - shape.linear()
    return 2 * 2.0 * shape.linear() / shape.layers + 2.0 * outer


def inference_bytes(
    shape: Shape, *, quantised: bool, batch: int, context: int, double: bool = True
) -> dict[str, float]:
    """The parts of answering: weights, and the key-value cache of every sequence at its full length (C5)."""
    weights = quantised_bytes(shape, double=double) if quantised else shape.parameters * 2.0
    return {
        "weights": weights,
        "key-value cache": float(batch * context * shape.kv_bytes_per_token()),
        "logits": batch * shape.vocabulary * 6.0,
        "unpacked weights": _largest_unpacked(shape) if quantised else 0.0,
    }


def _largest_unpacked(shape: Shape) -> float:
    return 2.0 * max(rows * columns for rows, columns in shape.mlp(_dense_width(shape)).values())


def check_names(method: str, optimizer: str, sharding: str) -> None:
    """Refuse unknown names.

    Raises:
        BadInput: One of them is not known; the hint lists those that are.
    """
    for what, given, known in (
        ("method", method, get_args(Method)),
        ("optimizer", optimizer, get_args(Optimizer)),
        ("sharding", sharding, get_args(Sharding)),
    ):
        if given not in known:
            raise BadInput(f"There is no {what} {given!r}.", hint=f"Known: {', '.join(known)}.")
