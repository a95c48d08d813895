"""Effects between arms: by hand, against scipy, by their coverage, and their symmetries."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.statistics import (
    by_trial,
    cliffs_delta,
    effect,
    hodges_lehmann,
    in_blocks,
    trial_figures,
)
from tests.statistics.textbook import DEPRESSION, PERMEABILITY

floats = st.lists(st.floats(1.0, 1e4), min_size=6, max_size=8)


def arm(rng, trials=5, size=20, level=100.0, between=3.0, within=10.0):
    return [level + rng.normal(0, between) + rng.normal(0, within, size) for _ in range(trials)]


def bounds(found):
    return found.low, found.high


# ------------------------------------------------------------------------------------------- trials


def test_values_are_brought_together_by_trial():
    values, trials = [1.0, 10.0, 3.0, 20.0, 5.0], ["a", "b", "a", "b", "a"]
    found = by_trial(values, trials)
    assert {label: row.tolist() for label, row in found.items()} == {
        "a": [1.0, 3.0, 5.0],
        "b": [10.0, 20.0],
    }
    assert trial_figures([1.0, 2.0, 6.0], [0, 0, 0]) == {0: 2.0}
    assert trial_figures([1.0, 2.0, 6.0], [0, 0, 0], of="mean") == {0: 3.0}
    with pytest.raises(ValueError, match="2 values have 1 trial labels"):
        by_trial([1.0, 2.0], [0])


def test_blocks_are_what_both_arms_have():
    assert in_blocks({3: 1.0, 1: 2.0, 2: 9.0}, {1: 20.0, 3: 10.0, 7: 0.0}) == (
        [1.0, 2.0],
        [10.0, 20.0],
    )


# ---------------------------------------------------------------------------------------- bootstrap


def test_points_are_those_of_all_values():
    a, b = [[1.0, 2.0, 6.0], [3.0]], [[4.0, 4.0], [10.0]]
    assert effect(a, b, of="mean", kind="difference").point == 3.0
    assert effect(a, b, of="mean", kind="ratio").point == 2.0
    assert effect(a, b, of="median", kind="difference").point == 1.5
    assert effect(a, b, of="median", kind="ratio").point == 1.6


def test_whole_trials_of_single_values_have_welchs_interval_nearly():
    rng = np.random.default_rng(3)
    a, b = rng.normal(100, 5, (2, 12))
    found = effect(
        a[:, None], b[:, None], of="mean", kind="difference", whole_trials=True, resamples=20_000
    )
    theirs = scipy.stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
    width = theirs.high - theirs.low
    assert bounds(found) == pytest.approx((theirs.low, theirs.high), abs=0.05 * width)


def test_medians_are_resampled_as_a_loop_would():
    """Trials of unequal length, against a resampling that is written out."""
    rng = np.random.default_rng(5)
    a = [rng.lognormal(4.6, 0.3, size) for size in (5, 12, 7, 20, 9, 11)]
    b = [x * 1.1 for x in a]
    found = effect(a, b, kind="difference", resamples=6000)
    apart = []
    for _ in range(6000):
        middles = []
        for one in (a, b):
            drawn = [one[i] for i in rng.integers(len(one), size=len(one))]
            middles.append(np.median(np.concatenate([rng.choice(x, x.size) for x in drawn])))
        apart.append(middles[1] - middles[0])
    widened = np.sqrt(6 / 5) * scipy.stats.t.ppf(0.975, 10) / scipy.stats.norm.ppf(0.975)
    expected = found.point + widened * (np.quantile(apart, [0.025, 0.975]) - found.point)
    assert bounds(found) == pytest.approx(expected, abs=0.06 * np.ptp(expected))


@pytest.mark.parametrize("of", ["mean", "median"])
@pytest.mark.parametrize("whole", [False, True])
def test_bounds_cover(of, whole):
    rng, hits = np.random.default_rng(7), 0
    for seed in range(250):
        found = effect(
            arm(rng), arm(rng, level=110.0), of=of, whole_trials=whole, resamples=200, seed=seed
        )
        hits += found.low <= 1.1 <= found.high
    assert hits / 250 > (0.90 if whole else 0.94)


def test_blocks_take_out_what_both_arms_share():
    rng = np.random.default_rng(8)
    common = rng.normal(0, 20, 8)
    a = [100 + c + rng.normal(0, 5, 30) for c in common]
    b = [103 + c + rng.normal(0, 5, 30) for c in common]
    paired = effect(a, b, of="mean", kind="difference", paired=True)
    apart = effect(a, b, of="mean", kind="difference")
    assert paired.high - paired.low < 0.4 * (apart.high - apart.low)
    assert paired.low > 0 > apart.low


def test_bounds_are_repeatable_and_scale_with_the_unit():
    rng = np.random.default_rng(9)
    a, b = arm(rng), arm(rng, level=105)
    assert effect(a, b, seed=-4) == effect(a, b, seed=-4) != effect(a, b, seed=4)
    eightfold = [x * 8 for x in a], [x * 8 for x in b]
    assert bounds(effect(*eightfold)) == pytest.approx(bounds(effect(a, b)))
    plain, scaled = (effect(*arms, kind="difference") for arms in ((a, b), eightfold))
    assert bounds(scaled) == pytest.approx([8 * x for x in bounds(plain)])


def test_swapped_arms_have_the_opposite_effect():
    rng = np.random.default_rng(10)
    a, b = arm(rng), arm(rng, level=120)
    there, back = effect(a, b, resamples=4000), effect(b, a, resamples=4000)
    assert there.point * back.point == pytest.approx(1)
    assert bounds(there) == pytest.approx((1 / back.high, 1 / back.low), rel=0.02)


def test_a_higher_level_is_further_out():
    rng = np.random.default_rng(11)
    a, b = arm(rng), arm(rng)
    rows = [bounds(effect(a, b, level=level)) for level in (0.8, 0.95, 0.99)]
    assert rows[2][0] < rows[1][0] < rows[0][0] < rows[0][1] < rows[1][1] < rows[2][1]


def test_constants_have_bounds_of_no_width():
    found = effect([[0.1] * 4] * 5, [[0.2] * 3] * 5)
    assert (found.low, found.point, found.high) == pytest.approx((2.0, 2.0, 2.0))


def test_effects_refuse():
    few = effect([[1.0]] * 4, [[2.0]] * 9)
    assert (few.point, few.low, few.needs) == (2.0, None, 5)
    assert effect([], [[1.0]]).needs == 5
    negative = effect([[-1.0]] * 5, [[2.0]] * 5)
    assert (negative.point, negative.low) == (None, None)
    assert "not above 0" in negative.because
    straddling = effect([[-1.0, 2.0, 2.0]] * 5, [[2.0]] * 5, of="mean", resamples=500)
    assert (straddling.point, straddling.low) == (2.0, None)
    assert "clearly" in straddling.because
    with pytest.raises(ValueError, match="a trial has no values"):
        effect([[]], [[1.0]])
    with pytest.raises(ValueError, match="1 blocks of the baseline are paired with 2"):
        effect([[1.0]], [[1.0], [2.0]], paired=True)
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        effect([[1.0]], [[1.0]], level=95)


# ---------------------------------------------------------------------------------- Hodges–Lehmann


def test_hollander_and_wolfes_shifts():
    """Estimates 0.305 (permeability) and −0.46 (depression): Hollander & Wolfe (1973), chapters 3
    and 4; bounds as R's wilcox.test(conf.int = TRUE) gives them."""
    found = hodges_lehmann(*PERMEABILITY)
    assert (found.point, *bounds(found)) == pytest.approx((0.305, -0.15, 0.76))
    found = hodges_lehmann(*DEPRESSION, paired=True)
    assert (found.point, *bounds(found)) == pytest.approx((-0.46, -0.786, -0.01), abs=1e-9)


