"""What a run may spend at providers: money is reserved before each request and settled when its answer is stored.

A reservation is for the most that a request can cost. It is in the store before the request is sent, and so counts as
spent when this process is killed: what might have been charged counts as charged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from finetune_advisor.costs.prices import PriceTable
from finetune_advisor.costs.pricing import MTOK, MachinePricing, Rates, pricing
from finetune_advisor.errors import AdvisorError
from finetune_advisor.models import Model, is_remote
from finetune_advisor.models.openai_replies import most_prompt_tokens
from finetune_advisor.records import Failure, Reply, Request, Usage
from finetune_advisor.store import Charge, Store

LEAST_ANSWER = 16
"""Tokens that the responses API at least allows for an answer."""

_ZERO = Decimal(0)


class OverBudget(AdvisorError):
    """The next request might cost more than is left."""

    exit_code = 6


def nothing() -> Decimal:
    """No money."""
    return _ZERO


@dataclass(kw_only=True)
class Budget:
    """The money of one run.

    Args:
        store: Where reservations and charges are written.
        job: The run, whose earlier charges count too.
        limit: The most that it may spend, machine time included; None for no limit.
        machine: What its machine time has cost so far.
    """

    store: Store
    job: str = ""
    limit: Decimal | None = None
    machine: Callable[[], Decimal] = nothing
    charged: Decimal = field(init=False)

    def __post_init__(self) -> None:
        self.charged = self.store.charged(self.job)

    def reserve(self, what: str, usd: Decimal) -> Charge | None:
        """Set so much aside; None where no more than the limit would be left for it."""
        if self.limit is not None and self.charged + self.machine() + usd > self.limit:
            return None
        self.charged += usd
        return self.store.reserve(self.job, what, usd)

    def settled(self, charge: Charge, usd: Decimal) -> Charge:
        """The charge as it turned out, to be stored with the answer that it paid for."""
        self.charged += usd - charge.usd
        return charge.turned_out(usd)

    def once(self, what: str, usd: Decimal) -> None:
        """Pay for something that goes on over several runs, a training for example; nothing where it is paid for.

        Raises:
            OverBudget: There is not so much left.
        """
        if not any(charge.what == what for charge in self.store.charges()):
            self.store.settle(self.settled(self.require(what, usd), usd))

    def lost(self, charge: Charge) -> None:
        """Nothing came back: it counts as spent, since nobody can know."""
        self.store.settle(charge.turned_out(charge.usd, state="lost"))

    def require(self, what: str, usd: Decimal) -> Charge:
        """As `reserve`.

        Raises:
            OverBudget: There is not so much left.
        """
        charge = self.reserve(what, usd)
        if charge is None:
            raise OverBudget(
                f"The budget of ${self.limit} does not allow for {what}: it may cost ${usd:.4f}, and "
                f"${self.charged + self.machine():.4f} are spent.",
                hint="Run again with a higher budget: what is stored is not paid for again.",
            )
        return charge


def rates_of(model: Model, price: str | None, table: PriceTable) -> Rates | None:
    """What a model's requests cost by the token; None where nobody charges for them.

    Args:
        model: The model.
        price: The name of its price, if the case gives one.
        table: The prices.

    Raises:
        BadInput: It is charged for, and the price is not known.
    """
    if not is_remote(model):
        return None
    described = model.describe()
    name = price or price_name(described)
    if not name:
        return None
    found = pricing(table, name)
    if isinstance(found, MachinePricing):
        return None
    return found.batch_rates if described.get("batch") else found.rates


def price_name(described: Mapping[str, object], *, tuned: bool = False) -> str:
    """What the price table calls a model at a provider, or what is tuned from it; "" for a server of one's own."""
    prefix = {"openai": "", "azure": "azure:"}.get(str(described.get("provider")))
    name = str(described.get("base") or described["id"])
    return "" if prefix is None else prefix + ("ft:" if tuned and not name.startswith("ft:") else "") + name


def most_usd(requests: Iterable[Request], rates: Rates) -> Decimal:
    """The most that requests can cost: a token for every byte, nothing cached, every answer as long as allowed."""
    dearest = max(rates.fresh, rates.written, rates.cached or _ZERO)
    most = (dearest * most_prompt_tokens(each) + rates.output * max(LEAST_ANSWER, each.max_tokens) for each in requests)
    return sum(most, _ZERO) / MTOK


def usd_of(outcomes: Iterable[Reply | Failure], rates: Rates) -> Decimal:
    """What answers cost by the tokens that they took."""
    return sum((_usd(each.usage, rates) for each in outcomes), _ZERO)


def _usd(usage: Usage, rates: Rates) -> Decimal:
    cached = usage.cached_tokens if rates.cached is not None else 0
    fresh = usage.prompt_tokens - cached
    return (max(rates.fresh, rates.written) * fresh + (rates.cached or _ZERO) * cached) / MTOK + (
        rates.output * usage.completion_tokens / MTOK
    )
