"""The published measurements as jobs for an estimator: what each row says, and what it leaves open.

A row is left out where its source does not say what was run, or where the job is of a kind that the estimator does
not cover; the reason is kept. What a source leaves open for all of its rows is filled in by the source's own files
(named here), never by how well an estimate comes out.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finetune_advisor.costs.shape import load

GIB = 2**30

Row = Mapping[str, str]

MODELS = {
    "phi-1.5": "phi-1.5",
    "StableLM Alpha": "stablelm-base-alpha-3b",
    "stablelm-base-alpha-3b": "stablelm-base-alpha-3b",
    "Llama 2": "llama-2-{size}b",
    "CodeLlama": "codellama-34b",
    "CodeLlama 7B": "codellama-7b",
    "Falcon": "falcon-40b",
    "Llama 3.1 8B": "llama-3.1-8b",
    "Llama 3.1 70B": "llama-3.1-70b",
    "Llama 3.3 70B": "llama-3.1-70b",
    "Llama 3 70B": "llama-3-70b",
    "Llama3 70B": "llama-3-70b",
    "Llama3 8B": "llama-3-8b",
    "Llama 3.2 3B": "llama-3.2-3b",
    "Llama 2 7B": "llama-2-7b",
    "Qwen2.5 7B": "qwen2.5-7b",
    "Qwen2.5 32B": "qwen2.5-32b",
    "LLaMA 7B": "llama-7b",
    "Guanaco 65B": "llama-65b",
    "Guanaco 13B": "llama-13b",
    "Phi-3-mini-4k-instruct": "phi-3-mini",
    "gemma-2-2b": "gemma-2-2b",
}
GPUS = {
    "A100-40GB": "A100-40",
    "A100": "A100-80",
    "A100-80GB": "A100-80",
    "H100-80GB": "H100",
    "4090": "RTX-4090",
    "(not stated)": "A100-80",
}

LONGEST = {"phi": 1044, "StableLM": 1034, "Llama": 1304, "Falcon": 1079}
"""Longest Alpaca example by tokenizer (litgpt, tutorials/resource-tables.md)."""

ALPACA_TOKENS = 130.0
"""Mean tokens of an Alpaca example with its template: about 540 characters (33.4 MB in 36,401 rows of the data set's
card, the text held twice but for the template), at about 4.2 characters per token. The 2,000-row subset is taken to
be alike."""

EVERYTHING = "q,k,v,o,gate,up,down,head"
VALIDATION = "the time holds validation and text generation every few steps, of a share that the source does not say"
TOO_LITTLE = "less than 16-bit weights, gradients and two moments, which its own config (AdamW, accumulated) keeps"
OTHER_CARD = (
    "the same table has this job at half the memory on another card and does not say what differs; "
    "with the layers recomputed, as it needs there, its speed is above the card's peak"
)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One measurement. `job` are the estimate's options; `peak` says what was read off: tensors, reserved or card."""

    number: int
    source: str
    kind: str
    model: str
    method: str
    job: Mapping[str, Any]
    peak_gib: float | None = None
    peak: str = "tensors"
    tokens_per_second: float | None = None
    left_out: str = ""
    no_time: str = ""
    doubt: str = ""


def read(path: Path) -> list[Point]:
    """Every row of the file as a point, in its order; rows are numbered from 1."""
    with path.open(encoding="utf-8", newline="") as file:
        return [_doubted(_point(number, row)) for number, row in enumerate(csv.DictReader(file), 1)]


