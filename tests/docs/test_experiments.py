"""docs/experiments.md: its files are run by its commands, in its order."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.servers import sim

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "experiments.md").read_text("utf-8")
FILES = dict(re.findall(r"```yaml\n# (\S+)\n(.*?)```", PAGE, re.S))
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.S)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]
URL = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Command → (what it printed, the newest run folder behind it)."""
    folder = tmp_path_factory.mktemp("experiments")
    found = {}
    with sim(folder / "log", "--ttft", "5", "--gap", "1", "--slots", 4) as server:
        for name, text in FILES.items():
            assert URL in text
            (folder / name).write_text(text.replace(URL, server.url))
        for command in COMMANDS:
            words = shlex.split(command)
            assert words[0] == "harness"
            done = subprocess.run(
                [sys.executable, "-m", *words],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=280,
            )
            assert done.returncode == 0, (command, done.stdout, done.stderr)
            runs = sorted(folder.glob("runs/*"), key=lambda path: path.stat().st_mtime_ns)
            found[command] = (done.stdout + done.stderr, runs[-1] if runs else None)
    return found


def summary(results, command):
    return json.loads((results[command][1] / "summary.json").read_text())


def test_there_are_files_and_commands():
    assert set(FILES) == {"compare.yaml", "enough.yaml", "search.yaml"}


def test_a_dry_run_starts_nothing(results):
    told, run = results["harness run compare.yaml --dry-run"]
    assert run is None
    assert "6 trials" in told


def test_arms_and_cells_are_those_of_the_file(results):
    arms = summary(results, "harness run compare.yaml")["arms"]
    assert [(arm["arm"], arm["cell"], arm["trials"]) for arm in arms] == [
        ("baseline", "base", 2),
        ("short", "concurrency=1", 2),
        ("short", "concurrency=4", 2),
    ]


def test_a_finished_run_has_nothing_missing(results):
    assert "nothing is missing, all 6 trials" in results["harness run --resume latest"][0]


def test_it_stops_when_it_is_enough(results):
    (one,) = summary(results, "harness run enough.yaml")["stopping"]
    assert one["decision"] in ("reached", "cap")
    assert 8 <= one["trials"] <= 12


def test_the_search_gives_a_bracket(results):
    (one,) = summary(results, "harness run search.yaml")["search"]
    assert {probe["load"] for probe in one["probes"]} <= {1, 2, 4, 8, 16}
    assert one["highest"] is not None
