"""`python -m benchmarks.gpu`, as far as it needs no GPU: over made-up ones, and saying so."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks.gpu.measure import call_costs, counter, square_wave
from benchmarks.gpu.models import SHAPES, Ran, spec_of
from benchmarks.gpu.page import Conditions, section
from harness.devices.synthetic import Synthetic, SyntheticSpec
from harness.engine import make_plan, spec_from
from harness.host import Host
from harness.testing import FakeClock


def made(**spec):
    clock = FakeClock()
    provider = Synthetic(SyntheticSpec(**spec), clock=clock)
    return provider, provider.devices()[0].uuid, clock


def test_a_square_wave_is_counted_within_its_bound_and_integrated_near_it():
    provider, uuid, clock = made(average_s=0)
    start_ns = clock.monotonic_ns()
    found = square_wave(provider, uuid, clock.wait, cycles=3)
    true_j = provider.true_energy_j(start_ns, start_ns + round(found.window_s * 1e9))
    assert found.window_s == pytest.approx(6.0)
    assert abs(found.counter_j - true_j) <= found.bound_j
    assert found.instant_j == pytest.approx(true_j, rel=0.01)
    assert found.peak_w == 300


def test_what_a_device_does_not_tell_is_unknown_there_too():
    provider, uuid, clock = made(missing="energy_mj+power_instant_mw")
    found = square_wave(provider, uuid, clock.wait, cycles=1)
    assert (found.counter_j, found.bound_j, found.instant_j, found.peak_w) == (None,) * 4
    assert found.average_j is not None


def test_the_idle_counter_and_the_cost_of_calls():
    provider, uuid, _ = made(quiet_s=100, idle_w=80, period_ms=50)
    found = counter(provider, uuid, 3.0)
    assert found.period_ms == pytest.approx(50, abs=1.1)
    assert found.idle_w == pytest.approx(80, rel=0.01)
    assert [one.n for one in call_costs(provider, uuid, 20)] == [20] * 3
    still, uuid, _ = made(missing="energy_mj")
    assert counter(still, uuid, 1.0)._asdict() == {
        "looks": 1000,
        "steps": 0,
        "period_ms": None,
        "longest_ms": None,
        "idle_w": None,
    }


CONDITIONS = Conditions(
    date="2026-11-21",
    source="synthetic",
    origin="made up",
    gpu="synthetic GPU 0",
    memory_bytes=None,
    power_limit_w=None,
    machine="a machine",
    versions="versions",
)
RAN = Ran(
    size="0.3B",
    parameters=310_000_000,
    n=5,
    energy_n=0,
    throughput_tok_s=41.5,
    energy_j=None,
    bound_j=None,
    j_per_token=None,
    idle_w=60.0,
    predicted_bytes=2**30,
    peak_bytes=2**29,
    peak_of="the process",
    gpu_memory_bytes=None,
    verdict="doubtful",
    why={"gpu.energy_j": "under 2 s"},
)


def test_the_section_has_a_watermark_unless_hardware_was_measured():
    provider, uuid, clock = made()
    costs, idle = call_costs(provider, uuid, 5), counter(provider, uuid, 1.0)
    squares = [square_wave(provider, uuid, clock.wait, cycles=1)]
    text = section(CONDITIONS, costs, idle, squares, [RAN])
    assert text.startswith("**SIMULATED (synthetic): no GPU was measured")
    assert "SIMULATED" not in section(
        CONDITIONS._replace(source="nvml"), costs, idle, squares, [RAN]
    )
    assert "| 0.3B | 0.310 G | 5 | 41.5 | unknown | unknown |" in text
    assert "0.500" in text and "`gpu.energy_j`: under 2 s" in text
    assert "(n = 1)" in text


def test_its_run_is_one_that_the_harness_takes(tmp_path):
    spec = spec_of(tmp_path, "cuda", tokens=8, requests=2, iterations=3)
    planned = make_plan(spec_from(spec), Host.load())
    assert len(planned.trials) == 1
    assert {"0.3B", "7B"} <= set(SHAPES)


def command(*words, gpu):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *words],
        env={**os.environ, "HARNESS_GPU": gpu},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_without_a_gpu_it_says_so_in_one_line():
    done = command(gpu="none")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "there is no GPU to check: HARNESS_GPU=none (try: run it where" in done.stderr
    assert "no shape 'x'" in command("--sizes", "x", gpu="synthetic").stderr


def test_it_records_what_can_be_played_back(tmp_path):
    trace = tmp_path / "trace.jsonl"
    done = command("--record", str(trace), "--seconds", "0.3", gpu="synthetic:devices=2")
    assert done.returncode == 0, done.stderr
    again = command("--record", str(tmp_path / "b"), "--seconds", "0.1", gpu=f"replay:{trace}")
    assert again.returncode == 0, again.stderr
    first = (tmp_path / "b").read_bytes().splitlines()[0]
    assert b'"source":"replay"' in first
