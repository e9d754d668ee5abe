"""Models by provider. Plug-in point: entry-point group ``finetune_advisor.models``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeGuard, cast

from finetune_advisor import plugins
from finetune_advisor.records import Batch, Failure, Message, Reply, Request, Settings

GROUP = "models"
TABLE = {
    "embedded": "finetune_advisor.models.embedded:EmbeddedModel",
    "huggingface": "finetune_advisor.models.local:LocalModel",
    "openai": "finetune_advisor.models.openai:OpenAIModel",
    "azure": "finetune_advisor.models.openai:AzureModel",
    "compatible": "finetune_advisor.models.openai:CompatibleModel",
    "fake": "finetune_advisor.models.fake:FakeModel",
}


TUNED_MODEL = "tuned_model.json"
"""The file in a training's folder that names the tuned model at a provider: `{"model", "provider"}`, at Azure
`"deployment"` too."""


class Model(Protocol):
    """Something that answers prompts.

    `name` is what people see. `simulated` marks answers that no real model gave. `tunable` says whether a
    tuner can train it, and `source` is what that one takes: a folder, a hub id, or a provider's name of the model
    ("" for models without weights).
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
        """The model as tuned, by what its trainer left in the folder; a local base's weights are not loaded twice."""
        ...


class RemoteModel(Model, Protocol):
    """A model that somebody else's server runs, and may charge for.

    A batch is one request, or many that are handed over together; `concurrency` batches may be asked at the same time,
    each from a thread of its own. `addresses` are the hosts that it sends prompts to, `secret` is the environment
    variable with the key ("" for none). `trainer` names what tunes it in `tuning.TABLE` ("" for nothing) and gives
    the options by which that one reaches the same server.
    """

    @property
    def concurrency(self) -> int: ...  # noqa: D102
    @property
    def addresses(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def secret(self) -> str: ...  # noqa: D102
    @property
    def trainer(self) -> tuple[str, Settings]: ...  # noqa: D102


def is_remote(model: Model) -> TypeGuard[RemoteModel]:
    """Whether somebody else's server runs it; `isinstance` would read every property, and so load weights."""
    return hasattr(type(model), "addresses")


def create(provider: str, **options: Any) -> Model:
    """A model of that provider; weights are loaded at the first answer, not before.

    Raises:
        BadInput: Unknown provider or option.
    """
    return cast(Model, plugins.create(GROUP, TABLE, provider, options))