def test_bounds_of_a_shift_are_the_shifts_that_the_test_does_not_reject():
    rng = np.random.default_rng(12)
    a, b = rng.normal(100, 5, 8), rng.normal(104, 5, 6)
    found = hodges_lehmann(a, b)
    for shift in bounds(found):
        inwards = np.sign(found.point - shift) * 1e-9
        for step, kept in ((inwards, True), (-inwards, False)):
            p = scipy.stats.mannwhitneyu(b - shift - step, a, method="exact").pvalue
            assert bool(p > 0.05) == kept


@pytest.mark.parametrize(("paired", "needed"), [(False, 4), (True, 6)])
def test_a_shift_has_bounds_from_so_many_trials_on(paired, needed):
    row = np.arange(float(needed))
    assert hodges_lehmann(row, row + 9, paired=paired).low is not None
    refused = hodges_lehmann(row[1:], row[1:] + 9, paired=paired)
    assert (refused.point, refused.low, refused.needs) == (9.0, None, needed)
    assert hodges_lehmann([], [], paired=paired).needs == needed


@pytest.mark.parametrize("paired", [False, True])
def test_the_normal_approximation_joins_the_exact_bounds(paired):
    """From 50 to 52 trials in all (51 blocks) the share of differences outside hardly changes."""
    from harness.statistics.shifts import _outside

    near, far = ((50, 50), (51, 51)) if paired else ((25, 25), (26, 26))
    exact, normal = _outside(near, 0.95, paired), _outside(far, 0.95, paired)
    count = [n * (n + 1) / 2 if paired else n * m for n, m in (near, far)]
    assert exact / count[0] == pytest.approx(normal / count[1], abs=0.015)


