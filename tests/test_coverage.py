"""Simulated coverage of every interval that a report prints; benchmarks/coverage.py has the full tables.

A band is 93 to 97%, widened by 2.5 binomial standard errors of the simulation where there is one. Where theory or
measurement puts an interval elsewhere, the band says so.
"""

from __future__ import annotations

import math

import pytest

from benchmarks import coverage

SIZES = coverage.SIZES


def inside(share: float, draws: int, low: float = 0.93, high: float = 0.97) -> bool:
    slack = 2.5 * math.sqrt(0.05 * 0.95 / draws)
    return low - slack <= share <= high + slack


@pytest.mark.parametrize("n", SIZES)
def test_a_binary_mean_is_covered(n: int) -> None:
    exact = coverage.binary(n)
    assert 0.93 <= exact.mean <= 0.97
    assert 0.93 <= exact.unseen <= 0.97
    # Near the ends few counts are likely; at 20 examples that costs width, not coverage.
    assert 0.95 <= exact.edge <= (0.985 if n == 20 else 0.97)
    assert exact.least >= 0.915


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", sorted(coverage.GRADED))
def test_a_graded_mean_is_covered(name: str, n: int) -> None:
    assert inside(coverage.graded(coverage.GRADED[name], n, 300), 300)


@pytest.mark.parametrize("n", SIZES)
def test_a_graded_mean_is_covered_where_all_scores_were_equal(n: int) -> None:
    assert inside(coverage.unseen_graded(n, 2000), 2000, 0.95, 1.0)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", ["0 and 1 only", "symmetric", "mostly right"])
def test_a_mean_of_near_duplicates_is_covered(name: str, n: int) -> None:
    population = coverage.GRADED[name]
    assert inside(coverage.clustered(population, n, 400), 400)
    assert coverage.clustered(population, n, 200, used=False) < 0.9


@pytest.mark.parametrize("n", SIZES)
def test_a_paired_difference_is_covered(n: int) -> None:
    assert inside(coverage.paired(0.1, 0.6, n, 2000)[0], 2000)
    # Few examples differ: the interval is on the safe side.
    assert coverage.paired(0.02, 0.1, n, 2000)[0] >= 0.95


@pytest.mark.parametrize("n", [6, 12, *SIZES])
def test_a_paired_difference_is_covered_where_no_example_differed(n: int) -> None:
    # It depends on whether the changes that were not seen go one way or both.
    assert inside(coverage.unchanged(n, 4000, one_way=True), 4000)
    assert coverage.unchanged(n, 4000, one_way=False) >= 0.95


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", sorted(coverage.CHANGES))
def test_a_graded_paired_difference_is_covered(name: str, n: int) -> None:
    # Few examples that differ say little about the spread of the differences: then on the safe side.
    most = 0.97 if coverage.CHANGES[name].share == 1 or n == 200 else 1.0
    assert inside(coverage.paired_graded(coverage.CHANGES[name], n, 300), 300, high=most)


@pytest.mark.parametrize("n", SIZES)
def test_a_paired_difference_of_near_duplicates_is_covered(n: int) -> None:
    assert inside(coverage.paired_clustered(0.5, 0.2, n, 400), 400)
    assert coverage.paired_clustered(0.5, 0.2, n, 200, used=False) < 0.9


def test_near_duplicates_raise_no_false_alarms() -> None:
    assert coverage.false_alarms(0.3, 50, 200) <= 0.05 + 2.5 * math.sqrt(0.05 * 0.95 / 200)
    assert coverage.false_alarms(0.3, 50, 200, used=False) > 0.1


def test_forecasts_are_covered_where_the_usual_line_is_not() -> None:
    found = coverage.forecasts(coverage.WORLDS, 8)
    draws = 8 * len(coverage.WORLDS)
    assert inside(found.twice, draws)
    assert inside(found.four_times, draws)
    assert found.line < 0.9
    assert found.wrong < 0.05
