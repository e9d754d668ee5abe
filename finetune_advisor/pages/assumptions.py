"""Every assumption about money that the questionnaire of step 4 does not ask, and where each figure comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Context, Decimal
from typing import Any, Literal

from finetune_advisor.case import Case
from finetune_advisor.costs.model import HOURS_PER_MONTH, MoneyAssumptions, TokenPricing
from finetune_advisor.costs.prices import STALE_DAYS, PriceTable, assumed, stale
from finetune_advisor.experiment.money import assume, spreads
from finetune_advisor.questions import QUESTIONS
from finetune_advisor.records import Driver, Price, Spread
from finetune_advisor.report.formats import SHARES, TIMES, unit_words
from finetune_advisor.report.money import BASES

Group = Literal["People", "Machines", "Requests", "Values", "Horizon", "Retraining"]


@dataclass(frozen=True, kw_only=True)
class Field:
    """One assumption: its place in `case.toml`, what it is, and what is reckoned with where nobody says.

    `ranged` ones have a lowest and a highest value under the same name in `[uncertainty]`; a field there is a pair of
    factors itself. An embedding is given with the tokens that it reads, or not at all.
    """

    place: str
    group: Group
    label: str
    why: str
    unsaid: str
    kind: Literal["number", "whole", "share", "yes_no", "text", "embedding", "factors"] = "number"
    least: float = 0
    ranged: bool = False

    @property
    def name(self) -> str:
        """Its key in the table."""
        return self.place.partition(".")[2]


def _asked(id: str, group: Group, unsaid: str, kind: Literal["number", "whole", "share"]) -> Field:
    """An assumption that another step asks for, in the words of its question."""
    found = next(question for question in QUESTIONS if question.id == id)
    unit = f" ({found.unit})" if found.unit else ""
    return Field(
        place=f"{found.table}.{id}",
        group=group,
        label=found.text + unit,
        why=found.why,
        unsaid=unsaid,
        kind=kind,
        least=found.minimum,
        ranged=found.ranged,
    )


def _factors(driver: Driver, group: Group, label: str) -> Field:
    why = "What is reckoned with may turn out so many times as low or as high: 0.8 is a fifth less, 1.5 half as much "
    return Field(
        place=f"uncertainty.{driver}",
        group=group,
        label=label,
        why=f"{why}again. Every simulated future draws from this range.",
        unsaid="it counts as certain",
        kind="factors",
    )


WORTHS = ("usd_per_right_answer", "usd_per_wrong_answer")
"""What one driver, the worth of an answer, moves."""

FIELDS: tuple[Field, ...] = (
    Field(
        place="money.monitoring_hours_per_month",
        group="People",
        label="Hours a month to watch the answers in service",
        why="Somebody has to notice when answers get worse, tuned or not. It counts for every arm alike.",
        unsaid="none are counted",
    ),
    Field(
        place="money.labels",
        group="People",
        label="Labelled examples to buy before training",
        why="They are paid for by the arms that learn from them. What one costs is asked under Questions.",
        unsaid="none are bought",
        kind="whole",
    ),
    Field(
        place="money.usd_per_judged_request",
        group="People",
        label="Judging one answer (US dollars)",
        why="What a person or a second model costs to check one answer in service.",
        unsaid="no answer is judged",
    ),
    Field(
        place="money.judged_share",
        group="People",
        label="Share of the answers that are judged (0 to 1)",
        why="0.01 is every hundredth answer. Give what judging one costs first.",
        unsaid="no answer is judged",
        kind="share",
    ),
    _factors("hours", "People", "Hours of work"),
    Field(
        place="money.usd_per_machine_hour",
        group="Machines",
        label="An hour of your machine (US dollars)",
        why="Your own price goes before the price table's. Which machine it is, is asked under Questions.",
        unsaid="the price table's counts",
    ),
    Field(
        place="money.utilisation",
        group="Machines",
        label="Share of the paid time in which the machine answers (0 to 1)",
        why="Idle time is paid for too: at 0.5 every request costs twice what its own seconds cost.",
        unsaid="one half, unless it is paid around the clock",
        kind="share",
        least=0.01,
    ),
    Field(
        place="money.always_on",
        group="Machines",
        label="Is the machine paid around the clock?",
        why="Then it is paid by the month, however little it answers; take the share above out.",
        unsaid="it is paid for the time it works and waits",
        kind="yes_no",
    ),
    Field(
        place="money.usd_per_month_hosting",
        group="Machines",
        label="Hosting of the tuned model (US dollars a month)",
        why="Some providers bill a tuned model by the hour, used or not.",
        unsaid="nothing is paid by the month",
    ),
    Field(
        place="money.prices",
        group="Machines",
        label="File with prices of your own",
        why="A file in the case's folder; its rows go before the price table's.",
        unsaid="the price table alone counts",
        kind="text",
    ),
    _factors("prices", "Machines", "Prices by token and by hour"),
    _factors("hosting", "Machines", "Hosting by the month"),
    _asked("requests_per_month", "Requests", "reckoned with 10,000", "whole"),
    Field(
        place="money.peak_requests_per_hour",
        group="Requests",
        label="Requests in the busiest hour",
        why="It decides how many machines that are always on it takes.",
        unsaid="the month's requests are spread evenly",
    ),
    Field(
        place="money.batch_share",
        group="Requests",
        label="Share of the requests that can wait a day (0 to 1)",
        why="Providers answer those at a lower price.",
        unsaid="no request can wait",
        kind="share",
    ),
    Field(
        place="money.search_seconds",
        group="Requests",
        label="Seconds to search the documents for one request",
        why="It counts for the arms that search.",
        unsaid="searching takes no time",
    ),
    Field(
        place="money.embedding",
        group="Requests",
        label="Model that turns questions into vectors, for searching",
        why="Its name in the price table, and how many tokens of every request it reads. The two go together.",
        unsaid="searching costs no tokens",
        kind="embedding",
    ),
    _factors("tokens", "Requests", "Tokens and seconds per request"),
    _asked("usd_per_right_answer", "Values", "gains in quality cannot be weighed against money", "number"),
    _asked("usd_per_wrong_answer", "Values", "it costs nothing", "number"),
    Field(
        place="money.usd_per_wrong_form",
        group="Values",
        label="What does an answer in the wrong form cost? (US dollars)",
        why="A program that reads the answers may stumble over it.",
        unsaid="it counts as a wrong answer",
    ),
    Field(
        place="money.usd_per_no_answer",
        group="Values",
        label="What does it cost when no answer comes? (US dollars)",
        why="Somebody has to do it by hand then.",
        unsaid="it counts as a wrong answer",
    ),
    _asked("horizon_months", "Horizon", "reckoned with 12", "whole"),
    Field(
        place="money.discount_rate",
        group="Horizon",
        label="Interest a year (0 to 1)",
        why="Money next year is worth less than money today: 0.08 is 8 percent less.",
        unsaid="money keeps its worth",
        kind="share",
    ),
    _asked("needed_score", "Horizon", "any score will do", "share"),
    _asked("worthwhile_difference", "Horizon", "reckoned with 0.03", "share"),
    Field(
        place="goal.non_inferiority_margin",
        group="Horizon",
        label="How much worse still counts as good as (share from 0 to 1)",
        why="It counts where the goal is money, speed or privacy, and quality has only to be kept.",
        unsaid="reckoned with 0.02",
        kind="share",
    ),
    Field(
        place="goal.confidence",
        group="Horizon",
        label="How sure a GO has to be (0.5 to 1)",
        why="At 0.9 a GO takes 90 of 100 simulated futures, a NO-GO at most 10.",
        unsaid="reckoned with 0.9",
        kind="share",
        least=0.5,
    ),
    Field(
        place="money.training_runs",
        group="Retraining",
        label="Trainings until the model is good, tries of settings included",
        why="The first training is seldom the last one.",
        unsaid="one",
        kind="whole",
        least=1,
    ),
    Field(
        place="money.failed_share",
        group="Retraining",
        label="Share of trainings that break off (0 to 1)",
        why="They are paid for all the same.",
        unsaid="none",
        kind="share",
    ),
    Field(
        place="money.retrain_every_months",
        group="Retraining",
        label="Train again every so many months",
        why="New products, new words, new rules: a tuned model knows only what its examples knew.",
        unsaid="it is trained once",
        kind="whole",
        least=1,
    ),
    Field(
        place="money.retraining_hours",
        group="Retraining",
        label="Hours of people's work each time",
        why="New examples, a new evaluation, a new release.",
        unsaid="none are counted",
    ),
    _factors("training", "Retraining", "Cost of one training"),
)
"""In the order in which they are read."""


@dataclass(frozen=True, kw_only=True)
class Reckoned:
    """What a case is reckoned with: figures by place, ranges by driver, and when its models end."""

    figures: Mapping[str, Price]
    ranges: Mapping[Driver, Spread]
    retires: Mapping[str, Price]


def reckoned(case: Case, table: PriceTable, today: date) -> Reckoned:
    """What the case is reckoned with today, also where nobody said.

    Raises:
        BadInput: Its figures do not go together, or a price is not known.
    """
    made = assume(case, table, today)
    return Reckoned(
        figures={place: price for place, price in _figures(made).items() if price},
        ranges={each.driver: each for each in spreads(case)},
        retires=made.retires,
    )


def _figures(made: MoneyAssumptions) -> dict[str, Price | None]:
    hosted = [each.usd_per_hour_hosting for each in made.pricing.values() if isinstance(each, TokenPricing)]
    return {
        "money.usd_per_machine_hour": made.machine.usd_per_hour,
        "money.utilisation": None if made.machine.always_on else made.machine.utilisation,
        "money.usd_per_month_hosting": next((_by_month(each) for each in hosted if each), None),
        "money.peak_requests_per_hour": made.peak_requests_per_hour or _even(made),
        "money.embedding": made.search.usd_per_mtok_input,
        "money.training_runs": made.trainings.runs,
        "money.failed_share": made.trainings.failed_share,
    }


def _by_month(hourly: Price) -> Price:
    return Price(
        name=hourly.name,
        value=hourly.value * HOURS_PER_MONTH,
        unit="usd_per_month",
        source=hourly.source,
        checked=hourly.checked,
        basis=hourly.basis,
    )


def _even(made: MoneyAssumptions) -> Price:
    even = (made.busiest_hour).quantize(Decimal("0.1"))
    return assumed("busiest hour", even, "requests_per_hour", "the month's requests, spread evenly over its hours")


def given(case: Case, place: str) -> Any:
    """What `case.toml` says, money as a float; None where it is silent."""
    table, _, name = place.partition(".")
    section: Any = getattr(case, table)
    value = getattr(section, name) if name in section.model_fields_set else None
    return float(value) if isinstance(value, Decimal) else value


def bounds(case: Case, field: Field, known: Reckoned | None) -> tuple[float | None, float | None]:
    """The lowest and the highest value that are reckoned with, in the unit of the field; None where there are none."""
    stated = given(case, f"uncertainty.{field.name}")
    if stated is not None:
        return stated[0], stated[1]
    found, likely = _spread(case, field, known), 1.0 if field.kind == "factors" else _likely(case, field)
    return (None, None) if found is None or likely is None else (found.low * likely, found.high * likely)


def _likely(case: Case, field: Field) -> float | None:
    return case.money.requests_per_month if field.name == "requests_per_month" else given(case, field.place)


def _spread(case: Case, field: Field, known: Reckoned | None) -> Spread | None:
    """The range of the driver that moves it; the worth of an answer has none where nobody gave that worth."""
    if known is None or (field.name in WORTHS and given(case, field.place) is None):
        return None
    driver: Any = "volume" if field.name == "requests_per_month" else "value" if field.name in WORTHS else field.name
    return known.ranges.get(driver)


def origin(case: Case, field: Field, known: Reckoned | None, today: date) -> str:
    """Where the figure that is reckoned with comes from, in one line."""
    if given(case, field.place) is not None and field.place != "money.embedding":
        return f"{BASES['user'].capitalize()}."
    price = known.figures.get(field.place) if known else None
    if price is not None:
        return _from(price, today)
    if field.kind == "factors":
        return range_origin(case, field, known)
    return f"Not given: {field.unsaid}."


def range_origin(case: Case, field: Field, known: Reckoned | None) -> str:
    """Where the low and the high end come from, in one line."""
    if given(case, f"uncertainty.{field.name}") is not None:
        return f"Range {BASES['user']}."
    found = _spread(case, field, known)
    if found is None:
        return f"No range given: {field.unsaid}." if field.kind == "factors" else ""
    low, high = (f"{TIMES} {factor:.3g}" for factor in (found.low, found.high))
    return f"Range {low} to {high}, {BASES[found.basis]}: {found.source}."


def _from(price: Price, today: date) -> str:
    value = f"{figure(price)}, " if price.basis != "user" else ""
    checked = f", checked {price.checked}" if price.checked else ""
    old = f" (more than {STALE_DAYS} days ago: look it up again)" if stale((price,), today) else ""
    said = {"source": f"from {price.source}{checked}{old}", "assumed": f"{BASES['assumed']}: {price.source}"}
    return f"Reckoned with {value}{said.get(price.basis, BASES[price.basis])}."


def figure(price: Price) -> str:
    """A figure as it is reckoned with, in so many digits as it has."""
    number = f"{price.value.normalize(Context(prec=6)):,f}"
    words = unit_words(price.unit)
    if price.unit.startswith("usd"):
        return f"${number} {words}".strip()
    return number if price.unit in SHARES else f"{number} {words}".strip()
