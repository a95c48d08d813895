"""The stubs of the compiled modules say what is there: mypy's stubtest, as an ordinary test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_stubs_match_the_compiled_modules():
    stubs = sorted((ROOT / "harness" / "_native").glob("*.pyi"))
    sources = {path.stem for path in (ROOT / "_native").glob("*.pyx")}
    assert {stub.stem for stub in stubs} == sources, "one stub per module"
    names = [
        f"harness._native.{stub.stem}"
        for stub in stubs
        if stub.stem not in ("reactor", "tap", "truth") or sys.platform.startswith("linux")
    ]
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", *names, "--mypy-config-file", "pyproject.toml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout
