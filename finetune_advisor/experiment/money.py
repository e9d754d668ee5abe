"""The money and uncertainty sections of a case as assumptions of the cost model, each figure with its source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

from finetune_advisor import approaches, models
from finetune_advisor.case import Case, MoneySection, Range
from finetune_advisor.costs import model as money
from finetune_advisor.costs import prices, tunable
from finetune_advisor.errors import BadInput
from finetune_advisor.experiment import arms
from finetune_advisor.experiment.charges import price_name
from finetune_advisor.records import Driver, Price, Route, Spread

ASSUMED: Mapping[Driver, tuple[float, float, str]] = {
    "volume": (0.7, 1.4, "few know next year's volume better than that"),
    "prices": (0.9, 1.1, "list prices seldom change by more within a year"),
    "tokens": (0.95, 1.05, "real prompts and answers may be longer or shorter than the test's"),
    "hours": (0.8, 1.6, "work overruns more often than it ends early"),
    "training": (0.8, 1.5, "a training may need another try"),
    "value": (0.8, 1.25, "the worth of an answer is an estimate"),
}
"""How far each driver may be off where nobody said, as factors: guesses that are marked as such. Hosting is a contract
and stays as it is."""

ELSEWHERE = "elsewhere"
"""The provider of models that another tool has measured: there is nobody to ask."""

FACTORS: tuple[Driver, ...] = ("prices", "tokens", "hours", "training", "hosting")
"""What `[uncertainty]` states as factors, under the drivers' own names."""

UNKNOWN_UTILISATION = (0.625, 2.0, "nobody said how busy the machine is: 80% of the time at best, 25% at worst")
"""Of prices where all arms run on a machine whose utilisation of one half is assumed too: 0.5 / 0.8 to 0.5 / 0.25."""


def price_table(case: Case) -> prices.PriceTable:
    """The shipped prices, with those of the case's own file before them.

    Raises:
        BadInput: The file cannot be read or a row in it is not usable.
    """
    return prices.load(case.folder / case.money.prices if case.money.prices else None)


def assumptions_of(case: Case) -> money.MoneyAssumptions:
    """What the case reckons with today.

    Raises:
        BadInput: A price is not known.
    """
    return assume(case, price_table(case))


def assume(case: Case, table: prices.PriceTable, today: date | None = None) -> money.MoneyAssumptions:
    """The money section of a case, with each figure's source.

    Args:
        case: With its money section and models.
        table: The price table.
        today: The first day of the horizon, from which models have so long to live; today where None.
    """
    section = case.money
    machine = _machine(section, table)
    return money.MoneyAssumptions(
        requests_per_month=section.requests_per_month,
        machine=machine,
        pricing={name: _priced(price, machine, table) for name, price in price_names(case).items()},
        labour=_labour(section),
        labels=_labels(section),
        trainings=_trainings(section),
        search=_search(section, table),
        judging=_judging(section),
        batch_share=_given("batch share", section.batch_share or None, "share"),
        peak_requests_per_hour=_given("busiest hour", section.peak_requests_per_hour, "requests_per_hour"),
        hosting_usd_per_month=_given("hosting of the tuned model", section.usd_per_month_hosting, "usd_per_month"),
        retires=_retires(case, today or datetime.now(UTC).date()),
        horizon_months=section.horizon_months,
        worth=_worth(section),
    )


def price_names(case: Case) -> dict[str, str]:
    """What the price table calls the case's models, and the tuned ones of providers, by model and by arm name."""
    stated = {model.name: model.price for model in case.models if model.price}
    asked = [model for model in case.models if model.provider != ELSEWHERE]
    made = {model.name: model.make() for model in asked}
    remote = {name: model.describe() for name, model in made.items() if models.is_remote(model)}
    known = {name: price_name(described) for name, described in remote.items()}
    plans = [plan for plan in arms.plans(case, made) if approaches.named(plan.approach).tuned]
    tuned = {
        plan.name: price_name(remote[plan.model_name], tuned=True)
        for plan in plans
        if plan.model and plan.model.tunable and plan.model_name in remote
    }
    return {name: price for name, price in {**known, **stated, **tuned}.items() if price}


