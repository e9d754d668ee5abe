"""How old the prices of a report are, by the day on which its results were made."""

from __future__ import annotations

from datetime import UTC, date, timedelta

from finetune_advisor.costs.prices import STALE_DAYS
from finetune_advisor.records import Price, Results


def today(results: Results) -> date:
    """The day of the results: what is old, or closed, is so by this day, whenever the report is read."""
    return results.provenance.time.astimezone(UTC).date()


def checked(price: Price) -> date | None:
    """When a price from a dated source was checked; None for all other figures."""
    return parsed(price.checked) if price.basis == "source" else None


def parsed(text: str) -> date | None:
    """A day as ISO 8601 writes it; None for anything else."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def oldest(results: Results) -> date | None:
    """When the price that was not checked for longest was checked; None where no price has a dated source."""
    days = [checked(price) for cost in results.costs for price in cost.assumptions]
    return min((day for day in days if day), default=None)


def hold_until(oldest_check: date) -> date:
    """The day after which the oldest price counts as stale."""
    return oldest_check + timedelta(days=STALE_DAYS)


def stale(results: Results) -> tuple[str, ...]:
    """The names of the prices that were stale when the results were made."""
    limit = today(results) - timedelta(days=STALE_DAYS)
    used = (price for cost in results.costs for price in cost.assumptions)
    return tuple(dict.fromkeys(price.name for price in used if (day := checked(price)) and day < limit))
