"""A bounded run of the coverage-guided fuzzer, and the proof that it can fail.

Longer runs: see fuzz_framing.py.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FUZZER = Path(__file__).with_name("fuzz_framing.py")

pytestmark = pytest.mark.skipif(
    shutil.which(shlex.split(os.environ.get("CC", "gcc"))[0]) is None,
    reason="the fuzzer compiles an instrumented module: install gcc, or name a compiler in CC",
)


def fuzz(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: a crash is then a finding and not the end of the test run."""
    command = [sys.executable, str(FUZZER), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr)
    return done


def test_a_bounded_run_of_fuzzing_finds_nothing(tmp_path):
    done = fuzz("--seconds", "20", "--runs", "60000", "--corpus", str(tmp_path / "corpus"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok:" in done.stdout
    assert any((tmp_path / "corpus").iterdir()), (
        "coverage was not measured: no input was kept as new"
    )


def test_a_planted_bug_is_found(tmp_path):
    """A limit that is off by one, found by mutation: none of the seeds comes near a limit."""
    plant = ("if b.len + n > s.limit:", "if b.len + n > s.limit + 1:")
    done = fuzz(
        "--seed", "1", "--seconds", "60", "--corpus", str(tmp_path / "corpus"), "--plant", *plant
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FOUND" in done.stdout
