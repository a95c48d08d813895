"""describe and cv_percent: the figures, and the refusals."""

from __future__ import annotations

import math
import statistics
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.statistics import NEEDED, cv_percent, describe

figures = st.lists(st.floats(1e-3, 1e9), min_size=1, max_size=150)


def test_nothing_is_described_as_nothing():
    described = describe([])
    assert described.n == 0
    assert described.needs == NEEDED
    given_figures = (described.mean, described.sd, described.median, described.minimum)
    assert given_figures == (None, None, None, None)
    assert describe([], groups=[]).interval is None


def test_one_value_has_no_spread_and_no_interval():
    described = describe([7.0], groups=["a"])
    assert (described.mean, described.median, described.minimum, described.maximum) == (7.0,) * 4
    assert described.sd is None
    assert described.interval is None
    assert described.needs["ci"] == 20


def test_an_interval_that_is_not_given_says_what_it_needs():
    values = np.arange(40.0)
    assert "ci" not in describe(values).needs
    assert describe(values, groups=[0, 1] * 20).needs["ci"] == 5
    enough = describe(values, groups=[0, 1, 2, 3, 4] * 8)
    assert "ci" not in enough.needs
    assert enough.interval.low < enough.mean < enough.interval.high


@pytest.mark.parametrize(
    ("n", "withheld"),
    [
        (19, {"p05": 20, "p95": 20, "p99": 100}),
        (20, {"p99": 100}),
        (99, {"p99": 100}),
        (100, {}),
    ],
)
def test_a_quantile_is_given_exactly_from_the_n_it_needs(n, withheld):
    described = describe(np.arange(n, dtype=float))
    assert described.needs == withheld
    for name, q in {"p05": 0.05, "p95": 0.95, "p99": 0.99}.items():
        expected = None if name in withheld else np.quantile(np.arange(n), q)
        assert getattr(described, name) == expected


@given(figures)
def test_figures_agree_with_the_standard_library(values):
    described = describe(values)
    assert described.n == len(values)
    assert described.mean == pytest.approx(statistics.fmean(values), rel=1e-12)
    assert described.median == pytest.approx(statistics.median(values), rel=1e-12)
    assert (described.minimum, described.maximum) == (min(values), max(values))
    if len(values) > 1:
        spread = statistics.stdev(values)
        assert described.sd == pytest.approx(spread, rel=1e-6, abs=max(values) * 1e-12)


@given(figures, st.randoms())
def test_order_does_not_matter(values, rng):
    shuffled = values.copy()
    rng.shuffle(shuffled)
    assert describe(shuffled).median == describe(values).median
    assert describe(shuffled).mean == pytest.approx(describe(values).mean, rel=1e-14)


def test_a_spread_that_float64_cannot_hold_is_unknown():
    described = describe([1e300, -1e300])
    assert described.mean == 0.0
    assert described.sd is None
    assert cv_percent([1e300, 3e300]) is None


def test_what_is_not_finite_is_refused():
    with pytest.raises(ValueError, match=r"values\[1\] is nan"):
        describe([1.0, math.nan])


def test_cv_is_sample_sd_over_mean_in_percent():
    values = [90.0, 100.0, 110.0]
    assert cv_percent(values) == pytest.approx(statistics.stdev(values) / 100.0 * 100.0)
    assert cv_percent([5.0, 5.0]) == 0.0


@pytest.mark.parametrize("values", [[], [1.0], [-1.0, 1.0], [-2.0, -1.0]])
def test_cv_is_unknown_where_the_ratio_says_nothing(values):
    assert cv_percent(values) is None


def test_importing_the_package_loads_no_numpy():
    code = "import harness.statistics, sys; print('numpy' in sys.modules, 'scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
