"""`host`: what the machine did meanwhile, from readings that are given and from this machine."""

from __future__ import annotations

import pytest
from harness_hardware.host import Host, Sample, take
from harness_hardware.options import HostOptions
from msgspec.structs import replace

from harness.hostload import Reading
from harness.testing.instrument_contract import InstrumentContract

SECOND_NS = 1_000_000_000
BEFORE = Reading(
    at_ns=0,
    ticks=(0,) * 8,
    run_wait_ns={1: 0},
    pressure_us=0,
    swapped=(0, 0),
    cgroup_us=100,
    throttled_ms={"core": 5},
)
AFTER = Reading(
    at_ns=2 * SECOND_NS,
    ticks=(100, 0, 0, 290, 0, 0, 0, 10),
    run_wait_ns={1: SECOND_NS // 10},
    pressure_us=200_000,
    swapped=(256, 256),
    cgroup_us=50_100,
    throttled_ms={"core": 45},
)


def observed(*readings, samples):
    made = Host(
        HostOptions(interval_ms=60_000), read=iter(readings).__next__, take=iter(samples).__next__
    )
    made.open()
    made.start()
    while not made._samples:  # the first is taken at once
        made._pace._thread.join(0.01)
    seen = made.stop()
    return {one.name: one.value for one in seen.metrics}, seen.unknown


def test_each_figure():
    found, unknown = observed(BEFORE, AFTER, samples=[Sample(3.0, (1000.0, 3000.0), 8 * 2**20)])
    assert not unknown
    assert {name: value for name, value in found.items() if "sampl" not in name} == {
        "host.steal_percent": pytest.approx(2.5),
        "host.busy_percent": pytest.approx(25.0),
        "host.run_wait_percent": pytest.approx(5.0),
        "host.pressure_percent": pytest.approx(10.0),
        "host.load_average": 3.0,
        "host.frequency_mean_mhz": 2000.0,
        "host.frequency_min_mhz": 1000.0,
        "host.frequency_max_mhz": 3000.0,
        "host.swap_mib": 8.0,
        "host.swapped_mib": pytest.approx(2.0),
        "host.cgroup_throttled_ms": pytest.approx(50.0),
        "host.cpu_throttled_ms": pytest.approx(40.0),
    }


def test_ticks_are_too_coarse_for_a_short_window():
    soon = replace(AFTER, at_ns=SECOND_NS // 2)
    found, unknown = observed(BEFORE, soon, samples=[Sample(3.0, (), None)])
    assert "ticks of 10 ms" in unknown["host.steal_percent"]
    assert "host.run_wait_percent" in found
    assert "virtual machines" in unknown["host.frequency_mean_mhz"]


def test_a_system_that_tells_nothing():
    nothing = Reading(at_ns=0)
    later = Reading(at_ns=SECOND_NS * 2)
    found, unknown = observed(nothing, later, samples=[Sample(None, (), None)])
    assert {name for name in found if "sampl" not in name} == set()
    assert len(unknown) == 12
    assert all(unknown.values())


def test_swap_in_use_is_read_from_meminfo(tmp_path):
    told = tmp_path / "meminfo"
    told.write_text("MemTotal: 5 kB\nSwapCached: 7 kB\nSwapTotal: 2048 kB\nSwapFree: 1024 kB\n")
    assert take(told).swap_bytes == 2**20
    told.write_text("SwapTotal:\n")
    assert take(told).swap_bytes is None
    assert take(tmp_path / "none").swap_bytes is None


class TestContract(InstrumentContract):
    name = "host"

    def instrument(self):
        return Host(HostOptions(interval_ms=20))
