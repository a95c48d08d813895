"""`cells.csv`: one row per arm, cell and metric (tidy form), for data frames and spreadsheets.

Every summary figure of a run, with n, interval, unit and provenance beside it, and the axes of a
sweep as columns: what a plot or a regression of one's own starts from.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any, BinaryIO, Final

from harness.money import plain
from harness.protocols import RunData
from harness.report.csv_calls import write_rows
from harness.report.grid import axis_columns, value
from harness.schema import ArmSummary, MetricSummary, Summary

__all__ = ["COLUMNS", "write"]

METRIC: Final = (
    "unit",
    "better",
    "provenance",
    "of",
    "n",
    "n_eff",
    "missing",
    "mean",
    "ci_low",
    "ci_high",
    "ci_of",
    "sd",
    "median",
    "p05",
    "p95",
    "p99",
    "minimum",
    "maximum",
    "outliers",
    "mean_without_outliers",
    "median_without_outliers",
    "band",
    "band_by",
)
COLUMNS: Final = ("run_id", "arm", "cell", "trials", "metric", *METRIC)
"""Those of the axes (`axis.<path>`) come behind `cell`."""


def write(run: RunData, out: BinaryIO) -> None:
    """Unknown is an empty cell; a metric that no unit has is left out."""
    summary = run.summary
    axes = axis_columns(summary.cells)
    columns = [*COLUMNS[:3], *axes, *COLUMNS[3:]]
    rows = (_row(summary, arm, one) for arm in summary.arms for one in arm.metrics if one.n)
    write_rows(out, columns, rows)


def _row(summary: Summary, arm: ArmSummary, one: MetricSummary) -> dict[str, Any]:
    swept = axis_columns(summary.cells).items()
    return {
        "run_id": summary.run_id,
        "arm": arm.arm,
        "cell": arm.cell,
        **{name: value(summary.cells, arm.cell, axis) for name, axis in swept},
        "trials": arm.trials,
        "metric": one.name,
        **{name: _readable(getattr(one, name), one.unit) for name in METRIC},
    }


def _readable(found: Any, unit: str) -> Any:
    """Money without an exponent: the same number to a program, and an amount to a person."""
    if not unit.startswith("USD") or not isinstance(found, float) or not math.isfinite(found):
        return found
    return plain(Decimal(repr(found)))
