from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_advisor.errors import BadInput, require
from finetune_advisor.records import Comparison
from finetune_advisor.statistics import compare, holm, interval, power, required_examples, smallest_difference

SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=40)


def _bits(ones: int, zeros: int) -> list[float]:
    return [1.0] * ones + [0.0] * zeros


def _paired(gained: int, lost: int, same: int) -> Comparison:
    return compare("a", _bits(gained, lost + same), "b", [0.0] * gained + _bits(lost, same), binary=True)


# One mean


@pytest.mark.parametrize(
    ("ones", "n", "low", "high"),
    [(81, 263, 0.2544, 0.3658), (15, 148, 0.0601, 0.1581), (0, 20, 0.0, 0.1391), (1, 29, 0.0017, 0.1585)],
)
def test_binary_interval_is_the_published_one(ones: int, n: int, low: float, high: float) -> None:
    # Mid-P rows of Newcombe 1998, Statistics in Medicine 17:857, table I.
    made = interval(_bits(ones, n - ones), binary=True)
    assert (made.low, made.high) == pytest.approx((low, high), abs=5e-5)
    assert made.method == "mid-P"


@pytest.mark.parametrize(("ones", "zeros"), [(1, 4), (4, 1), (17, 3), (850, 150)])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_ends_of_the_binary_interval_have_the_mid_p_that_they_should(ones: int, zeros: int, level: float) -> None:
    made, n = interval(_bits(ones, zeros), binary=True, level=level), ones + zeros
    binom = require("scipy.stats", extra="all").binom
    assert binom.sf(ones, n, made.low) + binom.pmf(ones, n, made.low) / 2 == pytest.approx((1 - level) / 2)
    assert binom.cdf(ones - 1, n, made.high) + binom.pmf(ones, n, made.high) / 2 == pytest.approx((1 - level) / 2)


@pytest.mark.parametrize("n", [1, 20, 200])
def test_never_seen_is_bounded_by_about_three_in_n(n: int) -> None:
    none, every = interval(_bits(0, n), binary=True), interval(_bits(n, 0), binary=True)
    assert (1 - none.high) ** n == pytest.approx(0.05)
    assert (none.low, every.high, every.low) == (0, 1, pytest.approx(1 - none.high))


@given(SHARES, st.booleans())
def test_interval_holds_the_mean_and_has_a_width(scores: list[float], binary: bool) -> None:
    made = interval(scores, binary=binary)
    assert 0 <= made.low <= sum(scores) / len(scores) + 1e-12
    assert sum(scores) / len(scores) - 1e-12 <= made.high <= 1
    assert made.high > made.low


def test_equal_graded_scores_get_the_bound_of_what_was_never_seen() -> None:
    assert interval([1.0] * 20, binary=False).low == pytest.approx(interval([1.0] * 20, binary=True).low)
    half = interval([0.5] * 20, binary=False)
    assert (half.low, half.high) == pytest.approx((0.5 - 0.5 * 0.13911, 0.5 + 0.5 * 0.13911), abs=1e-4)


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


@given(SHARES, st.data(), st.booleans(), st.booleans())
def test_comparison_mirrors_and_has_a_width(
    scores: list[float], data: st.DataObject, binary: bool, pairs: bool
) -> None:
    other = data.draw(st.lists(st.floats(0, 1), min_size=len(scores), max_size=len(scores)))
    clusters = [i // 2 for i in range(len(scores))] if pairs else None
    there = compare("a", scores, "b", other, binary=binary, clusters=clusters)
    back = compare("b", other, "a", scores, binary=binary, clusters=clusters)
    assert 0 < there.p_value <= 1
    assert -1 <= there.interval.low < there.interval.high <= 1
    assert there.interval.low - 1e-9 <= there.difference <= there.interval.high + 1e-9
    assert (back.interval.low, back.interval.high) == pytest.approx((-there.interval.high, -there.interval.low))
    assert (there.gained, there.lost) == (back.lost, back.gained)


def test_clusters_of_one_change_nothing() -> None:
    scores, other = _bits(12, 8), _bits(5, 15)
    plain = compare("a", scores, "b", other, binary=True)
    assert compare("a", scores, "b", other, binary=True, clusters=range(20)) == plain


@pytest.mark.parametrize("binary", [True, False])
def test_duplicated_pairs_show_no_more_than_single_ones(binary: bool) -> None:
    scores, other = _bits(7, 13), _bits(0, 20)
    if not binary:
        scores, other = [0.9 * s + 0.05 for s in scores], [0.5] * 10 + [0.1] * 10
    once = compare("a", scores, "b", other, binary=binary)
    plain = compare("a", scores * 4, "b", other * 4, binary=binary)
    grouped = compare("a", scores * 4, "b", other * 4, binary=binary, clusters=[*range(20)] * 4)
    assert plain.p_value < grouped.p_value == pytest.approx(once.p_value)
    assert plain.interval.high - plain.interval.low < grouped.interval.high - grouped.interval.low
    width = once.interval.high - once.interval.low
    assert grouped.interval.high - grouped.interval.low == pytest.approx(width, rel=0.1)
    assert grouped.test == "sign-flip permutation, clustered"
    assert "clustered" in grouped.interval.method
    assert grouped.difference == pytest.approx(once.difference)


def test_one_cluster_shows_nothing() -> None:
    made = compare("a", _bits(8, 0), "b", _bits(0, 8), binary=True, clusters=[0] * 8)
    assert made.p_value == 1
    assert made.interval.high - made.interval.low > 1
    same = compare("a", _bits(8, 0), "b", _bits(8, 0), binary=True, clusters=[0] * 4 + [1] * 4)
    assert same.p_value == 1
    assert same.interval.high > 0.5


def test_as_many_clusters_as_scores_are_needed() -> None:
    with pytest.raises(BadInput, match="cannot be grouped"):
        compare("a", [1.0, 0.0], "b", [0.0, 0.0], binary=True, clusters=[0])


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
