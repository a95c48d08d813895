"""An exporter: a function of a run that writes bytes."""

from __future__ import annotations

from typing import BinaryIO

from harness.protocols import RunData
from harness.schema import CallRecord


def write_tsv(run: RunData, out: BinaryIO) -> None:
    out.write(b"call_id\tstatus\toutput_tokens\n")
    for record in run.records():
        if isinstance(record, CallRecord):
            tokens = record.usage.output_tokens
            shown = "" if tokens is None else str(tokens)
            out.write(f"{record.call_id}\t{record.status}\t{shown}\n".encode())
