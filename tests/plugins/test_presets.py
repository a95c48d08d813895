"""Shipped presets, really run at a small limit: those that call a model against the truth server,
those that call none as they are. That each can be planned is tested in tests/cli."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from harness.host import Host
from harness.presets import find_presets
from harness.store import load_run
from tests.sim.servers import sim

NAMES = {preset.name for preset in find_presets(Host.load().plugins)}
OLLAMA = sorted(name for name in NAMES if name.startswith("tr1"))
WITHOUT_MODEL = sorted(name for name in NAMES if name.startswith("agentfarm"))


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Ollama as the truth server plays it, quick, with every model that the presets name."""
    log = tmp_path_factory.mktemp("sim") / "log"
    with sim(log, "--ttft", "5", "--gap", "1") as served:
        yield served.url


def run_preset(folder, name, *words):
    command = [
        *(sys.executable, "-m", "harness", "run", "--preset", name, "--limit", "1"),
        *("--out", str(folder / name), "--json", *words),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), load_run(folder / name)


@pytest.mark.parametrize("name", OLLAMA)
def test_against_the_truth_server(name, url, tmp_path):
    axes = [] if name != "tr108-quants" else ["--set", "sweep.axes.backend.model=[sim:latest]"]
    summary, run = run_preset(tmp_path, name, "--url", url, "--model", "sim:latest", *axes)
    assert summary["state"] == "finished"
    assert summary["verdict"]["state"] == "doubtful"  # it is a simulation, and says so
    for arm in summary["arms"]:
        assert arm["calls"] == {"ok": arm["planned"]}
    checked = 0
    for cell, values in run.manifest.cells.items():
        for record in run.records():
            if getattr(record, "cell", None) == cell and hasattr(record, "effective"):
                asked = record.effective.options
                for path, value in values.items():
                    if path.startswith("backend.options."):
                        assert asked[path.removeprefix("backend.options.")] == value
                        checked += 1
    swept = run.manifest.spec.sweep.axes if run.manifest.spec.sweep else {}
    assert checked or not any(path.startswith("backend.options.") for path in swept)


@pytest.mark.parametrize("name", WITHOUT_MODEL)
def test_without_a_model(name, tmp_path):
    summary, _ = run_preset(tmp_path, name)
    assert summary["state"] == "finished"
    assert summary["backend"] == "none"
    (arm,) = summary["arms"]
    own = [m for m in arm["metrics"] if m["n"] and m["better"] != "neither"]
    assert own
    assert arm["calls"] == {}