def spreads(case: Case) -> tuple[Spread, ...]:
    """How uncertain each driver of the costs and the worth is: as the case says, else as is assumed.

    Raises:
        BadInput: A range does not hold the figure that is reckoned with.
    """
    stated = dict(_stated(case))
    assumed = dict(ASSUMED)
    if not _worths(case):
        del assumed["value"]
    if _utilisation_unknown(case):
        assumed["prices"] = UNKNOWN_UTILISATION
    rest = [_assumed_spread(case, driver, *ends) for driver, ends in assumed.items() if driver not in stated]
    return (*stated.values(), *rest)


def _stated(case: Case) -> Iterator[tuple[Driver, Spread]]:
    ranges = case.uncertainty
    if ranges.requests_per_month:
        likely = float(case.money.requests_per_month)
        yield "volume", _spread("volume", "requests_per_month", likely, ranges.requests_per_month, "requests_per_month")
    for driver in FACTORS:
        bounds: Range | None = getattr(ranges, driver)
        if bounds:
            yield driver, _spread(driver, "times", None, bounds, driver)
    values = list(_value_spreads(case))
    if values:
        yield "value", _widest(values)


def _value_spreads(case: Case) -> Iterator[Spread]:
    for name in ("usd_per_right_answer", "usd_per_wrong_answer"):
        bounds: Range | None = getattr(case.uncertainty, name)
        likely: Decimal | None = getattr(case.money, name)
        if bounds and not likely:
            raise BadInput(
                f"[uncertainty] gives a range for {name}, and [money] no such amount above 0.",
                hint=f"Give the likely {name} in [money].",
            )
        if bounds:
            yield _spread("value", "usd_per_answer", float(likely or 0), bounds, name)


def _widest(values: list[Spread]) -> Spread:
    """One range for the worth of answers: of two that are given, the lower low and the higher high."""
    if len(values) == 1:
        return values[0]
    return Spread(
        driver="value",
        low=min(each.low for each in values),
        high=max(each.high for each in values),
        unit="times",
        likely=None,
        source="the case: the wider of the ranges for right and wrong answers",
        basis="user",
    )


def _spread(driver: Driver, unit: str, likely: float | None, bounds: Range, name: str) -> Spread:
    low, high = (each / (likely or 1.0) for each in bounds)
    if not low <= 1 <= high:
        raise BadInput(
            f"The range of {name} in [uncertainty], {bounds[0]:g} to {bounds[1]:g}, does not hold {likely or 1:g}, "
            "the figure that is reckoned with.",
            hint="Give [low, high] around it" + (" in the same unit." if likely else ", as factors: [0.8, 1.5]."),
        )
    return Spread(driver=driver, low=low, high=high, unit=unit, likely=likely, source="the case", basis="user")


def _assumed_spread(case: Case, driver: Driver, low: float, high: float, why: str) -> Spread:
    unit, likely = "times", None
    if driver == "volume":
        unit, likely = "requests_per_month", float(case.money.requests_per_month)
    elif driver == "value" and case.money.usd_per_right_answer and not case.money.usd_per_wrong_answer:
        unit, likely = "usd_per_answer", float(case.money.usd_per_right_answer)
    return Spread(driver=driver, low=low, high=high, unit=unit, likely=likely, source=why, basis="assumed")


def _worths(case: Case) -> bool:
    return bool(_worth(case.money).prices())


def _utilisation_unknown(case: Case) -> bool:
    section = case.money
    return section.utilisation is None and not section.always_on and not price_names(case)


def _priced(name: str, machine: money.MachinePricing, table: prices.PriceTable) -> money.Pricing:
    return money.pricing(table, name, utilisation=machine.utilisation, always_on=machine.always_on)


