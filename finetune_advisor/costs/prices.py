"""Dated prices: the shipped table, the user's own rows before it, and nothing invented.

The table holds what no package has (training, hosting, tuned models, accelerators by the hour) and what retires; the
package genai-prices brings the token prices of everything else. `finetune_advisor/costs/prices.toml` says how names
are made.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from difflib import get_close_matches
from functools import cache, cached_property
from importlib.metadata import version as installed
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from finetune_advisor.errors import BadInput, require
from finetune_advisor.records import Price

Unit = Literal[
    "usd_per_mtok_input",
    "usd_per_mtok_cached",
    "usd_per_mtok_cache_write",
    "usd_per_mtok_cache_write_1h",
    "usd_per_mtok_output",
    "usd_per_mtok_input_batch",
    "usd_per_mtok_cached_batch",
    "usd_per_mtok_output_batch",
    "usd_per_mtok_training",
    "usd_per_mtok_training_data_zone",
    "usd_per_mtok_training_regional",
    "usd_per_mtok_training_developer",
    "usd_per_hour",
    "usd_per_hour_hosting",
    "usd_per_hour_training",
    "usd_per_hour_training_regional",
    "usd_per_hour_training_developer",
    "usd_per_month_storage",
    "usd_minimum_job",
    "usd_maximum_job",
]
Basis = Literal["user", "source", "assumed", "measured"]

STALE_DAYS = 90
"""A price that was checked longer ago than this is flagged."""

_ASK = "Put it into a price file of your own: a [[price]] table with name, unit and value."
_TEMPLATE = """Write this into a price file of your own, with its figures (a machine has values.usd_per_hour alone):
[[price]]
name = "{name}"
values.usd_per_mtok_input = 0.00
values.usd_per_mtok_output = 0.00"""
_PACKAGED = {
    "input_mtok": "usd_per_mtok_input",
    "cache_read_mtok": "usd_per_mtok_cached",
    "cache_write_mtok": "usd_per_mtok_cache_write",
    "cache_write_1h_mtok": "usd_per_mtok_cache_write_1h",
    "output_mtok": "usd_per_mtok_output",
}
_BATCHED = {"input_mtok", "cache_read_mtok", "output_mtok"}
_VERIFIED = re.compile(r"verified on (20\d\d-\d\d-\d\d)")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a price file: a price and the days, both included, on which it holds (None: no limit known).

    It holds for requests with more than `above_prompt_tokens` in their prompt.
    """

    price: Price
    start: date | None
    until: date | None
    above_prompt_tokens: int = -1

    def holds(self, day: date, prompt_tokens: int = 0) -> bool:
        """Whether the price is in force on that day, for a prompt of that length."""
        started = self.start is None or self.start <= day
        return started and not self.ended(day) and prompt_tokens > self.above_prompt_tokens

    def ended(self, day: date) -> bool:
        """Whether it held before that day and does not any more."""
        return self.until is not None and self.until < day


