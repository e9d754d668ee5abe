"""Power: the smallest difference that a test set can show, and how many examples would show a smaller one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean

from finetune_advisor.errors import BadInput
from finetune_advisor.records import Power
from finetune_advisor.statistics.intervals import check_mean, sample_variance, zero_one
from finetune_advisor.statistics.paired import paired_differences

# Two-sided 5% level and 80% power.
_Z_LEVEL = NormalDist().inv_cdf(0.975)
_Z_POWER = NormalDist().inv_cdf(0.8)


def power(scores_a: Sequence[float], scores_b: Sequence[float] | None, *, binary: bool, n: int) -> Power:
    """What a paired comparison on `n` examples can show, at 80% power and a 5% two-sided level.

    One comparison is assumed; several, with Holm's correction, need more examples.

    Args:
        scores_a: Scores of one arm.
        scores_b: Scores of another arm on the same examples; None stands for an arm like the first one whose
            errors are independent of its errors, which is on the safe side.
        binary: Whether the metric gives only 0 and 1.
        n: The number of test examples that is asked about.

    Raises:
        BadInput: No scores, a score outside 0 to 1, lists of different lengths, or n below 1.
    """
    mean = check_mean(scores_a)
    differences = [] if scores_b is None else paired_differences(scores_a, scores_b)
    if binary and zero_one([*scores_a, *(scores_b or ())]):
        share = fmean(d != 0 for d in differences) if differences else 2 * mean * (1 - mean)
        # No pair in a small sample differed: the share is unknown, not zero.
        share = max(share, 1 / len(scores_a))
        smallest, needed = smallest_difference(n, share), required_examples(0.03, share)
        basis = f"the two arms disagree on {share:.1%} of the examples"
    else:
        variance = sample_variance(differences) if differences else 2 * sample_variance(scores_a)
        variance = variance or 1 / len(scores_a)
        smallest, needed = _smallest_graded(n, variance), math.ceil((_Z_LEVEL + _Z_POWER) ** 2 * variance / 0.03**2)
        basis = f"the score difference has a standard deviation of {math.sqrt(variance):.3f}"
    assumed = "" if differences else ", if their errors are independent"
    return Power(n=n, smallest_difference=smallest, examples_for_3_points=needed, basis=basis + assumed)


def required_examples(difference: float, discordance: float) -> int:
    """How many paired examples show a difference of two proportions, at 80% power and a 5% two-sided level.

    McNemar: n = (z_a sqrt(D) + z_b sqrt(D - d^2))^2 / d^2 (Connor 1987, Biometrics 43:207), to the nearest example.

    Args:
        difference: d, the true difference as a share (0.03 is 3 points).
        discordance: D, the share of examples on which exactly one arm is right; at least d, and raised to d.

    Raises:
        BadInput: The difference is not above 0 and at most 1, or the discordance is not from 0 to 1.
    """
    if not 0 < difference <= 1 or not 0 <= discordance <= 1:
        raise BadInput("A difference has to be above 0 and at most 1, a discordant share from 0 to 1.")
    return round(_mcnemar_examples(difference, discordance))


def smallest_difference(n: int, discordance: float) -> float:
    """The smallest true difference that `n` paired examples show; the inverse of `required_examples`.

    Returns:
        A share; 1.0 also where even a difference of everything would not be seen.

    Raises:
        BadInput: n is below 1, or the discordance is not from 0 to 1.
    """
    if n < 1 or not 0 <= discordance <= 1:
        raise BadInput("The number of examples has to be at least 1, a discordant share from 0 to 1.")
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _mcnemar_examples(middle, discordance) > n else (low, middle)
    return high


def _mcnemar_examples(difference: float, discordance: float) -> float:
    share = max(discordance, difference)
    root = _Z_LEVEL * math.sqrt(share) + _Z_POWER * math.sqrt(share - difference**2)
    return (root / difference) ** 2


def _smallest_graded(n: int, variance: float) -> float:
    if n < 1:
        raise BadInput("The number of examples has to be at least 1.")
    return min(1.0, (_Z_LEVEL + _Z_POWER) * math.sqrt(variance / n))
