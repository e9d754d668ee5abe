"""Models at OpenAI, at Azure OpenAI, and at any server with the same API: vLLM, Ollama, llama.cpp, OpenRouter and such.

Keys come from the environment alone: options name the variable, nothing holds the key.
"""

from __future__ import annotations

from typing import ClassVar

from finetune_advisor.errors import BadInput, Missing
from finetune_advisor.models.accounts import Account
from finetune_advisor.models.openai_model import ProviderModel, Sending, Tuned
from finetune_advisor.models.openai_requests import Api, Style
from finetune_advisor.records import Settings


class OpenAIModel(ProviderModel):
    """A model at OpenAI, or at the server that OPENAI_BASE_URL names.

    Args:
        id: The model's id.
        name: What people see; the id where empty.
        api: "chat" for chat completions, or "responses".
        concurrency: How many requests may be under way at the same time.
        timeout_seconds: How long a reply may take to begin, or to go on.
        seed: The same seed, likelier the same answer; chat completions only.
        reasoning_effort: How long a reasoning model thinks: "none", "minimal", "low", "medium", "high" and so on.
        batch: Whether to use the Batch API: half the price, answers within a day.
        context_window: The most tokens of prompt and answer together; 0 for what is known about the model.
        key_env: The environment variable with the key.
    """

    def __init__(
        self,
        id: str,
        name: str = "",
        api: Api = "chat",
        concurrency: int = 8,
        timeout_seconds: float = 120.0,
        seed: int | None = None,
        reasoning_effort: str = "",
        batch: bool = False,
        context_window: int = 0,
        key_env: str = "OPENAI_API_KEY",
    ) -> None:
        account = Account(provider="openai", key_env=_given(key_env))
        style = Style(model=id, api=api, seed=seed, reasoning_effort=reasoning_effort)
        super().__init__(
            name,
            id,
            account,
            style,
            Sending(
                concurrency=concurrency, timeout_seconds=timeout_seconds, batch=batch, context_window=context_window
            ),
        )

    @property
    def trainer(self) -> tuple[str, Settings]:
        """What tunes it, with the options that reach the same account."""
        return "openai", {"key_env": self._account.key_env}


class AzureModel(ProviderModel):
    """A deployment at the Azure OpenAI resource that AZURE_OPENAI_ENDPOINT names.

    Args:
        id: The deployment's name.
        base: The model that is deployed, for prices and tuning; the deployment's name where empty.
        name: What people see; the deployment's name where empty.
        api: "chat" for chat completions, or "responses".
        concurrency: How many requests may be under way at the same time.
        timeout_seconds: How long a reply may take to begin, or to go on.
        seed: The same seed, likelier the same answer; chat completions only.
        reasoning_effort: How long a reasoning model thinks: "none", "minimal", "low", "medium", "high" and so on.
        batch: Whether to use the Batch API; takes a deployment made for batches.
        context_window: The most tokens of prompt and answer together; 0 for what is known about the model.
        key_env: The environment variable with the key.
        api_version: The version of the older API, for example "2024-10-21"; "" for the v1 API.
        entra: Whether to log in by Entra ID instead of a key.
    """

    def __init__(
        self,
        id: str,
        base: str = "",
        name: str = "",
        api: Api = "chat",
        concurrency: int = 8,
        timeout_seconds: float = 120.0,
        seed: int | None = None,
        reasoning_effort: str = "",
        batch: bool = False,
        context_window: int = 0,
        key_env: str = "AZURE_OPENAI_API_KEY",
        api_version: str = "",
        entra: bool = False,
    ) -> None:
        account = Account(provider="azure", key_env=_given(key_env), api_version=api_version, entra=entra)
        style = Style(model=id, api=api, seed=seed, reasoning_effort=reasoning_effort)
        super().__init__(
            name,
            base or id,
            account,
            style,
            Sending(
                concurrency=concurrency, timeout_seconds=timeout_seconds, batch=batch, context_window=context_window
            ),
        )

    def describe(self) -> Settings:
        """As for every provider, with the deployed model and the version of the API."""
        return {**super().describe(), "base": self._base, "api_version": self._account.api_version}

    @property
    def trainer(self) -> tuple[str, Settings]:
        """What tunes it, with the options that reach the same resource."""
        account = self._account
        return "azure", {"key_env": account.key_env, "api_version": account.api_version, "entra": account.entra}

    def _tuned_id(self, tuned: Tuned) -> str:
        if not tuned.deployment:
            raise Missing(
                f"The tuned model {tuned.model} is not deployed.", hint="Deploy it first; it costs by the hour."
            )
        return tuned.deployment


class CompatibleModel(ProviderModel):
    """A model at any server that speaks OpenAI's API.

    Args:
        id: The model's id at that server.
        base_url: The server's address up to "/v1", for example "http://127.0.0.1:8000/v1".
        name: What people see; the id where empty.
        api: "chat" for chat completions, or "responses".
        concurrency: How many requests may be under way at the same time.
        timeout_seconds: How long a reply may take to begin, or to go on.
        seed: The same seed, likelier the same answer; chat completions only.
        reasoning_effort: How long a reasoning model thinks, in the server's words.
        batch: Whether to use the server's Batch API.
        context_window: The most tokens of prompt and answer together; 0 for what is known about the model.
        key_env: The environment variable with the key; "" where the server takes none.
    """

    tunable: ClassVar[bool] = False

    def __init__(
        self,
        id: str,
        base_url: str,
        name: str = "",
        api: Api = "chat",
        concurrency: int = 8,
        timeout_seconds: float = 120.0,
        seed: int | None = None,
        reasoning_effort: str = "",
        batch: bool = False,
        context_window: int = 0,
        key_env: str = "",
    ) -> None:
        account = Account(provider="compatible", key_env=key_env, base_url=base_url)
        style = Style(model=id, api=api, seed=seed, reasoning_effort=reasoning_effort, ours=False)
        super().__init__(
            name,
            id,
            account,
            style,
            Sending(
                concurrency=concurrency, timeout_seconds=timeout_seconds, batch=batch, context_window=context_window
            ),
        )

    @property
    def source(self) -> str:
        """Nothing that a trainer takes."""
        return ""

    @property
    def trainer(self) -> tuple[str, Settings]:
        """Nothing tunes it there."""
        return "", {}


def _given(key_env: str) -> str:
    if not key_env:
        raise BadInput("key_env has to name the environment variable with the key.")
    return key_env
