"""Effects between arms: by hand, against scipy, by their coverage, and their symmetries."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.statistics import (
    cliffs_delta,
    hodges_lehmann,
)
from tests.statistics.textbook import DEPRESSION, PERMEABILITY

floats = st.lists(st.floats(1.0, 1e4), min_size=6, max_size=8)


def bounds(found):
    return found.low, found.high


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
@given(*[st.lists(st.integers(1, 9), min_size=1, max_size=12)] * 2)
def test_delta_counts_pairs_and_swaps(a, b):
    larger = sum(y > x for x in a for y in b)
    smaller = sum(y < x for x in a for y in b)
    assert cliffs_delta(a, b) == pytest.approx((larger - smaller) / (len(a) * len(b)))
    assert cliffs_delta(b, a) == pytest.approx(-cliffs_delta(a, b))


def test_delta_of_nothing_is_unknown():
    assert cliffs_delta([], [1]) is None
    assert cliffs_delta([1], []) is None
