"""Whose server is asked, at which address and with which key.

A key is read from its environment variable when a request is sent, and stands nowhere else: not in an account, not in
what is said about it, not in an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from finetune_advisor.errors import BadInput, Missing, require

if TYPE_CHECKING:
    import openai

Provider = Literal["openai", "azure", "compatible"]

OPENAI_URL = "https://api.openai.com/v1"
ENTRA_SCOPE = "https://cognitiveservices.azure.com/.default"
CONNECT_SECONDS = 10.0

_URL_VARIABLES = {"openai": "OPENAI_BASE_URL", "azure": "AZURE_OPENAI_ENDPOINT"}
_KEY_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*_(API_KEY|TOKEN)")
_RESERVED = re.compile(r"(AZURE|OPENAI|AWS|GITHUB)_.*|HF_TOKEN")
_KEY = re.compile(r"[!-~]+")
_KEY_LIKE = re.compile(r"\b(sk-|Bearer\s+)[\w*.-]{6,}")


@dataclass(frozen=True, kw_only=True)
class Account:
    """A server and how to log in there.

    Args:
        provider: "openai", "azure", or "compatible" for any server with the same API.
        key_env: The environment variable with the key; "" for a compatible server that takes none.
        base_url: Address of a compatible server; those of the others stand in OPENAI_BASE_URL (api.openai.com where
            it is not set) and AZURE_OPENAI_ENDPOINT, so that no case file can send a key elsewhere.
        api_version: Of Azure's older addresses; "" for its v1 ones.
        entra: Whether to log in at Azure by Entra ID instead of a key.
    """

    provider: Provider
    key_env: str = ""
    base_url: str = ""
    api_version: str = ""
    entra: bool = False

    def __post_init__(self) -> None:
        if self.key_env and not _KEY_VARIABLE.fullmatch(self.key_env):
            raise BadInput(
                "key_env has to name an environment variable that ends in _API_KEY or _TOKEN.",
                hint="It takes the variable's name; the key itself never belongs into a case.",
            )
        if self.provider == "compatible":
            checked_url(self.base_url, "base_url")
            if _RESERVED.fullmatch(self.key_env):
                raise BadInput(
                    f"{self.key_env} is sent to its own provider only.",
                    hint="Give the key of this server a variable with a name of its own.",
                )

    @property
    def url(self) -> str:
        """The server's address, "" where its variable is not set."""
        if self.provider == "compatible":
            return self.base_url
        default = OPENAI_URL if self.provider == "openai" else ""
        return os.environ.get(_URL_VARIABLES[self.provider], "").strip() or default

    @property
    def host(self) -> str:
        """Host and port, "" where the address is not known or not one."""
        try:
            parts = urlsplit(self.url)
            return (parts.hostname or "") + (f":{parts.port}" if parts.port else "")
        except ValueError:
            return ""

    @property
    def secret(self) -> str:
        """The environment variable with the key, "" for none."""
        return "" if self.entra else self.key_env

    def key(self) -> str:
        """The key, "" where none is needed.

        Raises:
            Missing: It is not set.
            BadInput: It cannot be a key.
        """
        if not self.secret:
            return ""
        key = os.environ.get(self.secret, "").strip()
        if not key:
            hint = f"Set it in the environment: export {self.secret}=..."
            raise Missing(f"The key for {self.host or self.provider} is missing: {self.secret} is not set.", hint=hint)
        if not _KEY.fullmatch(key):
            raise BadInput(f"{self.secret} holds characters that no key has.", hint="Copy the key once more.")
        return key

    def scrubbed(self, text: str) -> str:
        """A text from the server or the client without the key, or what looks like one."""
        key = os.environ.get(self.secret, "").strip() if self.secret else ""
        return _KEY_LIKE.sub("[key]", text.replace(key, "[key]") if key else text)

    def client(self, timeout_seconds: float) -> openai.OpenAI:
        """A client that tries once and follows no redirect: neither prompts nor key go to another host.

        Raises:
            Missing: Key, endpoint or Entra ID login are not there.
            BadInput: The address is not one.
        """
        sdk = require("openai", extra="all")
        url = self._checked()
        common: dict[str, Any] = {
            "timeout": sdk.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds)),
            "max_retries": 0,
            "http_client": sdk.DefaultHttpxClient(follow_redirects=False, event_hooks={"request": self._hooks()}),
        }
        if self.provider != "openai":
            common["default_headers"] = self._without_openais(sdk)
        if self.provider == "azure" and self.api_version:
            login = {"azure_ad_token_provider": _entra_token()} if self.entra else {"api_key": self.key()}
            return sdk.AzureOpenAI(azure_endpoint=url, api_version=self.api_version, **login, **common)
        key = _entra_token() if self.entra else self.key() or "none"
        return sdk.OpenAI(base_url=f"{url}/openai/v1/" if self.provider == "azure" else url, api_key=key, **common)

    def _checked(self) -> str:
        if not self.url:
            variable = _URL_VARIABLES[self.provider]
            hint = f"Set it in the environment: export {variable}=https://NAME.openai.azure.com"
            raise Missing(f"The address of the Azure resource is missing: {variable} is not set.", hint=hint)
        checked_url(self.url, _URL_VARIABLES.get(self.provider, "base_url"))
        url = self.url.rstrip("/")
        return re.sub(r"/openai(/v1)?$", "", url) if self.provider == "azure" else url

    def _without_openais(self, sdk: Any) -> dict[str, Any]:
        """Leave out what the client takes from OpenAI's own variables: other servers have no business with it."""
        lines = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
        names = [line.partition(":")[0].strip() for line in lines if ":" in line]
        return {name: sdk.Omit() for name in (*names, "OpenAI-Organization", "OpenAI-Project")}

    def _hooks(self) -> list[Callable[[Any], None]]:
        """The client sends no request without a key, so that where there is none its stand-in is taken off again."""

        def keyless(request: Any) -> None:
            request.headers.pop("Authorization", None)

        return [] if self.secret or self.entra else [keyless]


def checked_url(url: str, name: str) -> None:
    """Check an address that prompts are sent to.

    Raises:
        BadInput: It is none, or holds more than an address: a password, a query.
    """
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        raise BadInput(f"{name} is not an address.", hint="Example: http://127.0.0.1:8000/v1") from None
    if not sound:
        raise BadInput(f"{name} is not an http or https address.", hint="Example: http://127.0.0.1:8000/v1")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise BadInput(f"{name} may hold no user, password or query.", hint="A key belongs into the environment.")


def _entra_token() -> Any:
    """What gives the client a fresh token of Entra ID for each request.

    Raises:
        Missing: azure-identity is not installed.
    """
    identity = require("azure.identity", extra="azure")
    failed = require("azure.core.exceptions", extra="azure").AzureError
    token = identity.get_bearer_token_provider(identity.DefaultAzureCredential(), ENTRA_SCOPE)

    def fresh() -> str:
        try:
            return str(token())
        except failed:
            pass
        hint = "Log in with `az login`, or set AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET."
        raise Missing("Entra ID gives no token for Azure OpenAI.", hint=hint)

    return fresh
