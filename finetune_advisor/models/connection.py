"""Requests to a provider: tried again where that costs nothing, given back as lost where it might.

Free are 429 and 5xx answers that say that nothing was done, and connections that were never made. A reply that was
being made and did not arrive may have been charged: whoever pays decides whether to ask again.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

import tenacity

from finetune_advisor.errors import Missing, require
from finetune_advisor.models import waiting
from finetune_advisor.models.accounts import Account
from finetune_advisor.models.limits import Limits

if TYPE_CHECKING:
    import openai

FREE = frozenset({408, 409, 429, 500, 502, 503, 529})
"""Answers of a server that has not done, and not charged, what it was asked."""

MOST_TRIES = {"busy": 10, "unreached": 5, "denied": 3}
"""So often a request is sent where the server is busy, cannot be reached, or denies it."""

LONGEST_WAIT = 300.0
MOST_SECONDS = 900.0
"""A request is given up where the server asks for a longer wait than the first, or for more than the second in all."""

_DENIED = frozenset({401, 403, 404})
_UNPAID = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_UNSENT = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout"})
_SHOWN = 300


class Unavailable(Missing):
    """A provider does not answer now; later it may."""

    retryable: ClassVar[bool] = True


class Raw(Protocol):
    """A reply of the client with its headers and its text as it came."""

    @property
    def headers(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def text(self) -> str: ...  # noqa: D102


Ask = Callable[["openai.OpenAI"], Any]
"""One call of the client's `with_raw_response`, which gives a `Raw`."""


@dataclass(frozen=True, kw_only=True)
class Arrived:
    """The text of a reply and the seconds that it took."""

    text: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Refused:
    """An answer that says no, without a key in its message."""

    status: int
    message: str
    code: str = ""
    param: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, kw_only=True)
