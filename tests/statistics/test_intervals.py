"""Intervals: against scipy, by their coverage on samples whose mean is known, and at the edges."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from harness.statistics import (
    bootstrap_interval,
    needed_for_interval,
    needed_for_upper_bound,
    quantile_upper_bound,
    t_interval,
)


def covers(interval, mean):
    return interval.low <= mean <= interval.high


# ------------------------------------------------------------------------------------------ Student


@given(st.lists(st.floats(1.0, 1e6), min_size=2, max_size=50), st.floats(0.5, 0.999))
def test_t_interval_equals_scipys(values, level):
    found = t_interval(values, level=level)
    scale = float(scipy.stats.sem(values))
    if scale < 1e-9 * max(values):
        return  # scipy's own deviations are roundings then
    low, high = scipy.stats.t.interval(level, len(values) - 1, np.mean(values), scale)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6)
    assert (found.level, found.method) == (level, "t")


def test_t_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = sum(covers(t_interval(rng.normal(10, 3, 8)), 10.0) for _ in range(2000))
    assert hits / 2000 == pytest.approx(0.95, abs=0.02)


def test_fewer_than_two_values_have_no_interval():
    assert t_interval([]) is None
    assert t_interval([1.0]) is None
    assert bootstrap_interval([], []) is None
    assert bootstrap_interval([1.0], ["a"]) is None


@pytest.mark.parametrize(
    ("groups", "needed"),
    [
        (["a"] * 19, 20),
        (["a"] * 20, None),
        ([0, 1], 5),
        ([0, 1, 2, 3] * 50, 5),
        ([0, 1, 2, 3, 4], None),
    ],
)
def test_too_few_groups_have_no_interval(groups, needed):
    assert needed_for_interval(groups) == needed
    found = bootstrap_interval(np.arange(float(len(groups))), groups)
    assert (found is None) == (needed is not None)


def test_constants_have_an_interval_of_no_width():
    for interval in (t_interval([0.1] * 7), bootstrap_interval([0.1] * 7, [1, 1, 2, 2, 3, 4, 5])):
        assert (interval.low, interval.high) == (0.1, 0.1)


@pytest.mark.parametrize("level", [0.0, 1.0, 95])
def test_a_level_is_a_share(level):
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        t_interval([1.0, 2.0], level=level)
    with pytest.raises(ValueError, match="level"):
        bootstrap_interval([1.0, 2.0], [1, 2], level=level)


# ---------------------------------------------------------------------------------------- bootstrap


def trials(rng, count, size, between, within):
    """Values around 100, with a shift of their own for each trial; and their trial numbers."""
    shifts = np.repeat(rng.normal(0, between, count), size)
    return 100 + shifts + rng.normal(0, within, count * size), np.repeat(range(count), size)


def test_bootstrap_of_one_group_equals_scipys_percentile_interval_further_out():
    values = np.random.default_rng(2).lognormal(2, 0.5, 60)
    ours = bootstrap_interval(values, [0] * 60, resamples=20_000)
    tail = scipy.stats.norm.cdf(-np.sqrt(60 / 59) * scipy.stats.t.ppf(0.975, 59))
    assert tail == pytest.approx(0.0219, abs=1e-4)  # plain percentiles would take 0.025
    theirs = scipy.stats.bootstrap(
        (values,),
        np.mean,
        method="percentile",
        n_resamples=20_000,
        confidence_level=1 - 2 * tail,
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=0.01)


def test_bootstrap_covers_where_trials_differ_and_a_flat_one_does_not():
    rng = np.random.default_rng(3)
    nested, flat = 0, 0
    for seed in range(300):
        values, labels = trials(rng, 15, 8, between=3.0, within=1.0)
        nested += covers(bootstrap_interval(values, labels, resamples=400, seed=seed), 100.0)
        flat += covers(bootstrap_interval(values, [0] * 120, resamples=400, seed=seed), 100.0)
    assert nested / 300 > 0.90
    assert flat / 300 < 0.70


def test_bootstrap_of_the_fewest_groups_covers_what_it_says():
    """Plain percentiles of five groups would cover some 85 %."""
    rng = np.random.default_rng(7)
    samples = [trials(rng, 5, 8, between=3.0, within=1.0) for _ in range(400)]
    hits = sum(
        covers(bootstrap_interval(*sample, seed=seed), 100.0) for seed, sample in enumerate(samples)
    )
    assert hits / 400 > 0.90


def test_bootstrap_does_not_depend_on_how_groups_are_interleaved_or_called():
    values = np.arange(10.0)
    grouped = bootstrap_interval(values, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    interleaved = bootstrap_interval(values[[0, 2, 4, 6, 8, 1, 3, 5, 7, 9]], list("abcde") * 2)
    assert interleaved == grouped


def test_bootstrap_repeats_for_a_seed_and_differs_for_another():
    values, labels = trials(np.random.default_rng(4), 5, 10, 1.0, 1.0)
    first = bootstrap_interval(values, labels, seed=1)
    assert bootstrap_interval(values, labels, seed=1) == first
    assert bootstrap_interval(values, labels, seed=2) != first
    assert bootstrap_interval(values, labels, seed=1 - 2**64) == first, "any integer is a seed"


def test_every_value_needs_a_group():
    with pytest.raises(ValueError, match="3 values have 2 group labels"):
        bootstrap_interval([1.0, 2.0, 3.0], [1, 2])


# -------------------------------------------------------------------------------------- upper bound


def test_an_upper_bound_for_p99_needs_299_values():
    assert needed_for_upper_bound() == 299
    values = np.random.default_rng(5).permutation(299).astype(float)
    assert quantile_upper_bound(values[values < 298]) is None
    assert quantile_upper_bound(values) == 298.0


@pytest.mark.parametrize("n", [299, 472, 473, 1000, 20_000])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_bound_is_the_smallest_order_statistic_that_is_sure_enough(n, confidence):
    bound = quantile_upper_bound(np.arange(n), 0.99, confidence=confidence)
    index = int(bound)
    assert scipy.stats.binom.cdf(index, n, 0.99) >= confidence
    assert scipy.stats.binom.cdf(index - 1, n, 0.99) < confidence


def test_the_bound_holds_as_often_as_it_says():
    rng = np.random.default_rng(6)
    true_p90 = -np.log(0.1)
    held = sum(
        quantile_upper_bound(rng.exponential(size=100), 0.9) >= true_p90 for _ in range(1000)
    )
    assert held / 1000 >= 0.935


@given(st.floats(0.01, 0.999), st.floats(0.01, 0.999))
def test_needed_is_the_least_n(q, confidence):
    n = needed_for_upper_bound(q, confidence=confidence)
    assert 1 - q**n >= confidence - 1e-12
    assert n == 1 or 1 - q ** (n - 1) < confidence + 1e-12
    assert quantile_upper_bound(np.arange(n), q, confidence=confidence) == n - 1
