"""Outliers are flagged by scaled deviation from the median; none is dropped."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from harness.statistics import flag_outliers, scaled_deviations


def test_a_stall_is_flagged_and_stays_in_the_data():
    values = [101.0, 99.0, 100.0, 102.0, 98.0, 100.5, 480.0]
    assert flag_outliers(values).tolist() == [False] * 6 + [True]


def test_several_outliers_do_not_hide_one_another():
    """They inflate the standard deviation so that three of them pass a 3-sigma rule."""
    values = np.array([100.0, 101, 99, 100, 102, 98, 101, 100, 900, 950, 1000])
    by_sigma = np.abs(values - values.mean()) > 3 * values.std(ddof=1)
    assert not by_sigma.any()
    assert flag_outliers(values).sum() == 3


def test_the_threshold_is_in_scaled_deviations():
    values = np.array([-1.0, 0.0, 1.0, 0.0, -1.0, 1.0, 3.5 * 1.4826, 3.6 * 1.4826])
    deviations = scaled_deviations(values)
    assert deviations == pytest.approx(
        (values - np.median(values)) / scipy.stats.median_abs_deviation(values, scale="normal")
    )
    assert flag_outliers(values, threshold=99).sum() == 0


def test_where_most_values_are_equal_the_mean_deviation_takes_over():
    values = [50.0] * 99 + [51.0]
    assert flag_outliers(values).tolist() == [False] * 99 + [True]


@pytest.mark.parametrize("values", [[], [1.0], [2.0] * 5])
def test_nothing_stands_out_of_nothing(values):
    assert flag_outliers(values).tolist() == [False] * len(values)


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60),
    st.floats(0.125, 8.0),
    st.integers(-1000, 1000),
)
def test_the_median_is_never_flagged_and_units_do_not_matter(values, factor, shift):
    row = np.array(values)
    deviations = scaled_deviations(row)
    assert np.isfinite(deviations).all()
    assert np.median(deviations) == pytest.approx(0.0, abs=1e-6)
    if np.ptp(row) > 1e-3 and scipy.stats.median_abs_deviation(row) > 1e-3:
        moved = scaled_deviations(row * factor + shift)
        assert moved == pytest.approx(deviations, rel=1e-4, abs=1e-4)
