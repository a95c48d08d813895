"""`csv`: one row per call (RFC 4180), warm-up included, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, BinaryIO, Final

from harness.protocols import RunData
from harness.report.grid import axis_columns, value
from harness.report.rows import (
    COST,
    INSTANTS,
    METRICS,
    PLACE,
    calls_with_effective,
    costs,
    values,
)
from harness.report.sanitise import cell
from harness.schema import CallRecord, Effective

__all__ = ["COLUMNS", "columns_of", "row_of", "write", "write_rows"]

EFFECTIVE: Final = ("server", "server_version", "model", "model_digest", "context_length")

COLUMNS: Final = (
    *PLACE,
    "error_code",
    "error_message",
    *INSTANTS,
    "stamp_source",
    "realtime_offset_ns",
    "chunks",
    "content_chunks",
    "prompt_tokens",
    "cached_tokens",
    "output_tokens",
    "max_tokens",
    *METRICS,
    "finish_reason",
    *(f"effective_{name}" for name in EFFECTIVE),
    *COST,
)
"""Those of a sweep's axes (`axis.<path>`) come last, so that these keep their places."""


def write(run: RunData, out: BinaryIO) -> None:
    """Unknown is an empty cell. Text that a spreadsheet would run gets an apostrophe in front."""
    rows = (row_of(run, *found) for found in calls_with_effective(run))
    write_rows(out, columns_of(run), rows)


def columns_of(run: RunData) -> list[str]:
    return [*COLUMNS, *axis_columns(run.manifest.cells)]


def row_of(run: RunData, record: CallRecord, effective: Effective | None) -> dict[str, Any]:
    """One call by column."""
    cells = run.manifest.cells
    return {
        **values(record),
        "error_code": record.error.code if record.error else None,
        "error_message": record.error.message if record.error else None,
        "finish_reason": record.finish_reason,
        **{f"effective_{name}": getattr(effective, name, None) for name in EFFECTIVE},
        **costs(record),
        **{name: value(cells, record.cell, axis) for name, axis in axis_columns(cells).items()},
    }


def write_rows(out: BinaryIO, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """A CSV file with a heading; one row is held at a time."""
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    try:
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow([cell(name) for name in columns])
        for row in rows:
            writer.writerow([_cell(row[name]) for name in columns])
    finally:
        text.detach()  # `out` is the caller's to close


def _cell(found: Any) -> Any:
    return cell(found) if isinstance(found, str) else found
