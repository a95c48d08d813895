"""The command, as a person calls it: a process of its own, in a folder of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest


class Done:
    def __init__(self, finished):
        self.status = finished.returncode
        self.out = finished.stdout
        self.err = finished.stderr
        assert "Traceback" not in self.err, self.err


@pytest.fixture
def harness_command(tmp_path):
    def run(*words, cwd=tmp_path):
        return Done(
            subprocess.run(
                [sys.executable, "-m", "harness", *map(str, words)],
                cwd=cwd,
                capture_output=True,
                text=True,
                timeout=240,
            )
        )

    return run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """One real run of the embedded engine, for every test that looks at a run."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    command = [
        *(sys.executable, "-m", "harness", "run", "load", "--out", str(folder)),
        *("--requests", "8", "--concurrency", "2", "--max-tokens", "8", "--json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout
