"""Models by provider. Plug-in point: entry-point group ``finetune_advisor.models``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from finetune_advisor import plugins
from finetune_advisor.records import Batch, Failure, Message, Reply, Request, Settings

GROUP = "models"
TABLE = {
    "embedded": "finetune_advisor.models.embedded:EmbeddedModel",
    "huggingface": "finetune_advisor.models.local:LocalModel",
    "fake": "finetune_advisor.models.fake:FakeModel",
}


class Model(Protocol):
    """Something that answers prompts.

    `name` is what people see. `simulated` marks answers that no real model gave. `tunable` says whether a
    local tuner can train it, and `source` is what it loads: a folder or a hub id ("" for models without weights).
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def simulated(self) -> bool: ...  # noqa: D102
    @property
    def tunable(self) -> bool: ...  # noqa: D102
    @property
    def context_window(self) -> int: ...  # noqa: D102
    @property
    def source(self) -> str: ...  # noqa: D102

    def describe(self) -> Settings:
        """What it is, exactly: id, revision or hash, dtype, device. Stored with each result."""
        ...

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Prompt tokens of a conversation by the model's own template and tokenizer."""
        ...

    def batches(self, requests: Sequence[Request]) -> list[Batch]:
        """Partition requests into batches, the same for the same requests every time."""
        ...

    def answer(self, batch: Batch) -> list[Reply | Failure]:
        """Answer one batch, in its order; greedy, so the same batch gives the same replies."""
        ...

    def with_adapter(self, folder: Path) -> Model:
        """The same model with a LoRA adapter on it; the base's weights are shared, not loaded twice."""
        ...


def create(provider: str, **options: Any) -> Model:
    """A model of that provider; weights are loaded at the first answer, not before.

    Raises:
        BadInput: Unknown provider or option.
    """
    return cast(Model, plugins.create(GROUP, TABLE, provider, options))
