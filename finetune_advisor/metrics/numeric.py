"""Scorer of answers that are a number, however it is written."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from finetune_advisor.metrics.text import references
from finetune_advisor.records import Example, Score

# Minus sign, Arabic separators, full-width forms. NFKC would turn the exponent of "5 m²" into a number.
_SIGNS = str.maketrans("\u2212\u066b\u066c\uff0d\uff0e\uff0c", "-.,-.,")
# Thousands set apart by a no-break space or an apostrophe.
_SPACED_THOUSANDS = re.compile("(?<=\\d)[\u00a0\u202f\u2009'\u2019](?=\\d{3}(?!\\d))")
_NUMBER = re.compile(
    r"(?:(?<![\w)])-\s?[$€£¥₹]?)?(?:\d+(?:[.,]\d+)*|(?<!\w)\.\d+)(?:e[+-]?\d{1,3}(?!\w))?", re.IGNORECASE
)
# 1,234,567.8 and 12,34,567; then 1.234.567,8; then 12,5.
_COMMA_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{2,3})*,\d{3}(?:\.\d+)?")
_DOT_THOUSANDS = re.compile(r"\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}")
_DECIMAL_COMMA = re.compile(r"\d+,\d{1,2}")
_ANSWER_IS = re.compile(r"answer is", re.IGNORECASE)


def number(text: str) -> Decimal | None:
    """The number that a text answers with; None where it holds none.

    It is the last number on the line after the first "####" (GSM8K, Cobbe et al. 2021), else on the line after the
    last "answer is", else in the whole text. A percent sign or a currency does not change the number.
    """
    plain = _plain(text)
    candidates = (_after(plain, plain.find("####")), _after(plain, _last_match(plain)), plain)
    found = next((numbers for numbers in map(_NUMBER.findall, candidates) if numbers), None)
    return _parsed(found[-1]) if found else None


@dataclass(frozen=True, kw_only=True)
class Numeric:
    """1 where the answer's number equals the reference's.

    Args:
        tolerance: Largest absolute difference that still counts as equal.
    """

    tolerance: float = 0
    higher_is_better: ClassVar[bool] = True
    binary: ClassVar[bool] = True
    title: ClassVar[str] = "Numeric match"

    def score(self, text: str, example: Example) -> Score:
        """How good one answer is; a format failure where it holds no number."""
        answered = number(text)
        if answered is None:
            return Score(value=0.0, format_ok=False)
        wanted = (number(reference) for reference in references(example))
        return Score(value=float(any(want is not None and self._equal(answered, want) for want in wanted)))

    def extras(self, texts: Sequence[str], examples: Sequence[Example]) -> Mapping[str, float]:
        """Nothing further."""
        return {}

    def _equal(self, answered: Decimal, wanted: Decimal) -> bool:
        return answered == wanted or abs(answered - wanted) <= Decimal(str(self.tolerance))


def _plain(text: str) -> str:
    """ASCII digits, signs and separators, whatever the script."""
    folded = _SPACED_THOUSANDS.sub("", text).translate(_SIGNS)
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in folded)


def _last_match(text: str) -> int:
    return max((match.start() for match in _ANSWER_IS.finditer(text)), default=-1)


def _after(text: str, start: int) -> str:
    """The rest of the line from a marker on; empty where there is no marker."""
    return text[start:].partition("\n")[0] if start >= 0 else ""


def _parsed(found: str) -> Decimal:
    mantissa, _, exponent = found.lower().partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    digits = mantissa.lstrip("-$€£¥₹ \t\n")
    if _COMMA_THOUSANDS.fullmatch(digits):
        digits = digits.replace(",", "")
    elif _DOT_THOUSANDS.fullmatch(digits):
        digits = digits.replace(".", "").replace(",", ".")
    elif _DECIMAL_COMMA.fullmatch(digits):
        digits = digits.replace(",", ".")
    elif "," in digits or digits.count(".") > 1:
        # A list or a date, not one number: its last part.
        sign, digits = "", re.split("[.,]", digits)[-1]
    return Decimal(f"{sign}{digits}e{exponent or 0}")
