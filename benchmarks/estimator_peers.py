"""The peers' own estimators, asked for the very job of a point; None where a peer cannot express it.

Peers are imported only where they are installed. Each gets the model's shape through its API, so that none is judged
by what it does not know offline, and the part of its total that fits what was read off: its named context, overhead
and safety margins are left out where tensors were measured, its safety margin where reserved memory was.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.estimator_points import EVERYTHING, Point
from finetune_advisor.costs.gpus import find
from finetune_advisor.costs.shape import Shape, load

Answer = tuple[float | None, float | None]
"""Peak in GiB and tokens per second; None where the peer has none for this job."""

NOTHING: Answer = (None, None)
TARGETS = {"q,v": "attention", "q_proj,v_proj": "attention", "v_proj,q_proj": "attention", "all": "all_linear"}
TOKENS = 100_000_000
"""Tokens of the run that peers are asked the time of: so many that their fixed parts vanish."""


def ask(name: str, point: Point) -> Answer:
    """A peer's answer; a job of its kind that it refuses is no answer.

    Args:
        name: One of `PEERS`.
        point: The measurement.
    """
    job = point.job
    if point.method == "inference" or job.get("fused") or job.get("optimizer", "adamw") != "adamw":
        return NOTHING
    return PEERS[name](point, load(job["model"]))


def installed() -> tuple[str, ...]:
    """The peers that can be imported here."""
    modules = {"train-in-silence": "tis", "peft-doctor": "peft_doctor"}
    return tuple(name for name in PEERS if importlib.util.find_spec(modules.get(name, name)) is not None)


def _ftuneai(point: Point, shape: Shape) -> Answer:
    models: Any = importlib.import_module("ftuneai.core.models")
    job = point.job
    target = TARGETS.get("all" if job.get("targets", "all") == EVERYTHING else job.get("targets", "all"))
    if target is None and point.method != "full":
        return NOTHING
    sharded = job.get("sharding") in {"shards", "flat"}
    config = models.TrainingConfig(
        method=models.FineTuneMethod(point.method),
        quantization=models.Quantization("4bit" if point.method == "qlora" else "none"),
        batch_size=job.get("micro_batch", 1),
        seq_length=job["seq"],
        gradient_checkpointing=job.get("checkpointing", True),
        lora_rank=job.get("rank", 8),
        lora_target=models.LoRATarget(target or "all_linear"),
        flash_attention=True,
        sharding=models.ShardingStrategy("fsdp" if sharded else "none"),
        num_gpus=job["gpus"],
    )
    spec = models.ModelSpec(
        name=shape.name,
        parameters=shape.parameters,
        hidden_size=shape.hidden,
        num_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_kv_heads=shape.kv_heads,
        intermediate_size=shape.intermediate,
        vocab_size=shape.vocabulary,
        max_seq_length=max(shape.context, job["seq"]),
    )
    peak: Any = importlib.import_module("ftuneai.core.memory").MemoryEstimator(spec, config).estimate()
    total = peak.total_gb - (peak.overhead_gb if point.peak == "tensors" else 0)
    return total, _ftuneai_rate(spec, config, job)


def _ftuneai_rate(spec: Any, config: Any, job: Mapping[str, Any]) -> float:
    card = find(job["gpu"])
    models: Any = importlib.import_module("ftuneai.core.models")
    gpu = models.GPUSpec(
        name=card.name,
        vram_gb=card.memory_gib,
        fp16_tflops=card.tflops,
        bf16_tflops=card.tflops,
        fp32_tflops=card.tflops,
        memory_bandwidth_gbps=card.gb_per_second,
    )
    length = round(job.get("mean_tokens") or job["seq"])
    made: Any = importlib.import_module("ftuneai.core.time").TimeEstimator(spec, config)
    time = made.estimate(gpu=gpu, dataset_size=TOKENS // length, epochs=1, num_gpus=job["gpus"], avg_seq_length=length)
    return time.total_tokens / (time.total_hours * 3600)


def _canifinetune(point: Point, shape: Shape) -> Answer:
    job = point.job
    scope = {"q,v": "conservative", "all": "all_linear"}.get(
        job.get("targets", "all").replace("_proj", "").replace("v,q", "q,v").replace(EVERYTHING, "all")
    )
    family = _family(shape)
    if job["gpus"] > 1 or family is None or (scope is None and point.method != "full"):
        return NOTHING
    api: Any = importlib.import_module("canifinetune.estimator.memory")
    request = api.EstimateRequest(
        model_id=shape.name,
        method=point.method,
        seq_len=job["seq"],
        micro_batch_size=job.get("micro_batch", 1),
        quantization="nf4_double_quant" if job.get("double_quantisation", True) else "nf4",
        lora_rank=job.get("rank", 8),
        lora_target_scope=scope or "all_linear",
        optimizer="adamw_torch",
        gradient_checkpointing=job.get("checkpointing", True),
        attention_implementation="flash_attention_2",
        gpu_vram_gb=find(job["gpu"]).memory_gib,
        use_network=False,
        override={**_keys(shape), "family": family, "total_params": shape.parameters},
    )
    parts = api.estimate(request).memory
    left_out = parts.safety_margin_gb + (parts.cuda_overhead_gb if point.peak == "tensors" else 0)
    return parts.total_estimated_gb - left_out, None


def _family(shape: Shape) -> str | None:
    known = ("llama", "qwen2", "mistral", "gemma", "phi-3", "phi")
    if shape.name.startswith("codellama"):
        return "llama"
    return next((name.replace("-", "") for name in known if shape.name.startswith(name.replace("qwen2", "qwen"))), None)


def _keys(shape: Shape) -> dict[str, Any]:
    return {
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "intermediate_size": shape.intermediate,
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": shape.tied,
    }


def _fitscout(point: Point, shape: Shape) -> Answer:
    job = point.job
    if job["gpus"] > 1:
        return NOTHING
    profile: Any = importlib.import_module("fitscout.model.profile")
    api: Any = importlib.import_module("fitscout.memory.estimator")
    made = api.estimate_memory(
        profile.ModelProfile(
            params=shape.parameters,
            num_layers=shape.layers,
            hidden_size=shape.hidden,
            num_attention_heads=shape.heads,
            num_kv_heads=shape.kv_heads,
            intermediate_size=shape.intermediate,
            vocab_size=shape.vocabulary,
            tie_word_embeddings=shape.tied,
        ),
        method=point.method,
        micro_batch=job.get("micro_batch", 1),
        seq_len=job["seq"],
        grad_ckpt=job.get("checkpointing", True),
        lora_rank=job.get("rank", 8),
    )
    return made.total_gb - (made.overhead_gb if point.peak == "tensors" else 0), None


def _train_in_silence(point: Point, shape: Shape) -> Answer:
    models: Any = importlib.import_module("tis.planner.models")
    job = point.job
    workload = models.Workload(
        model=models.ModelSpec(
            name=shape.name,
            params=shape.parameters,
            num_layers=shape.layers,
            num_heads=shape.heads,
            num_kv_heads=shape.kv_heads,
            hidden_dim=shape.hidden,
            vocab_size=shape.vocabulary,
        ),
        training=models.TrainingSpec(
            method=point.method, batch_size=job.get("micro_batch", 1), seq_len=job["seq"], precision="bf16"
        ),
        data=models.DataSpec(dataset_tokens=TOKENS),
    )
    made: Any = importlib.import_module("tis.planner.estimator").ResourceEstimator().estimate(workload)
    gib = None if job["gpus"] > 1 else made.required_vram_gb - (2.0 if point.peak == "tensors" else 0)
    # Its optimizer's rule for the compute time alone: 45% of the peak on one card, 35% on several.
    peak = find(job["gpu"]).tflops * 1e12 * job["gpus"] * (0.45 if job["gpus"] == 1 else 0.35)
    return gib, TOKENS / (made.total_flops / peak)


def _peft_doctor(point: Point, shape: Shape) -> Answer:
    job = point.job
    if point.method == "full" or job["gpus"] > 1:
        return NOTHING
    api: Any = importlib.import_module("peft_doctor.estimator")
    made = api.estimate_vram_gb(
        shape.name,
        seq_len=job["seq"],
        batch_size=job.get("micro_batch", 1),
        qlora=point.method == "qlora",
        gradient_checkpointing=job.get("checkpointing", True),
        params_billion=shape.parameters / 1e9,
        hidden_size=shape.hidden,
        num_layers=shape.layers,
    )
    return made.metadata["estimated_total_gb"], None


def _forgelm(point: Point, shape: Shape) -> Answer:
    job = point.job
    # Its configuration has no field for checkpointing.
    if point.method == "full" or job["gpus"] > 1 or job.get("checkpointing", True):
        return NOTHING
    config: Any = importlib.import_module("forgelm.config")
    names = job.get("targets", "all")
    modules = 7 if names in {"all", EVERYTHING} else len(names.split(","))
    with tempfile.TemporaryDirectory() as folder:
        keys = {**_keys(shape), "model_type": "llama", "torch_dtype": "bfloat16"}
        (Path(folder) / "config.json").write_text(json.dumps(keys), encoding="utf-8")
        made = config.ForgeConfig(
            model={"name_or_path": folder, "max_length": job["seq"], "load_in_4bit": point.method == "qlora"},
            lora={"r": job.get("rank", 8), "target_modules": [f"m{i}" for i in range(modules)]},
            training={"per_device_train_batch_size": job.get("micro_batch", 1)},
            data={"dataset_name_or_path": "none"},
        )
        result: Any = importlib.import_module("forgelm.fit_check").estimate_vram(made)
    return result.estimated_gb, None


PEERS: Mapping[str, Callable[[Point, Shape], Answer]] = {
    "ftuneai": _ftuneai,
    "canifinetune": _canifinetune,
    "fitscout": _fitscout,
    "train-in-silence": _train_in_silence,
    "peft-doctor": _peft_doctor,
    "forgelm": _forgelm,
}
