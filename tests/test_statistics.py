from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_advisor.errors import BadInput, require
from finetune_advisor.records import Comparison
from finetune_advisor.statistics import compare, holm, interval, power, required_examples, smallest_difference

Draw = Callable[[np.random.Generator, int], Sequence[float]]
SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=40)


def _bits(ones: int, zeros: int) -> list[float]:
    return [1.0] * ones + [0.0] * zeros


def _paired(gained: int, lost: int, same: int) -> Comparison:
    return compare("a", _bits(gained, lost + same), "b", [0.0] * gained + _bits(lost, same), binary=True)


def _mixture(zeros: float, ones: float, a: float, b: float) -> Draw:
    def draw(generator: np.random.Generator, n: int) -> Sequence[float]:
        kind = generator.random(n)
        graded = generator.beta(a, b, n)
        return np.where(kind < zeros, 0.0, np.where(kind < zeros + ones, 1.0, graded)).tolist()

    return draw


# One mean


def test_wilson_of_47_in_50() -> None:
    made = interval(_bits(47, 3), binary=True)
    assert (round(made.low, 3), round(made.high, 3)) == (0.838, 0.979)
    assert made.method == "Wilson"


@pytest.mark.parametrize(("ones", "zeros"), [(0, 5), (5, 0), (1, 0), (17, 3), (850, 150)])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_binary_interval_is_scipys_wilson(ones: int, zeros: int, level: float) -> None:
    made = interval(_bits(ones, zeros), binary=True, level=level)
    binomtest = require("scipy.stats", extra="all").binomtest
    expected = binomtest(ones, ones + zeros).proportion_ci(level, "wilson")
    assert (made.low, made.high) == pytest.approx((expected.low, expected.high))


@given(SHARES, st.booleans())
def test_interval_holds_the_mean_and_has_a_width(scores: list[float], binary: bool) -> None:
    made = interval(scores, binary=binary)
    assert 0 <= made.low <= sum(scores) / len(scores) + 1e-12
    assert sum(scores) / len(scores) - 1e-12 <= made.high <= 1
    assert made.high > made.low


def test_equal_graded_scores_get_the_bound_of_what_was_never_seen() -> None:
    assert interval([1.0] * 20, binary=False).low == pytest.approx(interval([1.0] * 20, binary=True).low)
    half = interval([0.5] * 20, binary=False)
    assert (half.low, half.high) == pytest.approx((0.5 - 0.5 * 0.16113, 0.5 + 0.5 * 0.16113), abs=1e-4)


def test_duplicated_examples_do_not_narrow_the_interval() -> None:
    scores = [0.1, 0.9, 0.4, 0.8, 0.3, 0.7, 0.2, 0.95, 0.5, 0.6] * 2
    once, twice = interval(scores[:10], binary=False), interval(scores, binary=False)
    grouped = interval(scores * 2, binary=False, clusters=[*range(10), *range(10)] * 2)
    assert twice.high - twice.low < once.high - once.low
    assert grouped.high - grouped.low == pytest.approx(once.high - once.low)
    assert "clustered" in grouped.method


def test_clustered_width_is_millers() -> None:
    scores, clusters = _bits(6, 0) + _bits(1, 5) + _bits(200, 200), [0] * 6 + [1] * 6 + list(range(2, 402))
    n, mean = len(scores), sum(scores) / len(scores)
    off = [score - mean for score in scores]
    pairs = sum(off[i] * off[j] for i in range(n) for j in range(n) if i != j and clusters[i] == clusters[j])
    expected = math.sqrt(1 + pairs / sum(x * x for x in off))
    plain, grouped = interval(scores, binary=True), interval(scores, binary=True, clusters=clusters)
    assert (grouped.high - grouped.low) / (plain.high - plain.low) == pytest.approx(expected, rel=0.01)


def test_clusters_never_narrow_and_singles_change_nothing() -> None:
    scores = _bits(10, 10)
    opposed = interval(scores, binary=True, clusters=[*range(10), *range(10)])
    plain = interval(scores, binary=True)
    assert opposed.high - opposed.low >= plain.high - plain.low
    assert interval(scores, binary=True, clusters=range(20)) == plain
    assert interval(scores, binary=True, clusters=[0] * 20).high > 0.9
    assert interval(_bits(20, 0), binary=True, clusters=[0] * 10 + [1] * 10).low == interval([1, 1], binary=True).low