def _point(number: int, row: Row) -> Point:
    model = MODELS.get(row["model"], row["model"]).format(size=row["params_b"])
    point = Point(
        number=number,
        source=" ".join(row["source"].split("@")[0].split(" ")[:2]),
        kind=row["kind"],
        model=model,
        method=_method(row),
        job={},
    )
    reason = _left_out(row, point.method)
    if reason:
        return replace(point, left_out=reason)
    gib = _peak_gib(row)
    reader = next(reader for start, reader in READERS.items() if row["source"].startswith(start))
    made = reader(row, replace(point, peak_gib=gib, tokens_per_second=_number(row["tok_s"])))
    job = {"model": model, "gpu": GPUS.get(row["gpu"], row["gpu"] or "A100-80"), "gpus": int(row["n_gpu"] or 1)}
    return replace(made, job={**job, "method": point.method, **made.job})


def _left_out(row: Row, method: str) -> str:
    text = " ".join(row.values())
    if row["model"].startswith(("T0", "mt0")):
        return "encoder-decoder model"
    if "offload" in text:
        return "offload to the machine's memory"
    if row["model"] in {"(table 2)", "bloomz-7b1"}:
        return "the source does not say batch and length"
    if method not in {"lora", "qlora", "full", "inference"}:
        return f"method {method}"
    if "baseline" in row["method"]:
        return "padded rows of a length that the source does not say"
    if "all above" in row["method"]:
        return "offload to the machine's memory"
    if "opt-in-bwd" in row["method"]:
        return "optimizer inside the backward pass"
    return "" if row["kind"] != "component" else "a component, not a run"


def _method(row: Row) -> str:
    name = row["method"].lower()
    if row["kind"].startswith(("infer", "deploy")):
        return "inference"
    if "qlora" in name or (name == "lora" and "nf4" in row["quant"]):
        return "qlora"
    if name.startswith("lora"):
        return "lora"
    return "full" if name.startswith(("full", "+")) else name.split("/")[0]


def _peak_gib(row: Row) -> float | None:
    value = _number(row["peak_mem"])
    if value is None or row["mem_unit"].startswith("GiB"):
        return value
    return value * 1e9 / GIB


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"[\d.]+", text) else None


def _minutes(text: str) -> float:
    return float(text.split(" ")[0])


def _litgpt_hub(row: Row, point: Point) -> Point:
    # The files config_hub/finetune/*/lora.yaml and qlora.yaml say `devices: 1`; only full trainings use the four cards.
    count = int(row["n_gpu"]) if point.method == "full" else 1
    batch = int(row["micro_batch"])
    job = {
        "gpus": count,
        "micro_batch": batch,
        "seq": 512,
        "mean_tokens": ALPACA_TOKENS,
        "rank": int(row["rank"] or 8),
        "targets": EVERYTHING if "head" in row["targets"] else "q,v",
        "checkpointing": count > 1,
        "sharding": "flat" if count > 1 else "copies",
        "accumulation": 2,
        "double_quantisation": False,
    }
    epochs = int(row["time"].split(" for ")[1].split(" ")[0])
    seconds = _minutes(row["time"]) * 60
    return replace(point, job=job, tokens_per_second=2000 * epochs * ALPACA_TOKENS / seconds, no_time=VALIDATION)


def _litgpt_tables(row: Row, point: Point) -> Point:
    if point.method == "inference":
        quantised = "nf4" in row["quant"]
        return replace(point, job={"quantised": quantised, "double": "dq" in row["quant"], "batch": 1, "context": 300})
    seq = next(length for name, length in LONGEST.items() if row["model"].lower().startswith(name.lower()))
    count = int(row["n_gpu"])
    batch = int(row["micro_batch"])
    job = {
        "micro_batch": batch,
        "seq": seq,
        "mean_tokens": ALPACA_TOKENS,
        "targets": "q,v",
        "double_quantisation": "dq" in row["quant"],
        "accumulation": 128,
        "checkpointing": count > 1,
        "sharding": "flat" if count > 1 else "copies",
    }
    rate = 1000 * batch * count * ALPACA_TOKENS / (_minutes(row["time"]) * 60)
    return replace(point, job=job, tokens_per_second=rate)


