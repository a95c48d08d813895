"""The iterations one by one."""

from __future__ import annotations

from typing import Final

from harness.protocols import RunData
from harness.report.aggregate import durations
from harness.report.figures import UNKNOWN
from harness.report.grid import axes
from harness.report.iterations import IterationLine, iteration_lines
from harness.report.page.figures import OK_TITLE, place_cells, place_columns
from harness.report.page.tables import Cell, Column, Table, of_number, table
from harness.report.page.tables import label as text
from harness.schema import Summary

__all__ = ["ROWS_MAX", "iterations_table"]

ROWS_MAX: Final = 200
"""Iterations listed one by one; metrics.json has all of them."""


def iterations_table(run: RunData) -> tuple[Table, int]:
    """Measured, cold and solo iterations, and how many more than ROWS_MAX there are."""
    lines = [line for line in iteration_lines(run) if line.phase in ("measured", "cold", "solo")]
    summary = run.summary
    shown = durations(summary)
    columns = [
        Column(head="Trial", numeric=True),
        Column(head="Iteration", numeric=True),
        *place_columns(axes(summary.cells)),
        Column(head="Status"),
        Column(head="ok", numeric=True, title=OK_TITLE),
        *(Column(head=head, unit="ms", numeric=True) for head in shown.values()),
        Column(head="Throughput", unit="tok/s", numeric=True),
        Column(head="Wall", unit="ms", numeric=True),
    ]
    rows = [_line(line, summary, list(shown)) for line in lines[:ROWS_MAX]]
    return table("Iterations", columns, rows), max(len(lines) - ROWS_MAX, 0)


def _line(line: IterationLine, summary: Summary, shown: list[str]) -> list[Cell]:
    status = line.status if line.error is None else f"{line.status}: {line.error}"
    phase = status if line.phase == "measured" else f"{line.phase}, {status}"
    planned = UNKNOWN if line.planned_calls is None else str(line.planned_calls)
    return [
        of_number(line.trial),
        of_number(line.iteration),
        *place_cells(line.arm, line.cell, summary),
        text(phase, tone="" if line.status == "ok" else "bad"),
        text(f"{line.calls.get('ok', 0)} / {planned}"),
        *(of_number(line.call_means.get(name)) for name in shown),
        of_number(line.figures.get("throughput_tok_s")),
        of_number(line.figures.get("wall_ms")),
    ]
