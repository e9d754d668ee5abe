"""How a model or a machine is paid for: by the token or by the hour."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from finetune_advisor.costs.caching import CachingRule, rule
from finetune_advisor.costs.checks import check_figures
from finetune_advisor.costs.hosting import HOURS_PER_MONTH
from finetune_advisor.costs.prices import PriceTable, assumed
from finetune_advisor.errors import BadInput
from finetune_advisor.records import Price

MTOK = Decimal(1_000_000)
_ZERO = Decimal(0)

HALF = assumed("utilisation", "0.5", "share", "a machine that answers half of the time it is paid for")

ASSUMED_RULE = CachingRule(
    provider="",
    minimum_tokens=1024,
    read_share=None,
    write_share=1.0,
    lifetime_seconds=1e12,
    source="a cached price without a known rule: prefixes from 1,024 tokens, as at OpenAI, never forgotten",
    checked="",
    basis="assumed",
)
"""What is reckoned with where there is a price for cached tokens and nobody said when it holds."""


@dataclass(frozen=True, kw_only=True)
class MachinePricing:
    """A machine by the hour.

    `utilisation` is the share of paid time in which it answers, above 0 and at most 1; it puts the idle time into the
    price of a request. A machine that is `always_on` is paid around the clock instead: its requests cost nothing more,
    and the utilisation has no meaning.
    """

    usd_per_hour: Price
    utilisation: Price = HALF
    always_on: bool = False

    def __post_init__(self) -> None:
        check_figures([self.usd_per_hour, self.utilisation], ["usd_per_hour", "share"])
        if not 0 < self.utilisation.value <= 1:
            raise BadInput(
                f"A utilisation of {self.utilisation.value} is not possible.",
                hint="It is the share of paid time in which the machine answers: above 0, at most 1.",
            )

    def prices(self) -> list[Price]:
        """Every figure that counts."""
        return [self.usd_per_hour] if self.always_on else [self.usd_per_hour, self.utilisation]

    def usd(self, seconds: Decimal) -> Decimal:
        """What seconds of answering cost, the idle time around them included; nothing where it is always on."""
        if self.always_on:
            return _ZERO
        return self.usd_per_hour.value * seconds / 3600 / self.utilisation.value


@dataclass(frozen=True, kw_only=True)
class Rates:
    """US dollars per million tokens, of one kind of request. `cached` is None where nothing is cached."""

    fresh: Decimal
    cached: Decimal | None
    written: Decimal
    output: Decimal


@dataclass(frozen=True, kw_only=True)
class TokenPricing:
    """A provider's prices per million tokens, and what it charges for a tuned model beside them.

    `caching` says when tokens get the cached price. Where no price is listed for cached or written tokens, the rule's
    share of the input price is taken.
    """

    usd_per_mtok_input: Price
    usd_per_mtok_output: Price
    usd_per_mtok_cached: Price | None = None
    usd_per_mtok_cache_write: Price | None = None
    usd_per_mtok_input_batch: Price | None = None
    usd_per_mtok_cached_batch: Price | None = None
    usd_per_mtok_output_batch: Price | None = None
    usd_per_mtok_training: Price | None = None
    usd_per_hour_training: Price | None = None
    usd_minimum_job: Price | None = None
    usd_per_hour_hosting: Price | None = None
    usd_per_month_storage: Price | None = None
    caching: CachingRule = ASSUMED_RULE

    def __post_init__(self) -> None:
        check_figures(self.prices(), self._by_unit())
        if self.usd_per_mtok_cached and self.usd_per_mtok_cached.value > self.usd_per_mtok_input.value:
            raise BadInput(
                f"The cached price of {self.usd_per_mtok_input.name} is above its full price.",
                hint="Swap the two, or leave the cached price out.",
            )

    def prices(self) -> list[Price]:
        """Every figure in it."""
        return list(self._by_unit().values())

    def _by_unit(self) -> dict[str, Price]:
        return {unit: price for unit in UNITS if (price := getattr(self, unit)) is not None}

    @property
    def rates(self) -> Rates:
        """Of requests that are answered at once."""
        full, rule = self.usd_per_mtok_input.value, self.caching
        shared = None if rule.read_share is None else full * Decimal(str(rule.read_share))
        return Rates(
            fresh=full,
            cached=_value(self.usd_per_mtok_cached, shared),
            written=_value(self.usd_per_mtok_cache_write, full * Decimal(str(rule.write_share))) or _ZERO,
            output=self.usd_per_mtok_output.value,
        )

    @property
    def batch_rates(self) -> Rates:
        """Of requests that can wait; as usual where the provider lists no batch prices.

        Cached tokens without a batch price of their own cost what is less, the cached or the batch price: discounts
        are not taken to stack (Gemini's do not, formula C12).
        """
        usual, batch = self.rates, self.usd_per_mtok_input_batch
        fresh = batch.value if batch else usual.fresh
        least = None if usual.cached is None else min(usual.cached, fresh)
        return Rates(
            fresh=fresh,
            cached=_value(self.usd_per_mtok_cached_batch, least),
            written=usual.written * fresh / usual.fresh if usual.fresh else usual.written,
            output=_value(self.usd_per_mtok_output_batch, usual.output) or _ZERO,
        )

    @property
    def hosting_usd_per_month(self) -> Decimal:
        """What a tuned model costs every month, used or not: its deployment and its storage."""
        hourly, stored = self.usd_per_hour_hosting, self.usd_per_month_storage
        return (hourly.value * HOURS_PER_MONTH if hourly else _ZERO) + (stored.value if stored else _ZERO)


UNITS = (
    "usd_per_mtok_input",
    "usd_per_mtok_cached",
    "usd_per_mtok_cache_write",
    "usd_per_mtok_output",
    "usd_per_mtok_input_batch",
    "usd_per_mtok_cached_batch",
    "usd_per_mtok_output_batch",
    "usd_per_mtok_training",
    "usd_per_hour_training",
    "usd_minimum_job",
    "usd_per_hour_hosting",
    "usd_per_month_storage",
)
"""The units of the price table that a `TokenPricing` takes, by the names of its fields."""

Pricing = MachinePricing | TokenPricing


def pricing(table: PriceTable, name: str, *, utilisation: Price = HALF, always_on: bool = False) -> Pricing:
    """How a model or a machine is paid for today, by the price table.

    Args:
        table: Where the prices come from.
        name: A model or a machine in it.
        utilisation: The share of paid time in which a machine answers; without meaning for a model.
        always_on: Whether a machine is paid around the clock; without meaning for a model.

    Raises:
        BadInput: The table has no price for it that holds today, or not all that are needed.
    """
    prices = table.get(name)
    if "usd_per_hour" in prices:
        return MachinePricing(usd_per_hour=prices["usd_per_hour"], utilisation=utilisation, always_on=always_on)
    missing = [unit for unit in ("usd_per_mtok_input", "usd_per_mtok_output") if unit not in prices]
    if missing:
        raise BadInput(f"{name} has no {' and no '.join(missing)}.", hint="Add the row to a price file of your own.")
    plain = TokenPricing(
        usd_per_mtok_input=prices["usd_per_mtok_input"],
        usd_per_mtok_output=prices["usd_per_mtok_output"],
        caching=rule(name) or ASSUMED_RULE,
    )
    return replace(plain, **{unit: prices[unit] for unit in UNITS if unit in prices})


def _value(price: Price | None, otherwise: Decimal | None) -> Decimal | None:
    return price.value if price else otherwise
