"""Energy from a counter that steps: recovered within the stated bound, or refused, and why."""

from __future__ import annotations

import pytest
from harness_hardware.gpu_energy import (
    Look,
    counted,
    idle_mw,
    integrated_mj,
    period_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.devices.synthetic import Synthetic, SyntheticSpec
from harness.joules import why_too_short
from harness.testing import FakeClock

PIECES = st.lists(st.tuples(st.floats(0.003, 3), st.floats(0, 1200)), min_size=1, max_size=6).map(
    tuple
)


def looked(provider, uuid):
    one = provider.energy(uuid)
    return Look(one.before_ns, one.energy_mj)


@given(
    pieces=PIECES,
    period_ms=st.floats(5, 400),
    before_s=st.floats(0.5, 3),
    length_s=st.floats(0.01, 6),
    every_s=st.floats(0.01, 1.5),
)
def test_the_true_energy_is_within_the_bound_whatever_the_load(
    pieces, period_ms, before_s, length_s, every_s
):
    """Whatever the counter's period, the phase, and how seldom it is looked at in between."""
    clock = FakeClock()
    provider = Synthetic(SyntheticSpec(period_ms=period_ms), clock=clock, pieces=pieces)
    (uuid,) = (one.uuid for one in provider.devices())
    clock.wait(before_s)
    start_ns, begun = clock.monotonic_ns(), looked(provider, uuid)
    within, left_s = [], length_s
    while left_s > 0:
        clock.wait(step_s := min(every_s, left_s))
        left_s -= step_s
        within.append(looked(provider, uuid))
    end_ns, ended = clock.monotonic_ns(), looked(provider, uuid)
    clock.wait(1.5 * period_ms / 1e3)
    found = counted(begun, within, ended, looked(provider, uuid))
    true_mj = provider.true_energy_j(start_ns, end_ns) * 1e3
    if found.energy_mj is None:
        assert found.reason == "the energy counter did not move"
    else:
        assert abs(found.energy_mj - true_mj) <= found.bound_mj


@given(watts=st.floats(1, 1500), period_ms=st.floats(10, 200), phase=st.floats(0, 1))
def test_under_steady_load_the_bound_is_two_steps(watts, period_ms, phase):
    clock = FakeClock()
    spec = SyntheticSpec(period_ms=period_ms)
    provider = Synthetic(spec, clock=clock, pieces=((1.0, watts),))
    (uuid,) = (one.uuid for one in provider.devices())
    clock.wait(1 + phase * period_ms / 1e3)
    begun, within = looked(provider, uuid), []
    for _ in range(60):
        clock.wait(period_ms / 2e3)
        within.append(looked(provider, uuid))
    ended = within[-1]
    while (after := looked(provider, uuid)).energy_mj == ended.energy_mj:
        clock.wait(period_ms / 20e3)
    found = counted(begun, within, ended, after)
    assert found.bound_mj == pytest.approx(2 * period_ms / 1e3 * watts * 1e3, rel=0.01, abs=5)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([None, 5, 6, 7], "did not answer"),
        ([5, 6, None, 7], "did not answer"),
        ([5, 6, 7, None], "did not answer"),
        ([5, 9, 7, 8], "anew"),
        ([5, 9, 2, 8], "anew"),
        ([5, 6, 7, 3], "anew"),
        ([5, 5, 5, 5], "did not move"),
        ([5, 5, 5, 6], "did not move"),
    ],
)
def test_what_cannot_be_counted_says_why(values, said):
    first, *within, last, after = (Look(at, value) for at, value in enumerate(values))
    found = counted(first, within, last, after)
    assert found.energy_mj is None and found.bound_mj is None and said in found.reason


def test_a_look_that_failed_in_between_does_no_harm():
    looks = [Look(0, 100), Look(1, None), Look(2, 130), Look(3, 150), Look(4, 170)]
    found = counted(looks[0], looks[1:3], looks[3], looks[4])
    assert (found.energy_mj, found.bound_mj) == (50, 30 + 20 + 2)


def test_windows_that_cannot_carry_a_figure_are_refused():
    assert why_too_short(2.0, 0.1) == ""
    assert "it takes 2 s" in why_too_short(1.99, 0.1)
    assert why_too_short(5.0, 0.25) == ""
    assert "it takes 5 s (2 s, and 20 updates" in why_too_short(4.0, 0.25)
    assert "not known" in why_too_short(60.0, None)


@settings(max_examples=30)
@given(period_ms=st.floats(20, 150), idle_w=st.floats(5, 500), poll_ms=st.floats(1, 4))
def test_the_period_and_the_idle_power_are_found_by_polling(period_ms, idle_w, poll_ms):
    clock = FakeClock()
    spec = SyntheticSpec(period_ms=period_ms, idle_w=idle_w, quiet_s=1e6)
    provider = Synthetic(spec, clock=clock)
    (uuid,) = (one.uuid for one in provider.devices())
    looks = []
    while clock.monotonic_ns() < 2.5e9:
        looks.append(looked(provider, uuid))
        clock.wait(poll_ms / 1e3)
    period = period_of(looks)
    assert abs(period.median_ns / 1e6 - period_ms) <= poll_ms + 0.01
    span_s = (period.steps - 1) * period_ms / 1e3
    assert idle_mw(looks) / 1e3 == pytest.approx(idle_w, rel=0.002 + 2 * poll_ms / 1e3 / span_s)


def test_a_counter_that_stands_still_has_no_period():
    still = [Look(at, 7) for at in range(100)]
    assert period_of(still) is None and idle_mw(still) is None
    assert period_of([Look(at, None) for at in range(9)]) is None
    assert period_of([Look(at, 9 - at) for at in range(9)]) is None


@settings(max_examples=30)
@given(pieces=PIECES, length_s=st.floats(2, 10))
def test_the_trapezoid_is_right_but_for_the_edges_of_the_load(pieces, length_s):
    """Of a sensor that shows each instant: an edge between two samples is off by half of the step
    in power over their distance, at most."""
    clock = FakeClock()
    provider = Synthetic(SyntheticSpec(average_s=0), clock=clock, pieces=pieces)
    (uuid,) = (one.uuid for one in provider.devices())
    began_ns, every_s, points = clock.monotonic_ns(), 0.01, []
    while (now_ns := clock.monotonic_ns()) < began_ns + length_s * 1e9:
        points.append((now_ns, float(provider.read(uuid).power_instant_mw)))
        clock.wait(every_s)
    end_ns = points[-1][0]
    true_mj = provider.true_energy_j(began_ns, end_ns) * 1e3
    edges = 1 + len(pieces) * (1 + length_s / sum(seconds for seconds, _ in pieces))
    spread_mw = max(watts for _, watts in pieces) * 1e3
    assert abs(integrated_mj(points, began_ns, end_ns) - true_mj) <= edges * spread_mw * every_s + 1


def test_the_trapezoid_of_known_samples():
    points = [(1_000_000_000, 100.0), (2_000_000_000, 300.0)]
    assert integrated_mj(points, 1_000_000_000, 2_000_000_000) == 200.0
    assert integrated_mj(points, 500_000_000, 3_000_000_000) == 50 + 200 + 300
    assert integrated_mj(points[:1], 0, 10) is None
    assert integrated_mj(points, 10, 10) is None