def _torchtune(row: Row, point: Point) -> Point:
    small = row["model"] == "Llama 3.2 3B"
    job = {
        "micro_batch": 2,
        "seq": 4096 if small else 2048,
        "packing": True,
        "rank": 64 if small else 8,
        "targets": "all" if small else "q,v,o,gate,up,down",
        # The 3B table adds its savings one by one: checkpointing comes after the loss in pieces.
        "checkpointing": "chunked CE" not in row["method"],
        "fused": True,
    }
    return replace(point, job=job)


def _torchtune_guide(row: Row, point: Point) -> Point:
    job = {"micro_batch": 2, "seq": LONGEST["Llama"], "rank": int(row["rank"]), "targets": row["targets"]}
    return replace(point, job=job)


def _llama_factory(row: Row, point: Point) -> Point:
    job = {
        "micro_batch": int(row["micro_batch"]),
        "seq": int(row["seq"].split(" ")[-1]),
        "fused": "Unsloth" in row["extra"],
        "accumulation": 2,
    }
    unknown = "" if row["gpu"] else "the card's name is lost in the source"
    return replace(point, job=job, peak="card", no_time=unknown)


def _nemo(row: Row, point: Point) -> Point:
    job = {"micro_batch": int(row["micro_batch"]), "seq": 4096, "packing": True, "fused": False, "sharding": "shards"}
    per_card = point.tokens_per_second or 0
    return replace(point, job={**job, "checkpointing": False}, tokens_per_second=per_card * int(row["n_gpu"]))


def _peft(row: Row, point: Point) -> Point:
    job = {
        "micro_batch": 4,
        "seq": 768,
        "mean_tokens": 210.0,
        "rank": int(row["rank"]),
        "targets": row["targets"],
        "checkpointing": False,
    }
    return replace(point, job=job, peak="reserved")


def _philschmid(row: Row, point: Point) -> Point:
    return replace(point, left_out="time of a run whose number of tokens the source does not say")


def _guanaco(row: Row, point: Point) -> Point:
    return replace(point, job={"quantised": True, "double": True, "batch": 1, "context": 2048}, peak="card")


def _raschka(row: Row, point: Point) -> Point:
    seconds = 10059.53
    job = {"micro_batch": 1, "seq": LONGEST["Llama"], "mean_tokens": ALPACA_TOKENS, "targets": "q,v"}
    rate = 50_000 * ALPACA_TOKENS / seconds
    return replace(point, job={**job, "gpu": "A100-40", "checkpointing": False}, tokens_per_second=rate)


def _unsloth(row: Row, point: Point) -> Point:
    longest = re.search(r"HF\+FA2 (\d+)", row["extra"])
    if longest is None:
        return replace(point, left_out="does not fit by the source, so no length")
    return replace(point, job={"seq": int(longest[1]), "rank": 32, "fused": False}, peak="card")


READERS: Mapping[str, Callable[[Row, Point], Point]] = {
    "litgpt config_hub": _litgpt_hub,
    "litgpt tutorials": _litgpt_tables,
    "torchtune README": _torchtune,
    "torchtune lora": _torchtune_guide,
    "LLaMA-Factory": _llama_factory,
    "NeMo": _nemo,
    "huggingface/peft": _peft,
    "philschmid": _philschmid,
    "QLoRA": _guanaco,
    "Raschka": _raschka,
    "Unsloth": _unsloth,
}


def _doubted(point: Point) -> Point:
    """Name what cannot be, by arithmetic or by the source's own other rows; no estimate of peak or speed is asked."""
    if point.left_out or point.peak_gib is None or point.method == "inference":
        return point
    if point.job["gpu"] == "A6000":
        return replace(point, doubt=OTHER_CARD)
    weights_gib = load(point.job["model"]).parameters * 2 / GIB
    accumulated = point.job["gpus"] == 1 and point.job.get("accumulation", 1) > 1
    if point.method == "full" and accumulated and point.peak_gib < 4 * weights_gib:
        return replace(point, doubt=TOO_LITTLE)
    return point
