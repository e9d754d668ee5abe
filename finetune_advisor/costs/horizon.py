"""Money over time: present values, the total cost of ownership, and when a dearer start is earned back."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from finetune_advisor.errors import BadInput
from finetune_advisor.records import Cost

_ZERO = Decimal(0)


def annuity(months: int, discount_rate: float | Decimal = 0) -> Decimal:
    """What a dollar at the end of every month is worth today.

    The sum of (1 + i)^-k over the months k = 1..n with the monthly rate i = (1 + discount rate)^(1/12) - 1, compounded
    monthly: the present value of an ordinary annuity, Brealey, Myers and Allen, Principles of Corporate Finance, ch. 2.
    It is n where the rate is 0.

    Args:
        months: The horizon, n.
        discount_rate: By year, effective; 0.08 is 8%.

    Raises:
        BadInput: The horizon is under a month or the rate negative.
    """
    rate = Decimal(str(discount_rate))
    if months < 1 or not rate.is_finite() or rate < 0:
        raise BadInput(
            "The horizon is under a month or the discount rate is negative.",
            hint="Give at least 1 month and a yearly rate of 0 or more; 0.08 is 8%.",
        )
    factor = (1 + rate) ** (Decimal(-1) / 12) if rate else Decimal(1)
    return sum((factor**month for month in range(1, months + 1)), _ZERO)


def tco_usd(cost: Cost, months: int, discount_rate: float | Decimal = 0) -> Decimal:
    """Total cost of ownership over a horizon in today's dollars: the one-off cost now, the monthly cost when it is due.

    Args:
        cost: Of an arm.
        months: The horizon.
        discount_rate: By year, see `annuity`.
    """
    return cost.usd_one_off + cost.usd_per_month * annuity(months, discount_rate)


@dataclass(frozen=True, kw_only=True)
class Extra:
    """What one arm costs more than another; negative where it costs less."""

    usd_per_request: Decimal
    usd_fixed_per_month: Decimal
    usd_one_off: Decimal

    def usd(self, requests_per_month: int, months: int, discount_rate: float | Decimal = 0) -> Decimal:
        """The difference over a horizon, in today's dollars where a discount rate is given."""
        monthly = self.usd_per_request * requests_per_month + self.usd_fixed_per_month
        return monthly * annuity(months, discount_rate) + self.usd_one_off

    def break_even_requests(self, requests_per_month: int) -> int | None:
        """Requests after which the one-off difference is paid back by cheaper ones, None where it never is.

        Formula C10, n* = F / (C_base - C_arm), with the fixed monthly difference spread over the month's requests.
        """
        if self.usd_fixed_per_month and not requests_per_month:
            return None
        fixed = self.usd_fixed_per_month / requests_per_month if requests_per_month else _ZERO
        saved = -self.usd_per_request - fixed
        return _ceil(max(_ZERO, self.usd_one_off) / saved) if saved > 0 else None


def extra(cost: Cost, other: Cost, requests_per_month: int) -> Extra:
    """What one arm costs more than the other, both having been priced at that volume."""
    return Extra(
        usd_per_request=(cost.usd_per_1000 - other.usd_per_1000) / 1000,
        usd_fixed_per_month=_fixed(cost, requests_per_month) - _fixed(other, requests_per_month),
        usd_one_off=cost.usd_one_off - other.usd_one_off,
    )


def _fixed(cost: Cost, requests_per_month: int) -> Decimal:
    return cost.usd_per_month - cost.usd_per_1000 * requests_per_month / 1000


def _ceil(value: Decimal) -> int:
    return int(value.to_integral_value(ROUND_CEILING))
