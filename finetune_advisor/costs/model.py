"""Measured tokens and seconds into money, by one model for every arm.

What is counted where:

* A request costs what was measured, times a price. On a machine that is seconds times its hourly price over its
  utilisation (the share of paid time in which it answers), so idle time is in the price of a request and nowhere else.
  From a provider it is tokens times token prices.
* Labour to prepare the data and to evaluate counts for every arm alike: nobody can choose between arms without it.
  Training, labour for tuning, deployment, upkeep and retraining are what only tuning needs: tuned arms alone pay them.
* Break-even compares what an arm costs more at the start with what it saves per request (formula C10).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, Decimal
from typing import Literal, get_args

from finetune_advisor.costs.prices import PriceTable, assumed
from finetune_advisor.errors import BadInput
from finetune_advisor.records import ArmResult, Cost, Price

PARTS = {
    "usd_per_month_reading": "Machine time reading prompts, per month",
    "usd_per_month_writing": "Machine time writing answers, per month",
    "usd_per_month_input": "Prompt tokens, per month",
    "usd_per_month_cached": "Cached prompt tokens, per month",
    "usd_per_month_output": "Answer tokens, per month",
    "usd_per_month_labour": "Upkeep labour, per month",
    "usd_per_month_retraining": "Retraining, per month",
    "usd_one_off_data": "Labour to prepare data, once",
    "usd_one_off_evaluation": "Labour to evaluate, once",
    "usd_one_off_tuning": "Labour to tune, once",
    "usd_one_off_deployment": "Labour to deploy the tuned model, once",
    "usd_one_off_training": "Training, once",
}
"""What `Cost.parts` may hold, with a title for each. The monthly parts add up to the monthly cost, the others to the
one-off cost."""

MTOK = Decimal(1_000_000)
_ZERO = Decimal(0)


Work = Literal["data", "evaluation", "tuning", "deployment", "upkeep"]
"""What people do: preparing data and evaluating for every arm, the rest for tuned arms; upkeep is hours a month."""

HALF = assumed("utilisation", "0.5", "share", "a machine that answers half of the time it is paid for")


@dataclass(frozen=True, kw_only=True)
class MachinePricing:
    """A machine by the hour. `utilisation` is the share of paid time in which it answers, above 0 and at most 1."""

    usd_per_hour: Price
    utilisation: Price = HALF

    def __post_init__(self) -> None:
        _check(self.prices(), ["usd_per_hour", "share"])
        if not 0 < self.utilisation.value <= 1:
            raise BadInput(
                f"A utilisation of {self.utilisation.value} is not possible.",
                hint="It is the share of paid time in which the machine answers: above 0, at most 1.",
            )

    def prices(self) -> list[Price]:
        """Every figure in it."""
        return [self.usd_per_hour, self.utilisation]

    def usd(self, seconds: Decimal) -> Decimal:
        """What seconds of answering cost, the idle time around them included."""
        return self.usd_per_hour.value * seconds / 3600 / self.utilisation.value


@dataclass(frozen=True, kw_only=True)
class TokenPricing:
    """A provider's prices per million tokens.

    `least_cached_tokens` is the shortest shared prefix that gets the cached price (1,024 at OpenAI); it is held
    against the mean cached tokens of a request.
    """

    usd_per_mtok_input: Price
    usd_per_mtok_output: Price
    usd_per_mtok_cached: Price | None = None
    usd_per_mtok_training: Price | None = None
    least_cached_tokens: int = 1024

    def __post_init__(self) -> None:
        _check(self.prices(), self._by_unit())
        if self.usd_per_mtok_cached and self.usd_per_mtok_cached.value > self.usd_per_mtok_input.value:
            raise BadInput(
                f"The cached price of {self.usd_per_mtok_input.name} is above its full price.",
                hint="Swap the two, or leave the cached price out.",
            )

    def prices(self) -> list[Price]:
        """Every figure in it."""
        return list(self._by_unit().values())

    def _by_unit(self) -> dict[str, Price]:
        listed = {
            "usd_per_mtok_input": self.usd_per_mtok_input,
            "usd_per_mtok_cached": self.usd_per_mtok_cached,
            "usd_per_mtok_output": self.usd_per_mtok_output,
            "usd_per_mtok_training": self.usd_per_mtok_training,
        }
        return {unit: price for unit, price in listed.items() if price}

    def cached(self, tokens: Decimal) -> Decimal:
        """How many of the tokens that could be cached get the cached price."""
        return tokens if self.usd_per_mtok_cached and tokens >= self.least_cached_tokens else _ZERO


Pricing = MachinePricing | TokenPricing


@dataclass(frozen=True, kw_only=True)
class Labour:
    """Hours of work, each a `Price` in hours, and what an hour costs. Work that is not named counts as none."""

    usd_per_hour: Price | None = None
    hours: Mapping[Work, Price] = field(default_factory=dict[Work, Price])

    def __post_init__(self) -> None:
        _check(self.prices(), [*(["usd_per_hour"] if self.usd_per_hour else []), *["hours"] * len(self.hours)])
        unknown = sorted(set(self.hours) - set(get_args(Work)))
        if unknown:
            raise BadInput(f"There is no work named {unknown[0]!r}.", hint=f"Known: {', '.join(get_args(Work))}.")
        if self.usd_per_hour is None and any(hours.value for hours in self.hours.values()):
            raise BadInput("Hours of work are given, but not what an hour costs.", hint="Give the hourly rate as well.")

    def prices(self) -> list[Price]:
        """Every figure in it."""
        return [*([self.usd_per_hour] if self.usd_per_hour else []), *self.hours.values()]

    def usd(self, work: Work) -> Decimal:
        """What this work costs: once, or a month for upkeep."""
        if self.usd_per_hour is None or work not in self.hours:
            return _ZERO
        return self.hours[work].value * self.usd_per_hour.value


@dataclass(frozen=True, kw_only=True)
class MoneyAssumptions:
    """Everything about money that is not measured.

    `pricing` is by arm name, which goes first (a provider's tuned models have prices of their own), or by model
    name. An arm that is not in it, or that has no model, ran on `machine` and is priced so, as is the training of a
    model that is paid by token without a price for training. Where `retrain_every_months` is given, the training is
    paid again at that pace.
    """

    requests_per_month: int
    machine: MachinePricing
    pricing: Mapping[str, Pricing] = field(default_factory=dict[str, Pricing])
    labour: Labour = field(default_factory=Labour)
    retrain_every_months: int | None = None
    horizon_months: int = 12
    usd_per_right_answer: Decimal | None = None
    usd_per_wrong_answer: Decimal | None = None

    def __post_init__(self) -> None:
        if self.requests_per_month < 0:
            raise BadInput("The number of requests per month is negative.", hint="Give 0 or more.")
        if min(self.horizon_months, self.retrain_every_months or 1) < 1:
            raise BadInput("A number of months is below 1.", hint="Give the horizon and the retraining pace in months.")
        if min(self.usd_per_right_answer or 0, self.usd_per_wrong_answer or 0) < 0:
            raise BadInput(
                "The value of a right or the cost of a wrong answer is negative.",
                hint="Give both as amounts of 0 or more; a wrong answer's amount is what it costs.",
            )

    def of(self, arm: ArmResult) -> Pricing:
        """How this arm is paid for."""
        return self.pricing.get(arm.name) or self.pricing.get(arm.model, self.machine)

    def trained_at(self, arm: ArmResult) -> Price:
        """What its training is paid by: the provider's price where there is one, else the machine's hourly price."""
        pricing = self.of(arm)
        if isinstance(pricing, MachinePricing):
            return pricing.usd_per_hour
        return pricing.usd_per_mtok_training or self.machine.usd_per_hour


@dataclass(frozen=True, kw_only=True)
class Extra:
    """What one arm costs more than another; negative where it costs less."""

    usd_per_request: Decimal
    usd_fixed_per_month: Decimal
    usd_one_off: Decimal

    def usd(self, requests_per_month: int, months: int) -> Decimal:
        """The difference over a horizon."""
        monthly = self.usd_per_request * requests_per_month + self.usd_fixed_per_month
        return monthly * months + self.usd_one_off

    def break_even_requests(self, requests_per_month: int) -> int | None:
        """Requests after which the one-off difference is paid back by cheaper ones, None where it never is.

        Formula C10, n* = F / (C_base - C_arm), with the fixed monthly difference spread over the month's requests.
        """
        if self.usd_fixed_per_month and not requests_per_month:
            return None
        fixed = self.usd_fixed_per_month / requests_per_month if requests_per_month else _ZERO
        saved = -self.usd_per_request - fixed
        return _ceil(max(_ZERO, self.usd_one_off) / saved) if saved > 0 else None

    def least_requests_per_month(self, usd_gain_per_request: Decimal, months: int) -> int | None:
        """The volume from which the difference is earned back within the horizon, None where no volume is enough.

        Args:
            usd_gain_per_request: What a request is worth more with this arm, for example by being right more often.
            months: The horizon.
        """
        earned = usd_gain_per_request - self.usd_per_request
        due = self.usd_fixed_per_month + self.usd_one_off / months
        return _ceil(max(_ZERO, due) / earned) if earned > 0 else None


def pricing(table: PriceTable, name: str, *, utilisation: Price = HALF) -> Pricing:
    """How a model or a machine is paid for today, by the price table.

    Args:
        table: Where the prices come from.
        name: A model or a machine in it.
        utilisation: The share of paid time in which a machine answers; without meaning for a model.

    Raises:
        BadInput: The table has no price for it that holds today, or not all that are needed.
    """
    prices = table.get(name)
    if "usd_per_hour" in prices:
        return MachinePricing(usd_per_hour=prices["usd_per_hour"], utilisation=utilisation)
    missing = [unit for unit in ("usd_per_mtok_input", "usd_per_mtok_output") if unit not in prices]
    if missing:
        raise BadInput(f"{name} has no {' and no '.join(missing)}.", hint="Add the row to a price file of your own.")
    return TokenPricing(
        usd_per_mtok_input=prices["usd_per_mtok_input"],
        usd_per_mtok_output=prices["usd_per_mtok_output"],
        usd_per_mtok_cached=prices.get("usd_per_mtok_cached"),
        usd_per_mtok_training=prices.get("usd_per_mtok_training"),
    )


def extra(cost: Cost, other: Cost, requests_per_month: int) -> Extra:
    """What one arm costs more than the other, both having been priced at that volume."""
    return Extra(
        usd_per_request=(cost.usd_per_1000 - other.usd_per_1000) / 1000,
        usd_fixed_per_month=_fixed(cost, requests_per_month) - _fixed(other, requests_per_month),
        usd_one_off=cost.usd_one_off - other.usd_one_off,
    )


def break_even_quality(usd_per_right_answer: Decimal, usd_per_wrong_answer: Decimal) -> float:
    """The share of right answers at which what right ones earn equals what wrong ones cost; 0 where neither counts."""
    total = usd_per_right_answer + usd_per_wrong_answer
    return float(usd_per_wrong_answer / total) if total else 0.0


def cost(arm: ArmResult, assumptions: MoneyAssumptions, baseline: ArmResult | None = None) -> Cost:
    """What an arm costs, from its measured mean tokens and seconds.

    Without prompt caching, a provider charges every prompt token at the full price; a machine reads the cached tokens
    too, at the rate measured for the others: ``cached_tokens * prefill_seconds / (prompt_tokens - cached_tokens)``.

    Args:
        arm: The measured arm.
        assumptions: Prices, labour and volume.
        baseline: The arm that the break-even is against; None, or the arm itself, gives no break-even.
    """
    request = _request(arm, assumptions.of(arm), caching=True)
    training = _training_usd(arm, assumptions)
    monthly = {f"usd_per_month_{name}": usd * assumptions.requests_per_month for name, usd in request.items()}
    monthly |= _upkeep(arm, assumptions, training)
    once = _one_off(arm, assumptions.labour, training)
    priced = Cost(
        arm=arm.name,
        usd_per_1000=_total(request) * 1000,
        usd_per_1000_uncached=_total(_request(arm, assumptions.of(arm), caching=False)) * 1000,
        usd_per_month=_total(monthly),
        usd_training=training,
        usd_one_off=_total(once),
        break_even_requests=None,
        parts=monthly | once,
        assumptions=_used(arm, assumptions),
    )
    return _with_break_even(priced, assumptions, baseline)


def _with_break_even(priced: Cost, assumptions: MoneyAssumptions, baseline: ArmResult | None) -> Cost:
    if baseline is None or baseline.name == priced.arm:
        return priced
    volume = assumptions.requests_per_month
    difference = extra(priced, cost(baseline, assumptions), volume)
    return replace(priced, break_even_requests=difference.break_even_requests(volume))


def _request(arm: ArmResult, pricing: Pricing, *, caching: bool) -> dict[str, Decimal]:
    if isinstance(pricing, MachinePricing):
        return _machine_request(arm, pricing, caching=caching)
    prompt, shared = _number(arm.prompt_tokens), _number(min(arm.cached_tokens, arm.prompt_tokens))
    cached = pricing.cached(shared) if caching else _ZERO
    parts = {
        "input": (prompt - cached) * pricing.usd_per_mtok_input.value,
        "cached": cached * pricing.usd_per_mtok_cached.value if pricing.usd_per_mtok_cached else _ZERO,
        "output": _number(arm.completion_tokens) * pricing.usd_per_mtok_output.value,
    }
    return {name: usd / MTOK for name, usd in parts.items()}


def _machine_request(arm: ArmResult, pricing: MachinePricing, *, caching: bool) -> dict[str, Decimal]:
    reading = _number(min(arm.prefill_seconds, arm.seconds))
    writing = _number(arm.seconds) - reading
    computed = arm.prompt_tokens - arm.cached_tokens
    if not caching and computed > 0:
        reading += reading * _number(arm.cached_tokens) / _number(computed)
    return {"reading": pricing.usd(reading), "writing": pricing.usd(writing)}


def _training_usd(arm: ArmResult, assumptions: MoneyAssumptions) -> Decimal:
    if arm.training is None:
        return _ZERO
    price = assumptions.trained_at(arm)
    if price.unit == "usd_per_mtok_training":
        return arm.training.tokens * price.value / MTOK
    return _number(arm.training.seconds) * price.value / 3600


def _upkeep(arm: ArmResult, assumptions: MoneyAssumptions, training: Decimal) -> dict[str, Decimal]:
    if not arm.tuned:
        return {}
    pace = assumptions.retrain_every_months
    labour = assumptions.labour.usd("upkeep")
    return {"usd_per_month_labour": labour, "usd_per_month_retraining": training / pace if pace else _ZERO}


def _one_off(arm: ArmResult, labour: Labour, training: Decimal) -> dict[str, Decimal]:
    shared = {
        "usd_one_off_data": labour.usd("data"),
        "usd_one_off_evaluation": labour.usd("evaluation"),
    }
    if not arm.tuned:
        return shared
    return shared | {
        "usd_one_off_tuning": labour.usd("tuning"),
        "usd_one_off_deployment": labour.usd("deployment"),
        "usd_one_off_training": training,
    }


def _used(arm: ArmResult, assumptions: MoneyAssumptions) -> tuple[Price, ...]:
    volume = Price(
        name="volume",
        value=Decimal(assumptions.requests_per_month),
        unit="requests_per_month",
        source="the case",
        checked="",
        basis="user",
    )
    used = [volume, *assumptions.of(arm).prices(), *_measured(arm), *assumptions.labour.prices()]
    if arm.training is not None and assumptions.trained_at(arm) not in used:
        used.append(assumptions.trained_at(arm))
    return tuple(used)


def _measured(arm: ArmResult) -> list[Price]:
    figures = {
        "prompt": (arm.prompt_tokens, "tokens_per_request"),
        "cached prompt": (arm.cached_tokens, "tokens_per_request"),
        "answer": (arm.completion_tokens, "tokens_per_request"),
        "time": (arm.seconds, "seconds_per_request"),
        "time reading": (arm.prefill_seconds, "seconds_per_request"),
    }
    if arm.training is not None:
        figures["training"] = (float(arm.training.tokens), "tokens")
        figures["training time"] = (arm.training.seconds, "seconds")
    source = f"mean of {arm.n} test requests"
    return [
        Price(name=name, value=_number(value), unit=unit, source=source, checked="", basis="measured")
        for name, (value, unit) in figures.items()
    ]


def _check(prices: Iterable[Price], units: Iterable[str]) -> None:
    for price, unit in zip(prices, units, strict=True):
        if not price.value.is_finite() or price.value < 0:
            raise BadInput(f"{price.name}: {price.value} {price.unit} is not usable.", hint="Give 0 or more.")
        if price.unit != unit:
            raise BadInput(f"{price.name} is given in {price.unit}.", hint=f"Give it in {unit}.")


def _fixed(cost: Cost, requests_per_month: int) -> Decimal:
    return cost.usd_per_month - cost.usd_per_1000 * requests_per_month / 1000


def _total(parts: Mapping[str, Decimal]) -> Decimal:
    return sum(parts.values(), _ZERO)


def _number(measured: float) -> Decimal:
    return Decimal(str(measured))


def _ceil(value: Decimal) -> int:
    return int(value.to_integral_value(ROUND_CEILING))
