"""Runs of several agents, by the real command: clean under audit, the same after a resume, and no
solo half can be bent unnoticed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.compare.audit import audit_run
from harness.report import comparison, csv_calls, metrics_json
from harness.store import load_run
from harness.store.folder import RECORDS
from tests.compare.test_audit import rewrite
from tests.sim.servers import sim

CULPRIT = Path(__file__).parents[1] / "validity" / "culprit"
EXPORTERS = {
    "metrics.json": metrics_json.write,
    "comparison_report.md": comparison.write,
    "calls.csv": csv_calls.write,
}
TRIALS, MEASURED = 3, 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of two agents, and a copy that was killed half-way and taken up again."""
    root = tmp_path_factory.mktemp("agents")

    def harness(*words):
        done = subprocess.run(
            [sys.executable, "-m", "harness", *map(str, words)],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(CULPRIT)},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr

    with sim(root / "log", "--ttft", "5", "--gap", "1", "--set", "slots=2") as server:
        harness("run", "crew", "--backend", "ollama", "--url", server.url, "--model", "sim",
                "--runs", TRIALS, "--warmup", 0, "--set", f"iterations.measured={MEASURED}",
                "--set", "isolation=inline", "--out", "run")  # fmt: skip
        shutil.copytree(root / "run", root / "cut")
        log = root / "cut" / RECORDS
        log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])
        harness("run", "--resume", "cut")
    return root


def found_in(run):
    return {finding.code for finding in audit_run(run, exporters=EXPORTERS).findings}


def speedup(run):
    (arm,) = load_run(run).summary.arms
    return next(one for one in arm.metrics if one.name == "speedup")


def test_a_run_with_its_solo_arm_is_clean(folder):
    assert found_in(folder / "run") == set()
    one = speedup(folder / "run")
    assert (one.n, one.missing, one.provenance) == (TRIALS * MEASURED, 0, "simulated")


def test_a_run_that_was_taken_up_again_has_every_pair_once(folder):
    assert audit_run(folder / "cut", exporters=EXPORTERS).is_clean
    assert speedup(folder / "cut").n == TRIALS * MEASURED
    kept = json.loads((folder / "cut" / "summary.json").read_text())
    (folder / "cut" / "summary.json").unlink()
    again = load_run(folder / "cut").summary
    assert [one["n"] for one in kept["arms"][0]["metrics"]] == [
        one.n for one in again.arms[0].metrics
    ]
    metrics = {one["name"]: one["mean"] for one in kept["arms"][0]["metrics"]}
    assert metrics == {one.name: one.mean for one in again.arms[0].metrics}


def longer(records):
    """As if the agents had needed twice as long alone."""
    for record in records:
        if record["t"] == "iteration" and record["phase"] == "solo":
            for span in record["spans"]:
                span["end_ns"] += span["end_ns"] - span["start_ns"]
    return records


def without_a_solo_half(records):
    lost = next(r for r in records if r["t"] == "iteration" and r["phase"] == "solo")
    place = (lost["trial"], lost["iteration"])
    return [
        r for r in records
        if not (r.get("phase") == "solo" and (r["trial"], r["iteration"]) == place)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "code"), [(longer, "summary-differs"), (without_a_solo_half, "missing-iterations")]
)
def test_a_bent_solo_half_is_found(folder, tmp_path, change, code):
    run = shutil.copytree(folder / "run", tmp_path / "run")
    rewrite(run, change)
    assert code in found_in(run)
