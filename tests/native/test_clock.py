"""The clock against Python's own readings of the same clocks."""

from __future__ import annotations

import sys
import time

import pytest

from harness._native import clock


def test_it_is_the_clock_of_perf_counter():
    for _ in range(100):
        before = time.perf_counter_ns()
        now = clock.monotonic_ns()
        after = time.perf_counter_ns()
        assert before <= now <= after


def test_it_never_goes_back():
    readings = [clock.monotonic_ns() for _ in range(10_000)]
    assert readings == sorted(readings)


def test_the_offset_takes_monotonic_to_realtime():
    """Python's own bracket must overlap ours: both hold the true offset, unless the clock stepped
    in between, so one of a few tries is enough."""

    def agrees() -> bool:
        before = clock.monotonic_ns()
        realtime = time.time_ns()
        after = clock.monotonic_ns()
        offset, uncertainty = clock.realtime_offset_ns()
        slewed = 100_000  # NTP slews by at most 500 ppm; a bracket here takes far less than 1 ms
        low, high = realtime - after, realtime - before
        return low - slewed <= offset + uncertainty and offset - uncertainty <= high + slewed

    assert any(agrees() for _ in range(5))


@pytest.mark.parametrize("tries", [1, 16])
def test_the_uncertainty_is_half_of_a_bracket_within_the_call(tries):
    before = clock.monotonic_ns()
    offset, uncertainty = clock.realtime_offset_ns(tries)
    after = clock.monotonic_ns()
    assert isinstance(offset, int)
    assert 0 <= 2 * uncertainty <= (after - before) // tries + 1


@pytest.mark.parametrize("tries", [0, -1])
def test_tries_below_one(tries):
    with pytest.raises(ValueError, match="tries must be 1 or more"):
        clock.realtime_offset_ns(tries)


def test_build_info_names_compiler_and_cython():
    info = clock.build_info()
    assert set(info) == {"compiler", "cython", "debug"}
    assert info["debug"] in ("0", "1")
    assert [part.isdigit() for part in info["cython"].split(".")] == [True] * 3
    if sys.platform == "linux":
        assert info["compiler"].split()[0] in ("gcc", "clang")