@dataclass(frozen=True)
class PriceTable:
    """Prices by name and unit. Of several rows for one, the last that is in force counts; the user's rows come last."""

    rows: tuple[Row, ...]

    @cached_property
    def version(self) -> str:
        """A short hash over every row and the version of genai-prices, for the record of a result."""
        lines = [*map(repr, self.rows), installed("genai-prices")]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that has a price of our own or of the user's, in alphabetical order."""
        return tuple(sorted({row.price.name for row in self.rows}))

    def get(self, name: str, on: date | None = None, *, prompt_tokens: int = 0) -> dict[str, Price]:
        """The prices of one model or machine by unit, for one request.

        Rows of the table go first; genai-prices fills in the units that no row of it has, unless rows have ended and
        none is left: a retired model has no price.

        Args:
            name: A model or a machine, for example ``"gpt-6-luna"``, ``"together:Qwen/Qwen3.5-9B"``, ``"l4"`` or
                ``"ft:gpt-4.1-mini-2025-04-14:org::id"``.
            on: The day of use; today where None.
            prompt_tokens: Length of the prompt of one request, for models that cost more beyond a length.

        Raises:
            BadInput: No price is known for it, or none that still holds; none is ever made up.
        """
        named = self._named(name)
        day = on or datetime.now(UTC).date()
        found = {row.price.unit: row.price for row in named if row.holds(day, prompt_tokens)}
        ended = {row.price.unit for row in named if row.ended(day)}
        if "usd_per_hour" not in found and (found or not ended):
            rest = _packaged(name, day, prompt_tokens)
            found = {unit: price for unit, price in rest.items() if unit not in ended} | found
        if not found:
            raise self._unknown(name, named, day)
        return found

    def hourly_range(self, name: str, on: date | None = None) -> tuple[Price, Price] | None:
        """The lowest and the highest price by the hour in force for one kind of machine, None where none is.

        Args:
            name: For example ``"h100"``, whose offers are the rows ``"h100"``, ``"h100:cheapest"`` and so on.
            on: The day of use; today where None.
        """
        day = on or datetime.now(UTC).date()
        hourly = [row for row in self.rows if row.price.unit == "usd_per_hour" and row.holds(day)]
        offers = {row.price.name: row.price for row in hourly if row.price.name.partition(":")[0] == name}
        if not offers:
            return None
        ordered = sorted(offers.values(), key=lambda price: price.value)
        return ordered[0], ordered[-1]

    def age_days(self, today: date) -> int:
        """Days since the longest unchecked price in force today was checked; a user's rows are the user's to check."""
        current = {(row.price.name, row.price.unit): row.price for row in self.rows if row.holds(today)}
        return age_days(current.values(), today)

    def _named(self, name: str) -> list[Row]:
        forms = [name, *_other_forms(name)]
        rows = [row for row in self.rows if row.price.name in forms]
        return sorted(rows, key=lambda row: -forms.index(row.price.name))

    def _unknown(self, name: str, named: list[Row], day: date) -> BadInput:
        if named:
            return BadInput(f"No price of {name!r} holds on {day}; {_last_day(named)}", hint=_ASK)
        near = get_close_matches(name, self.names, n=5, cutoff=0.5)
        known = f"\nSimilar names that have a price: {', '.join(near)}." if near else ""
        return BadInput(f"No price is known for {name!r}.", hint=_TEMPLATE.format(name=name) + known)


def age_days(used: Iterable[Price], today: date) -> int:
    """Days since the oldest of these prices was checked, 0 where none of them is from a dated source."""
    return max((_age(price, today) for price in used), default=0)


def stale(used: Iterable[Price], today: date, days: int = STALE_DAYS) -> tuple[Price, ...]:
    """Those of these prices whose source was checked more than so many days ago."""
    return tuple(price for price in used if _age(price, today) > days)


def given(name: str, value: Decimal | int | str, unit: str, source: str = "given by the user") -> Price:
    """A figure that a person stated."""
    return Price(name=name, value=Decimal(value), unit=unit, source=source, checked="", basis="user")


def assumed(name: str, value: Decimal | int | str, unit: str, source: str) -> Price:
    """A figure that nobody stated or measured; `source` says where it comes from all the same."""
    return Price(name=name, value=Decimal(value), unit=unit, source=source, checked="", basis="assumed")


def load(override: Path | None = None) -> PriceTable:
    """The shipped prices, with the user's own rows before them where a file is given.

    Raises:
        BadInput: The file cannot be read or a row in it is not usable.
    """
    if override is None:
        return _shipped()
    return PriceTable((*_shipped().rows, *_rows(_read(override), str(override), basis="user")))


@cache
def _shipped() -> PriceTable:
    text = (files("finetune_advisor.costs") / "prices.toml").read_text(encoding="utf-8")
    return PriceTable(tuple(_rows(text, "prices.toml", basis="source")))


_Amount = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1)
    unit: Unit | None = None
    value: _Amount | None = None
    values: dict[Unit, _Amount] = Field(default_factory=dict[Unit, Decimal])
    source: str = ""
    checked: date | None = None
    start: date | None = Field(default=None, alias="from")
    until: date | None = None
    above_prompt_tokens: int = Field(default=-1, ge=0)
    basis: Basis | None = None

    @model_validator(mode="after")
    def _says_what(self) -> _Row:
        if self.unit is not None and self.value is not None and not self.values:
            self.values = {self.unit: self.value}
        elif self.unit is not None or self.value is not None or not self.values:
            raise ValueError("give either unit and value or values")
        return self


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    price: list[_Row]


def _other_forms(name: str) -> list[str]:
    """What a name may also be listed as, the closest form first."""
    plain = name.removeprefix("openai:")
    tuned = re.fullmatch(r"(ft:[^:]+)(:.*)?", plain)
    deployed = re.fullmatch(r"(?:azure:)?([^:]+)\.ft-.*", plain)
    if tuned:
        return [tuned[1]]
    if deployed:
        return [f"azure:ft:{deployed[1]}"]
    return [plain, *_undated(plain)]


