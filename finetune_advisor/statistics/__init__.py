"""Intervals, paired tests, power and learning curves: what scores can show, and what they cannot."""

from __future__ import annotations

from finetune_advisor.statistics.intervals import LEVEL, interval
from finetune_advisor.statistics.learning import learning_curve
from finetune_advisor.statistics.paired import PERMUTATIONS, compare, holm
from finetune_advisor.statistics.power import power, required_examples, smallest_difference

__all__ = [
    "LEVEL",
    "PERMUTATIONS",
    "compare",
    "holm",
    "interval",
    "learning_curve",
    "power",
    "required_examples",
    "smallest_difference",
]
