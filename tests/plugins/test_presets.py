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
PAIRS = ["tr110", "tr113", "tr114", "tr115", "tr116"]
OLLAMA = sorted(name for name in NAMES if name.startswith("tr1") and name not in PAIRS)
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


def agent(name):
    """A Rust agent where it is built; that it can be is tested elsewhere."""
    from harness_agents.rust import binary

    from harness.errors import BackendError

    try:
        binary(name)
    except BackendError:
        return "python"
    return name


def arms(**agents):
    """The first two of the arms are enough."""
    made = {name: {"scenario": {"options": {"agent": agent(of)}}} for name, of in agents.items()}
    return ["--set", f"arms={json.dumps(made)}"]


def words_for(name):
    """What differs from the preset itself, beside --limit: the model, and fewer of the arms."""
    match name:
        case "tr114":
            return ["-o", f"agent={agent('rust-tokio')}"]
        case "tr115":
            return arms(tokio="rust-tokio", smol="rust-smol")
        case "tr116":
            models = ["--set", "sweep.axes.backend.model=[sim:latest]"]
            return models + arms(python="python", rust="rust-tokio")
    return []


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_of_agents_against_the_truth_server(name, url, tmp_path):
    urls = ["--url", url] * (1 if name == "tr113" else 2)
    words = [*urls, "--model", "sim:latest", "--max-tokens", "4", *words_for(name)]
    words += ["-o", "analysis_max_tokens=4", "-o", "report_max_tokens=4", "--warmup", "0"]
    summary, run = run_preset(tmp_path, name, *words, "--set", "isolation=inline")
    assert summary["state"] == "finished"
    iterations = [one for one in run.records() if hasattr(one, "spans")]
    assert sorted({one.phase for one in iterations}) == ["measured", "solo"]
    for one in iterations:
        assert one.status == "ok", one.error
        assert {s.agent for s in one.spans if s.name == "agent"} == {"collector", "insight"}
    for arm in summary["arms"]:
        assert arm["calls"] == {"ok": arm["planned"]}
        (speedup,) = (m for m in arm["metrics"] if m["name"] == "speedup")
        assert speedup["n"] == 1
    tapped = run.manifest.spec.backend.tap
    calls = [one for one in run.records() if hasattr(one, "stamp_source")]
    assert {one.stamp_source for one in calls} <= ({"tap"} if tapped else {"kernel", "user"})


def test_the_pairs_are_those_of_their_reports(tmp_path):
    plans = {}
    for name in PAIRS:
        command = [sys.executable, "-m", "harness", "run", "--preset", name, "--dry-run", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        plans[name] = json.loads(done.stdout)
    sizes = {name: (len(one["cells"]), len(one["trials"])) for name, one in plans.items()}
    assert sizes == {
        "tr110": (30, 150),
        "tr113": (19, 95),
        "tr114": (30, 150),
        "tr115": (6, 150),
        "tr116": (6, 60),
    }
    for name in ("tr110", "tr114"):
        same = [
            {cell.removeprefix("options=").partition(" ")[0] for _, cell in group}
            for group in plans[name]["duplicates"]
        ]
        assert sorted(map(sorted, same)) == [["101", "15", "200"], ["104", "16"], ["202", "3"]]
        assert len(plans[name]["cells"]) - sum(len(group) - 1 for group in same) == 26
    for name in ("tr113", "tr115", "tr116"):
        assert plans[name]["duplicates"] == []


@pytest.mark.parametrize("name", WITHOUT_MODEL)
def test_without_a_model(name, tmp_path):
    summary, _ = run_preset(tmp_path, name)
    assert summary["state"] == "finished"
    assert summary["backend"] == "none"
    (arm,) = summary["arms"]
    own = [m for m in arm["metrics"] if m["n"] and m["better"] != "neither"]
    assert own
    assert arm["calls"] == {}
