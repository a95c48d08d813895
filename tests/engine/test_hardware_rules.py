"""Rules over what instruments saw of the hardware: each fault, and what must not trigger it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from harness.schema import (
    ClosedLoad,
    InstrumentSpec,
    IterationRecord,
    MetricValue,
    TrialRecord,
    ValiditySpec,
)
from tests.engine.faults import ARMS, caveats, clean
from tests.store import builders

WALL_MS = 1000.0


def seen(figures, *, arms=ARMS, provenance="measured", unobserved=None, wall_ms=WALL_MS):
    """A clean run whose measured iterations have these figures. name → value, or per arm a dict."""
    records = []
    for record in clean(20):
        if isinstance(record, IterationRecord) and record.phase == "measured":
            own = {k: v.get(record.arm) if isinstance(v, dict) else v for k, v in figures.items()}
            metrics = tuple(
                MetricValue(name=name, value=value, unit="x", provenance=provenance)
                for name, value in own.items()
                if value is not None and record.arm in arms
            )
            record = replace(
                record,
                metrics=metrics,
                instruments=("gpu",),
                unobserved=unobserved or {},
                end_ns=record.start_ns + round(wall_ms * 1e6),
            )
        records.append(record)
    return records


def found(code, figures, *, spec=None, **how):
    spec = spec or builders.spec()
    return [c for c in caveats(seen(figures, **how), spec=spec) if c.code == code]


HEALTHY = {
    "gpu.throttled_thermal_ms": 0.0,
    "gpu.throttled_power_ms": 0.0,
    "gpu.sm_clock_mean_mhz": 1700.0,
    "gpu.foreign_processes": 0.0,
    "gpu.energy_j": 300.0,
}


def test_a_healthy_gpu_is_no_doubt():
    spec = builders.spec(instruments=("gpu",))
    mine = {"thermal", "clocks", "gpu-shared", "no-energy", "simulated", "unobserved"}
    assert not mine & {caveat.code for caveat in caveats(seen(HEALTHY), spec=spec)}


def test_heat_is_a_doubt_and_the_power_limit_a_note():
    (caveat, other) = found("thermal", HEALTHY | {"gpu.throttled_thermal_ms": 120.0})
    assert (caveat.severity, {caveat.arm, other.arm}) == ("doubtful", set(ARMS))
    assert "heat held the GPU's clocks down for 12% of the measured time" in caveat.message
    (caveat, _) = found("thermal", HEALTHY | {"gpu.throttled_power_ms": 900.0})
    assert caveat.severity == "note"
    assert "the power limit" in caveat.message
    assert found("thermal", HEALTHY | {"gpu.throttled_thermal_ms": 5.0}) == []  # half a per cent
    wide = builders.spec(validity=ValiditySpec(gpu_throttled_share_max=0.2))
    assert found("thermal", HEALTHY | {"gpu.throttled_thermal_ms": 120.0}, spec=wide) == []


def test_arms_at_other_clocks_are_not_comparable():
    apart = {"gpu.sm_clock_mean_mhz": {"baseline": 1700.0, "chimera": 1500.0}}
    (caveat,) = found("clocks", HEALTHY | apart)
    assert caveat.severity == "doubtful"
    assert "1500 to 1700 MHz" in caveat.message
    assert caveat.evidence["sm_clock_mean_mhz"] == {"baseline": 1700.0, "chimera": 1500.0}
    near = {"gpu.sm_clock_mean_mhz": {"baseline": 1700.0, "chimera": 1650.0}}
    assert found("clocks", HEALTHY | near) == []
    assert found("clocks", HEALTHY, arms=("baseline",)) == []  # of the other nothing is known
    assert found("clocks", HEALTHY | {"gpu.sm_clock_mean_mhz": 0.0}) == []


def test_strangers_on_the_gpu():
    (caveat, _) = found("gpu-shared", HEALTHY | {"gpu.foreign_processes": 2.0})
    assert caveat.severity == "doubtful"
    assert "up to 2 other processes on the GPU" in caveat.message
    assert found("gpu-shared", HEALTHY) == []


# joules ------------------------------------------------------------------------------------------

SHORT = "a window of 0.5 s is too short for joules"


@pytest.mark.parametrize("name", ["gpu", "rapl"])
def test_joules_that_were_asked_for_and_are_not_there(name):
    spec = builders.spec(instruments=(InstrumentSpec(name=name),), load=ClosedLoad(requests=10))
    lacks = {f"{name}.energy_j": SHORT, f"{name}.power_mean_w": SHORT}
    (caveat, other) = found("no-energy", {}, spec=spec, unobserved=lacks, wall_ms=500.0)
    assert (caveat.severity, {caveat.arm, other.arm}) == ("note", set(ARMS))
    assert SHORT in caveat.message
    assert "1.5 s more an iteration" in caveat.message
    assert caveat.remedy.startswith("--requests ")
    # The same reason is not said twice.
    assert found("unobserved", {}, spec=spec, unobserved=lacks, wall_ms=500.0) == []


def test_other_figures_that_are_missing_are_still_said():
    spec = builders.spec(instruments=("gpu",))
    lacks = {"gpu.energy_j": SHORT, "gpu.temperature_max_c": "Not Supported"}
    (caveat, _) = found("unobserved", {}, spec=spec, unobserved=lacks, wall_ms=500.0)
    assert "gpu.temperature_max_c" in caveat.message
    assert "energy" not in str(caveat.evidence)


def test_an_instrument_that_could_not_be_opened_gives_its_reason():
    spec = builders.spec(instruments=("gpu",))
    (caveat, _) = found("no-energy", {}, spec=spec, unobserved={"gpu": "open: no GPU"})
    assert "open: no GPU" in caveat.message


def test_a_long_window_without_joules_needs_no_longer_one():
    spec = builders.spec(instruments=("rapl",))
    lacks = {"rapl.energy_j": "it may be read by root alone"}
    (caveat, _) = found("no-energy", {}, spec=spec, unobserved=lacks, wall_ms=5000.0)
    assert "more requests" not in caveat.message
    assert "--requests" not in caveat.remedy


def test_nobody_asked_nobody_is_told():
    assert found("no-energy", {}, unobserved={"gpu.energy_j": SHORT}) == []


# what was not measured ---------------------------------------------------------------------------


def test_an_instrument_that_made_its_figures_up_is_named():
    (caveat,) = found("simulated", HEALTHY, provenance="simulated")
    assert caveat.severity == "doubtful"
    assert caveat.message.startswith("the instrument gpu measured nothing here: ")
    assert caveat.evidence["figures"] == list(HEALTHY)
    assert found("simulated", HEALTHY) == []


def test_beside_a_stub_the_stub_is_enough():
    records = [
        replace(one, effective=replace(one.effective, simulated=True))
        if isinstance(one, TrialRecord)
        else one
        for one in seen(HEALTHY, provenance="simulated")
    ]
    (caveat,) = [c for c in caveats(records) if c.code == "simulated"]
    assert "the server is a simulation" in caveat.message
