"""docs/multi-agent.md: its commands are run, and its names are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import yaml
from harness_multi_agent import AgentOptions, MultiAgentOptions

from harness.host import Host
from harness.metrics import CONCURRENCY_METRICS
from harness.presets import find_presets
from harness.store import load_run
from tests.docs.test_scenario_pages import BLOCK, DOCS, carry_out

PAGE = (DOCS / "multi-agent.md").read_text("utf-8")


def section(title):
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def first_cells(text):
    """Names in the first column of its tables."""
    return re.findall(r"`([^`]+)`", " ".join(re.findall(r"^\| (`[^|]*) \|", text, re.M)))


def test_its_commands(tmp_path):
    (tmp_path / "page.md").write_text("".join(f"```sh\n{t}```\n" for k, t in blocks() if k == "sh"))
    printed = carry_out(tmp_path / "page.md", tmp_path)
    assert len(printed) == 3
    for run in map(load_run, (tmp_path / "runs").iterdir()):
        assert run.summary.state == "finished"
        metrics = {m.name: m.n for m in run.summary.arms[0].metrics}
        spec = run.manifest.spec
        assert metrics["speedup"] == spec.trials * spec.iterations.measured
    assert all("at once:" in out for out in printed.values())


def blocks():
    return BLOCK.findall(PAGE)


def test_its_list_of_agents_can_be_asked_for():
    (text,) = (text for kind, text in blocks() if kind == "yaml")
    options = yaml.safe_load(text)["scenario"]["options"]
    made = msgspec.convert(options, MultiAgentOptions)
    assert isinstance(made.agents, tuple) and len(made.agents) == 3
    for name in AgentOptions.__struct_fields__:
        assert f"`{name}`" in section("Who takes part"), name


def test_its_options_and_forms_are_ours():
    names = set(first_cells(section("Who takes part")))
    assert names <= {*MultiAgentOptions.__struct_fields__} | {
        "baseline_vs_chimera",
        "chimera_hetero",
        "chimera_homo",
    }
    assert {"form", "agents", "chimera", "chimera2", "agent", "endpoints", "semaphore"} <= names


def test_its_figures_are_ours():
    named = set(first_cells(section("Reading the figures")))
    known = {one.name for one in CONCURRENCY_METRICS} | {"slowdown.NAME"}
    assert named <= known, named - known
    assert {"speedup", "efficiency", "jain", "load_balance_ratio", "contention"} <= named


def test_its_presets_are_those_that_ship():
    ours = {one.name for one in find_presets(Host.load().plugins) if one.plugin == "multi_agent"}
    assert set(first_cells(section("Presets"))) == ours
    for name in ours:
        path = next(Path(__file__).parents[2].glob(f"plugins/*/specs/{name}.yaml"))
        assert f"harness run --preset {name} --dry-run" in path.read_text("utf-8")
