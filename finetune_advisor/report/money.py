"""What each arm costs: the tables and charts, and every price that went in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Context, Decimal

from finetune_advisor.records import ArmResult, Cost, Price, Results
from finetune_advisor.report.answer import baseline, by_score, label, needed, scored
from finetune_advisor.report.blocks import Block, Cell, Chart, Details, Heading, Table, Text
from finetune_advisor.report.break_even import break_even
from finetune_advisor.report.formats import DASH, count, percent, requests, seconds, usd

_MACHINES = "usd_per_month_machines"

BASES = {
    "measured": "measured in this run",
    "user": "given by you",
    "source": "from the source named",
    "assumed": "ASSUMED",
}


UNITS = {
    "usd_per_hour": "USD per hour",
    "usd_per_mtok_input": "USD per million prompt tokens",
    "usd_per_mtok_cached": "USD per million cached prompt tokens",
    "usd_per_mtok_output": "USD per million answer tokens",
    "usd_per_mtok_cache_write": "USD per million prompt tokens written to the cache",
    "usd_per_mtok_input_batch": "USD per million prompt tokens of requests that can wait",
    "usd_per_mtok_cached_batch": "USD per million cached prompt tokens of requests that can wait",
    "usd_per_mtok_output_batch": "USD per million answer tokens of requests that can wait",
    "usd_per_mtok_training": "USD per million training tokens",
    "usd_per_hour_hosting": "USD per hour of a deployment",
    "usd_per_hour_training": "USD per hour of training",
    "usd_minimum_job": "USD at least for a training",
    "share_busy": "share of the hour",
}


def money(results: Results) -> tuple[Block, ...]:
    """Cost of every arm, quality against cost, and when tuning pays back."""
    return (
        Heading(level=2, text="What does each approach cost?"),
        cost_table(results),
        Text(text=_cost_note(results)),
        *break_even(results),
    )


def cost_table(results: Results) -> Table:
    """One row per arm, best score first."""
    costs = {cost.arm: cost for cost in results.costs}
    return Table(
        columns=(
            "Arm",
            "Prompt tokens",
            "of these cached",
            "Answer tokens",
            "Time per request",
            "$ per 1,000 with caching",
            "$ per 1,000 without",
            "$ per month",
            "Training",
            "Set-up in all",
            "Pays back after … requests",
        ),
        rows=tuple(_cost_row(results, arm, costs[arm.name]) for arm in by_score(results) if arm.name in costs),
        align="lrrrrrrrrrr",
        caption=f"Means per request, and money at {count(results.requests_per_month)} requests a month",
    )


def _cost_row(results: Results, arm: ArmResult, cost: Cost) -> tuple[str, ...]:
    is_baseline = arm.name == baseline(results)
    return (
        label(results, arm.name),
        count(arm.prompt_tokens),
        count(arm.cached_tokens),
        count(arm.completion_tokens),
        seconds(arm.seconds),
        usd(_usd_per_1000(results, cost)),
        usd(_usd_per_1000(results, cost, caching=False)),
        usd(cost.usd_per_month),
        usd(cost.usd_training),
        usd(cost.usd_one_off),
        "baseline" if is_baseline else requests(cost.break_even_requests, results.requests_per_month),
    )


def _cost_note(results: Results) -> str:
    return (
        "“Pays back” is how many requests it takes until cheaper answers have paid for the set-up, compared with "
        f"the baseline{_named(results)}; better answers are not counted as money. “Set-up in all” is "
        "training and labour. Caching means that the part of the prompt that never changes is paid for once, and again "
        "whenever the provider has forgotten it." + _always_on_note(results)
    )


def _always_on_note(results: Results) -> str:
    if not any(cost.parts.get(_MACHINES) for cost in results.costs):
        return ""
    return (
        " Machines that are always on are paid by the month however much they answer: their price per 1,000 is the "
        "month's, spread over its requests, and one more request costs nothing."
    )


def _usd_per_1000(results: Results, cost: Cost, *, caching: bool = True) -> Decimal:
    """What 1,000 requests cost, with the machines that are always on spread over the month's requests."""
    each = cost.usd_per_1000 if caching else cost.usd_per_1000_uncached
    machines, volume = cost.parts.get(_MACHINES, Decimal(0)), results.requests_per_month
    return each + machines * 1000 / volume if machines and volume else each


def _named(results: Results) -> str:
    name = baseline(results)
    return f" “{label(results, name)}”" if name else ""


def quality_cost(results: Results) -> tuple[Block, ...]:
    """Score against cost per 1,000 requests; nothing where no arm has a cost."""
    costs = {cost.arm: cost for cost in results.costs}
    arms = [arm for arm in by_score(results) if arm.name in costs]
    rows = tuple(_quality_cost_row(results, arm, costs[arm.name]) for arm in arms)
    if not rows:
        return ()
    said = "; ".join(
        f"{label(results, arm.name)} {percent(arm.score, arm.n)} at {usd(_usd_per_1000(results, costs[arm.name]))}"
        for arm in arms
    )
    alt = f"Score against US dollars per 1,000 requests, best score first: {said}."
    return (Chart(kind="quality_cost", title="Quality against cost", rows=rows, alt=alt, guides=needed(results)),)


def _quality_cost_row(results: Results, arm: ArmResult, cost: Cost) -> Mapping[str, Cell]:
    return {
        **scored(results, arm),
        "usd_per_1000": float(_usd_per_1000(results, cost)),
        "usd_per_1000_uncached": float(_usd_per_1000(results, cost, caching=False)),
    }


def prices(results: Results) -> tuple[Block, ...]:
    """Every figure with where it comes from: first the assumed ones, as they are the weakest."""
    used = _used(results)
    given = sorted((price for price in used if price.basis != "measured"), key=lambda each: (each.basis, each.name))
    measured = [price for price in used if price.basis == "measured"]
    return (
        Heading(level=2, text="Which prices and figures went in?"),
        Text(text=f"Price table {results.provenance.prices}. Figures marked ASSUMED are guesses: put in your own."),
        _price_table(results, given, used),
        *(
            (Details(title="Measured in this run", blocks=(_price_table(results, measured, used),)),)
            if measured
            else ()
        ),
    )


def _used(results: Results) -> Mapping[Price, list[str]]:
    """Every figure once, with the arms whose cost it is in."""
    used: dict[Price, list[str]] = {}
    for cost in results.costs:
        for price in dict.fromkeys(cost.assumptions):
            used.setdefault(price, []).append(cost.arm)
    return used


def _price_table(results: Results, prices: Iterable[Price], used: Mapping[Price, list[str]]) -> Table:
    return Table(
        columns=("Figure", "Value", "Unit", "Basis", "Source", "Checked", "Used for"),
        rows=tuple(_price_row(results, price, used[price]) for price in prices),
        align="lrlllll",
    )


def _price_row(results: Results, price: Price, arms: list[str]) -> tuple[str, ...]:
    return (
        price.name,
        f"{price.value.normalize(Context(prec=6)):,f}",
        UNITS.get(price.unit, price.unit.replace("_", " ")),
        BASES[price.basis],
        price.source or DASH,
        price.checked or DASH,
        "all arms" if len(arms) == len(results.costs) else ", ".join(label(results, arm) for arm in arms),
    )
