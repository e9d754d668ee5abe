"""Faults on purpose: what goes wrong between a client and a provider, decided by a seed."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from finetune_advisor.emulator.state import ApiError

ANSWERS = frozenset({"chat", "responses", "embeddings"})

KINDS: Mapping[str, frozenset[str]] = {
    "429": frozenset(),
    "429_bare": frozenset(),
    "500": frozenset(),
    "503": frozenset(),
    "slow": frozenset(),
    "hang": frozenset(),
    "cut": frozenset(),
    "malformed": frozenset(),
    "401": frozenset(),
    "400_file": frozenset({"files", "jobs"}),
    "403_training": frozenset({"jobs"}),
    "404_retired": ANSWERS,
    "job_fails": frozenset({"jobs"}),
    "wrong_usage": ANSWERS,
}
"""Every fault, with the requests it can befall: uploads ("files"), new jobs, answers; none named for all."""

LOST = frozenset({"hang", "cut", "malformed"})
"""Faults after which the work is done and charged, and the client has no answer."""

Rate = Annotated[float, Field(ge=0, le=1)]


class FaultSettings(BaseModel):
    """What goes wrong how often.

    Attributes:
        rates: Probability by kind, of those in `KINDS`.
        seed: Another seed, other requests that fail.
        at_most: After so many faults all goes well; None for no end.
        slow_seconds: How long a "slow" answer is kept back.
        retry_after_seconds: What a "429" asks the client to wait.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rates: dict[str, Rate] = {}
    seed: int = 0
    at_most: Annotated[int, Field(ge=0)] | None = None
    slow_seconds: Annotated[float, Field(ge=0, le=600)] = 2.0
    retry_after_seconds: Annotated[float, Field(ge=0, le=600)] = 1.0

    @field_validator("rates")
    @classmethod
    def _known(cls, rates: dict[str, float]) -> dict[str, float]:
        unknown = sorted(set(rates) - set(KINDS))
        if unknown:
            raise ValueError(f"unknown faults: {', '.join(unknown)}; known: {', '.join(KINDS)}")
        return rates


class Faults:
    """Decides for each request, by its number and the seed, what goes wrong with it.

    Args:
        settings: What goes wrong how often.
    """

    def __init__(self, settings: FaultSettings | None = None) -> None:
        self._lock = threading.Lock()
        self.set(settings or FaultSettings())

    def set(self, settings: FaultSettings) -> None:
        """Take other settings, and count requests and faults from the beginning."""
        with self._lock:
            self.settings = settings
            self.requests = 0
            self.counts: Counter[str] = Counter()

    def decide(self, what: str) -> str:
        """The fault of the next request, counted; "" for none.

        Args:
            what: "chat", "files", "jobs" and so on.
        """
        with self._lock:
            self.requests += 1
            fault = "" if self._spent() else self._drawn(what)
            if fault:
                self.counts[fault] += 1
            return fault

    def refusal(self, fault: str) -> ApiError | None:
        """The error that a fault is answered with; None where it is no error of the API."""
        if fault != "429":
            return _REFUSALS.get(fault)
        seconds = self.settings.retry_after_seconds
        headers = {"retry-after": f"{seconds:g}", "retry-after-ms": f"{seconds * 1000:g}"}
        return ApiError(429, _LIMIT, code="rate_limit_exceeded", type="requests", headers=headers)

    def _spent(self) -> bool:
        return self.settings.at_most is not None and self.counts.total() >= self.settings.at_most

    def _drawn(self, what: str) -> str:
        left = random.Random(f"{self.settings.seed}:{self.requests}").random()
        for kind, rate in self.settings.rates.items():
            if not KINDS[kind] or what in KINDS[kind]:
                left -= rate
                if left < 0:
                    return kind
        return ""


_LIMIT = "Rate limit reached for requests (on purpose: a fault of the emulator)."
_REFUSALS = {
    "429_bare": ApiError(429, _LIMIT, code="rate_limit_exceeded", type="requests"),
    "500": ApiError(500, "The server had an error (on purpose).", type="server_error"),
    "503": ApiError(503, "The engine is overloaded (on purpose).", type="server_error"),
    "401": ApiError(401, "Incorrect API key provided (on purpose).", code="invalid_api_key"),
    "400_file": ApiError(400, "The file cannot be used (on purpose).", code="invalid_file", param="training_file"),
    "403_training": ApiError(
        403,
        "Fine-tuning is being closed, and this organisation can start no further training (on purpose).",
        code="training_not_available",
    ),
    "404_retired": ApiError(404, "The model has been shut down (on purpose).", code="model_not_found", param="model"),
}
