"""Waiting for a provider: the one place where that is done, and what servers say about how long."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_UNITS = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)


def clock() -> float:
    """Seconds from some point in time."""
    return time.monotonic()


def wait(seconds: float) -> None:
    """Let so many seconds pass; everything that waits for a provider comes through here, so that tests can be quick."""
    time.sleep(max(0.0, seconds))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """In how many seconds a server wants to be asked again: `retry-after-ms`, or `retry-after` (RFC 9110, 10.2.3)."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    given = headers.get("retry-after", "").strip()
    seconds = _number(given)
    return _until(given) if seconds is None else seconds


def duration(text: str) -> float | None:
    """Seconds of a duration as rate limits are given ("6m0s", "12ms", "1.5s", or "30"); None for anything else."""
    plain = _number(text)
    if plain is not None:
        return plain
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None or not any(found.groups()):
        return None
    return sum(float(part) * unit for part, unit in zip(found.groups(), _UNITS, strict=True) if part)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return max(0.0, value) if math.isfinite(value) else None


def _until(text: str) -> float | None:
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())
