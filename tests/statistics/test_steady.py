"""MSER-5 and drift against series whose answer is known; the level of drift by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.statistics import DRIFT_NEEDS, drift, lag1, mser5, n_eff
from harness.statistics.steady import BOUNDS, LENGTHS, LEVELS, _ranks, bound

SEED = 20261121


def noise(n, sd=1.0, seed=SEED):
    return sd * np.random.default_rng(seed).standard_normal(n)


def autoregressive(n, rho, rng):
    made = rng.standard_normal(n)
    for index in range(1, n):
        made[index] = rho * made[index - 1] + np.sqrt(1 - rho * rho) * made[index]
    return made


# mser5 -------------------------------------------------------------------------------------------


def plain_mser5(values, batch=5):
    """White's rule, word by word."""
    means = [np.mean(values[i : i + batch]) for i in range(0, len(values) // batch * batch, batch)]
    errors = {}
    for d in range(len(means) - 3):
        rest = np.array(means[d:])
        errors[d] = np.square(rest - rest.mean()).sum() / len(rest) ** 2
    return min(errors, key=errors.get) * batch


def test_a_warm_up_is_cut_off_where_it_ends():
    warm = np.concatenate([100 + 200 * np.exp(-np.arange(40) / 8), np.full(160, 100.0)])
    kept = mser5(warm + noise(200))
    assert 15 <= kept <= 45
    step = np.concatenate([np.full(30, 500.0), np.full(170, 100.0)]) + noise(200)
    assert 30 <= mser5(step) <= 60


@given(st.lists(st.floats(0, 1e6), min_size=20, max_size=80))
def test_it_is_the_rule_as_it_is_written(values):
    kept, oracle = mser5(values), plain_mser5(values)
    if kept != oracle:  # equal but for rounding: neither is better
        means = np.array(values[: len(values) // 5 * 5]).reshape(-1, 5).mean(axis=1)

        def error(d):
            rest = means[d // 5 :]
            return np.square(rest - rest.mean()).sum() / rest.size**2

        assert error(kept) == pytest.approx(error(oracle), rel=1e-6, abs=1e-6)


def test_too_few_to_cut():
    assert mser5(range(19)) is None
    assert mser5([1.0] * 20) == 0


# autocorrelation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_lag1_is_unbiased_enough(rho):
    rng = np.random.default_rng(SEED)
    rows = np.array([autoregressive(100, rho, rng) for _ in range(300)])
    rows -= rows.mean(axis=1, keepdims=True)
    assert abs(lag1(rows).mean() - max(rho, 0.04)) < 0.04


def test_what_is_left_of_n():
    assert n_eff([1.0, 2.0]) == 2
    assert n_eff([5.0] * 50) == 50
    assert n_eff(np.arange(100.0)) < 5
    assert n_eff(noise(1000)) > 800


# drift -------------------------------------------------------------------------------------------


def test_a_ramp_and_a_step_are_found_where_they_are():
    ramp = np.linspace(50, 2050, 100) + noise(100, 30)
    found = drift([ramp])
    assert (found.kind, found.begins, found.significant) == ("trend", 50, True)
    assert found.before == pytest.approx(1050, rel=0.1)
    assert found.after == pytest.approx(2050, rel=0.1)
    assert found.change_share == pytest.approx(1.0, abs=0.2)
    step = np.where(np.arange(200) < 160, 100.0, 80.0) + noise(200)
    found = drift([step])
    assert (found.kind, found.significant) == ("shift", True)
    assert abs(found.begins - 160) <= 4
    assert found.change_share == pytest.approx(-0.25, abs=0.02)


def test_what_ends_in_the_first_half_is_no_drift():
    warm = np.concatenate([np.linspace(500, 100, 90), np.full(110, 100.0)]) + noise(200)
    assert not drift([warm]).significant


def test_series_of_the_same_thing_are_taken_together():
    """Each alone is too noisy to tell."""
    rows = [100 + np.linspace(0, 60, 100) + noise(100, 25, seed) for seed in range(30)]
    assert not drift(rows[:1]).significant
    assert drift(rows).significant
    assert drift([*rows, [1.0, 2.0]]) == drift(rows)  # one that was cut short is left out


def test_where_nothing_can_be_said():
    assert drift([]) is None
    assert drift([range(DRIFT_NEEDS - 1)]) is None
    assert drift([range(DRIFT_NEEDS)]).significant
    assert drift([[7.0] * 100]) is None
    assert drift([range(100)], together=3) is None
    assert drift([range(120)], together=3).significant


@given(st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_units_and_offset_change_no_verdict(scale, offset):
    row = np.linspace(0, 40, 80) + noise(80, 8)
    one, other = drift([row]), drift([np.round(row, 6) * scale + offset])
    assert other.statistic == pytest.approx(one.statistic, rel=1e-6)
    assert (other.kind, other.begins) == (one.kind, one.begins)


def test_direction_is_a_matter_of_sign_only():
    row = np.linspace(0, 40, 80) + noise(80, 8)
    up, down = drift([row]), drift([-row])
    assert up.statistic == pytest.approx(down.statistic)
    assert up.after - up.before == pytest.approx(down.before - down.after)


def test_ranks_share_ties():
    assert _ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]


def test_bounds_rise_with_the_number_of_tests_and_fall_with_n():
    for kind, rows in BOUNDS.items():
        assert [len(row) for row in rows] == [len(LENGTHS)] * len(LEVELS)
        for n, loose, tight in zip(LENGTHS, *rows, strict=True):
            assert bound(kind, n, LEVELS[0]) == pytest.approx(loose)
            assert bound(kind, n, LEVELS[1]) == pytest.approx(tight)
            assert bound(kind, n, 1e-5) >= tight
        assert bound(kind, 100_000, 1e-3) == pytest.approx(rows[0][-1])


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("normal", lambda rng, n: rng.normal(100, 20, n)),
        ("lognormal", lambda rng, n: rng.lognormal(4, 1, n)),
        ("gamma", lambda rng, n: rng.gamma(1, 100, n)),
        ("two modes", lambda rng, n: np.where(rng.random(n) < 0.3, 300.0, 100.0)),
        ("correlated", lambda rng, n: 100 + 25 * autoregressive(n, 0.9, rng)),
    ],
)
def test_the_level_is_held(name, make):
    """1 % of runs with 4 series is 0.25 % of series: more than 8 of 900 would have a chance of
    one in a thousand, were it so. The benchmark counts many more."""
    rng = np.random.default_rng([SEED, *name.encode()])
    alarms = sum(
        bool((found := drift([make(rng, n)], tests=4)) and found.significant)
        for n in (40, 80, 160)
        for _ in range(300)
    )
    assert alarms <= 8
