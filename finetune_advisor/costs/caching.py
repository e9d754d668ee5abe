"""Providers' rules for prompt caching: from which prefix on, at which discount, for how long."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SECONDS_PER_MONTH = 365.25 / 12 * 86_400


@dataclass(frozen=True, kw_only=True)
class CachingRule:
    """When a provider charges less for a prompt prefix that it has seen before.

    `read_share` and `write_share` are what a token read from, or written to, the cache costs as a share of the input
    price; a listed price goes first. Without a `read_share` only a listed price counts; a `write_share` of 1 is no
    surcharge. A prefix is forgotten after `lifetime_seconds` without use.
    """

    provider: str
    minimum_tokens: int
    read_share: float | None
    write_share: float
    lifetime_seconds: float
    source: str
    checked: str
    basis: Literal["user", "source", "assumed", "measured"]


def rule(name: str, *, lifetime: Literal["short", "long"] = "short") -> CachingRule | None:
    """The caching rule for a model, None where none is known: then no discount may be counted.

    Args:
        name: As in the price table, for example ``"gpt-4.1-mini"`` or ``"fireworks:glm-5p3"``.
        lifetime: The longer one costs more to write; providers without a choice have one for both.
    """
    plain = name.lower().removeprefix("openai:")
    matching = [row for row in _rows() if any(fnmatchcase(plain, pattern) for pattern in row.match)]
    return _rule(matching[-1], lifetime) if matching else None


def cached_share(known: CachingRule, prefix_tokens: float, requests_per_month: float) -> float:
    """Share of the requests that find their prefix still cached, from 0 to 1.

    Requests are taken to arrive independently at an even rate r, and each use renews the lifetime T: a request finds
    the prefix where the gap before it, which is exponential, is at most T, so the share is ``1 - exp(-r T)``. (Caches
    whose timer is not renewed find less, ``r T / (1 + r T)``: Jung, Berger and Balakrishnan, Infocom 2003.) Traffic in
    bursts finds more.

    Args:
        known: The provider's rule.
        prefix_tokens: Tokens that all requests share at their beginning.
        requests_per_month: How many requests share them.
    """
    if prefix_tokens <= 0 or prefix_tokens < known.minimum_tokens:
        return 0.0
    return -math.expm1(-requests_per_month / SECONDS_PER_MONTH * known.lifetime_seconds)


class _Terms(BaseModel):
    model_config = ConfigDict(extra="forbid")

    write_share: float = Field(default=1.0, ge=0)
    lifetime_seconds: float = Field(gt=0)


class _Row(_Terms):
    provider: str
    match: list[str]
    minimum_tokens: int = Field(ge=0)
    read_share: float | None = Field(default=None, ge=0, le=1)
    long: _Terms | None = None
    source: str
    checked: date
    basis: Literal["source", "assumed"] = "source"


@cache
def _rows() -> tuple[_Row, ...]:
    text = (files("finetune_advisor.costs") / "caching.toml").read_text(encoding="utf-8")
    return tuple(_Row.model_validate(row) for row in tomllib.loads(text)["rule"])


def _rule(row: _Row, lifetime: Literal["short", "long"]) -> CachingRule:
    terms = row.long if lifetime == "long" and row.long else row
    return CachingRule(
        provider=row.provider,
        minimum_tokens=row.minimum_tokens,
        read_share=row.read_share,
        write_share=terms.write_share,
        lifetime_seconds=terms.lifetime_seconds,
        source=row.source,
        checked=row.checked.isoformat(),
        basis=row.basis,
    )