def _undated(name: str) -> list[str]:
    """The name without its date, where genai-prices knows both as one model: not every snapshot costs the same."""
    if not re.search(r"-20\d\d-\d\d-\d\d$", name):
        return []
    found = _calculated(name, datetime.now(UTC).date())
    return [found.model.id] if found is not None and found.model.id == name[:-11] else []


def _packaged(name: str, day: date, prompt_tokens: int) -> dict[str, Price]:
    """What genai-prices has for one request with a prompt of that length, nothing where it does not know the name."""
    plain = _calculated(name, day)
    if plain is None or plain.model_price.__dict__.get("requests_kcount"):
        return {}
    batch = _calculated(name, day, processing="batch").model_price
    priced = {unit: getattr(plain.model_price, field, None) for field, unit in _PACKAGED.items()}
    if batch != plain.model_price:
        priced |= {f"{_PACKAGED[field]}_batch": getattr(batch, field, None) for field in _PACKAGED if field in _BATCHED}
    source, checked = _provenance(plain)
    return {
        unit: Price(
            name=name, value=_at(price, prompt_tokens), unit=unit, source=source, checked=checked, basis="source"
        )
        for unit, price in priced.items()
        if price is not None
    }


def _calculated(name: str, day: date, **context: str) -> Any:
    genai = require("genai_prices", extra="all")
    noon = datetime.combine(day, time(12), UTC)
    for provider, model in _references(name):
        try:
            return genai.calc_price(
                genai.Usage(input_tokens=1),
                model,
                provider_id=provider,
                genai_request_timestamp=noon,
                price_context=context,
            )
        except LookupError:
            continue
    return None


def _references(name: str) -> Iterator[tuple[str | None, str]]:
    """Provider and model as genai-prices may know them; it takes a tuned model at Azure for one at OpenAI."""
    if ":ft:" in name or ".ft-" in name:
        return
    provider, _, model = name.partition(":")
    if model:
        yield provider, model
    yield None, name
    if name.startswith("ft:"):
        yield "openai", name


def _at(price: Any, prompt_tokens: int) -> Decimal:
    """The price of every token of a request whose prompt is that long: tiers apply to the whole request."""
    reached = [tier.price for tier in getattr(price, "tiers", ()) if prompt_tokens > tier.start]
    return reached[-1] if reached else getattr(price, "base", price)


def _provenance(found: Any) -> tuple[str, str]:
    """Source and check date of a price of the package: the date stated with the model, else the newest in its data."""
    place = f"genai-prices {installed('genai-prices')} ({found.provider.id}, {found.model.id})"
    stated = _VERIFIED.findall(found.model.price_comments or "")
    if stated:
        return place, max(stated)
    return f"{place}; no check date of its own, the newest in the package counts", _newest_check()


@cache
def _newest_check() -> str:
    snapshot = require("genai_prices.data_snapshot", extra="all").get_snapshot()
    comments = [model.price_comments or "" for provider in snapshot.providers for model in provider.models]
    return max(found for comment in comments for found in _VERIFIED.findall(comment))


def _age(price: Price, today: date) -> int:
    dated = price.checked if price.basis == "source" else ""
    return (today - date.fromisoformat(dated)).days if dated else 0


def _last_day(rows: Iterable[Row]) -> str:
    ends = [row.until for row in rows if row.until is not None]
    return f"the last known one ended on {max(ends)}." if ends else "the first known one starts later."


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"The price file {path} cannot be read: {error}.", hint="Save it as UTF-8 text.") from error


def _rows(text: str, file: str, *, basis: Basis) -> list[Row]:
    try:
        parsed = _File.model_validate(tomllib.loads(text, parse_float=Decimal))
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{file} is not valid TOML: {error}.", hint=_ASK) from error
    except ValidationError as error:
        raise BadInput(f"{file} has an unusable price: {_first(error)}.", hint=_ASK) from error
    return [each for row in parsed.price for each in _split(row, file, basis)]


def _split(row: _Row, file: str, basis: Basis) -> Iterator[Row]:
    for unit, value in row.values.items():
        price = Price(
            name=row.name,
            value=value,
            unit=unit,
            source=row.source or file,
            checked=row.checked.isoformat() if row.checked else "",
            basis=row.basis or basis,
        )
        yield Row(price=price, start=row.start, until=row.until, above_prompt_tokens=row.above_prompt_tokens)


def _first(error: ValidationError) -> str:
    fault: Any = error.errors()[0]
    place = [f"number {part + 1}" if isinstance(part, int) else str(part) for part in fault["loc"]]
    return f"{' '.join(place)}: {fault['msg'][0].lower()}{fault['msg'][1:]}"
