"""Made-up GPUs: their counters are those of the load that they say they have."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.devices import NoDevices, check_source, open_provider
from harness.devices.synthetic import Synthetic, SyntheticSpec, parse_synthetic
from harness.errors import SpecError
from harness.testing import FakeClock

PIECES = st.lists(st.tuples(st.floats(0.01, 5), st.floats(0, 1000)), min_size=1, max_size=5).map(
    tuple
)


def made(clock, pieces=None, **spec):
    return Synthetic(SyntheticSpec(**spec), clock=clock, pieces=pieces)


@given(pieces=PIECES, quiet_s=st.floats(0, 3), start_s=st.floats(0, 20), length_s=st.floats(0, 20))
def test_the_true_energy_is_the_integral_of_the_power(pieces, quiet_s, start_s, length_s):
    clock = FakeClock()
    provider = made(clock, pieces, quiet_s=quiet_s, average_s=0)
    began_ns = clock.monotonic_ns()
    start_ns, end_ns = (began_ns + round(at * 1e9) for at in (start_s, start_s + length_s))
    # Sum over small steps, each at its middle: wrong by no more than a step at each edge.
    steps = 400
    width_ns = (end_ns - start_ns) / steps
    total_j, (uuid,) = 0.0, [one.uuid for one in provider.devices()]
    for index in range(steps):
        at_ns = round(start_ns + (index + 0.5) * width_ns)
        clock.advance(max(0, at_ns - clock.monotonic_ns()))
        total_j += provider.read(uuid).power_instant_mw / 1e3 * width_ns / 1e9
    edges = 2 + 2 * len(pieces) * (1 + length_s / sum(seconds for seconds, _ in pieces))
    most_w = max(60, *(watts for _, watts in pieces))
    within_j = edges * width_ns / 1e9 * most_w + 1e-6
    assert abs(total_j - provider.true_energy_j(start_ns, end_ns)) <= within_j


def test_the_counter_steps_and_the_sensor_averages():
    clock = FakeClock()
    provider = made(clock, ((1.0, 100.0), (1.0, 300.0)), period_ms=100)
    (device,) = provider.devices()
    seen = []
    for _ in range(200):
        clock.wait(0.01)
        seen.append(provider.energy(device.uuid).energy_mj)
    assert len(set(seen)) == 21  # of 100 ms each, in 2 s
    steps = [late - early for early, late in pairwise(sorted(set(seen)))]
    assert set(steps) <= {10_000, 30_000, 9_999, 10_001, 29_999, 30_001}
    assert provider.read(device.uuid).power_mw == pytest.approx(300_000, abs=1)
    clock.wait(0.5)
    half = provider.read(device.uuid)
    assert half.power_mw == pytest.approx(200_000, abs=1)  # half of the last second was at 300 W
    assert half.power_instant_mw == 100_000


def test_what_is_missing_is_not_supported_and_the_rest_is_there():
    provider = made(FakeClock(), missing="energy_mj+throttled_ns+process_memory")
    one = provider.read(provider.devices()[0].uuid)
    assert one.energy_mj is None and one.unknown["energy_mj"] == "Not Supported"
    assert one.throttled_ns == {} and "throttled_ns.thermal" in one.unknown
    assert one.power_mw == 60_000
    assert provider.processes(one.uuid).listed[0].used_bytes is None
    assert made(FakeClock(), missing="processes").processes(one.uuid).unknown


def test_the_counter_begins_anew_and_the_device_is_lost_when_asked():
    clock = FakeClock()
    provider = made(clock, reset_at_s=1.0, lost_at_s=2.0)
    uuid = provider.devices()[0].uuid
    clock.wait(0.95)
    before = provider.energy(uuid).energy_mj
    clock.wait(0.2)
    assert provider.energy(uuid).energy_mj < before
    clock.wait(1.0)
    assert provider.energy(uuid).unknown == "GPU is lost"


@pytest.mark.parametrize("text", ["busy", "what=1", "busy_w=much", "devices=-1", "period_ms=0"])
def test_a_spec_that_means_nothing_is_refused(text):
    with pytest.raises(SpecError, match="HARNESS_GPU"):
        parse_synthetic(text, "HARNESS_GPU")


def test_the_source_is_chosen_by_name_and_by_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HARNESS_GPU", "synthetic:devices=2")
    assert [one.index for one in open_provider().devices()] == [0, 1]
    assert open_provider("synthetic").source == "synthetic"
    for none in ("none", "synthetic:devices=0"):
        with pytest.raises(NoDevices):
            open_provider(none)
    for wrong in ("nvlm", "replay", "replay:", f"replay:{tmp_path}/none", "synthetic:x=1"):
        with pytest.raises(SpecError):
            check_source(wrong)
    check_source("nvml")