@pytest.mark.parametrize("n", [20, 100])
@pytest.mark.parametrize(
    ("draw", "mean"),
    [
        (_mixture(0, 0, 2, 5), 2 / 7),
        (_mixture(0, 0, 8, 1), 8 / 9),
        (_mixture(0.4, 0.4, 2, 2), 0.5),
        (_mixture(0.2, 0.7, 2, 2), 0.75),
        (_mixture(0.05, 0.9, 2, 2), 0.925),
        (_mixture(0.7, 0, 2, 5), 0.3 * 2 / 7),
        (_mixture(0.3, 0.7, 1, 1), 0.7),
    ],
    ids=["beta", "skewed", "u-shaped", "mostly right", "nearly all right", "mostly zero", "binary"],
)
def test_interval_covers(draw: Draw, mean: float, n: int) -> None:
    generator = np.random.default_rng(n)
    made = [interval(draw(generator, n), binary=mean == 0.7) for _ in range(1000)]
    assert 0.92 <= sum(i.low <= mean <= i.high for i in made) / 1000 <= 0.98


@pytest.mark.parametrize(
    ("scores", "clusters"), [([], None), ([1.5], None), ([-0.1], None), ([float("nan")], None), ([1.0, 0.0], [1])]
)
def test_unusable_scores_are_refused(scores: list[float], clusters: list[int] | None) -> None:
    with pytest.raises(BadInput):
        interval(scores, binary=True, clusters=clusters)


# Two arms


@pytest.mark.parametrize(
    ("gained", "lost", "expected"),
    [(5, 0, 0.0625), (0, 5, 0.0625), (6, 0, 0.03125), (10, 2, 0.038574), (0, 0, 1), (7, 7, 1)],
)
def test_exact_mcnemar(gained: int, lost: int, expected: float) -> None:
    made = _paired(gained, lost, 40)
    assert made.p_value == pytest.approx(expected, abs=1e-6)
    assert (made.gained, made.lost, made.test) == (gained, lost, "exact McNemar")
    assert made.difference == pytest.approx((gained - lost) / (gained + lost + 40))
    assert made.p_adjusted == made.p_value


def test_paired_interval_is_the_published_one() -> None:
    # statpsych's ci.prop.ps(.05, 12, 4, 26, 6), Bonett & Price 2012.
    made = _paired(26, 4, 18).interval
    assert (made.low, made.high) == pytest.approx((0.2548067, 0.6251933), abs=1e-6)


def test_interval_and_exact_test_agree_about_zero() -> None:
    made = [_paired(gained, lost, 100) for gained in range(1, 20) for lost in range(gained)]
    assert sum((c.interval.low > 0) != (c.p_value < 0.05) for c in made) <= 0.05 * len(made)


@given(SHARES, st.data(), st.booleans())
def test_comparison_mirrors_and_has_a_width(scores: list[float], data: st.DataObject, binary: bool) -> None:
    other = data.draw(st.lists(st.floats(0, 1), min_size=len(scores), max_size=len(scores)))
    there = compare("a", scores, "b", other, binary=binary)
    back = compare("b", other, "a", scores, binary=binary)
    assert 0 < there.p_value <= 1
    assert -1 <= there.interval.low < there.interval.high <= 1
    assert there.interval.low - 1e-9 <= there.difference <= there.interval.high + 1e-9
    assert (back.interval.low, back.interval.high) == pytest.approx((-there.interval.high, -there.interval.low))
    assert (there.gained, there.lost) == (back.lost, back.gained)


def test_sign_flip_is_exact_for_few_examples() -> None:
    # Only all plus and all minus are as extreme: 2 of 2^5, whatever else is equal.
    made = compare("a", [0.9, 0.8, 0.7, 0.6, 0.5, 0.3], "b", [0.1, 0.2, 0.1, 0.2, 0.1, 0.3], binary=False)
    assert made.p_value == pytest.approx(2 / 2**5)
    assert made.test == "sign-flip permutation"


def test_sign_flip_is_scipys_permutation_test() -> None:
    generator = np.random.default_rng(3)
    a, b = generator.beta(2.4, 2, 60), generator.beta(2, 2, 60)
    made = compare("a", a.tolist(), "b", b.tolist(), binary=False, seed=1)
    permutation_test = require("scipy.stats", extra="all").permutation_test
    expected = permutation_test((a - b,), np.mean, permutation_type="samples", n_resamples=9999).pvalue
    assert 0.001 < expected < 0.2
    assert made.p_value == pytest.approx(expected, abs=0.01)
    assert made == compare("a", a.tolist(), "b", b.tolist(), binary=False, seed=1)


