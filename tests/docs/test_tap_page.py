"""The commands of docs/tap.md, as they stand there, against the truth server in Ollama's place."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli.tap import command
from harness.engine import make_plan, spec_from
from harness.engine.plainyaml import read_yaml
from harness.host import Host
from harness.metrics.call import TAPPED
from harness.schema import CallRecord
from harness.store import list_runs, load_run
from tests.sim.servers import sim

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "tap.md").read_text("utf-8")


def commands(kind):
    blocks = re.findall(rf"^```{kind}\n(.*?)```", PAGE, re.M | re.S)
    return [line for block in blocks for line in block.splitlines() if line]


@pytest.mark.skipif(not shutil.which("curl"), reason="the page's agents are made of curl")
def test_its_commands_record_what_they_start(tmp_path):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with sim(tmp_path / "log", "--ttft", 5, "--gap", 1) as server:
        for line in commands("sh"):
            here = line.replace("http://127.0.0.1:11434", server.url).replace(
                "gemma3:latest", "sim"
            )
            done = subprocess.run(
                shlex.split(here),
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=60,
                env={**os.environ, "PATH": path},
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    runs = [load_run(entry.path) for entry in list_runs(tmp_path / "runs")]
    assert len(runs) == len(commands("sh")) == 2
    for run in runs:
        (call,) = [one for one in run.records() if isinstance(one, CallRecord)]
        assert (call.status, call.stamp_source, call.usage.output_tokens) == ("ok", "tap", 16)


def test_its_options_exist():
    known = {name for option in command.params for name in option.opts}
    assert set(re.findall(r"`(--[a-z]+)`", PAGE)) <= known | {"--tap", "--"}
    for line in commands("bash"):
        assert set(re.findall(r"(--[a-z]+)", line)) <= known


def test_its_spec_can_be_planned():
    specs = [read_yaml(block) for block in re.findall(r"^```yaml\n(.*?)```", PAGE, re.M | re.S)]
    (whole,) = [spec for spec in specs if "arms" in spec]
    plan = make_plan(spec_from(whole), Host.load())
    assert all(arm.asked.backend.tap and arm.backend_config.passive for arm in plan.arms)


def test_it_names_every_figure_of_the_tap():
    for name in TAPPED:
        assert (
            name in PAGE or name.removeprefix("tap_delay").removeprefix("agent_chunk_delay") in PAGE
        )
