"""What one request costs, part by part: reading, writing, searching, judging."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from finetune_advisor.costs.caching import cached_share
from finetune_advisor.costs.checks import check_figures
from finetune_advisor.costs.pricing import MTOK, MachinePricing, Pricing, Rates, TokenPricing
from finetune_advisor.errors import BadInput
from finetune_advisor.records import ArmResult, Price

_ZERO = Decimal(0)


@dataclass(frozen=True, kw_only=True)
class Search:
    """What one search of an arm that retrieves takes: seconds of a machine, and an embedding of the question.

    The machine is the one that answers, or the case's where a provider answers; `usd_per_mtok_input` is the embedding
    model's. "bm25" compares words and needs no embedding. Embedding the documents, once, is not counted: at $0.02 a
    million tokens (text-embedding-3-small) ten thousand pages cost cents.
    """

    seconds: Price | None = None
    usd_per_mtok_input: Price | None = None
    question_tokens: Price | None = None

    def __post_init__(self) -> None:
        units = {
            "seconds_per_search": self.seconds,
            "usd_per_mtok_input": self.usd_per_mtok_input,
            "tokens_per_question": self.question_tokens,
        }
        given = {unit: price for unit, price in units.items() if price}
        check_figures(given.values(), given)
        if (self.usd_per_mtok_input is None) != (self.question_tokens is None):
            raise BadInput(
                "An embedding takes both its price and the length of a question.", hint="Give both, or neither."
            )

    def prices(self) -> list[Price]:
        """Every figure in it."""
        return [price for price in (self.seconds, self.usd_per_mtok_input, self.question_tokens) if price]

    def seconds_of(self, arm: ArmResult) -> Decimal:
        """Seconds of the machine that a request of this arm takes to search."""
        return self.seconds.value if self.seconds and searches(arm) else _ZERO

    def usd(self, arm: ArmResult, machine: MachinePricing) -> Decimal:
        """What the search for one request costs; nothing where the arm does not search."""
        usd = machine.usd(self.seconds_of(arm))
        if self.usd_per_mtok_input and self.question_tokens and searches(arm) not in ("", "bm25"):
            usd += self.usd_per_mtok_input.value * self.question_tokens.value / MTOK
        return usd


@dataclass(frozen=True, kw_only=True)
class Judging:
    """Answers that are judged in service, by a model or by people: which share, and what one costs."""

    share: Price
    usd_each: Price

    def __post_init__(self) -> None:
        check_figures(self.prices(), ["share", "usd_per_judged_request"])
        if self.share.value > 1:
            raise BadInput("More than every answer cannot be judged.", hint="Give a share from 0 to 1.")

    def prices(self) -> list[Price]:
        """Every figure in it."""
        return [self.share, self.usd_each]

    @property
    def usd(self) -> Decimal:
        """What it costs per request."""
        return self.share.value * self.usd_each.value


def searches(arm: ArmResult) -> str:
    """The retriever that an arm asks for every request; empty where it asks none."""
    return str(arm.settings.get("retriever", ""))


def answer_usd(
    arm: ArmResult, pricing: Pricing, requests_per_month: int, *, caching: bool = True, batch_share: Decimal = _ZERO
) -> dict[str, Decimal]:
    """What it costs to answer one request, by part, from the arm's measured mean tokens and seconds.

    Args:
        arm: The measured arm.
        pricing: How it is paid for.
        requests_per_month: How often the cache is used, which decides how often it is still warm.
        caching: Without it, a provider charges every prompt token at the full price, and a machine reads the cached
            tokens too, at the rate measured for the others: cached * prefill seconds / (prompt - cached).
        batch_share: The share of requests that can wait for a provider's batch discount.
    """
    if isinstance(pricing, MachinePricing):
        return _machine_usd(arm, pricing, caching=caching)
    shared = number(min(arm.cached_tokens, arm.prompt_tokens))
    warm = warm_share(pricing, shared, requests_per_month) if caching else None
    now = _token_usd(arm, pricing.rates, warm)
    later = _token_usd(arm, pricing.batch_rates, warm)
    return {part: (1 - batch_share) * now[part] + batch_share * later[part] for part in now}


def warm_share(pricing: TokenPricing, shared_tokens: Decimal, requests_per_month: int) -> Decimal | None:
    """The share of requests that find the shared prefix in the provider's cache; None where it is not cached at all."""
    if pricing.rates.cached is None or shared_tokens < max(1, pricing.caching.minimum_tokens):
        return None
    return number(cached_share(pricing.caching, float(shared_tokens), requests_per_month))


def seconds_uncached(arm: ArmResult) -> Decimal:
    """Seconds that a request takes on a machine that keeps nothing of earlier prompts."""
    computed = arm.prompt_tokens - arm.cached_tokens
    reading = number(min(arm.prefill_seconds, arm.seconds))
    again = reading * number(arm.cached_tokens) / number(computed) if computed > 0 else _ZERO
    return number(arm.seconds) + again


def number(measured: float) -> Decimal:
    """A measured figure as it is written."""
    return Decimal(str(measured))


def _token_usd(arm: ArmResult, rates: Rates, warm: Decimal | None) -> dict[str, Decimal]:
    prompt, shared = number(arm.prompt_tokens), number(min(arm.cached_tokens, arm.prompt_tokens))
    kept = shared if warm is not None and rates.cached is not None else _ZERO
    hit = kept * (warm or _ZERO)
    parts = {
        "input": (prompt - kept) * rates.fresh,
        "cached": hit * (rates.cached or _ZERO),
        "cache_writes": (kept - hit) * rates.written,
        "output": number(arm.completion_tokens) * rates.output,
    }
    return {name: usd / MTOK for name, usd in parts.items()}


def _machine_usd(arm: ArmResult, pricing: MachinePricing, *, caching: bool) -> dict[str, Decimal]:
    reading = number(min(arm.prefill_seconds, arm.seconds))
    writing = number(arm.seconds) - reading
    if not caching:
        reading = seconds_uncached(arm) - writing
    return {"reading": pricing.usd(reading), "writing": pricing.usd(writing)}
