"""The CI workflow that ships, executed step by step in a folder as its instructions make it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.compare.conftest import call

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "docs" / "ci"
STEPS = yaml.safe_load((SHIPPED / "benchmark-gate.yml").read_text("utf-8"))["jobs"]["gate"]["steps"]
RUNS = {step["name"]: step["run"] for step in STEPS if "run" in step}
ALWAYS = [step["name"] for step in STEPS if step.get("if") == "always()"]


class Job:
    """What a runner does: `bash -e`, step by step until one fails; then those that always run."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = folder / "github_env"
        self.page = folder / "github_step_summary"
        self.environment.touch()

    def run(self):
        """Step → (status, output)."""
        found = {}
        for name, script in RUNS.items():
            if name == "Install" or (any(s for s, _ in found.values()) and name not in ALWAYS):
                continue
            found[name] = self.step(script)
        return found

    def step(self, script):
        variables = dict(
            line.split("=", 1) for line in self.environment.read_text("utf-8").splitlines()
        )
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        files = {"GITHUB_ENV": self.environment, "GITHUB_STEP_SUMMARY": self.page}
        done = subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=self.folder,
            env={**os.environ, **files, **variables, "PATH": path},
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.returncode, done.stdout + done.stderr

    def end(self):
        """The runner's machine goes away, and the server with it."""
        ready = self.folder / "server.json"
        if ready.exists() and ready.read_text("utf-8").strip():
            os.kill(json.loads(ready.read_text("utf-8"))["pid"], signal.SIGTERM)
        for leftover in (ready, self.environment):
            leftover.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A user's repository: the two files in bench/, and the baseline that was stored there."""
    folder = tmp_path_factory.mktemp("repository")
    (folder / "bench").mkdir()
    for name in ("gate.yaml", "server.yaml"):
        shutil.copy(SHIPPED / name, folder / "bench")
    job = Job(folder)
    try:
        assert job.step(RUNS["Start the server"])[0] == 0
        status, said = job.step(RUNS["Measure"].replace("runs/candidate", "bench/baseline"))
        assert status == 0, said
    finally:
        job.end()
    return folder


def checkout(repository, folder):
    shutil.copytree(repository / "bench", folder / "bench")
    return Job(folder)


def test_the_install_step_would_install_this_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert RUNS["Install"].split() == ["python", "-m", "pip", "install", project["name"]]
    assert "harness" in project["scripts"]


def test_equal_code_passes_the_gate(repository, tmp_path):
    job = checkout(repository, tmp_path)
    try:
        found = job.run()
    finally:
        job.end()
    assert [status for status, _ in found.values()] == [0, 0, 0, 0], found
    assert list(found) == [name for name in RUNS if name != "Install"]
    assert "Outcome" not in job.page.read_text("utf-8") or "no regression" in job.page.read_text()
    assert "median of ttft\\_ms: no regression" in job.page.read_text("utf-8")


def test_a_slowdown_of_a_tenth_fails_it(repository, tmp_path):
    job = checkout(repository, tmp_path)
    server = tmp_path / "bench" / "server.yaml"
    text = server.read_text("utf-8")
    slower = re.sub(r"mean_ms: (\d+)", lambda m: f"mean_ms: {int(m[1]) * 11 // 10}", text)
    assert slower != text
    server.write_text(slower, "utf-8")
    try:
        found = job.run()
    finally:
        job.end()
    status, said = found["Compare with the baseline"]
    assert status == 1, said
    assert "median of ttft_ms: regression: worse by " in said
    assert found["Show the comparison"][0] == 0
    assert "Outcome: **regression**." in job.page.read_text("utf-8")


def test_a_baseline_is_small_enough_to_be_kept(repository):
    store = repository / "bench" / "baseline"
    size = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    assert size < 600_000
    done = call("show", store, cwd=repository)
    assert done.status == 0
