"""`jsonl`: one JSON object per call, warm-up included, in the order in which they ended."""

from __future__ import annotations

from typing import Any, BinaryIO

import msgspec

from harness.protocols import RunData
from harness.report.rows import PLACE, calls_with_effective, costs, values
from harness.schema import CallRecord, Effective
from harness.text import plain_json

__all__ = ["write"]


def write(run: RunData, out: BinaryIO) -> None:
    """The names are a contract; unknown is null. Streams: one call is held at a time.

    What a server said is kept as it said it, and what is not printable of that is escaped: the same
    data to a JSON reader, and no control to a terminal or an editor.
    """
    encoder = msgspec.json.Encoder()
    for record, effective in calls_with_effective(run):
        out.write(plain_json(encoder.encode(_row(record, effective))) + b"\n")


def _row(record: CallRecord, effective: Effective | None) -> dict[str, Any]:
    row = values(record)
    ordered = {name: row.pop(name) for name in PLACE}
    return {
        **ordered,
        "error": record.error,
        **row,
        "no_first_token": record.no_first_token or None,
        "attempts": record.attempts,
        "finish_reason": record.finish_reason,
        **costs(record),
        "server": record.server,
        "effective": effective,
    }