@pytest.mark.parametrize("n", [60, 150])
@pytest.mark.parametrize("changed", [0.3, 1.0])
@pytest.mark.parametrize("binary", [True, False])
def test_paired_interval_covers(n: int, changed: float, binary: bool) -> None:
    generator = np.random.default_rng(n)
    before, after = (
        (_mixture(0.5, 0.5, 1, 1), _mixture(0.3, 0.7, 1, 1))
        if binary
        else (_mixture(0.4, 0.4, 2, 2), _mixture(0.1, 0.7, 3, 2))
    )
    truth = changed * (0.2 if binary else 0.7 + 0.2 * 0.6 - 0.5)
    covered = 0
    for _ in range(250):
        old, new = np.array(before(generator, n)), np.array(after(generator, n))
        moved = np.where(generator.random(n) < changed, new, old)
        made = _interval_only(moved.tolist(), old.tolist(), binary=binary)
        covered += made[0] <= truth <= made[1]
    assert 0.925 <= covered / 250 <= 0.99


def _interval_only(scores: list[float], baseline: list[float], *, binary: bool) -> tuple[float, float]:
    made = compare("a", scores, "b", baseline, binary=binary).interval
    return made.low, made.high


def test_arms_of_different_length_are_refused() -> None:
    with pytest.raises(BadInput, match="cannot be paired"):
        compare("a", [1.0], "b", [1.0, 0.0], binary=True)
    with pytest.raises(BadInput, match="no scores"):
        compare("a", [], "b", [], binary=True)


def test_holm_by_hand() -> None:
    raw = [0.01, 0.04, 0.03, 0.005]
    corrected = holm([_with_p(p) for p in raw])
    assert [c.p_adjusted for c in corrected] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert [c.p_value for c in corrected] == raw
    assert holm([]) == ()
    assert [c.p_adjusted for c in holm([_with_p(0.6), _with_p(0.9)])] == [1.0, 1.0]


def _with_p(p_value: float) -> Comparison:
    return replace(_paired(1, 1, 1), p_value=p_value)


# Power


@pytest.mark.parametrize(
    ("difference", "examples"), [(0.10, 115), (0.05, 469), (0.03, 1306), (0.02, 2941), (0.01, 11771)]
)
def test_required_examples_are_the_published_ones(difference: float, examples: int) -> None:
    assert required_examples(difference, 0.15) == examples
    assert smallest_difference(examples, 0.15) == pytest.approx(difference, rel=0.003)


def test_power_of_the_exact_test_is_near_what_is_promised() -> None:
    generator, n, discordant = np.random.default_rng(0), 469, 0.15
    gains = generator.multinomial(n, [(discordant + 0.05) / 2, (discordant - 0.05) / 2, 1 - discordant], size=2000)
    binomtest = require("scipy.stats", extra="all").binomtest
    seen = sum(binomtest(int(g), int(g + lost)).pvalue < 0.05 for g, lost, _ in gains) / 2000
    assert 0.74 <= seen <= 0.84


@given(st.integers(1, 5000), st.floats(0, 1))
def test_smallest_difference_inverts_required_examples(n: int, discordance: float) -> None:
    smallest = smallest_difference(n, discordance)
    assert 0 < smallest <= 1
    if smallest < 1:
        assert required_examples(smallest, discordance) == pytest.approx(n, abs=1)


def test_power_from_the_observed_discordance() -> None:
    made = power(_bits(85, 15), _bits(100, 0), binary=True, n=469)
    assert made.smallest_difference == pytest.approx(0.05, abs=1e-4)
    assert made.examples_for_3_points == 1306
    assert "15.0%" in made.basis


def test_power_is_cautious_where_little_is_known() -> None:
    alone = power(_bits(80, 20), None, binary=True, n=100)
    assert alone.examples_for_3_points == required_examples(0.03, 0.32)
    assert "independent" in alone.basis
    same = power(_bits(20, 0), _bits(20, 0), binary=True, n=20)
    assert same.smallest_difference > 0.3
    assert power(_bits(20, 0), None, binary=True, n=20).smallest_difference > 0.3
    assert power([0.5] * 10, [0.5] * 10, binary=False, n=10).smallest_difference > 0.1


def test_graded_power_by_hand() -> None:
    # Differences of plus and minus 0.2: variance 0.04 * 10 / 9; (1.96 + 0.8416)^2 = 7.8489.
    made = power([0.6, 0.4] * 5, [0.4, 0.6] * 5, binary=False, n=100)
    assert made.examples_for_3_points == math.ceil(7.8489 * 0.4 / 9 / 0.0009)
    assert made.smallest_difference == pytest.approx(math.sqrt(7.8489 * 0.4 / 9 / 100), rel=1e-4)


def test_impossible_power_questions_are_refused() -> None:
    for difference, discordance in [(0.0, 0.1), (1.5, 0.1), (0.1, -1), (0.1, 2)]:
        with pytest.raises(BadInput):
            required_examples(difference, discordance)
    for graded in ([1.0, 0.5], [1.0, 0.0]):
        with pytest.raises(BadInput):
            power(graded, None, binary=True, n=0)
