"""`csv`: one row per call (RFC 4180), warm-up included, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from typing import Any, BinaryIO, Final

from harness.protocols import RunData
from harness.report.rows import INSTANTS, METRICS, PLACE, calls_with_effective, values
from harness.report.sanitise import cell
from harness.schema import CallRecord, Effective

__all__ = ["COLUMNS", "write"]

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
)


def write(run: RunData, out: BinaryIO) -> None:
    """Unknown is an empty cell. Text that a spreadsheet would run gets an apostrophe in front."""
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    try:
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow(COLUMNS)
        for record, effective in calls_with_effective(run):
            row = _row(record, effective)
            writer.writerow([_cell(row[name]) for name in COLUMNS])
    finally:
        text.detach()  # `out` is the caller's to close


def _row(record: CallRecord, effective: Effective | None) -> dict[str, Any]:
    return {
        **values(record),
        "error_code": record.error.code if record.error else None,
        "error_message": record.error.message if record.error else None,
        "finish_reason": record.finish_reason,
        **{f"effective_{name}": getattr(effective, name, None) for name in EFFECTIVE},
    }


def _cell(value: Any) -> Any:
    return cell(value) if isinstance(value, str) else value
