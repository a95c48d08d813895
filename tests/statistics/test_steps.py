"""Steps of a series: found where they are, and seldom where there are none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.statistics import find_steps, runs_for_a_step

finite = st.floats(-1e6, 1e6)


def test_steps_are_found_where_they_are():
    row = [100, 101, 99, 100, 102, 98, 120, 121, 119, 120, 122, 121, 90, 91, 90, 89, 90, 91]
    found = find_steps(row)
    assert [step.at for step in found.steps] == [6, 12]
    first, second = found.steps
    assert (first.before, first.after, first.n) == (100.0, 120.5, (6, 6))
    assert second.before == 120.5
    assert first.share == pytest.approx(0.205)
    assert all(step.p_value < 0.01 for step in found.steps)


@pytest.mark.parametrize(("alpha", "needed"), [(0.05, 9), (0.01, 11), (0.001, 15)])
def test_how_many_runs_it_takes(alpha, needed):
    assert runs_for_a_step(alpha) == needed
    few = find_steps([0.0] * (needed // 2) + [9.0] * (needed - 1 - needed // 2), alpha=alpha)
    assert (few.steps, few.needs) == ((), needed)
    plain = find_steps([0.0] * needed + [9.0, 9.1] * needed, alpha=alpha)
    assert (plain.needs, [step.at for step in plain.steps]) == (None, [needed])


def test_a_step_in_the_last_two_runs_of_many():
    row = [100 + (7 * i) % 5 for i in range(40)] + [140, 141]
    (step,) = find_steps(row).steps
    assert step.at == 40


def test_one_outlier_is_no_step():
    row = [100.0 + (7 * i) % 5 for i in range(40)]
    row[20] = 500.0
    assert find_steps(row).steps == ()


@settings(max_examples=40)
@given(st.lists(finite, min_size=10, max_size=30), st.integers(0, 2**32))
def test_it_is_repeatable_and_describes_what_it_was_given(row, seed):
    found = find_steps(row, shuffles=199, seed=seed)
    assert found == find_steps(row, shuffles=199, seed=seed)
    edges = [0, *(step.at for step in found.steps), len(row)]
    assert edges == sorted(set(edges))
    for (left, at, right), step in zip(
        zip(edges, edges[1:], edges[2:], strict=False), found.steps, strict=True
    ):
        assert min(step.n) >= 2
        assert step.before == pytest.approx(np.mean(row[left:at]), rel=1e-9, abs=1e-9)
        assert step.after == pytest.approx(np.mean(row[at:right]), rel=1e-9, abs=1e-9)


@settings(max_examples=25)
@given(st.integers(6, 15), st.integers(6, 15), finite, st.floats(1.0, 1e6), st.integers(0, 999))
def test_a_step_far_beyond_the_noise_is_always_found(before, after, level, size, seed):
    noise = np.random.default_rng(seed).normal(0, size / 50, before + after)
    row = level + noise + np.r_[np.zeros(before), np.full(after, size)]
    assert before in [step.at for step in find_steps(row, seed=seed).steps]


@given(st.floats(-1e9, 1e9), st.integers(10, 50))
def test_a_constant_series_has_none(value, n):
    assert find_steps([value] * n, shuffles=199).steps == ()


@pytest.mark.parametrize("kind", ["normal", "t3", "lognormal"])
def test_false_alarms_stay_at_their_level(kind):
    """300 series without a step, at 5 %: more than 26 have a probability of 0.2 % if the level
    holds."""
    rng = np.random.default_rng(20261120)
    draw = {
        "normal": lambda: rng.normal(100, 3, 16),
        "t3": lambda: rng.standard_t(3, 16),
        "lognormal": lambda: rng.lognormal(0, 1, 16),
    }[kind]
    alarms = sum(bool(find_steps(draw(), alpha=0.05, shuffles=199).steps) for _ in range(300))
    assert alarms <= 26


@pytest.mark.parametrize(
    ("row", "how", "says"),
    [
        ([1, float("nan")], {}, "value 1 is nan"),
        ([1] * 20, {"alpha": 0.7}, "alpha"),
        ([1] * 20, {"alpha": 0.001, "shuffles": 99}, "99 shuffles"),
    ],
)
def test_what_cannot_be_asked(row, how, says):
    with pytest.raises(ValueError, match=says):
        find_steps(row, **how)
