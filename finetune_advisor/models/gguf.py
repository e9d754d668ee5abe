"""GGUF files to plain safetensors folders."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from finetune_advisor.errors import require
from finetune_advisor.models.quiet import quiet


def convert(file: Path, folder: Path) -> None:
    """Dequantise a GGUF file to bfloat16 and save it with its tokenizer and chat template.

    Args:
        file: The GGUF file.
        folder: An existing folder, which then is one that transformers loads.
    """
    torch = require("torch", extra="local")
    transformers = require("transformers", extra="local")
    require("gguf", extra="local")
    place = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    # The conversion draws a progress bar of its own that no setting turns off.
    with quiet(), contextlib.redirect_stderr(io.StringIO()):
        unpacked = transformers.GgufConfig(dequantize=True)
        auto = transformers.AutoModelForCausalLM
        model = auto.from_pretrained(**place, dtype=torch.bfloat16, quantization_config=unpacked)
        model.save_pretrained(folder)
        transformers.AutoTokenizer.from_pretrained(**place).save_pretrained(folder)
