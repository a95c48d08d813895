"""`gpu` in whole runs: over a made-up GPU and over the shipped recording. Never as measured."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import harness_hardware
import pytest
from harness_hardware import GpuOptions
from harness_hardware.gpu import Gpu

from harness.devices.replay import Header, Replay, record, write_recording
from harness.devices.synthetic import Synthetic, SyntheticSpec
from harness.schema import IterationRecord
from harness.store import load_run
from harness.testing import FakeClock, run_scripted

from .test_gpu import Bench

RECORDING = Path(harness_hardware.__file__).with_name("recordings") / "square-wave.jsonl"
SHOWN = SyntheticSpec(quiet_s=4.0, idle_w=75.0, busy_w=410.0, busy_s=0.9, rest_s=0.6)


def recorded():
    """As the shipped recording was made."""
    clock = FakeClock()
    provider = Synthetic(SHOWN, clock=clock)
    out = io.BytesIO()
    write_recording(
        out,
        provider.devices(),
        record(provider, 14.0, 0.05),
        source="synthetic",
        origin="made up by harness.devices.synthetic: 4 s at 75 W, then 0.9 s at 410 W and 0.6 s "
        "at 75 W in turns; no GPU was measured",
        recorded="2026-11-21",
    )
    return out.getvalue()


def test_the_shipped_recording_says_that_it_was_made_up_and_how():
    if os.environ.get("HARNESS_UPDATE_DOCS"):
        RECORDING.parent.mkdir(exist_ok=True)
        RECORDING.write_bytes(recorded())
    assert RECORDING.read_bytes() == recorded()
    first = RECORDING.read_bytes().splitlines()[0]
    assert b'"source":"synthetic"' in first and b"no GPU was measured" in first


def test_its_energy_is_recovered_within_the_bound_and_is_simulated():
    clock = FakeClock()
    bench = Bench(provider=Replay(RECORDING, clock=clock))
    bench.clock = clock
    assert isinstance(bench.provider.header, Header)
    found = bench.opened(8.0)
    truth = Synthetic(SHOWN, clock=FakeClock())
    shift_ns = truth.clock.monotonic_ns() - bench.provider._began_ns
    true_j = truth.true_energy_j(bench.began_ns + shift_ns, bench.ended_ns + shift_ns)
    assert abs(found["energy_j"] - true_j) <= found["energy_bound_j"]
    assert found["idle_power_w"] == pytest.approx(75, rel=0.02)
    assert {one.provenance for one in bench.seen.metrics if "energy" in one.name} == {"simulated"}
    assert "recording" in bench.why("foreign_processes")
    bench.observe(8.0)
    assert "has ended" in bench.why("energy_j")


def test_a_whole_run_by_the_command_has_watermarked_energy(tmp_path):
    command = [
        *(sys.executable, "-m", "harness", "run", "load", "--backend", "sim", "--limit", "5"),
        *("--instrument", "gpu", "--out", "run"),
    ]
    gpu = "synthetic:period_ms=20,quiet_s=1,devices=2"
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "HARNESS_GPU": gpu},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "gpu_energy_j_per_token" in done.stdout and "SIMULATED" in done.stdout
    run = load_run(tmp_path / "run")
    (arm,) = run.summary.arms
    of = {one.name: one for one in arm.metrics}
    energy, tokens = of["gpu.energy_j"], of["output_tokens"]
    assert energy.median > 0 and energy.provenance == "simulated"
    assert of["gpu_energy_j_per_token"].median == pytest.approx(energy.median / tokens.median)
    assert of["gpu_energy_j_per_request"].median == pytest.approx(energy.median / 5)
    assert of["gpu_energy_j_per_token"].provenance == "simulated"
    assert "gpu_energy_j_per_correct" not in of
    assert [one["source"] for one in run.manifest.environment.gpus] == ["synthetic"] * 2
    assert run.manifest.environment.variables["HARNESS_GPU"] == gpu
    iterations = [one for one in run.records() if isinstance(one, IterationRecord)]
    (iteration,) = (one for one in iterations if one.phase == "measured")
    assert any(one.name == "m0.gpu.samples.csv" for one in iteration.artifacts)


def test_without_a_gpu_the_run_goes_on_and_says_why(monkeypatch):
    monkeypatch.setenv("HARNESS_GPU", "none")
    ran = run_scripted(
        {
            "scenario": {"name": "load"},
            "load": {"concurrency": 1, "requests": 1},
            "iterations": {"warmup": 0, "measured": 1},
            "instruments": ["gpu"],
        }
    )
    (iteration,) = ran.iterations
    assert iteration.status == "ok"
    assert "no GPU to look at: HARNESS_GPU=none" in iteration.unobserved["gpu"]


def test_the_options_are_listed(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "harness", "list", "gpu", "--json"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "idle_s" in json.dumps(json.loads(done.stdout))
    assert Gpu(GpuOptions()).perturbing is False


def test_the_environment_and_the_doctor_say_what_is_no_gpu_of_this_machine(monkeypatch):
    from harness.cli.doctor import _gpus
    from harness.engine.environment import gpus

    monkeypatch.setenv("HARNESS_GPU", f"replay:{RECORDING}")
    ((one,), why) = gpus()
    assert (one["name"], one["source"], why) == ("synthetic GPU 0", "replay", None)
    (finding,) = _gpus()
    assert finding.state == "note" and "no GPU of this machine" in finding.text
    for value, said in (("none", "HARNESS_GPU=none"), ("nvlm", "no source of GPU figures")):
        monkeypatch.setenv("HARNESS_GPU", value)
        found, why = gpus()
        assert found == [] and said in why
        assert _gpus()[0].state == "note"
