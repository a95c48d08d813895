"""Markdown, JSON and the terminal, of two arms in nine cells."""

from __future__ import annotations

import io
import re

import msgspec
from msgspec.structs import replace
from rich.console import Console

from harness.compare import compare_arms
from harness.report.grid import axes, level, value
from harness.report.table import render_summary
from tests.report.rendering import document, markdown
from tests.report.sweeps import cells, sweep_run, with_decisions


def test_markdown_has_a_row_per_cell_and_the_axes_as_columns():
    text = markdown(with_decisions(sweep_run(5)))
    headings = re.findall(r"^## .*$", text, re.MULTILINE)
    assert [h for h in headings if h != "## Verdict: valid"] == [
        "## Aggregate performance",
        "## Differences",
        "## Decisions",
        "## Every figure",
        "## Run by run",
        "## Configuration",
        "## How it was measured",
    ]
    rows = text.partition("## Aggregate")[2].partition("## Diff")[0].splitlines()
    table = [line for line in rows if line.startswith("|")]
    assert table[0].startswith("| Arm | `num_ctx` | `num_gpu` | ok | `ttft_ms`")
    assert len(table) == 2 + 18
    assert table[2].startswith("| baseline | 512 | 0 | 15 / 15 | ")
    assert all(line.count("|") == table[0].count("|") for line in table)
    differences = text.partition("## Differences")[2].partition("## Decisions")[0]
    assert differences.count("| chimera − baseline | ") == 36
    assert "slower by" in differences
    assert "450 figures of 18 arms and cells are in cells.csv" in text
    assert "1 trial skipped: ttft\\_ms was narrow enough after 3 trials." in text
    assert "Taken up again 2026-11-20T22:00:00+00:00; trials run again: 4, 5." in text
    assert "| `options.num_ctx` | `512` | 6 of 18 |" in text
    assert max(map(len, text.splitlines())) < 1000


def test_json_has_cells_with_their_levels_and_the_decisions():
    found = document(with_decisions(sweep_run(2)))
    assert found["cells"] == cells()
    assert found["arms"][0]["axes"] == {
        "backend.options.num_ctx": 512,
        "backend.options.num_gpu": 0,
    }
    assert found["search"][0]["highest"] == 1.0
    assert found["stopping"][0]["decision"] == "reached"
    assert found["sessions"][0]["superseded"] == [4, 5]


def terminal(run, width: int = 80, comparisons=()) -> list[str]:
    out = io.StringIO()
    render_summary(run.summary, Console(file=out, width=width), comparisons=comparisons)
    return out.getvalue().splitlines()


def test_the_terminal_s_table_fits_and_marks_what_is_shown():
    run = sweep_run(5)
    lines = terminal(run, comparisons=compare_arms(run))
    assert max(map(len, lines)) <= 80
    rows = [line.split() for line in lines if re.match(r" (baseline|chimera) ", line)]
    assert len(rows) == 18
    assert rows[0][:4] == ["baseline", "512", "0", "15"]
    assert not any("✗" in cell or "✓" in cell for row in rows[:9] for cell in row)
    shown = sum(effect.words == "worse" for one in compare_arms(run) for effect in one.effects)
    assert shown and sum("✗" in cell for row in rows for cell in row) == shown
    assert any(line.startswith("✓ better, ✗ worse than the baseline") for line in lines)
    assert not any("✗" in line for line in terminal(run))


def test_more_cells_than_a_screen_are_counted():
    run = sweep_run(2)
    run.summary = msgspec.structs.replace(run.summary, arms=run.summary.arms * 5)
    lines = terminal(run)
    assert "30 more arms and cells are in reports/cells.csv" in lines
    assert sum(line.startswith((" baseline", " chimera")) for line in lines) == 60


def test_levels_are_called_as_the_spec_calls_them():
    found = {
        "backend=fast one,load.concurrency=4": {"backend": {"name": "x"}, "load.concurrency": 4},
        "odd": {"backend": {"name": "y"}, "load.concurrency": 8},
    }
    backend, load = axes(found)
    assert (backend.head, load.head) == ("backend", "concurrency")
    assert level(found, "odd", load) == "8" and value(found, "odd", load) == 8
    assert level(found, "odd", backend) == '{"name":"y"}'
    assert level(found, "base", load) == "—" and value(found, "base", load) is None


def test_figures_are_shown_beside_many_axes_in_80_columns():
    """Columns for six axes and the arms leave no room: a cell is then called by its name."""
    run = sweep_run(2)
    axes_ = [f"{agent}_num_{what}" for agent in "ab" for what in ("gpu", "ctx", "thread")]
    levels = {name: dict.fromkeys(axes_, i) for i, name in enumerate(cells())}
    arms = []
    for arm in run.summary.arms:
        ttft = next(one for one in arm.metrics if one.name == "ttft_ms")
        own = replace(ttft, name="load_balance_ratio", of="iteration", unit="x")
        arms.append(replace(arm, calls={}, metrics=(own,)))
    run.summary = replace(run.summary, cells=levels, arms=tuple(arms))
    lines = terminal(run)
    assert max(map(len, lines)) <= 80
    (head,) = [line for line in lines if line.startswith(" per iteration")]
    assert head.split() == ["per", "iteration", "arm", "cell", "median", "unit"]
    (first,) = [line for line in lines if line.startswith(" load_balance_ratio")]
    assert first.split()[1:3] == ["baseline", "num_ctx=512,num_gpu=0"]
    assert first.split()[-1] == "x"
