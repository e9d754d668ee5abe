"""The learning curve: how the score grows with the training examples, and what more of them would bring."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from finetune_advisor.errors import BadInput, require
from finetune_advisor.records import Forecast, Interval, LearningCurve, LearningPoint, Part
from finetune_advisor.statistics.intervals import LEVEL

AHEAD = (1.5, 2.0, 4.0)
"""Multiples of the largest measured number of examples that are forecast unless others are asked for."""

DRAWS = 4000
METHOD = "inverse power law with a floor, averaged over floors and exponents"

# Prior, in units of the largest training set: the error there splits into a floor, none with probability 1/3 and else
# anywhere up to all of it, and a part that falls as n^-exponent. Published exponents lie between 0 and 1 (Viering &
# Loog 2022); a little below 0 leaves room for examples that harm.
_NO_FLOOR = 1 / 3
_EXPONENTS = (-0.3, 1.2, 151)
_FLOORS = 24

# A tenth of a point: scores that agree exactly are not taken to be known exactly.
_LEAST_NOISE = 1e-3


def learning_curve(
    points: Sequence[LearningPoint],
    *,
    arm: str,
    part: Part = "validation",
    ahead: Sequence[int] = (),
    worthwhile: float = 0.03,
    score_error: float = 0.0,
    gain_error: float = 0.0,
    usd_per_example: Decimal | None = None,
    seed: int = 0,
) -> LearningCurve:
    """Fit and extrapolate a learning curve.

    The error follows an inverse power law with a floor, error = c + a n^-b (Figueroa et al. 2012, BMC Med Inform Decis
    Mak 12:8; survey: Viering & Loog 2022, IEEE TPAMI 45:7799). Three sizes cannot tell the floor from the
    exponent, so all pairs of them are averaged by how well they fit, and the intervals hold what remains open.

    Args:
        points: Scores of trainings, several seeds for each size, on the same examples of `part`.
        arm: Name of the arm.
        part: The part that they were scored on.
        ahead: Numbers of training examples to forecast; `AHEAD` times the largest unless given.
        worthwhile: The smallest gain that counts, as a share.
        score_error: Standard error of the score from the finite number of examples that it was measured on.
        gain_error: The same of a difference between two sizes.
        usd_per_example: What a further example costs.
        seed: Seed of the draws.

    Returns:
        The curve; `more_helps` is about twice the examples: True where the expected gain is at least `worthwhile` and
        its interval above 0, False where the interval is below `worthwhile`, None where the data cannot tell.

    Raises:
        BadInput: Fewer than three points or two sizes, a score outside 0 to 1, or a size below 1.
    """
    # benchmarks/coverage.py, at twice the examples: this average covers 96% of the true scores, Student's interval
    # around the regression of log error on log size, which has no floor, 80-86%.
    _check(points, ahead)
    numpy = require("numpy", extra="all")
    generator = numpy.random.default_rng(seed)
    largest = max(point.examples for point in points)
    sizes = tuple(ahead) or tuple(round(largest * times) for times in AHEAD)
    drawn = _errors(points, [largest, 2 * largest, *sizes], generator)
    noise = generator.standard_normal(DRAWS)
    gain = _summed(drawn[0] - drawn[1] + gain_error * noise)
    forecasts = [_summed(1 - errors + score_error * noise) for errors in drawn[2:]]
    return LearningCurve(
        arm=arm,
        part=part,
        points=tuple(points),
        forecasts=tuple(_forecast(size, *found) for size, found in zip(sizes, forecasts, strict=True)),
        method=f"{METHOD}; twice the examples: {_points(gain)}",
        more_helps=_more_helps(*gain, worthwhile),
        usd_per_example=usd_per_example,
    )


def _check(points: Sequence[LearningPoint], ahead: Sequence[int]) -> None:
    if len(points) < 3 or len({point.examples for point in points}) < 2:
        raise BadInput(
            f"{len(points)} trainings make no learning curve.", hint="Train on two or more sizes, three times at least."
        )
    if not all(0 <= point.score <= 1 for point in points):
        raise BadInput("A score lies outside 0 to 1.")
    if min(*ahead, *(point.examples for point in points)) < 1:
        raise BadInput("A number of training examples is below 1.")


def _errors(points: Sequence[LearningPoint], sizes: Sequence[int], generator: Any) -> list[Any]:
    """Draws of the error at each size from the posterior: a grid of shapes, each with Student's t for its height.

    For a given shape (floor, exponent) the curve is its height at the largest size times a known column, a regression
    with one coefficient, flat prior on it and on log noise.
    """
    numpy = require("numpy", extra="all")
    largest = max(point.examples for point in points)
    exponents, floors, log_prior = _shapes()
    column = _shape(exponents[:, None], floors[:, None], numpy.array([p.examples for p in points]) / largest)
    errors = numpy.array([1 - point.score for point in points])
    squares = (column**2).sum(axis=1)
    height = column @ errors / squares
    degrees = len(points) - 1
    left = ((errors - height[:, None] * column) ** 2).sum(axis=1) + len(points) * _LEAST_NOISE**2
    weight = log_prior - numpy.log(squares) / 2 - numpy.log(left) * degrees / 2
    weight = numpy.exp(weight - weight.max())
    at = generator.choice(len(weight), DRAWS, p=weight / weight.sum())
    spread = numpy.sqrt(left[at] / degrees / squares[at])
    heights = height[at] + generator.standard_t(degrees, DRAWS) * spread
    return [heights * _shape(exponents[at], floors[at], size / largest) for size in sizes]


def _shapes() -> tuple[Any, Any, Any]:
    numpy = require("numpy", extra="all")
    floors = numpy.array([0.0, *((numpy.arange(_FLOORS) + 0.5) / _FLOORS)])
    prior = numpy.array([_NO_FLOOR, *[(1 - _NO_FLOOR) / _FLOORS] * _FLOORS])
    exponents = numpy.linspace(*_EXPONENTS)
    count = len(exponents)
    return numpy.tile(exponents, len(floors)), numpy.repeat(floors, count), numpy.log(numpy.repeat(prior, count))


def _shape(exponents: Any, floors: Any, times: Any) -> Any:
    return floors + (1 - floors) * times**-exponents


def _summed(drawn: Any) -> tuple[float, Interval]:
    low, middle, high = require("numpy", extra="all").quantile(drawn, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2])
    return float(middle), Interval(low=float(low), high=float(high), level=LEVEL)


def _forecast(examples: int, middle: float, around: Interval) -> Forecast:
    low, score, high = (min(1.0, max(0.0, value)) for value in (around.low, middle, around.high))
    return Forecast(examples=examples, score=score, low=low, high=high)


def _more_helps(gain: float, around: Interval, worthwhile: float) -> bool | None:
    if gain >= worthwhile and around.low > 0:
        return True
    return False if around.high < worthwhile else None


def _points(gain: tuple[float, Interval]) -> str:
    middle, around = gain
    return f"{100 * middle:+.1f} points ({100 * around.low:+.1f} to {100 * around.high:+.1f})"
