"""Total cost of ownership, split into what it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from finetune_advisor.costs.parts import PARTS, Part
from finetune_advisor.records import Cost, Results
from finetune_advisor.report.answer import by_score, label
from finetune_advisor.report.blocks import Block, Cell, Chart, Details, Heading, Table
from finetune_advisor.report.formats import DASH, usd

GROUPS = ("Requests", "Hosting", "Running work", "Retraining", "Set-up work", "Training", "Other")
"""What parts are put together under, in the order in which they are drawn."""


def ownership(results: Results) -> tuple[Block, ...]:
    """What each arm costs over the horizon of the case, by kind of cost; nothing where no arm has a cost."""
    costs = _ranked(results)
    groups = [name for name in GROUPS if any(_grouped(cost, results.horizon_months).get(name) for cost in costs)]
    if not groups:
        return ()
    return (
        Heading(level=3, text="What is the cost made of?"),
        _table(results, costs, groups),
        _chart(results, costs, groups),
        Details(title="Every part of the cost", blocks=(_parts(results, costs),)),
    )


def _ranked(results: Results) -> list[Cost]:
    costs = {cost.arm: cost for cost in results.costs}
    return [costs[arm.name] for arm in by_score(results) if arm.name in costs]


def group(name: str) -> str:
    """Under what a part of a cost is shown: by when it is paid, and by what drives it."""
    part = PARTS.get(name)
    if part is None:
        return "Other"
    if "volume" in part.drivers:
        return "Requests"
    return _fixed_group(part)


def _fixed_group(part: Part) -> str:
    monthly = part.when == "month"
    if "hosting" in part.drivers:
        return "Hosting"
    if "training" in part.drivers:
        return "Retraining" if monthly else "Training"
    return "Running work" if monthly else "Set-up work"


def _grouped(cost: Cost, months: int) -> Mapping[str, Decimal]:
    """Dollars over so many months by group."""
    found: dict[str, Decimal] = {}
    for name, value in cost.parts.items():
        part = PARTS.get(name)
        whole = value * months if part and part.when == "month" else value
        found[group(name)] = found.get(group(name), Decimal(0)) + whole
    return found


def _horizon(results: Results) -> str:
    months = results.horizon_months
    return "month" if months == 1 else f"{months} months"


def _table(results: Results, costs: list[Cost], groups: list[str]) -> Table:
    return Table(
        columns=("Arm", *groups, "In all"),
        rows=tuple(_row(results, cost, groups) for cost in costs),
        align="l" + "r" * (len(groups) + 1),
        caption=f"US dollars over the first {_horizon(results)}, the horizon of this case; not discounted, best score "
        "first",
    )


def _row(results: Results, cost: Cost, groups: list[str]) -> tuple[str, ...]:
    found = _grouped(cost, results.horizon_months)
    values = (found.get(name, Decimal(0)) for name in groups)
    return (
        label(results, cost.arm),
        *(usd(value) if value else DASH for value in values),
        usd(sum(found.values(), Decimal(0))),
    )


def _chart(results: Results, costs: list[Cost], groups: list[str]) -> Chart:
    sums = {cost.arm: sum(_grouped(cost, results.horizon_months).values(), Decimal(0)) for cost in costs}
    said = "; ".join(f"{label(results, arm)} {usd(value)}" for arm, value in sums.items())
    return Chart(
        kind="ownership",
        title=f"Cost of the first {_horizon(results)} by kind",
        rows=tuple(_bar(results, cost, groups) for cost in costs),
        alt=f"Stacked bars of {', '.join(groups).lower()}. In all: {said}.",
    )


def _bar(results: Results, cost: Cost, groups: list[str]) -> Mapping[str, Cell]:
    found = _grouped(cost, results.horizon_months)
    return {"arm": label(results, cost.arm), **{name: float(found.get(name, 0)) for name in groups}}


def _parts(results: Results, costs: list[Cost]) -> Table:
    names = [name for name in PARTS if any(cost.parts.get(name) for cost in costs)]
    names += sorted({name for cost in costs for name in cost.parts} - PARTS.keys())
    return Table(
        columns=("Part", *(label(results, cost.arm) for cost in costs)),
        rows=tuple(_part_row(name, costs) for name in names),
        align="l" + "r" * len(costs),
    )


def _part_row(name: str, costs: list[Cost]) -> tuple[str, ...]:
    title = PARTS[name].title if name in PARTS else name.replace("_", " ")
    values = (cost.parts.get(name) for cost in costs)
    return (title, *(usd(value) if value else DASH for value in values))
