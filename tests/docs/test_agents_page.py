"""docs/agents.md is carried out as it stands, and names what the code has."""

from __future__ import annotations

import re

import msgspec
from harness_agents.agents import offered
from harness_agents.options import IN_PROCESS, AgentOptions

from harness.store import load_run
from tests.docs.test_scenario_pages import DOCS, carry_out

PAGE = (DOCS / "agents.md").read_text("utf-8")


def names_in_first_cells(text):
    return re.findall(r"`([^`]+)`", " ".join(re.findall(r"^\| (`[^|]*) \|", text, re.M)))


def section(title):
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_the_page(tmp_path):
    printed = carry_out("agents.md", tmp_path)
    assert "21 kept" in printed["harness agent check python"]
    assert re.search(r"^python +there ", printed["harness agent list"], re.M)
    runs = [load_run(path) for path in (tmp_path / "runs").iterdir()]
    assert {run.manifest.spec.scenario.name for run in runs} == {"agent"}
    figures = {one.name for run in runs for arm in run.summary.arms for one in arm.metrics}
    wanted = names_in_first_cells(section("What is measured"))
    assert len(wanted) == 10
    assert {name for name in wanted if not name.startswith("wake_up")} <= figures


def test_its_options_are_those_that_there_are():
    table = PAGE.partition("<!-- options -->")[2].partition("<!-- /options -->")[0]
    assert set(names_in_first_cells(table)) == set(AgentOptions.__struct_fields__)
    defaults = msgspec.structs.asdict(AgentOptions())
    for name in ("streams", "answer_chars_max"):
        assert f"| `{name}` | {defaults[name]} |" in table
    assert f"| `timeout_s` | {defaults['timeout_s']:g} |" in table


def test_its_agents_are_those_that_there_are():
    named = names_in_first_cells(section("Which there are"))
    assert set(named) == {name for name, _, _ in offered()} | {IN_PROCESS}
