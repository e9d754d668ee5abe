"""Any Hugging Face causal language model, by hub id or local folder, on the CPU or on CUDA.

Without network access the hub's own cache is used, as transformers does it (HF_HUB_OFFLINE=1 skips asking).
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import ClassVar

from finetune_advisor.datasets import tool_calls
from finetune_advisor.errors import BadInput, require
from finetune_advisor.models.generation import Generated
from finetune_advisor.models.prefixes import grouped
from finetune_advisor.models.weights import Weights
from finetune_advisor.models.wheels import sha256_of
from finetune_advisor.records import Batch, Failure, Message, Reply, Request, Settings, Usage


class LocalModel:
    """A model that runs in this process.

    Args:
        id: Hugging Face id or local folder.
        name: What people see; the id where empty.
        dtype: "bfloat16", "float16", "float32", or "auto" for what the hardware is fast in.
        device: "cpu", "cuda", "cuda:1", or "auto".
        batch_size: The most prompts that are answered together.
        batch_tokens: The most tokens of a batch, answers included; what prompts begin with alike counts once.
    """

    simulated: ClassVar[bool] = False
    tunable: ClassVar[bool] = True

    def __init__(
        self,
        id: str,
        name: str = "",
        dtype: str = "auto",
        device: str = "auto",
        batch_size: int = 128,
        batch_tokens: int = 16384,
    ) -> None:
        if not id.strip():
            raise BadInput("A local model needs an id.", hint="Give a Hugging Face id or the folder of a model.")
        if batch_size < 1 or batch_tokens < 1:
            raise BadInput("batch_size and batch_tokens have to be at least 1.")
        self.id = id
        self.name = name or id
        self._options = {"dtype": dtype, "device": device}
        self._batch_size = batch_size
        self._batch_tokens = batch_tokens
        self._adapter: Path | None = None
        self._holder: list[Weights] = []

    @property
    def source(self) -> str:
        """What trainers load."""
        return self.id

    @property
    def context_window(self) -> int:
        """The most tokens of prompt and answer together."""
        return int(getattr(self._weights.config.get_text_config(), "max_position_embeddings", 2048))

    @property
    def _weights(self) -> Weights:
        # One list is shared by all variants, so that whichever is used first loads the weights for all of them.
        if not self._holder:
            self._holder.append(Weights(self.source, **self._options))
        return self._holder[0]

    def describe(self) -> Settings:
        """Id, revision or checksum, number format, device, sizes of batches, and the adapter's checksum."""
        weights = self._weights
        folder = Path(self.source)
        return {
            "id": self.id,
            "revision": getattr(weights.config, "_commit_hash", None) or "",
            "sha256": _folder_hash(folder) if folder.is_dir() else "",
            "dtype": str(weights.dtype).removeprefix("torch."),
            "device": weights.device,
            "batch_size": self._batch_size,
            "batch_tokens": self._batch_tokens,
            "adapter_sha256": _folder_hash(self._adapter) if self._adapter else "",
        }

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Prompt tokens of a conversation by the model's own template and tokenizer."""
        return len(self._weights.chat.prompt(messages))

    def batches(self, requests: Sequence[Request]) -> list[Batch]:
        """Requests that begin alike together, in batches of like size; the same for the same requests every time."""
        prompts = [self._prompt(request) for request in requests]
        limits = [request.max_tokens for request in requests]
        groups = grouped(prompts, limits, self._batch_size, self._batch_tokens)
        return [Batch(requests=tuple(requests[place] for place in group)) for group in groups]

    def answer(self, batch: Batch) -> list[Reply | Failure]:
        """Answer greedily, in the batch's order. Where the device's memory runs out, half as many at a time."""
        prompts = [self._prompt(request) for request in batch.requests]
        replies: list[Reply | Failure | None] = [
            self._too_long(len(prompt), request) for prompt, request in zip(prompts, batch.requests, strict=True)
        ]
        fitting = [place for place, failure in enumerate(replies) if failure is None]
        given = self._generate([prompts[i] for i in fitting], [batch.requests[i].max_tokens for i in fitting])
        for place, generated in zip(fitting, given, strict=True):
            replies[place] = self._reply(generated, len(prompts[place]), batch.requests[place])
        return [reply for reply in replies if reply is not None]

    def with_adapter(self, folder: Path) -> LocalModel:
        """The same model with a LoRA adapter on it, on the same base weights; a whole model where one lies there."""
        if (folder / "config.json").is_file() and not (folder / "adapter_config.json").is_file():
            batch_size, batch_tokens = self._batch_size, self._batch_tokens
            return LocalModel(str(folder), self.name, **self._options, batch_size=batch_size, batch_tokens=batch_tokens)
        variant = copy.copy(self)
        variant._adapter = folder.resolve()
        return variant

    def _prompt(self, request: Request) -> list[int]:
        return self._weights.chat.prompt(request.messages, request.tools)

    def _too_long(self, length: int, request: Request) -> Failure | None:
        room = self.context_window - request.max_tokens
        if length <= room:
            return None
        message = f"The prompt has {length} tokens; {room} fit beside an answer of {request.max_tokens}."
        return Failure(kind="too_long", message=message, usage=Usage(prompt_tokens=length))

    def _generate(self, prompts: list[list[int]], limits: list[int]) -> list[Generated | Failure]:
        if not prompts:
            return []
        weights = self._weights
        try:
            with weights.with_adapter(self._adapter) as model:
                return [*weights.generator.generate(model, prompts, limits, str(self._adapter or ""))]
        except require("torch", extra="local").OutOfMemoryError:
            weights.generator.forget()
        require("torch", extra="local").cuda.empty_cache()
        if len(prompts) == 1:
            return [Failure(kind="error", message=f"The memory of {weights.device} is too small for this prompt.")]
        half = len(prompts) // 2
        return self._generate(prompts[:half], limits[:half]) + self._generate(prompts[half:], limits[half:])

    def _reply(self, generated: Generated | Failure, prompt_tokens: int, request: Request) -> Reply | Failure:
        if isinstance(generated, Failure):
            return generated
        decoded: str = self._weights.tokenizer.decode(generated.tokens, skip_special_tokens=True)
        text = tool_calls.comparable(decoded.strip()) if request.tools else decoded.strip()
        usage = Usage(
            prompt_tokens=prompt_tokens,
            cached_tokens=generated.cached,
            completion_tokens=generated.steps,
            seconds=generated.seconds,
            prefill_seconds=generated.prefill_seconds,
        )
        return Reply(text=text, usage=usage, finish="stop" if generated.ended else "length")


@cache
def _folder_hash(folder: Path) -> str:
    """SHA-256 over the weight files' checksums, which says exactly which weights they are."""
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    sums = "".join(f"{file.name} {sha256_of(file)}\n" for file in files)
    return hashlib.sha256(sums.encode()).hexdigest()