class Lost:
    """The request was sent, and no whole reply came."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class _Unsent:
    reason: str


Outcome = Arrived | Refused | Lost


class Connection:
    """The way to one model of a server; any number of threads may share it.

    Args:
        account: Whose server.
        timeout_seconds: How long a reply may take to begin, or to go on.
    """

    def __init__(self, account: Account, timeout_seconds: float) -> None:
        self.account = account
        self.timeout_seconds = timeout_seconds
        self._limits = Limits()
        self._lock = threading.Lock()
        self._client: tuple[tuple[str, str], openai.OpenAI] | None = None

    def send(
        self,
        ask: Ask,
        *,
        tokens: int = 1,
        safe: bool = False,
        allowed: frozenset[int] = frozenset(),
        check: Callable[[str], bool] = bool,
    ) -> Outcome:
        """Send a request, and again where that costs nothing.

        Args:
            ask: The call.
            tokens: The most that it takes of the limit of tokens.
            safe: Whether asking twice costs nothing, so that a lost reply is asked for again too.
            allowed: Statuses that concern this request alone here, 404 for example.
            check: Whether a reply's text is what it should be; where it is not, the reply is lost.

        Returns:
            The reply; a refusal that concerns this request alone (400, 413, 422 and their like); or that it was lost.

        Raises:
            Missing: The server refuses everything: key, permission, model or credit are not there.
            Unavailable: It does not answer, or not before long.
        """
        patience = _Patience(self._limits, safe=safe, allowed=allowed)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_result(patience.again), wait=patience.pause, sleep=waiting.wait
        )
        outcome = retrying(self._once, ask, tokens, check)
        if isinstance(outcome, Arrived) or (isinstance(outcome, Lost) and not safe):
            return outcome
        if isinstance(outcome, Refused) and patience.kind(outcome) == "done":
            return outcome
        raise self._given_up(outcome)

    def _once(self, ask: Ask, tokens: int, check: Callable[[str], bool]) -> Outcome | _Unsent:
        sdk = require("openai", extra="all")
        client = self._open()
        self._limits.acquire(tokens)
        began = time.perf_counter()
        try:
            raw: Raw = ask(client)
            self._limits.learn(raw.headers)
            arrived = Arrived(text=raw.text, seconds=time.perf_counter() - began)
        except sdk.APIStatusError as error:
            self._limits.learn(error.response.headers)
            return self._refused(error)
        except sdk.APIConnectionError as error:
            return _broken(error)
        return arrived if check(arrived.text) else Lost(reason="the reply was not what this API gives")

    def _open(self) -> openai.OpenAI:
        """The client for the key that is set now: one that was corrected while this program runs counts."""
        with self._lock:
            now = (self.account.url, self.account.key())
            if self._client is None or self._client[0] != now:
                self._client = (now, self.account.client(self.timeout_seconds))
                weakref.finalize(self, self._client[1].close)
            return self._client[1]

    def _refused(self, error: openai.APIStatusError) -> Outcome:
        if error.status_code >= 500 and error.status_code not in FREE:
            return Lost(reason=f"the server answered {error.status_code}")
        return refused(self.account, error.status_code, error.body, error.response.headers)

    def _given_up(self, outcome: Refused | Lost | _Unsent) -> Missing:
        host = self.account.host
        if not isinstance(outcome, Refused):
            hint = "Check the address and the network, and run again: what was answered is kept."
            return Unavailable(f"{host} cannot be asked: {outcome.reason}.", hint=hint)
        said = f"{host} answered {outcome.status}: {outcome.message}"
        if _refusal(outcome) == "busy":
            return Unavailable(said, hint="Run again later: what was answered is kept.")
        return Missing(said, hint=self._hint(outcome))

    def _hint(self, outcome: Refused) -> str:
        if outcome.status == 401 and not self.account.secret and not self.account.entra:
            return "This server wants a key: name the environment variable that holds it in key_env."
        if outcome.status == 401:
            return f"Check the key in {self.account.secret or 'your login'}, and run again: what was answered is kept."
        if outcome.status in (400, 404):
            return "Check the model's id, or the deployment's name: it may be misspelt, retired or not deployed yet."
        if outcome.status == 403:
            return "The account may not use this. Ask whoever owns it, and run again: what was answered is kept."
        if outcome.status < 400:
            return "The server sends requests elsewhere, which is not followed. Check its address."
        return "The account needs credit. Run again when it has some: what was answered is kept."


class _Patience:
    """How often one request is tried, and with what pauses."""

    def __init__(self, limits: Limits, *, safe: bool, allowed: frozenset[int]) -> None:
        self._limits = limits
        self._safe = safe
        self._allowed = allowed
        self._tries: Counter[str] = Counter()
        self._waited = 0.0
        self._backoff = tenacity.wait_random_exponential(multiplier=1, max=60)

    def again(self, outcome: Outcome | _Unsent) -> bool:
        kind = self.kind(outcome)
        self._tries[kind] += 1
        return self._tries[kind] < MOST_TRIES.get(kind, 0) and self._short_enough(outcome)

    def kind(self, outcome: Outcome | _Unsent) -> str:
        """What is to be done about it: a key of `MOST_TRIES`, or nothing."""
        if isinstance(outcome, _Unsent):
            return "unreached"
        if isinstance(outcome, Lost):
            return "busy" if self._safe else "done"
        if isinstance(outcome, Arrived) or outcome.status in self._allowed:
            return "done"
        return _refusal(outcome)

    def pause(self, state: tenacity.RetryCallState) -> float:
        outcome = state.outcome.result() if state.outcome else None
        asked = _asked(outcome)
        seconds = self._backoff(state) if asked is None else asked + min(asked * 0.1, self._backoff(state))
        self._waited += seconds
        if isinstance(outcome, Refused) and outcome.status == 429:
            self._limits.pause(seconds)
        return seconds

    def _short_enough(self, outcome: Outcome | _Unsent) -> bool:
        asked = _asked(outcome) or 0.0
        return asked <= LONGEST_WAIT and self._waited + asked <= MOST_SECONDS


def refused(account: Account, status: int, body: object, headers: Mapping[str, str]) -> Refused:
    """A refusal from its body: OpenAI's error object, or whatever else a server sends."""
    whole: Mapping[str, Any] = cast(Any, body) if isinstance(body, dict) else {"message": body}
    inner = whole.get("error")
    found: Mapping[str, Any] = cast(Any, inner) if isinstance(inner, dict) else whole
    message = str(found.get("message") or found.get("detail") or found or "")
    clean = " ".join(account.scrubbed(message).split())
    return Refused(
        status=status,
        message=clean if len(clean) <= _SHOWN else clean[:_SHOWN] + "...",
        code=str(found.get("code") or ""),
        param=str(found.get("param") or ""),
        headers=headers,
    )


def too_long(outcome: Refused) -> bool:
    """Whether a request was refused because of its length."""
    words = f"{outcome.code} {outcome.message}".lower()
    signs = ("context_length", "context length", "context window", "too long", "too large", "string_above_max_length")
    return outcome.status == 413 or any(sign in words for sign in signs)


def _refusal(outcome: Refused) -> str:
    """What a refusal means: "unpaid" and "denied" concern every request, "done" this one, and "busy" goes by."""
    if outcome.status == 402 or outcome.code in _UNPAID:
        return "unpaid"
    if outcome.status in _DENIED or (outcome.status == 400 and outcome.param == "model"):
        return "denied"
    if outcome.status == 429 and too_long(outcome):
        return "done"
    if outcome.status in FREE:
        return "busy"
    return "denied" if outcome.status < 400 else "done"


def _asked(outcome: object) -> float | None:
    return waiting.retry_after(outcome.headers) if isinstance(outcome, Refused) else None


def _broken(error: openai.APIConnectionError) -> Lost | _Unsent:
    cause = type(error.__cause__).__name__
    if cause in _UNSENT:
        return _Unsent(reason="no connection can be made" if cause == "ConnectError" else "no connection in time")
    timed_out = "Timeout" in cause
    return Lost(reason="no reply in time" if timed_out else "the connection broke before the whole reply was there")
