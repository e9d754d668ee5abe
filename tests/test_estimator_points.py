from __future__ import annotations

from pathlib import Path
from statistics import median

import pytest

from benchmarks import estimator
from benchmarks.estimator_points import Point, read

POINTS = Path(__file__).parents[1].parent / "shared" / "reference" / "measured_points.csv"
pytestmark = pytest.mark.skipif(not POINTS.exists(), reason="the published measurements are not here")


@pytest.fixture(scope="module", name="points")
def all_points() -> list[Point]:
    return read(POINTS)


@pytest.mark.parametrize(("what", "percent"), [("memory", 10), ("speed", 25)])
def test_points_that_were_kept_back_are_met(points: list[Point], what: str, percent: float) -> None:
    trained = [p for p in estimator.usable(points, what) if p.method != "inference"]
    back = [p for p in trained if estimator.kept_back(p)]
    found = estimator.errors(what, back, lambda p: estimator.ours(what, p, estimator.Fitted()))
    assert len(found) == len(back) >= 10
    assert median(found.values()) <= percent


@pytest.mark.parametrize("what", ["memory", "speed"])
def test_the_interval_holds_where_nothing_was_fitted(points: list[Point], what: str) -> None:
    trained = [p for p in estimator.usable(points, what) if p.method != "inference" and estimator.kept_back(p)]
    inside = [estimator.inside(what, p, estimator.Fitted()) for p in trained]
    assert sum(inside) / len(inside) >= 0.8


@pytest.mark.parametrize(("what", "percent"), [("memory", 10), ("speed", 25)])
def test_answering_is_met_too(points: list[Point], what: str, percent: float) -> None:
    used = [p for p in estimator.usable(points, what) if p.method == "inference"]
    found = estimator.errors(what, used, lambda p: estimator.ours(what, p, estimator.Fitted()))
    assert median(found.values()) <= percent


def test_every_row_is_used_or_has_a_reason(points: list[Point]) -> None:
    used = {p.number for what in ("memory", "speed") for p in estimator.usable(points, what)}
    for point in points:
        assert point.number in used or point.left_out or point.doubt


def test_implausible_rows_are_so_by_their_own_figures(points: list[Point]) -> None:
    assert {p.number for p in points if p.doubt} == {12, 20, 48, 50}


def test_the_report_names_what_was_set_aside(points: list[Point]) -> None:
    report = "\n".join(estimator.report(points))
    assert "| points kept back |" in report
    assert "- implausible: " in report
    assert "encoder-decoder model" in report


def test_time_errors_are_of_time_and_not_of_speed(points: list[Point]) -> None:
    point = next(p for p in points if p.tokens_per_second and not p.left_out)
    half = (point.tokens_per_second or 0) / 2
    assert estimator.errors("speed", [point], lambda _: half)[point.number] == pytest.approx(100)
