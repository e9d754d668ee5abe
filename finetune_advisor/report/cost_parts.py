"""What each arm's cost is made of, part by part: what is paid every month, and what is paid once."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal

from finetune_advisor.costs.parts import PARTS
from finetune_advisor.records import Cost, Results
from finetune_advisor.report.answer import by_score, identity, label
from finetune_advisor.report.blocks import Block, Cell, Chart
from finetune_advisor.report.formats import count, usd
from finetune_advisor.report.ownership import group

When = Literal["month", "once"]

WORDS: Mapping[When, str] = {"month": "every month", "once": "once"}


def cost_parts(results: Results) -> tuple[Block, ...]:
    """A chart of the monthly parts and one of those paid once; nothing where nothing is paid."""
    charts = (_chart(results, when) for when in WORDS)
    return tuple(chart for chart in charts if chart.rows)


def _chart(results: Results, when: When) -> Chart:
    costs = {cost.arm: cost for cost in results.costs}
    arms = [costs[arm.name] for arm in by_score(results) if arm.name in costs]
    volume = f" at {count(results.requests_per_month)} requests" if when == "month" else ""
    paid = {cost.arm: _paid(cost, when) for cost in arms}
    said = "; ".join(f"{label(results, arm)} {_said(parts)}" for arm, parts in paid.items())
    return Chart(
        kind="cost_parts",
        title=f"What each arm costs {WORDS[when]}{volume}, part by part",
        rows=tuple(_row(results, arm, name, usd) for arm, parts in paid.items() for name, usd in parts.items()),
        alt=f"Stacked bars in US dollars, paid {WORDS[when]}: {said}.",
    )


def _paid(cost: Cost, when: When) -> Mapping[str, Decimal]:
    """The parts that cost anything, in the order of `PARTS`."""
    known = (name for name, part in PARTS.items() if part.when == when)
    return {name: cost.parts[name] for name in known if cost.parts.get(name)}


def _said(parts: Mapping[str, Decimal]) -> str:
    if not parts:
        return "nothing"
    named = ", ".join(f"{title(name).lower()} {usd(value)}" for name, value in parts.items())
    return f"{usd(sum(parts.values(), Decimal(0)))} ({named})"


def title(name: str) -> str:
    """The part in words, without when it is paid, which the chart says once for all."""
    return PARTS[name].title.rpartition(", ")[0]


def _row(results: Results, arm: str, name: str, value: Decimal) -> Mapping[str, Cell]:
    paid = {"paid": WORDS[PARTS[name].when], "kind": group(name), "part": title(name)}
    return {**identity(results, arm), **paid, "usd": float(value)}