@settings(max_examples=40)
@given(floats, floats, st.booleans())
def test_shifts_swap_and_scale(a, b, paired):
    size = min(len(a), len(b))
    a, b = np.array(a[:size]), np.array(b[:size])
    there, back = hodges_lehmann(a, b, paired=paired), hodges_lehmann(b, a, paired=paired)
    found = there.low, there.point, there.high
    assert found == pytest.approx((-back.high, -back.point, -back.low))
    eightfold = hodges_lehmann(8 * a, 8 * b, paired=paired)
    assert (eightfold.low, eightfold.high) == pytest.approx((8 * there.low, 8 * there.high))
    further = hodges_lehmann(a, b + 7, paired=paired)
    assert further.point == pytest.approx(there.point + 7, abs=1e-6)


def test_one_outlying_trial_hardly_moves_the_shift():
    a, b = np.arange(10.0), np.arange(10.0) + 5
    spoilt = np.append(b[:-1], 1e6)
    assert abs(hodges_lehmann(a, spoilt).point - hodges_lehmann(a, b).point) <= 1.0


# ------------------------------------------------------------------------------------ Cliff's delta


@settings(max_examples=40)
@given(*[st.lists(st.integers(1, 9), min_size=5, max_size=12)] * 2)
def test_delta_counts_pairs_and_swaps(a, b):
    found, back = cliffs_delta(a, b), cliffs_delta(b, a)
    signs = [np.sign(y - x) for x, y in itertools.product(a, b)]
    assert found.point == pytest.approx(np.mean(signs), abs=1e-12)
    assert -1 <= found.low <= found.point + 1e-12
    assert found.point - 1e-12 <= found.high <= 1
    assert bounds(found) == pytest.approx((-back.high, -back.low), abs=1e-9)


@given(st.lists(st.integers(1, 9), min_size=5, max_size=12))
def test_delta_grows_with_the_shift(a):
    assume(len(set(a)) > 1)
    row = [cliffs_delta(a, np.add(a, shift)) for shift in (0, 2, 100)]
    assert row[0].point == 0 <= row[1].point <= row[2].point == 1
    assert row[0].low <= row[1].low <= row[2].low < 1


def test_delta_refuses_few_trials():
    found = cliffs_delta([1, 2, 3, 4], [5, 6, 7, 8])
    assert (found.point, found.low, found.needs) == (1.0, None, 5)
    assert cliffs_delta([], [1]).needs == 5
