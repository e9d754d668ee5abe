"""Dated prices: the shipped table, the user's own rows before it, and nothing invented."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from finetune_advisor.errors import BadInput
from finetune_advisor.records import Price

Unit = Literal[
    "usd_per_mtok_input", "usd_per_mtok_cached", "usd_per_mtok_output", "usd_per_mtok_training", "usd_per_hour"
]
Basis = Literal["user", "source", "assumed", "measured"]

_ASK = "Put it into a price file of your own: a [[price]] table with name, unit and value."


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a price file: a price and the days, both included, on which it holds (None: no limit known)."""

    price: Price
    start: date | None
    until: date | None

    def holds(self, day: date) -> bool:
        """Whether the price is in force on that day."""
        return (self.start is None or self.start <= day) and (self.until is None or day <= self.until)


@dataclass(frozen=True)
class PriceTable:
    """Prices by name and unit. Of several rows for one, the last that is in force counts; the user's rows come last."""

    rows: tuple[Row, ...]

    @cached_property
    def version(self) -> str:
        """A short hash over every row, for the record of a result."""
        return hashlib.sha256("\n".join(map(repr, self.rows)).encode()).hexdigest()[:12]

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that has a price, in alphabetical order."""
        return tuple(sorted({row.price.name for row in self.rows}))

    def get(self, name: str, on: date | None = None) -> dict[str, Price]:
        """The prices of one model or machine by unit.

        Args:
            name: A model or a machine, for example ``"gpt-6-luna"`` or ``"l4"``.
            on: The day of use; today where None.

        Raises:
            BadInput: No price is known for it, or none that still holds; none is ever made up.
        """
        named = [row for row in self.rows if row.price.name == name]
        if not named:
            raise BadInput(f"No price is known for {name!r}.", hint=f"{_ASK} Known: {', '.join(self.names)}.")
        day = on or datetime.now(UTC).date()
        found = {row.price.unit: row.price for row in named if row.holds(day)}
        if not found:
            raise BadInput(f"No price of {name!r} holds on {day}; {_last_day(named)}", hint=_ASK)
        return found

    def age_days(self, today: date) -> int:
        """Days since the longest unchecked price in force today was checked; a user's rows are the user's to check."""
        current = {(row.price.name, row.price.unit): row.price for row in self.rows if row.holds(today)}
        return age_days(current.values(), today)


def age_days(used: Iterable[Price], today: date) -> int:
    """Days since the oldest of these prices was checked, 0 where none of them is from a dated source."""
    return max((_age(price, today) for price in used), default=0)


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
    shipped = (files("finetune_advisor.costs") / "prices.toml").read_text(encoding="utf-8")
    rows = _rows(shipped, "prices.toml", basis="source")
    if override is not None:
        rows += _rows(_read(override), str(override), basis="user")
    return PriceTable(tuple(rows))


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1)
    unit: Unit
    value: Decimal = Field(ge=0, allow_inf_nan=False)
    source: str = ""
    checked: date | None = None
    start: date | None = Field(default=None, alias="from")
    until: date | None = None
    basis: Basis | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    price: list[_Row]


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
    return [_row(row, file, basis) for row in parsed.price]


def _row(row: _Row, file: str, basis: Basis) -> Row:
    price = Price(
        name=row.name,
        value=row.value,
        unit=row.unit,
        source=row.source or file,
        checked=row.checked.isoformat() if row.checked else "",
        basis=row.basis or basis,
    )
    return Row(price=price, start=row.start, until=row.until)


def _first(error: ValidationError) -> str:
    fault: Any = error.errors()[0]
    place = [f"number {part + 1}" if isinstance(part, int) else str(part) for part in fault["loc"]]
    return f"{' '.join(place)}: {fault['msg'][0].lower()}{fault['msg'][1:]}"
