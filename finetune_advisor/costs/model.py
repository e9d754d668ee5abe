"""Measured tokens and seconds into money, by one model for every arm.

What is counted where:

* A request costs what was measured, times a price. From a provider that is tokens times token prices. On a machine it
  is seconds times the hourly price over the utilisation (the share of paid time in which it answers): idle time is in
  the price of a request and nowhere else. A machine that is always on is paid by the month instead, as many of them as
  the peak takes: then idle time is in that part and nowhere else.
* Labour to prepare the data, to evaluate and to watch the answers counts for every arm alike: nobody can choose
  between arms without it. Labels are paid for by the arms that learn from them. Training, labour for tuning,
  deployment, hosting, upkeep and retraining are what only tuning needs; maintaining prompts is what only the others do.
* A base model that retires within the horizon costs every arm a new evaluation, and a tuned arm a new training too.
* Break-even compares what an arm costs more at the start with what it saves per request (formula C10).

"Do nothing" is the arm that costs and earns nothing; the verdict holds the others against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from finetune_advisor.costs import labour as work
from finetune_advisor.costs.checks import check_figures
from finetune_advisor.costs.horizon import Extra, annuity, extra, tco_usd
from finetune_advisor.costs.hosting import HOURS_PER_MONTH, Load, load
from finetune_advisor.costs.labour import Labels, Labour, TrainingPlan, Work
from finetune_advisor.costs.parts import PARTS, Part
from finetune_advisor.costs.prices import given
from finetune_advisor.costs.pricing import HALF, MTOK, MachinePricing, Pricing, TokenPricing, pricing
from finetune_advisor.costs.request import Judging, Search, answer_usd, number, searches, warm_share
from finetune_advisor.costs.value import Worth, break_even_quality
from finetune_advisor.errors import BadInput
from finetune_advisor.records import ArmResult, Cost, Price

__all__ = [
    "HALF",
    "HOURS_PER_MONTH",
    "PARTS",
    "Extra",
    "Judging",
    "Labels",
    "Labour",
    "Load",
    "MachinePricing",
    "MoneyAssumptions",
    "Part",
    "Pricing",
    "Search",
    "TokenPricing",
    "TrainingPlan",
    "Work",
    "Worth",
    "annuity",
    "break_even_quality",
    "cost",
    "extra",
    "load",
    "pricing",
    "served_by",
    "tco_usd",
]

_ZERO = Decimal(0)


@dataclass(frozen=True, kw_only=True)
class MoneyAssumptions:
    """Everything about money that is not measured.

    `pricing` is by arm name, which goes first (a provider's tuned models have prices of their own), or by model
    name. An arm that is not in it, or that has no model, ran on `machine` and is priced so, as is the training of a
    model that is paid by token without a price for training. `hosting_usd_per_month` is what a tuned model's deployment
    costs, in place of the price table's figure. `retires` says by arm or model name in how many months a model ends.
    """

    requests_per_month: int
    machine: MachinePricing
    pricing: Mapping[str, Pricing] = field(default_factory=dict[str, Pricing])
    labour: Labour = field(default_factory=Labour)
    labels: Labels | None = None
    trainings: TrainingPlan = field(default_factory=TrainingPlan)
    search: Search = field(default_factory=Search)
    judging: Judging | None = None
    batch_share: Price | None = None
    peak_requests_per_hour: Price | None = None
    hosting_usd_per_month: Price | None = None
    retires: Mapping[str, Price] = field(default_factory=dict[str, Price])
    horizon_months: int = 12
    worth: Worth = field(default_factory=Worth)

    def __post_init__(self) -> None:
        if self.requests_per_month < 0:
            raise BadInput("The number of requests per month is negative.", hint="Give 0 or more.")
        if self.horizon_months < 1:
            raise BadInput("The horizon is below 1 of the months it is counted in.", hint="Give it in whole months.")
        stated = {
            "share": self.batch_share,
            "requests_per_hour": self.peak_requests_per_hour,
            "usd_per_month": self.hosting_usd_per_month,
        }
        units = {unit: price for unit, price in stated.items() if price}
        check_figures([*units.values(), *self.retires.values()], [*units, *["months"] * len(self.retires)])
        if self.batch_share and self.batch_share.value > 1:
            raise BadInput("More than every request cannot wait for a batch.", hint="Give a share from 0 to 1.")
        if self.peak_requests_per_hour and self.peak_requests_per_hour.value < self._mean_requests_per_hour:
            raise BadInput(
                f"A peak of {self.peak_requests_per_hour.value:f} requests an hour is below the mean of "
                f"{self._mean_requests_per_hour:.1f} that {self.requests_per_month:,} a month make.",
                hint="Give the busiest hour's requests, or leave it out.",
            )

    @property
    def _mean_requests_per_hour(self) -> Decimal:
        return self.requests_per_month / HOURS_PER_MONTH

    @property
    def busiest_hour(self) -> Decimal:
        """Requests in the busiest hour; spread evenly over the month where nobody said."""
        return self.peak_requests_per_hour.value if self.peak_requests_per_hour else self._mean_requests_per_hour

    def of(self, arm: ArmResult) -> Pricing:
        """How this arm is paid for."""
        return self.pricing.get(arm.name) or self.pricing.get(arm.model, self.machine)

    def trained_at(self, arm: ArmResult) -> Price:
        """What its training is paid by: the provider's price where there is one, else the machine's hourly price."""
        pricing = self.of(arm)
        if isinstance(pricing, MachinePricing):
            return pricing.usd_per_hour
        return pricing.usd_per_mtok_training or pricing.usd_per_hour_training or self.machine.usd_per_hour

    def retired_within(self, arm: ArmResult) -> Price | None:
        """When its model ends, where that is within the horizon."""
        end = self.retires.get(arm.name) or self.retires.get(arm.model)
        return end if end and end.value < self.horizon_months else None


def cost(arm: ArmResult, assumptions: MoneyAssumptions, baseline: ArmResult | None = None) -> Cost:
    """What an arm costs, from its measured mean tokens and seconds.

    Args:
        arm: The measured arm.
        assumptions: Prices, labour and volume.
        baseline: The arm that the break-even is against; None, or the arm itself, gives no break-even.
    """
    request = _request(arm, assumptions, caching=True)
    training = _training_usd(arm, assumptions)
    monthly = {f"usd_per_month_{name}": usd * assumptions.requests_per_month for name, usd in request.items()}
    monthly |= _monthly(arm, assumptions, training)
    once = _once(arm, assumptions, training)
    priced = Cost(
        arm=arm.name,
        usd_per_1000=_total(request) * 1000,
        usd_per_1000_uncached=_total(_request(arm, assumptions, caching=False)) * 1000,
        usd_per_month=_total(monthly),
        usd_training=assumptions.trainings.usd(training),
        usd_one_off=_total(once),
        break_even_requests=None,
        parts=monthly | once,
        assumptions=_used(arm, assumptions),
    )
    return _with_break_even(priced, assumptions, baseline)


def served_by(arm: ArmResult, assumptions: MoneyAssumptions, requests_per_month: int | None = None) -> Load | None:
    """How many machines an arm's requests take in the busiest hour; None where they take none.

    Args:
        arm: The measured arm.
        assumptions: With the peak and the volume that it belongs to.
        requests_per_month: Another volume, for example that of the break-even; its peak is higher in proportion.
    """
    seconds = _machine_seconds(arm, assumptions)
    if seconds is None:
        return None
    volume, hour = assumptions.requests_per_month, assumptions.busiest_hour
    if requests_per_month is not None and volume:
        hour = hour * requests_per_month / volume
    return load(seconds, hour)


def _machine_seconds(arm: ArmResult, assumptions: MoneyAssumptions) -> Decimal | None:
    """Seconds of a machine that a request takes, None where a provider answers and nothing is searched."""
    searching = assumptions.search.seconds_of(arm)
    if isinstance(assumptions.of(arm), MachinePricing):
        return number(arm.seconds) + searching
    return searching or None


def _with_break_even(priced: Cost, assumptions: MoneyAssumptions, baseline: ArmResult | None) -> Cost:
    if baseline is None or baseline.name == priced.arm:
        return priced
    volume = assumptions.requests_per_month
    difference = extra(priced, cost(baseline, assumptions), volume)
    return replace(priced, break_even_requests=difference.break_even_requests(volume))


def _request(arm: ArmResult, assumptions: MoneyAssumptions, *, caching: bool) -> dict[str, Decimal]:
    batch_share = assumptions.batch_share.value if assumptions.batch_share else _ZERO
    volume = assumptions.requests_per_month
    return answer_usd(arm, assumptions.of(arm), volume, caching=caching, batch_share=batch_share) | {
        "search": assumptions.search.usd(arm, _machine(arm, assumptions)),
        "judge": assumptions.judging.usd if assumptions.judging else _ZERO,
    }


def _training_usd(arm: ArmResult, assumptions: MoneyAssumptions) -> Decimal:
    """What one successful training costs."""
    if arm.training is None:
        return _ZERO
    price, pricing = assumptions.trained_at(arm), assumptions.of(arm)
    least = pricing.usd_minimum_job if isinstance(pricing, TokenPricing) else None
    if price.unit == "usd_per_mtok_training":
        return max(arm.training.tokens * price.value / MTOK, least.value if least else _ZERO)
    return number(arm.training.seconds) * price.value / 3600


def _monthly(arm: ArmResult, assumptions: MoneyAssumptions, training: Decimal) -> dict[str, Decimal]:
    parts = work.monthly(arm, assumptions.labour, assumptions.trainings, training)
    machine, needed = _machine(arm, assumptions), served_by(arm, assumptions)
    if machine.always_on and needed:
        parts["usd_per_month_machines"] = needed.machines * machine.usd_per_hour.value * HOURS_PER_MONTH
    if arm.tuned:
        parts["usd_per_month_hosting"] = _hosting_usd(arm, assumptions)
    return parts


def _machine(arm: ArmResult, assumptions: MoneyAssumptions) -> MachinePricing:
    """The machine that answers and searches; the case's where a provider answers."""
    pricing = assumptions.of(arm)
    return pricing if isinstance(pricing, MachinePricing) else assumptions.machine


def _hosting_usd(arm: ArmResult, assumptions: MoneyAssumptions) -> Decimal:
    if assumptions.hosting_usd_per_month:
        return assumptions.hosting_usd_per_month.value
    pricing = assumptions.of(arm)
    return pricing.hosting_usd_per_month if isinstance(pricing, TokenPricing) else _ZERO


def _once(arm: ArmResult, assumptions: MoneyAssumptions, training: Decimal) -> dict[str, Decimal]:
    parts = work.once(arm, assumptions.labour, assumptions.labels)
    if arm.tuned:
        parts["usd_one_off_training"] = assumptions.trainings.usd(training)
    if assumptions.retired_within(arm):
        parts |= work.renewal(arm, assumptions.labour, assumptions.trainings, training)
    return parts


def _used(arm: ArmResult, assumptions: MoneyAssumptions) -> tuple[Price, ...]:
    volume = given("volume", assumptions.requests_per_month, "requests_per_month", "the case")
    horizon = given("horizon", assumptions.horizon_months, "months", "the case")
    used = [volume, horizon, *assumptions.of(arm).prices(), *_measured(arm, assumptions), *_stated(arm, assumptions)]
    if arm.training is not None:
        used += [assumptions.trained_at(arm), *assumptions.trainings.prices()]
    return tuple(dict.fromkeys(used))


def _stated(arm: ArmResult, assumptions: MoneyAssumptions) -> list[Price]:
    """What somebody said about this arm besides the prices of its requests."""
    single = [assumptions.batch_share, assumptions.peak_requests_per_hour, assumptions.retired_within(arm)]
    if arm.tuned:
        single.append(assumptions.hosting_usd_per_month)
    groups = [assumptions.labour.prices(), assumptions.worth.prices()]
    if searches(arm):
        groups.append(assumptions.search.prices())
    groups += [each.prices() for each in (assumptions.labels, assumptions.judging) if each]
    return [*filter(None, single), *(price for group in groups for price in group)]


def _measured(arm: ArmResult, assumptions: MoneyAssumptions) -> list[Price]:
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
    found = [_figure(name, number(value), unit, source) for name, (value, unit) in figures.items()]
    return [*found, *_warm(arm, assumptions), *_served(arm, assumptions)]


def _warm(arm: ArmResult, assumptions: MoneyAssumptions) -> list[Price]:
    """How often the provider's cache is warm, by its rule."""
    pricing = assumptions.of(arm)
    if isinstance(pricing, MachinePricing):
        return []
    shared, rule = number(min(arm.cached_tokens, arm.prompt_tokens)), pricing.caching
    share = warm_share(pricing, shared, assumptions.requests_per_month)
    if share is None:
        return []
    found = _figure("requests that find the prompt cached", share, "share", rule.source)
    return [replace(found, checked=rule.checked, basis=rule.basis)]


def _served(arm: ArmResult, assumptions: MoneyAssumptions) -> list[Price]:
    """How many machines the busiest hour takes, from the measured time."""
    needed = served_by(arm, assumptions)
    if needed is None or needed.requests_per_hour_each is None:
        return []
    formula = "requests an hour * seconds a request / 3,600, so that none is busy for more than the hour"
    return [
        _figure("machines in the busiest hour", Decimal(needed.machines), "machines", formula),
        _figure("busy in the busiest hour", needed.busy, "share_busy", formula),
        _figure("most that one machine answers", needed.requests_per_hour_each, "requests_per_machine_hour", formula),
    ]


def _figure(name: str, value: Decimal, unit: str, source: str) -> Price:
    return Price(name=name, value=value, unit=unit, source=source, checked="", basis="measured")


def _total(parts: Mapping[str, Decimal]) -> Decimal:
    return sum(parts.values(), _ZERO)
