"""What people and trainings cost: once, every month, and again when the base model retires."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, get_args

from finetune_advisor.costs.checks import check_figures
from finetune_advisor.costs.prices import assumed
from finetune_advisor.errors import BadInput
from finetune_advisor.records import ArmResult, Price

Work = Literal["data", "evaluation", "tuning", "deployment", "upkeep", "monitoring", "prompts", "retraining"]
"""What people do. Preparing data, evaluating and monitoring for every arm; maintaining prompts for untuned arms; the
rest for tuned ones. Upkeep, monitoring and prompts are hours a month, retraining is hours each time."""

LEARN_FROM_ALL = frozenset({"classical", "nearest_shot"})
"""Untuned approaches that use the whole training part, so that its labels have to be bought for them too."""

_ZERO = Decimal(0)


@dataclass(frozen=True, kw_only=True)
class Labour:
    """Hours of work, each a `Price` in hours, and what an hour costs. Work that is not named counts as none."""

    usd_per_hour: Price | None = None
    hours: Mapping[Work, Price] = field(default_factory=dict[Work, Price])

    def __post_init__(self) -> None:
        check_figures(self.prices(), [*(["usd_per_hour"] if self.usd_per_hour else []), *["hours"] * len(self.hours)])
        unknown = sorted(set(self.hours) - set(get_args(Work)))
        if unknown:
            raise BadInput(f"There is no work named {unknown[0]!r}.", hint=f"Known: {', '.join(get_args(Work))}.")
        if self.usd_per_hour is None and any(hours.value for hours in self.hours.values()):
            raise BadInput("Hours of work are given, but not what an hour costs.", hint="Give the hourly rate as well.")

    def prices(self) -> list[Price]:
        """Every figure in it."""
        return [*([self.usd_per_hour] if self.usd_per_hour else []), *self.hours.values()]

    def usd(self, *works: Work) -> Decimal:
        """What these works cost: once, a month, or each time, as the work is."""
        if self.usd_per_hour is None:
            return _ZERO
        return sum((self.hours[work].value for work in works if work in self.hours), _ZERO) * self.usd_per_hour.value


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Labelled examples that are still to be bought for training, and what one costs."""

    number: Price
    usd_each: Price

    def __post_init__(self) -> None:
        check_figures(self.prices(), ["labels", "usd_per_label"])

    def prices(self) -> list[Price]:
        """Every figure in it."""
        return [self.number, self.usd_each]

    def usd(self, arm: ArmResult) -> Decimal:
        """What an arm pays for them: nothing where it does not learn from the whole training part."""
        learns = arm.tuned or arm.approach in LEARN_FROM_ALL
        return self.number.value * self.usd_each.value if learns else _ZERO


ONE_RUN = assumed("trainings", 1, "runs", "one, as nobody said more")
NONE_FAILED = assumed("failed trainings", 0, "share", "none, as nobody said more")


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """How many trainings are paid for.

    `runs` are trainings that come to an end, tries of settings included; `failed_share` is the share of started ones
    that do not. With independent failures, r successes take r / (1 - failed share) starts on average (the mean of the
    negative binomial distribution), each counted at full price. `retrain_every_months` repeats one training at that
    pace.
    """

    runs: Price = ONE_RUN
    failed_share: Price = NONE_FAILED
    retrain_every_months: int | None = None

    def __post_init__(self) -> None:
        check_figures(self.prices(), ["runs", "share"])
        if self.runs.value < 1 or self.failed_share.value >= 1:
            raise BadInput(
                "Fewer than one training, or every training failing, is not a plan.",
                hint="Give at least one run and a failed share from 0 to below 1.",
            )
        if self.retrain_every_months is not None and self.retrain_every_months < 1:
            raise BadInput("The retraining pace is below 1 month.", hint="Give it in whole months.")

    def prices(self) -> list[Price]:
        """Every figure in it."""
        return [self.runs, self.failed_share]

    def usd(self, training: Decimal) -> Decimal:
        """What all runs cost where one costs that much."""
        return self.runs.value * self.usd_of_one(training)

    def usd_of_one(self, training: Decimal) -> Decimal:
        """What one more successful run costs, the failed starts before it included."""
        return training / (1 - self.failed_share.value)


def once(arm: ArmResult, labour: Labour, labels: Labels | None) -> dict[str, Decimal]:
    """What people do once for an arm; training itself is not in it."""
    shared = {
        "usd_one_off_data": labour.usd("data"),
        "usd_one_off_labelling": labels.usd(arm) if labels else _ZERO,
        "usd_one_off_evaluation": labour.usd("evaluation"),
    }
    if not arm.tuned:
        return shared
    return shared | {"usd_one_off_tuning": labour.usd("tuning"), "usd_one_off_deployment": labour.usd("deployment")}


def monthly(arm: ArmResult, labour: Labour, plan: TrainingPlan, training: Decimal) -> dict[str, Decimal]:
    """What people do every month for an arm, and the retraining, spread over its months."""
    watched = {"usd_per_month_monitoring": labour.usd("monitoring")}
    if not arm.tuned:
        return watched | {"usd_per_month_prompts": labour.usd("prompts")}
    watched["usd_per_month_labour"] = labour.usd("upkeep")
    pace = plan.retrain_every_months
    if pace is None:
        return watched
    return watched | {
        "usd_per_month_retraining": plan.usd_of_one(training) / pace,
        "usd_per_month_retraining_labour": labour.usd("retraining") / pace,
    }


def renewal(arm: ArmResult, labour: Labour, plan: TrainingPlan, training: Decimal) -> dict[str, Decimal]:
    """What the retirement of the base model costs: a tuned arm is made anew, any other evaluated on the next model."""
    if not arm.tuned:
        return {"usd_one_off_renewal_labour": labour.usd("evaluation")}
    return {
        "usd_one_off_renewal": plan.usd(training),
        "usd_one_off_renewal_labour": labour.usd("evaluation", "tuning", "deployment"),
    }
