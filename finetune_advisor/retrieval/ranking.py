"""The best of many scores, without sorting all of them."""

from __future__ import annotations

import math
from typing import Any

from finetune_advisor.errors import require


def highest(scores: Any, depth: int, above: float = -math.inf, digits: int | None = None) -> list[int]:
    """Positions of the highest scores, highest first, ties by position.

    Args:
        scores: A one-dimensional array.
        depth: How many positions at most, 1 or more.
        above: Only scores above this count.
        digits: Scores that are equal when rounded to so many decimals are ties; None for those that are equal.
    """
    numpy = require("numpy", extra="all")
    # At least `depth` scores reach the `depth`th highest of the peaks, so only what reaches it has to be sorted.
    peaks = numpy.maximum.reduceat(scores, numpy.arange(0, len(scores), max(1, len(scores) // (8 * depth))))
    floor = numpy.partition(peaks, -depth)[-depth] if len(peaks) > depth else -math.inf
    near = numpy.flatnonzero(scores >= (floor if digits is None else floor - 2 * 10.0**-digits))
    near = near[scores[near] > above]
    compared = scores[near] if digits is None else scores[near].round(digits)
    return near[(-compared).argsort(kind="stable")[:depth]].tolist()
