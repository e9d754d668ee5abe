"""What answers are worth: right ones earn, the others cost, each kind of failure its own amount."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from finetune_advisor.errors import BadInput
from finetune_advisor.records import ArmResult, Price

_ZERO = Decimal(0)


@dataclass(frozen=True, kw_only=True)
class Worth:
    """US dollars per answer, each 0 or more: what a right one earns and what the others cost.

    An answer in the wrong form, and no answer at all, cost what a wrong answer costs unless they are given a figure.
    """

    usd_per_right_answer: Price | None = None
    usd_per_wrong_answer: Price | None = None
    usd_per_wrong_form: Price | None = None
    usd_per_no_answer: Price | None = None

    def __post_init__(self) -> None:
        if any(not price.value.is_finite() or price.value < 0 for price in self.prices()):
            raise BadInput(
                "The value of a right or the cost of a wrong answer is negative.",
                hint="Give both as amounts of 0 or more; a wrong answer's amount is what it costs.",
            )

    def prices(self) -> list[Price]:
        """Every figure in it."""
        kinds = (
            self.usd_per_right_answer,
            self.usd_per_wrong_answer,
            self.usd_per_wrong_form,
            self.usd_per_no_answer,
        )
        return [price for price in kinds if price]

    def usd_per_request(self, arm: ArmResult) -> Decimal | None:
        """What a request to this arm is worth on average, costs left out; None where nobody said.

        The score is taken as the share of right answers; calls without an answer and answers in the wrong form are
        among the others.
        """
        if not self.prices():
            return None
        right, n = Decimal(str(arm.score)), max(arm.n, 1)
        silent, malformed = Decimal(arm.failures) / n, Decimal(arm.format_failures) / n
        wrong = max(_ZERO, 1 - right - silent - malformed)
        otherwise = _usd(self.usd_per_wrong_answer, _ZERO)
        lost = wrong * otherwise
        lost += malformed * _usd(self.usd_per_wrong_form, otherwise)
        lost += silent * _usd(self.usd_per_no_answer, otherwise)
        return right * _usd(self.usd_per_right_answer, _ZERO) - lost


def break_even_quality(usd_per_right_answer: Decimal, usd_per_wrong_answer: Decimal) -> float:
    """The share of right answers at which what right ones earn equals what wrong ones cost; 0 where neither counts."""
    total = usd_per_right_answer + usd_per_wrong_answer
    return float(usd_per_wrong_answer / total) if total else 0.0


def _usd(price: Price | None, otherwise: Decimal) -> Decimal:
    return price.value if price else otherwise
