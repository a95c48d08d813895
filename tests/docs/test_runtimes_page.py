"""docs/runtimes.md: its tables are of the preset that ships, and the preset runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from harness.schema import IterationRecord
from harness.store import load_run

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "runtimes.md").read_text("utf-8")
PRESET = yaml.safe_load((ROOT / "plugins/harness_agents/specs/runtimes.yaml").read_text("utf-8"))
TABLES = re.findall(
    r"\*\*.+\*\* \(`(\w+)`\)\n\n((?:\|.*\n)+)",
    PAGE[PAGE.index("<!-- figures -->") : PAGE.index("<!-- /figures -->")],
)
FIGURE = re.compile(r"[0-9][0-9.,]*(?: \([0-9.,]+–[0-9.,]+\))?(?: [=+−~?≠])?|unknown")


@pytest.mark.parametrize(("metric", "table"), TABLES, ids=[metric for metric, _ in TABLES])
def test_every_table_has_every_agent_and_number_of_streams(metric, table):
    head, _, *rows = [line.strip("|").split("|") for line in table.strip().splitlines()]
    streams = PRESET["sweep"]["axes"]["scenario.options.streams"]
    assert [cell.strip() for cell in head[1:]] == [f"streams={n}" for n in streams]
    assert [row[0].strip() for row in rows] == list(PRESET["arms"])
    for row in rows:
        for cell in row[1:]:
            assert FIGURE.fullmatch(cell.strip()), (metric, row)
            # A reader that accumulates sees no chunk come: nobody puts something in its place.
            blind = row[0].strip() == "smol-1kb" and ("wake" in metric or "delay" in metric)
            assert (cell.strip() == "unknown") == blind, (metric, row)


def test_the_page_has_the_preset_s_margins():
    assert {metric for metric, _ in TABLES} >= set(PRESET["equivalent"])
    assert PRESET["equivalent"] == {
        "wake_up_p50_us": "500us",
        "wake_up_p99_us": "500us",
        "agent_chunk_delay_p50_us": "500us",
        "start_up_ms": "10ms",
        "cpu_ms": "10%",
        "rss_max_bytes": "10%",
    }
    for words in ("500 µs of delay", "10 % of CPU time and memory", "10 ms of start-up"):
        assert words in PAGE.replace("\n", " ")


def test_the_preset_runs(tmp_path):
    """Each agent once, with one stream: whatever it is written in, it saw what the server sent."""
    words = ("run", "--preset", "runtimes", "--limit", "1", "--set", "trials=1")
    done = subprocess.run(
        [sys.executable, "-m", "harness", *words, "--out", str(tmp_path / "run"), "--json"],
        capture_output=True,
        text=True,
        timeout=200,
    )
    if "harness agents build" in done.stderr + done.stdout:
        pytest.skip("needs the Rust agents: `harness agents build`")
    assert done.returncode == 0, done.stderr
    run = load_run(tmp_path / "run")
    iterations = {one.arm: one for one in run.records() if isinstance(one, IterationRecord)}
    assert set(iterations) == set(PRESET["arms"])
    for arm, one in iterations.items():
        figures = {metric.name: metric.value for metric in one.metrics}
        assert (one.status, figures["cpu_ms"] >= 0) == ("ok", True)
        if arm == "smol-1kb":
            assert "wake_up_p50_us" not in figures and one.data["wake_up_unknown"]
        else:
            assert 0 < figures["wake_up_p50_us"] <= figures["wake_up_p99_us"]
