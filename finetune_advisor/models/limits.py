"""Rate limits of a server as its replies state them, kept by all threads that ask it.

OpenAI's `x-ratelimit-*` headers give what is left of the requests and tokens of a minute, and the time until they are
whole again; they fill up evenly in between. What a server does not say is not held back: its 429 then pauses everybody.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from finetune_advisor.models import waiting

LONGEST_RESET = 120.0
"""Limits that are whole again only after more seconds than this are those of a day, and not waited for here."""

_JITTER = 0.1


class Limits:
    """When the next request may be sent."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._paused_until = 0.0
        self._buckets: dict[str, _Bucket] = {}

    def acquire(self, tokens: int) -> None:
        """Wait until a request with so many tokens, its answer included, may be sent, and count it."""
        while seconds := self._taken(tokens):
            waiting.wait(seconds * (1 + random.random() * _JITTER))

    def learn(self, headers: Mapping[str, str]) -> None:
        """Take over what a reply says is left."""
        found = {kind: bucket for kind in ("requests", "tokens") if (bucket := _bucket(headers, kind))}
        with self._lock:
            self._buckets |= found

    def pause(self, seconds: float) -> None:
        """Let nobody send anything for so long."""
        with self._lock:
            self._paused_until = max(self._paused_until, waiting.clock() + seconds)

    def _taken(self, tokens: int) -> float:
        """Seconds until there is room; 0 where there is, and then it is taken."""
        needs = {"requests": 1, "tokens": tokens}
        with self._lock:
            now = waiting.clock()
            delays = [bucket.delay(needs[kind], now) for kind, bucket in self._buckets.items()]
            longest = max([self._paused_until - now, 0.0, *delays])
            if longest == 0:
                for kind, bucket in self._buckets.items():
                    bucket.take(needs[kind], now)
            return longest


@dataclass(kw_only=True)
class _Bucket:
    """What was left at a time, what comes back each second, and when it is full and so without effect."""

    left: float
    at: float
    rate: float
    full_at: float

    def delay(self, need: float, now: float) -> float:
        missing = need - self._left(now)
        if now >= self.full_at or missing <= 0:
            return 0.0
        whole = self.full_at - now
        return min(whole, missing / self.rate) if self.rate else whole

    def take(self, need: float, now: float) -> None:
        self.left, self.at = self._left(now) - need, now

    def _left(self, now: float) -> float:
        return self.left + self.rate * (now - self.at)


def _bucket(headers: Mapping[str, str], kind: str) -> _Bucket | None:
    left = waiting.duration(headers.get(f"x-ratelimit-remaining-{kind}", ""))
    reset = waiting.duration(headers.get(f"x-ratelimit-reset-{kind}", ""))
    if left is None or not reset or reset > LONGEST_RESET or headers[f"x-ratelimit-remaining-{kind}"].startswith("-"):
        return None
    limit = waiting.duration(headers.get(f"x-ratelimit-limit-{kind}", "")) or left
    now = waiting.clock()
    return _Bucket(left=left, at=now, rate=max(0.0, limit - left) / reset, full_at=now + reset)
