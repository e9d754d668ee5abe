"""Every figure that goes into a cost is a number of 0 or more, in the unit that it is needed in."""

from __future__ import annotations

from collections.abc import Iterable

from finetune_advisor.errors import BadInput
from finetune_advisor.records import Price


def check_figures(prices: Iterable[Price], units: Iterable[str]) -> None:
    """Hold figures against the units that they are needed in.

    Raises:
        BadInput: One is negative, not finite or in another unit.
    """
    for price, unit in zip(prices, units, strict=True):
        if not price.value.is_finite() or price.value < 0:
            raise BadInput(f"{price.name}: {price.value} {price.unit} is not usable.", hint="Give 0 or more.")
        if price.unit != unit:
            raise BadInput(f"{price.name} is given in {price.unit}.", hint=f"Give it in {unit}.")
