"""Tests of differences: textbook cases, scipy, and permutations counted one by one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.statistics import (
    clopper_pearson,
    holm,
    mann_whitney,
    mcnemar,
    paired_t,
    tost,
    welch,
    wilcoxon,
)
from harness.statistics.ranks import doubled_ranks, signed_rank_ways, ways_of_rank_sum
from harness.statistics.significance import TRIALS_NEEDED
from tests.statistics.textbook import DEPRESSION, PERMEABILITY, SLEEP

figures = st.lists(st.integers(50, 150), min_size=6, max_size=9)  # so coarse that there are ties
pairs = st.lists(st.tuples(st.integers(50, 150), st.integers(50, 150)), min_size=6, max_size=12)

# ----------------------------------------------------------------------------------- textbook cases


def test_students_sleep_by_welch_and_in_pairs():
    found = welch(*SLEEP)
    assert found.statistic == pytest.approx(1.8608, abs=5e-5)
    assert found.df == pytest.approx(17.776, abs=5e-4)
    assert found.p_value == pytest.approx(0.07939, abs=5e-6)
    found = paired_t(*SLEEP)
    assert (found.statistic, found.df) == (pytest.approx(4.0621, abs=5e-5), 9)
    assert found.p_value == pytest.approx(0.002833, abs=5e-7)


def test_hollander_and_wolfes_depression_by_signed_ranks():
    found = wilcoxon(*reversed(DEPRESSION))
    assert (found.statistic, found.p_value) == (40.0, pytest.approx(2 * 0.01953125))


def test_hollander_and_wolfes_permeability_by_rank_sums():
    found = mann_whitney(*PERMEABILITY)
    assert (found.statistic, found.p_value) == (35.0, pytest.approx(0.254412, abs=1e-6))


def test_newcombes_shares():
    """Newcombe (1998), Statistics in Medicine 17, table I."""
    cases = {
        (81, 263): (0.2527, 0.3676),
        (15, 148): (0.0578, 0.1617),
        (0, 20): (0.0, 0.1684),
        (1, 29): (0.0009, 0.1776),
    }
    for (k, n), bounds in cases.items():
        found = clopper_pearson(k, n)
        assert (found.low, found.high) == pytest.approx(bounds, abs=6e-5)


# -------------------------------------------------------------------------------------------- scipy


@given(figures, figures)
def test_welch_equals_scipys(a, b):
    assume(np.ptp(a) > 0 and np.ptp(b) > 0)  # scipy warns of constants
    found = welch(a, b)
    theirs = scipy.stats.ttest_ind(b, a, equal_var=False)
    assert (found.statistic, found.df) == pytest.approx((theirs.statistic, theirs.df), rel=1e-9)
    assert found.p_value == pytest.approx(theirs.pvalue, rel=1e-9)


@given(pairs)
def test_paired_t_equals_scipys(both):
    a, b = map(list, zip(*both, strict=True))
    assume(np.ptp(np.subtract(b, a)) > 0)
    found, theirs = paired_t(a, b), scipy.stats.ttest_rel(b, a)
    assert (found.statistic, found.p_value) == pytest.approx(
        (theirs.statistic, theirs.pvalue), rel=1e-7, abs=1e-12
    )


@pytest.mark.parametrize(("n", "m"), [(5, 7), (20, 25), (40, 35)])
def test_mann_whitney_equals_scipys(n, m):
    rng = np.random.default_rng(n)
    for shift in (0.0, 0.5, 2.0):
        a, b = rng.normal(0, 1, n), rng.normal(shift, 1, m)
        method = "exact" if n + m <= 50 else "asymptotic"
        theirs = scipy.stats.mannwhitneyu(b, a, method=method)
        found = mann_whitney(a, b)
        assert (found.statistic, found.p_value) == pytest.approx(
            (theirs.statistic, theirs.pvalue), rel=1e-9
        )
    tied = np.round(rng.normal(0, 1, 60)), np.round(rng.normal(0.5, 1, 60))
    theirs = scipy.stats.mannwhitneyu(*tied[::-1], method="asymptotic")
    assert mann_whitney(*tied).p_value == pytest.approx(theirs.pvalue, rel=1e-9)


@pytest.mark.parametrize("k", [8, 30, 80])
def test_wilcoxon_equals_scipys(k):
    rng = np.random.default_rng(k)
    a = rng.normal(0, 1, k)
    b = a + rng.normal(0.3, 1, k)
    how = {"method": "exact"} if k <= 50 else {"method": "asymptotic", "correction": True}
    assert wilcoxon(a, b).p_value == pytest.approx(scipy.stats.wilcoxon(b, a, **how).pvalue)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_mcnemar_equals_the_binomial_test(answers):
    a, b = [x for x, _ in answers], [y for _, y in answers]
    won, apart = sum(y > x for x, y in answers), sum(x != y for x, y in answers)
    expected = scipy.stats.binomtest(won, apart).pvalue if apart else 1.0
    found = mcnemar(a, b)
    assert (found.statistic, found.n) == (won, (len(a), len(a)))
    assert found.p_value == pytest.approx(expected)


@given(st.integers(0, 300), st.integers(0, 300), st.floats(0.5, 0.99))
def test_shares_equal_scipys(k, rest, level):
    n = k + rest
    assume(n > 0)
    theirs = scipy.stats.binomtest(k, n).proportion_ci(level, method="exact")
    found = clopper_pearson(k, n, level=level)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert 0 <= found.low <= found.point <= found.high <= 1


# ------------------------------------------------------------------------- permutations, one by one


@settings(max_examples=30)
@given(st.lists(st.integers(1, 5), min_size=2, max_size=9), st.data())
def test_rank_sums_are_counted_right_with_ties(row, data):
    drawn = data.draw(st.integers(1, len(row) - 1))
    doubled = doubled_ranks(np.array(row, dtype=float))
    assert (doubled / 2).tolist() == scipy.stats.rankdata(row).tolist()
    sums = [sum(one) for one in itertools.combinations(doubled.tolist(), drawn)]
    expected = np.bincount(sums, minlength=doubled.sum() + 1) / len(sums)
    assert ways_of_rank_sum(doubled, drawn) == pytest.approx(expected)


@settings(max_examples=30)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=9))
def test_signed_ranks_are_counted_right_with_ties(row):
    doubled = doubled_ranks(np.array(row, dtype=float))
    signs = itertools.product((0, 1), repeat=len(row))
    sums = [int(np.dot(one, doubled)) for one in signs]
    expected = np.bincount(sums, minlength=doubled.sum() + 1) / len(sums)
    assert signed_rank_ways(doubled) == pytest.approx(expected)


# --------------------------------------------------------------------------------------------- holm


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.02]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_refused_test_is_no_member_of_the_family():
    assert holm([None, 0.02, None, 0.01]) == [None, 0.02, None, 0.02]


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_holm_takes_probabilities(p):
    with pytest.raises(ValueError, match="p-value 1 is"):
        holm([0.5, p])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_none_and_bonferroni_and_keeps_the_order(ps):
    found = holm(ps)
    for p, adjusted in zip(ps, found, strict=True):
        assert p <= adjusted <= min(1.0, len(ps) * p)
    in_order = [adjusted for _, adjusted in sorted(zip(ps, found, strict=True))]
    assert in_order == sorted(in_order)


# --------------------------------------------------------------------------------------------- tost


@settings(max_examples=40)
@given(figures, figures, st.floats(0.01, 0.5))
def test_tost_is_two_one_sided_tests(a, b, margin):
    assume(np.ptp(a) > 0 and np.ptp(b) > 0)  # scipy warns of constants
    a, b = np.array(a, dtype=float), np.array(b, dtype=float)
    above = scipy.stats.ttest_ind(
        b, (1 - margin) * a, equal_var=False, alternative="greater"
    ).pvalue
    below = scipy.stats.ttest_ind(b, (1 + margin) * a, equal_var=False, alternative="less").pvalue
    found = tost(a, b, margin=margin)
    assert found.p_value == pytest.approx(max(above, below), rel=1e-6, abs=1e-12)
    above = scipy.stats.ttest_ind(b + 3, a, equal_var=False, alternative="greater").pvalue
    below = scipy.stats.ttest_ind(b - 3, a, equal_var=False, alternative="less").pvalue
    found = tost(a, b, margin=3, relative=False)
    assert found.p_value == pytest.approx(max(above, below), rel=1e-6, abs=1e-12)


def test_paired_tost_sees_through_what_both_arms_share():
    rng = np.random.default_rng(4)
    common = rng.normal(100, 20, 10)
    a, b = common + rng.normal(0, 1, 10), common + rng.normal(0, 1, 10)
    assert tost(a, b, margin=0.05, paired=True).p_value < 0.001
    assert tost(a, b, margin=0.05).p_value > 0.05
    assert tost(-a, -b, margin=0.05, paired=True).p_value < 0.001


@pytest.mark.parametrize("margin", [0.0, -1.0, float("inf"), float("nan")])
def test_a_margin_is_above_0(margin):
    with pytest.raises(ValueError, match="a margin is a number above 0"):
        tost([1, 2, 3], [1, 2, 3], margin=margin)


# -------------------------------------------------------------------------- properties and refusals

unpaired = pytest.mark.parametrize("test", [welch, mann_whitney], ids=lambda t: t.__name__)


@unpaired
@given(a=figures, b=figures)
def test_swapped_arms_have_the_same_p_value(test, a, b):
    assert test(a, b).p_value == pytest.approx(test(b, a).p_value, rel=1e-9)


@unpaired
@given(a=figures, b=figures)
def test_the_unit_does_not_matter(test, a, b):
    scaled = test(np.multiply(a, 8.0), np.multiply(b, 8.0))
    assert scaled.p_value == pytest.approx(test(a, b).p_value, rel=1e-9)


@pytest.mark.parametrize(
    ("test", "name"),
    [
        (welch, "welch-t"),
        (paired_t, "paired-t"),
        (mann_whitney, "mann-whitney"),
        (wilcoxon, "wilcoxon"),
        (lambda a, b: tost(a, b, margin=0.1), "tost-welch"),
        (lambda a, b: tost(a, b, margin=0.1, paired=True), "tost-paired"),
    ],
)
def test_too_few_trials_are_refused(test, name):
    needed = TRIALS_NEEDED[name]
    a = [100.0, 110.0, 95.0, 120.0, 105.0, 90.0][:needed]
    b = [x + 50 + n for n, x in enumerate(a)]
    assert test(a, b).p_value is not None
    refused = test(a[1:], b[1:])
    assert (refused.p_value, refused.needs, refused.test) == (None, needed, name)
    assert test([], []).needs == needed


def test_rank_tests_refuse_exactly_where_they_could_not_reach_5_percent():
    assert mann_whitney([1, 2, 3, 4], [5, 6, 7, 8]).p_value == pytest.approx(2 / 70)
    assert wilcoxon([1] * 6, [2, 3, 4, 5, 6, 7]).p_value == pytest.approx(2 / 64)


def test_figures_without_spread():
    assert welch([0.1] * 5, [0.1] * 7).p_value == 1.0
    assert welch([0.1] * 5, [0.2] * 7).p_value == 0.0
    assert paired_t([0.1] * 5, [0.1] * 5).p_value == 1.0
    assert wilcoxon([3.0] * 6, [3.0] * 6).p_value == 1.0
    assert mann_whitney([3.0] * 6, [3.0] * 6).p_value == 1.0
    assert mann_whitney([3.0] * 60, [3.0] * 60).p_value == 1.0
    assert tost([0.1] * 5, [0.1] * 5, margin=0.01).p_value == 0.0


def test_what_does_not_pair_is_an_error():
    for test in (paired_t, wilcoxon):
        with pytest.raises(ValueError, match="7 blocks of the baseline are paired with 6"):
            test([1.0] * 7, [1.0] * 6)
    with pytest.raises(ValueError, match="1 answers are paired with 0"):
        mcnemar([True], [])


def test_figures_are_finite_rows():
    with pytest.raises(ValueError, match="value 1 is nan"):
        welch([1.0, float("nan"), 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="shape"):
        welch([[1.0, 2.0, 3.0]], [1.0, 2.0, 3.0])


def test_no_answers_have_no_share():
    found = clopper_pearson(0, 0)
    assert (found.point, found.low, found.high) == (None, 0.0, 1.0)
    with pytest.raises(ValueError, match="3 of 2 is not a share"):
        clopper_pearson(3, 2)
    with pytest.raises(ValueError, match="level"):
        clopper_pearson(1, 2, level=95)
