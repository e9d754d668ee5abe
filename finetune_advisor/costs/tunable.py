"""Which base model can be tuned where, by which method, for whom, until when: dated facts, each with its source."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from finetune_advisor.costs.prices import STALE_DAYS
from finetune_advisor.errors import BadInput
from finetune_advisor.records import Route

ANYONE = "anyone"
"""`Route.who` where a new customer may start."""

OPEN = "open:*"
"""`Route.base` of what holds for every model whose weights are at hand."""

DAYS_PER_MONTH = 365.25 / 12

_ASK = "A route needs bases, provider, methods, who, note and source; finetune_advisor/costs/tunable.toml shows how."


def routes(base: str = "", *, on: date | None = None, override: Path | None = None) -> tuple[Route, ...]:
    """The ways to tune a model as they stand on a day, those that are closed or ended included.

    Args:
        base: A model (``"gpt-4.1-mini"``, ``"azure:gpt-4o-mini-2024-07-18"``, ``"google:gemini-2.5-pro"``), a tuned
            one (``"ft:gpt-4.1-mini-2025-04-14:org::id"``), a Hugging Face id or a local folder; all where empty.
        on: The day; today where None.
        override: A file of the same form as tunable.toml; its rows replace ours of the same base and provider.

    Returns:
        One route for each base, provider and circle of customers; none where nothing is known about the model.

    Raises:
        BadInput: The file cannot be read or a row in it is not usable.
    """
    day = on or datetime.now(UTC).date()
    rows = _table(override)
    held = {(row.route.base, row.route.provider, row.route.who): row.route for row in rows if row.holds(day)}
    named, undated = _bases(base), {_undated(each) for each in _bases(base)}
    return tuple(
        route for route in held.values() if not base or route.base in named | undated or _undated(route.base) in named
    )


def open_on(route: Route, day: date) -> bool:
    """Whether somebody, if not everybody, may start a training on that day."""
    return bool(route.methods) and (route.new_jobs_until is None or day <= route.new_jobs_until)


def open_to_new_customers(route: Route, day: date) -> bool:
    """Whether somebody who has never tuned there may start a training on that day."""
    return route.who == ANYONE and open_on(route, day)


def pays_until(route: Route, day: date) -> float | None:
    """Months from that day on in which a tuned model answers: 0 where it is over, None where no end is announced."""
    if route.answers_until is None:
        return None
    return max(0.0, (route.answers_until - day).days / DAYS_PER_MONTH)


def retires_within(route: Route, day: date, months: float) -> bool:
    """Whether a tuned model stops answering before so many months are over."""
    left = pays_until(route, day)
    return left is not None and left < months


def stale(route: Route, day: date, days: int = STALE_DAYS) -> bool:
    """Whether its source was checked more than so many days before."""
    return bool(route.checked) and (day - date.fromisoformat(route.checked)).days > days


def is_open_model(base: str) -> bool:
    """Whether the weights are at hand: a Hugging Face id such as ``"Qwen/Qwen3.5-9B"``, or a local folder."""
    path = Path(base).expanduser()
    return path.is_dir() or (":" not in base and re.fullmatch(r"[\w.-]+/[\w.-]+", base) is not None)


@dataclass(frozen=True, kw_only=True)
class _Dated:
    route: Route
    start: date | None
    until: date | None

    def holds(self, day: date) -> bool:
        return (self.start is None or self.start <= day) and (self.until is None or day <= self.until)


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")

    bases: list[str] = Field(min_length=1)
    provider: str = Field(min_length=1)
    methods: tuple[str, ...]
    who: str = Field(min_length=1)
    new_jobs_until: date | None = None
    answers_until: date | None = None
    note: str = ""
    source: str = ""
    checked: date | None = None
    start: date | None = Field(default=None, alias="from")
    until: date | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    route: list[_Row]


@cache
def _shipped() -> Sequence[_Dated]:
    text = (files("finetune_advisor.costs") / "tunable.toml").read_text(encoding="utf-8")
    return _rows(text, "tunable.toml")


def _table(override: Path | None) -> Sequence[_Dated]:
    rows = _shipped()
    if override is None:
        return rows
    own = _rows(_read(override), str(override))
    replaced = {(row.route.base, row.route.provider) for row in own}
    return [*(row for row in rows if not _is_replaced(row.route, replaced)), *own]


def _is_replaced(route: Route, replaced: Iterable[tuple[str, str]]) -> bool:
    return any(provider == route.provider and base in {route.base, _undated(route.base)} for base, provider in replaced)


def _rows(text: str, file: str) -> list[_Dated]:
    try:
        parsed = _File.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{file} is not valid TOML: {error}.", hint=_ASK) from error
    except ValidationError as error:
        place = " ".join(str(part) for part in error.errors()[0]["loc"])
        raise BadInput(f"{file} has an unusable route: {place}: {error.errors()[0]['msg']}.", hint=_ASK) from error
    return [
        _Dated(route=_route(row, base, file), start=row.start, until=row.until)
        for row in parsed.route
        for base in row.bases
    ]


def _route(row: _Row, base: str, file: str) -> Route:
    return Route(
        base=base,
        provider=row.provider,
        methods=row.methods,
        who=row.who,
        new_jobs_until=row.new_jobs_until,
        answers_until=row.answers_until,
        note=row.note,
        source=row.source or file,
        checked=row.checked.isoformat() if row.checked else "",
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"The file {path} cannot be read: {error}.", hint="Save it as UTF-8 text.") from error


def _bases(name: str) -> set[str]:
    """What a model may be listed as."""
    plain = name.removeprefix("openai:")
    tuned = re.fullmatch(r"((?:azure:|google:)?)ft:([^:]+)(?::.*)?", plain)
    deployed = re.fullmatch(r"(?:azure:)?([^:]+)\.ft-.*", plain)
    if tuned:
        plain = tuned[1] + tuned[2]
    elif deployed:
        plain = f"azure:{deployed[1]}"
    provider, colon, _ = plain.partition(":")
    return {plain, *([f"{provider}:*"] if colon else []), *([OPEN] if is_open_model(name) else [])}


def _undated(base: str) -> str:
    return re.sub(r"-20\d\d-\d\d-\d\d$", "", base)