def _machine(section: MoneySection, table: prices.PriceTable) -> money.MachinePricing:
    used = _given("utilisation", section.utilisation, "share") or money.HALF
    hourly = _given(section.machine, section.usd_per_machine_hour, "usd_per_hour")
    return money.MachinePricing(
        usd_per_hour=hourly or table.get(section.machine)["usd_per_hour"],
        utilisation=used,
        always_on=section.always_on,
    )


def _labour(section: MoneySection) -> money.Labour:
    hours: dict[money.Work, Decimal | None] = {
        "data": section.data_hours,
        "evaluation": section.evaluation_hours,
        "tuning": section.tuning_hours,
        "deployment": section.deployment_hours,
        "upkeep": section.upkeep_hours_per_month,
        "monitoring": section.monitoring_hours_per_month,
        "prompts": section.prompt_hours_per_month,
        "retraining": section.retraining_hours,
    }
    return money.Labour(
        usd_per_hour=_given("labour", section.usd_per_labour_hour, "usd_per_hour"),
        hours={work: price for work, value in hours.items() if (price := _given(work, value, "hours"))},
    )


def _labels(section: MoneySection) -> money.Labels | None:
    each = _given("a label", section.usd_per_label, "usd_per_label")
    if each is None or not section.labels:
        return None
    return money.Labels(number=prices.given("labels to buy", section.labels, "labels"), usd_each=each)


def _trainings(section: MoneySection) -> money.TrainingPlan:
    plan = money.TrainingPlan(retrain_every_months=section.retrain_every_months)
    runs = _given("trainings", section.training_runs, "runs")
    failed = _given("failed trainings", section.failed_share, "share")
    return replace(plan, runs=runs or plan.runs, failed_share=failed or plan.failed_share)


def _search(section: MoneySection, table: prices.PriceTable) -> money.Search:
    return money.Search(
        seconds=_given("searching", section.search_seconds, "seconds_per_search"),
        usd_per_mtok_input=_embedding(section.embedding, table) if section.embedding else None,
        question_tokens=_given("a question", section.question_tokens, "tokens_per_question"),
    )


def _embedding(name: str, table: prices.PriceTable) -> Price:
    price = table.get(name).get("usd_per_mtok_input")
    if price is None:
        raise BadInput(f"{name} has no usd_per_mtok_input.", hint="Name an embedding model, or add the row.")
    return price


def _judging(section: MoneySection) -> money.Judging | None:
    each = _given("a judged answer", section.usd_per_judged_request, "usd_per_judged_request")
    if each is None or not section.judged_share:
        return None
    return money.Judging(share=prices.given("judged answers", section.judged_share, "share"), usd_each=each)


def _worth(section: MoneySection) -> money.Worth:
    return money.Worth(
        usd_per_right_answer=_given("a right answer", section.usd_per_right_answer, "usd_per_answer"),
        usd_per_wrong_answer=_given("a wrong answer", section.usd_per_wrong_answer, "usd_per_answer"),
        usd_per_wrong_form=_given("an answer in the wrong form", section.usd_per_wrong_form, "usd_per_answer"),
        usd_per_no_answer=_given("no answer", section.usd_per_no_answer, "usd_per_answer"),
    )


def _retires(case: Case, today: date) -> dict[str, Price]:
    """By model and arm name, in how many months it stops answering; those whose end nobody announced are left out."""
    ends = {name: _last_day(price) for name, price in price_names(case).items()}
    return {name: _end(route, today) for name, route in ends.items() if route}


def _last_day(name: str) -> Route | None:
    """The dated route that answers longest; None where no end is announced, or nothing is known."""
    ends = [(route.answers_until, route) for route in tunable.routes(name) if route.answers_until]
    return max(ends, key=lambda end: end[0])[1] if ends else None


def _end(route: Route, today: date) -> Price:
    return Price(
        name=f"{route.base} answers until {route.answers_until}",
        value=Decimal(str(round(tunable.pays_until(route, today) or 0.0, 1))),
        unit="months",
        source=route.source,
        checked=route.checked,
        basis="source",
    )


def _given(name: str, value: Decimal | int | None, unit: str) -> Price | None:
    return None if value is None else prices.given(name, value, unit)
