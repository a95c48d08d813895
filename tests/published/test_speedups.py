"""docs/import.md: the true speed-up of TR115's pairs, from its own table; the commands that it
shows."""

from __future__ import annotations

import os
import re
import shlex

import pytest
from click.testing import CliRunner

from harness.cli import cli
from tests.published.speedups import ANOMALY, SERIAL, SYSTEM, rows, table
from tests.published.tables import ROOT, by_cell, values

PAGE = ROOT / "docs" / "import.md"
MARKS = ("<!-- speed-ups -->\n", "<!-- /speed-ups -->")


def test_two_at_once_were_slower_than_one_after_the_other():
    found = {row.runtime: row for row in rows()}
    serial = found.pop(SERIAL)
    assert serial.balance == pytest.approx(1.0, abs=0.01), "its agents took turns"
    assert 95 < serial.system_tok_s < 96
    for row in found.values():
        assert row.published > 1.9, "what was published"
        assert row.published == pytest.approx(row.balance, abs=1e-3), "is a ratio of balance"
        assert 78 < row.system_tok_s < 80
        assert row.speedup == pytest.approx(0.82, abs=0.01)
        assert row.high < 1, "in no configuration did two at once pay off"
        assert row.n == 25


def test_the_configuration_that_is_left_out_is_an_anomaly():
    of = by_cell("tr115", SYSTEM)
    assert sorted(of[SERIAL, ANOMALY])[2] < 40
    others = [x for (arm, cell), v in of.items() if arm == SERIAL and cell != ANOMALY for x in v]
    assert min(others) > 70


def test_the_queue_is_what_the_server_does_not_account_for():
    """An idle server: TTFT is load and prompt time, and 8.7 ms (reference figures of 226 calls)."""
    residual = sorted(values("tr111", "queue_residual_ms"))
    assert len(residual) == 226
    assert residual[113] == pytest.approx(8.7, abs=0.1)
    assert residual[0] > 0


def test_the_table_is_in_step():
    text = PAGE.read_text("utf-8")
    start, end = MARKS
    made = text.partition(start)[0] + start + table() + "\n" + end + text.partition(end)[2]
    if os.environ.get("HARNESS_UPDATE_DOCS") == "1":
        PAGE.write_text(made, "utf-8")
    assert PAGE.read_text("utf-8") == made, "run it again with HARNESS_UPDATE_DOCS=1"


def test_the_commands_that_are_shown_work(tmp_path, monkeypatch):
    (shown,) = re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    data = ROOT / "tests" / "data" / "published" / "chimeraforge"
    monkeypatch.chdir(tmp_path)
    for path in data.iterdir():
        (tmp_path / path.name).symlink_to(path)
    for line in shown.replace("\\\n", "").splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        assert words.pop(0) == "harness"
        done = CliRunner().invoke(cli, words, standalone_mode=False)
        assert done.exception is None, (line, done.exception)
        if words[0] == "audit":
            assert "runaway-output" in done.output
        if words[0] == "compare":
            assert "agents_throughput_tok_s" in done.output
