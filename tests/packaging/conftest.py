"""Distributions, built once per test session, and clean environments to install them in."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def call(*command, cwd=None, expect=0, **env):
    """Run a command; its output is shown when the status is not the expected one."""
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**clean, **env},
        timeout=600,
    )
    assert done.returncode == expect, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


class Environment:
    """A virtual environment outside the tree."""

    def __init__(self, folder):
        self.folder = folder
        venv.create(folder, with_pip=False, symlinks=True)
        self.bin = folder / "bin"

    def pip(self, *words, **env):
        """Ours, on that environment: to put one into each takes as long as an installation."""
        pip = (sys.executable, "-m", "pip", "--python", self.bin / "python", "--quiet")
        return call(*pip, *words, cwd=self.folder, **env)

    def harness(self, *words, **how):
        how.setdefault("cwd", self.folder)
        return call(self.bin / "harness", *words, **how)

    def python(self, code, **how):
        return call(self.bin / "python", "-c", code, cwd=self.folder, **how)


@pytest.fixture(scope="session")
def distributions(tmp_path_factory):
    """(sdist, wheel): the sdist from a copy of the tracked tree, the wheel from that sdist."""
    copy = tmp_path_factory.mktemp("tree")
    names = call("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in filter(None, names.split("\0")):
        source = ROOT / name
        if source.is_file():
            target = copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    out = tmp_path_factory.mktemp("dist")
    # The build backend is in our own environment already: no second download of Cython.
    # Its code is not looked at here, and what was optimised is what all other tests run.
    quick = {"HARNESS_NATIVE_QUICK": "1"}
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, copy, **quick)
    (sdist,) = out.glob("*.tar.gz")
    (wheel,) = out.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="session")
def installed(distributions, tmp_path_factory):
    """A clean environment with the wheel and nothing else."""
    environment = Environment(tmp_path_factory.mktemp("clean") / "venv")
    # Byte code is made of what is imported, and not of all of scipy and matplotlib.
    environment.pip("install", "--no-compile", distributions[1])
    return environment
