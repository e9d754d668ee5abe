"""The money section of a case as assumptions of the cost model, each figure with its source."""

from __future__ import annotations

from finetune_advisor.case import Case, MoneySection
from finetune_advisor.costs import model as money
from finetune_advisor.costs import prices


def assume(case: Case, table: prices.PriceTable) -> money.MoneyAssumptions:
    """The money section of a case, with each figure's source."""
    section = case.money
    machine = _machine(section, table)
    priced = {m.name: money.pricing(table, m.price, utilisation=machine.utilisation) for m in case.models if m.price}
    return money.MoneyAssumptions(
        requests_per_month=section.requests_per_month,
        machine=machine,
        pricing=priced,
        labour=_labour(section),
        retrain_every_months=section.retrain_every_months,
        horizon_months=section.horizon_months,
        usd_per_right_answer=section.usd_per_right_answer,
        usd_per_wrong_answer=section.usd_per_wrong_answer,
    )


def _machine(section: MoneySection, table: prices.PriceTable) -> money.MachinePricing:
    used = money.HALF
    if section.utilisation is not None:
        used = prices.given("utilisation", section.utilisation, "share")
    if section.usd_per_machine_hour is not None:
        hourly = prices.given(section.machine, section.usd_per_machine_hour, "usd_per_hour")
    else:
        hourly = table.get(section.machine)["usd_per_hour"]
    return money.MachinePricing(usd_per_hour=hourly, utilisation=used)


def _labour(section: MoneySection) -> money.Labour:
    hours: dict[money.Work, object] = {
        "data": section.data_hours,
        "evaluation": section.evaluation_hours,
        "tuning": section.tuning_hours,
        "deployment": section.deployment_hours,
        "upkeep": section.upkeep_hours_per_month,
    }
    rate = section.usd_per_labour_hour
    return money.Labour(
        usd_per_hour=None if rate is None else prices.given("labour", rate, "usd_per_hour"),
        hours={work: prices.given(work, str(value), "hours") for work, value in hours.items() if value is not None},
    )
