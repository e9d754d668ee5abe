"""Which device and number format a model runs in, and how many threads."""

from __future__ import annotations

import ctypes
import functools
import gc
import os
import sys
from typing import Any

from finetune_advisor.errors import BadInput, require

Tensor = Any
"""A torch tensor. torch, transformers and peft come without usable types; these names say what is meant."""
Dtype = Any
"""A torch number format."""
Module = Any
"""A Hugging Face model, with or without an adapter on it."""
Tokenizer = Any
"""A Hugging Face tokenizer."""
Cache = Any
"""A Hugging Face key-value cache."""

# Read when torch is first loaded. By default OpenMP threads spin so long while they wait that, on a machine that does
# other work too, they take away the cores that they wait for. Measured on two cores, a LoRA step: 0.9 s alone with the
# default, 1.1 s so; with one core busy, an answer's step: 2 to 3 s with the default, 0.15 s so.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

DTYPES = ("auto", "bfloat16", "float16", "float32")


def device_for(wish: str) -> str:
    """The device to run on: the wished one, or with "auto" CUDA where it is there.

    Raises:
        BadInput: The wished device is not on this machine.
    """
    torch = require("torch", extra="local")
    has_cuda = bool(torch.cuda.is_available())
    if wish == "auto":
        return "cuda" if has_cuda else "cpu"
    if wish.startswith("cuda") and not has_cuda:
        raise BadInput("This machine has no CUDA device that torch can use.", hint='Set device = "cpu" or "auto".')
    return wish


def dtype_for(wish: str, device: str) -> Dtype:
    """The number format to run in, as a torch dtype.

    With "auto": bfloat16 where the hardware multiplies in it, else float16 on CUDA and float32 on the CPU,
    where emulated bfloat16 is slower than float32.

    Raises:
        BadInput: There is no such format.
    """
    torch = require("torch", extra="local")
    if wish not in DTYPES:
        raise BadInput(f"There is no number format {wish!r}.", hint="Known: " + ", ".join(DTYPES) + ".")
    if wish != "auto":
        return getattr(torch, wish)
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if _cpu_has_bfloat16() else torch.float32


def _cpu_has_bfloat16() -> bool:
    cpu = require("torch", extra="local").cpu
    checks = (getattr(cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check() for check in checks if check is not None)


@functools.cache
def use_physical_cores() -> None:
    """One torch thread for each physical core that this process may use; two on one core hinder each other."""
    if "OMP_NUM_THREADS" in os.environ:
        return
    physical = require("psutil", extra="local").cpu_count(logical=False) or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else physical
    require("torch", extra="local").set_num_threads(max(1, min(physical, usable)))


def return_memory() -> None:
    """Give freed memory back to the system.

    glibc keeps what tensors of many sizes have left behind: after a training of the sample case, 0.8 of 1.6 GB.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
