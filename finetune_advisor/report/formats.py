"""Numbers as people read them: percentages, money, counts, times, and never more digits than the data carries."""

from __future__ import annotations

import math
import re
from datetime import date
from decimal import Decimal

from finetune_advisor import metrics, plugins
from finetune_advisor.errors import BadInput
from finetune_advisor.records import ArmAnswer, Interval

DASH = "–"  # noqa: RUF001
"""Stands between the ends of a range, and where there is nothing to show."""

MINUS = "−"  # noqa: RUF001

TIMES = "×"  # noqa: RUF001

MANY = 200
"""From this many examples on, a tenth of a point means something."""


APPROACHES = {
    "zero_shot": "Zero-shot",
    "few_shot": "Few-shot",
    "nearest_shot": "Few-shot, nearest examples",
    "rag": "RAG",
    "tuned": "LoRA",
    "tuned_rag": "LoRA + RAG",
    "classical": "No language model",
}
"""What each approach is called; results can be read where the approaches' own libraries are not installed."""


def approach_title(name: str) -> str:
    """The approach's title; a third party's goes by its own name."""
    return APPROACHES.get(name, name.replace("_", " "))


def metric_title(name: str) -> str:
    """The metric's title; its bare name where the package that brings it is not installed here."""
    try:
        return str(plugins.load(metrics.GROUP, metrics.TABLE, name).title)
    except BadInput:
        return name


def percent(share: float, n: int) -> str:
    """A share of `n` examples as a percentage: whole points where n is small."""
    return f"{100 * share:.{_digits(n)}f}%"


def percent_with(share: float, interval: Interval, n: int) -> str:
    """A share with its confidence interval, for example 75% and, in brackets, 62 to 84."""
    low, high = (f"{100 * end:.{_digits(n)}f}" for end in (interval.low, interval.high))
    return f"{percent(share, n)} ({low}{DASH}{high})"


def points(difference: float, n: int) -> str:
    """A difference of shares in percentage points, always with its sign."""
    text = f"{100 * difference:+.{_digits(n)}f}"
    return "0" if not float(text) else text.replace("-", MINUS)


def _digits(n: int) -> int:
    return 1 if n >= MANY else 0


def usd(value: Decimal) -> str:
    """Money with two significant digits below a dollar, cents up to a hundred, whole dollars above."""
    size = abs(value)
    sign = MINUS if value < 0 else ""
    if not size:
        return "$0"
    if size >= 100:
        return f"{sign}${size:,.0f}"
    if size >= Decimal("0.1"):
        return f"{sign}${size:.2f}"
    return f"{sign}${size:.{1 - size.adjusted()}f}"


def dollars(value: float, *, signed: bool = False) -> str:
    """A simulated sum, in three digits and to the cent at best; with its sign where it is a change."""
    if not math.isfinite(value):
        return DASH
    if abs(value) < 0.005:
        return "$0"
    shown = usd(Decimal(f"{value:.3g}"))
    return f"+{shown}" if signed and value > 0 else shown


def gain(value: float, unit: str) -> str:
    """What tuning brings, with its sign: dollars, points of score, or seconds."""
    if unit == "usd":
        return dollars(value, signed=True)
    if unit == "score":
        return f"{points(value, MANY)} points"
    return f"{value:+.3g} s".replace("-", MINUS)


def of_100(share: float) -> str:
    """A probability as so many of 100, never rounded to none or to all."""
    if 0 < share < 0.005:
        return "fewer than 1 of 100"
    if 0.995 < share < 1:
        return "more than 99 of 100"
    return f"{100 * share:.0f} of 100"


def quantity(value: float, unit: str) -> str:
    """An assumption's value with its unit, as a case or a price file names units."""
    words = unit_words(unit)
    return f"{bare(value, unit)} {words.removesuffix('s') if value == 1 and '_per_' not in unit else words}".strip()


def bare(value: float, unit: str) -> str:
    """An assumption's value alone: dollars and shares show what they are, other units have to be said."""
    if _is_money(unit):
        return usd(Decimal(f"{value:.3g}"))
    if unit in SHARES:
        return f"{100 * value:.3g}%"
    number = count(value) if abs(value) >= 1000 else f"{value:.3g}"
    return f"{TIMES} {number}" if unit == "times" else number


def unit_words(unit: str) -> str:
    """What has to be said beside the value: nothing for plain dollars and shares."""
    if unit in (*SHARES, "times"):
        return ""
    return (unit.partition("_")[2] if _is_money(unit) else unit).replace("_", " ")


def _is_money(unit: str) -> bool:
    return unit.lower() == "usd" or unit.lower().startswith("usd_")


SHARES = ("share", "score")
"""Units of what lies between 0 and 1."""


def day(when: date) -> str:
    """A date as people write it."""
    return f"{when.day} {when:%B %Y}"


def count(number: float) -> str:
    """A whole number with thousands separators."""
    return f"{number:,.0f}"


def about(number: float) -> str:
    """A large number in three digits, which is as many as a forecast carries."""
    return f"{float(f'{number:.3g}'):,.15g}"


def seconds(value: float) -> str:
    """A time with a fitting unit."""
    if value < 1:
        return f"{1000 * value:.2g} ms" if value < 0.01 else f"{1000 * value:.0f} ms"
    if value < 100:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 100 else f"{minutes / 60:.1f} h"


def probability(p: float) -> str:
    """A p-value; what is below a thousandth is only said to be so."""
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def requests(number: int | None, per_month: int) -> str:
    """A number of requests and how long it takes at the case's volume; ``never`` where there is none."""
    if number is None:
        return "never"
    if number <= 0:
        return "at once"
    return f"{count(number)} ({_time(number / per_month)})" if per_month else count(number)


def _time(months: float) -> str:
    if months < 1:
        return "less than a month"
    if months < 24:
        return f"{months:.0f} month" + ("" if round(months) == 1 else "s")
    return f"{months / 12:,.0f} years"


def cell(value: str | float | None) -> str:
    """One value of a chart's data as text."""
    return DASH if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def slug(text: str) -> str:
    """Text as a name for anchors, keys and files: letters and digits with hyphens between."""
    return re.sub(r"\W+", "-", text.lower()).strip("-")


def outcome(answer: ArmAnswer) -> str:
    """What became of an answer: ``right``, ``wrong``, ``wrong form`` or ``no answer``."""
    if answer.failure:
        return "no answer"
    if not answer.format_ok:
        return "wrong form"
    return "right" if answer.score >= 0.5 else "wrong"
