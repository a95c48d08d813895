"""Every command in the README runs, and every spec that ships is executed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from harness.engine import read_spec, spec_from

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.S)
COMMANDS = [
    line.split("  #")[0].strip()
    for block in BLOCKS
    for line in block.splitlines()
    if line.strip() and not line.lstrip().startswith("#")
]
SPECS = [
    path
    for path in sorted(ROOT.glob("plugins/*/specs/*"))
    if spec_from(read_spec(path)).backend.name == "llamacpp"
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The README's commands run one after another in one folder, as a reader would run them."""
    return tmp_path_factory.mktemp("readme")


def run(command, folder):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        shlex.split(command),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "PATH": path},
    )


def test_there_are_commands():
    assert len(COMMANDS) > 5
    assert {"make demo", "make test"} <= set(COMMANDS)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("harness ")])
def test_readme_commands_run(command, folder):
    done = run(command, folder)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [c for c in COMMANDS if not c.startswith("harness ")])
def test_other_commands_are_known(command):
    """`make test` cannot run inside itself: here its plan is made; CI runs it for real."""
    words = shlex.split(command)
    if words[0] == "make":
        done = run(f"make --dry-run {words[1]}", ROOT)
        assert done.returncode == 0, done.stderr
    elif words[:2] == ["pip", "install"]:
        assert words[2] in (".", "'.[llamacpp]'", ".[llamacpp]", "-e")
    else:
        assert words[0] in ("git", "cd"), command


def test_make_demo_is_the_demo_spec():
    done = run("make --dry-run demo", ROOT)
    assert "harness run plugins/harness_single_agent/specs/demo.yaml" in done.stdout


@pytest.mark.real_model
@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.name)
def test_shipped_specs_run(path, folder):
    """Those of the embedded engine; the presets of others are run in tests/plugins/test_presets."""
    out = folder / f"spec-{path.stem}"
    done = run(f"harness run {path} --limit 2 --out {out}", folder)
    assert done.returncode == 0, f"{path}\n{done.stdout}\n{done.stderr}"
    assert (out / "summary.json").exists()
    assert (out / "reports" / "comparison_report.md").exists()
