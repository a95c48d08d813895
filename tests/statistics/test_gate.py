"""The gate: its bounds against tests that scipy makes, its error rates, and what it asks for."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.statistics import gate, power_of, trials_needed
from harness.statistics.contrasts import moments, ratio_bounds, t_of_contrast
from harness.statistics.gate import GATE_ALPHA, GATE_MISS, losses

STEADY = [100.0, 101.0, 99.0, 100.5, 99.5, 100.2]
figures = st.lists(st.floats(90.0, 110.0), min_size=5, max_size=9)


def verdict(a, b, margin=0.05, better="lower", **how):
    return gate(a, b, margin=margin, better=better, **how).verdict


# ----------------------------------------------------------------------------------------- verdicts


def test_the_three_verdicts():
    assert verdict(STEADY, np.multiply(STEADY, 1.1)) == "regression"
    assert verdict(STEADY, np.multiply(STEADY, 0.9)) == "no regression"
    assert verdict(STEADY, STEADY[::-1]) == "no regression"
    assert verdict(STEADY, np.multiply(STEADY, 1.02)) == "no regression"  # shown, but no matter
    wild = [60.0, 140.0, 90.0, 110.0, 100.0, 75.0]
    found = gate(wild, wild[::-1], margin=0.05, better="lower")
    assert found.verdict == "not enough data"
    assert found.more_trials > 50
    assert "neither shown nor excluded" in found.because


def test_the_better_direction_decides_what_a_loss_is():
    higher = np.multiply(STEADY, 1.1)
    assert verdict(STEADY, higher, better="higher") == "no regression"
    assert verdict(higher, STEADY, better="higher") == "regression"
    found = gate(STEADY, higher, margin=0.05, better="higher")
    assert found.loss == pytest.approx(-0.1)
    assert found.loss_low < found.loss < found.loss_high


def test_an_absolute_margin_is_in_the_unit_of_the_figures():
    slower = np.add(STEADY, 4.0)
    assert verdict(STEADY, slower, margin=3.0, relative=False) == "regression"
    assert verdict(STEADY, slower, margin=6.0, relative=False) == "no regression"
    around_0 = np.subtract(STEADY, 100.0)
    assert verdict(around_0, around_0 + 4, margin=3.0, relative=False) == "regression"


def test_blocks_take_out_what_both_arms_share():
    rng = np.random.default_rng(1)
    common = rng.normal(100, 15, 8)
    a, b = common + rng.normal(0, 1, 8), 1.1 * common + rng.normal(0, 1, 8)
    assert verdict(a, b, paired=True) == "regression"
    assert verdict(a, b) == "not enough data"


def test_figures_without_spread_decide():
    assert verdict([7.0] * 5, [7.0] * 5) == "no regression"
    assert verdict([7.0] * 5, [8.0] * 5) == "regression"
    assert verdict([0.1] * 5, [0.1] * 9) == "no regression"


# ---------------------------------------------------------------------------------- few and unusual


@pytest.mark.parametrize(("count", "more"), [(0, 5), (1, 4), (2, 3), (4, 1)])
def test_below_five_trials_there_is_no_decision(count, more):
    found = gate(STEADY[:count], np.multiply(STEADY, 3), margin=0.5, better="lower")
    assert (found.verdict, found.more_trials) == ("not enough data", more)
    assert found.because == "fewer than 5 trials an arm"
    assert (found.loss is None) == (count < 2)


def test_a_baseline_around_0_has_no_shares():
    found = gate([-1.0, 1.0, 0.5, -0.5, 0.1], STEADY, margin=0.05, better="lower")
    assert (found.verdict, found.more_trials, found.loss) == ("not enough data", None, None)
    assert "not clearly above 0" in found.because


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"margin": 0.0}, "a margin is a number above 0, not 0.0"),
        ({"margin": float("nan")}, "a margin"),
        ({"alpha": 0.5}, "alpha must lie between 0 and 0.5"),
        ({"miss": 0.0}, "miss must lie"),
        ({"looks": 0}, "looks are 1 or more, not 0"),
        ({"paired": True}, "6 blocks of the baseline are paired with 5"),
    ],
)
def test_what_makes_no_sense_is_an_error(how, words):
    with pytest.raises(ValueError, match=words):
        gate(STEADY, STEADY[:5], **({"margin": 0.05, "better": "lower"} | how))


def test_looks_divide_the_levels():
    found = gate(STEADY, STEADY, margin=0.05, better="lower", looks=4)
    assert (found.alpha, found.miss) == (GATE_ALPHA / 4, GATE_MISS / 4)
    once = gate(STEADY, STEADY, margin=0.05, better="lower")
    assert found.loss_low < once.loss_low < once.loss_high < found.loss_high


# ------------------------------------------------------------------------------------------- bounds


@settings(max_examples=50)
@given(figures, figures)
def test_the_lower_bound_is_welchs_one_sided_test(a, b):
    size = min(len(a), len(b))
    a, b = a[:size], b[:size]
    if np.ptp(a) < 1e-6 or np.ptp(b) < 1e-6:
        return
    found = gate(a, b, margin=3.0, relative=False, better="lower")
    theirs = scipy.stats.ttest_ind(b, a, equal_var=False, alternative="greater")
    assert found.loss_low == pytest.approx(theirs.confidence_interval(0.99).low, abs=1e-6)
    theirs = scipy.stats.ttest_ind(b, a, equal_var=False, alternative="less")
    assert found.loss_high == pytest.approx(theirs.confidence_interval(0.95).high, abs=1e-6)


@pytest.mark.parametrize("paired", [False, True])
def test_fiellers_bounds_are_where_the_contrast_is_just_not_rejected(paired):
    rng = np.random.default_rng(2)
    a, b = rng.normal(100, 12, 7), rng.normal(108, 9, 7)
    of = moments(a, b, paired=paired)
    df = t_of_contrast(of, of.candidate / of.baseline)[1]
    for bound, tail in zip(ratio_bounds(of, 0.01, 0.05), (0.99, 0.05), strict=True):
        t = float(scipy.stats.t.ppf(tail, df))
        expected = scipy.optimize.brentq(
            lambda theta, t=t: float(t_of_contrast(of, theta)[0]) - t, 0.5, 2.0
        )
        assert float(bound) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=50)
@given(figures, figures, st.sampled_from(["lower", "higher"]))
def test_the_unit_does_not_matter_and_a_worse_candidate_is_never_let_off(a, b, better):
    found = gate(a, b, margin=0.05, better=better)
    scaled = gate(np.multiply(a, 8), np.multiply(b, 8), margin=0.05, better=better)
    assert scaled.verdict == found.verdict
    assert scaled.loss_low == pytest.approx(found.loss_low, abs=1e-9)
    order = ["no regression", "not enough data", "regression"]
    worse = np.add(b, 30 if better == "lower" else -30)
    assert order.index(verdict(a, worse, better=better)) >= order.index(found.verdict)


@settings(max_examples=50)
@given(figures, figures, st.floats(0.001, 0.5))
def test_a_wider_margin_never_makes_a_regression(a, b, margin):
    tight, wide = verdict(a, b, margin), verdict(a, b, 2 * margin)
    assert wide != "regression" or tight == "regression"
    assert tight != "no regression" or wide == "no regression"


# -------------------------------------------------------------------------------------- error rates


def decided(a, b, margin):
    found = losses(
        moments(a, b, paired=False), better="lower", relative=True, alpha=0.01, miss=0.05
    )
    alarm = (found.low > 0) & (found.loss >= margin)
    return float(alarm.mean()), float((found.high < margin).mean())


def test_identical_arms_of_unlike_launches_give_alarms_at_the_level_and_values_do_not():
    rng, shape = np.random.default_rng(3), (4000, 6, 30)
    a, b = (
        100 * (1 + 0.05 * rng.standard_normal((4000, 6, 1)) + 0.1 * rng.standard_normal(shape))
        for _ in range(2)
    )
    alarms = decided(a.mean(axis=-1), b.mean(axis=-1), 1e-9)[0]
    assert alarms < 0.015  # 1 % and 3 standard errors
    assert decided(a.reshape(4000, -1), b.reshape(4000, -1), 1e-9)[0] > 0.1


def test_skewed_figures_of_unequally_many_trials_keep_the_level():
    rng = np.random.default_rng(6)
    few, many = 100 + rng.exponential(5, (4000, 5)), 100 + rng.exponential(5, (4000, 15))
    assert decided(few, many, 1e-9)[0] < 0.015
    assert decided(many, few, 1e-9)[0] < 0.015


def test_a_loss_of_the_margin_passes_at_its_level_and_twice_that_is_found():
    rng = np.random.default_rng(4)
    a, b = rng.normal(100, 3, (4000, 10)), rng.normal(100, 3, (4000, 10))
    assert decided(a, 1.05 * b, 0.05)[1] < 0.061  # 5 % and 3 standard errors
    assert decided(a, 1.10 * b, 0.05)[0] > 0.99
    assert decided(a, b, 0.05)[1] > 0.9


# -------------------------------------------------------------------------------------------- power


def test_trials_needed_by_the_book():
    """Cohen (1988), table 2.4.1: d = 0.5, power 0.8: 64 an arm two-sided at 5 %, 50 one-sided at
    5 % (51 exactly); 26 (27) for one sample one-sided."""
    two_arms = {"sd": np.sqrt(2), "df_per_trial": 2.0}
    assert trials_needed(0.5, alpha=0.025, **two_arms) == 64
    assert trials_needed(0.5, alpha=0.05, **two_arms) == 51
    assert trials_needed(0.5, 1.0, alpha=0.05) == 27


@settings(max_examples=40)
@given(st.floats(0.05, 5), st.integers(3, 60), st.floats(0.005, 0.1))
def test_power_is_the_noncentral_t_and_the_trials_are_the_least(distance, trials, alpha):
    df = trials - 1
    expected = scipy.stats.nct.sf(scipy.stats.t.isf(alpha, df), df, distance * np.sqrt(trials))
    found = power_of(distance, 1.0, trials, alpha=alpha)
    assert found == pytest.approx(expected, abs=1e-6)
    least = trials_needed(distance, 1.0, alpha=alpha)
    assert power_of(distance, 1.0, least, alpha=alpha) >= 0.8
    assert least == 2 or power_of(distance, 1.0, least - 1, alpha=alpha) < 0.8


def test_power_at_its_edges():
    assert trials_needed(1.0, 0.0) == 2
    assert trials_needed(1e-6, 1.0) is None
    assert power_of(1e6, 1.0, 5) == 1.0
    with pytest.raises(ValueError, match="a distance is above 0"):
        power_of(0.0, 1.0, 5)


def test_so_many_more_trials_mostly_bring_an_answer():
    rng, answered, asked = np.random.default_rng(5), 0, 0
    while asked < 100:
        a, b = rng.normal(100, 4, (2, 6))
        first = gate(a, b, margin=0.05, better="lower")
        if first.verdict == "not enough data":
            asked += 1
            more = rng.normal(100, 4, (2, first.more_trials))
            a, b = np.append(a, more[0]), np.append(b, more[1])
            answered += verdict(a, b) != "not enough data"
    assert answered > 60
