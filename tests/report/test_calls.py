"""jsonl, csv and chunks: exact names, exact values, one record at a time."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc

import msgspec
import pytest

from harness.errors import StoreError
from harness.report import chunks, csv_calls, jsonl
from harness.schema import CallError, ChunkColumns, Usage
from tests.store import builders
from tests.store.builders import MS, UPPER_BOUND, USER_STAMP

CONTRACT = [
    "call_id",
    "arm",
    "cell",
    "trial",
    "iteration",
    "agent",
    "stage",
    "phase",
    "status",
    "error",
    "due_ns",
    "sent_ns",
    "headers_ns",
    "first_byte_ns",
    "first_chunk_ns",
    "first_token_ns",
    "first_answer_ns",
    "last_token_ns",
    "end_ns",
    "closed_ns",
    "stamp_source",
    "realtime_offset_ns",
    "chunks",
    "content_chunks",
    "prompt_tokens",
    "cached_tokens",
    "output_tokens",
    "max_tokens",
    "ttft_ms",
    "tpot_ms",
    "e2e_ms",
    "ttft_from_due_ms",
    "e2e_from_due_ms",
    "queue_residual_ms",
    "client_lag_p50_us",
    "client_lag_p99_us",
    "cost_usd",
    "cost_source",
    "price_date",
    "server",
    "effective",
]


class Run:
    """Just manifest and records: exporters of calls need no summary."""

    def __init__(self, *records):
        self.manifest = builders.manifest()
        self.summary = None
        self._records = records

    def records(self):
        return iter(self._records)


def exported(exporter, run) -> bytes:
    out = io.BytesIO()
    exporter.write(run, out)
    assert not out.closed
    return out.getvalue()


def test_jsonl_has_one_line_per_call_with_the_names_of_the_contract():
    call = builders.call(trial=1, ordinal=0, ttft_ms=50, tpot_ms=10, tokens=5)
    run = Run(call, builders.iteration([call]), builders.trial(number=1))
    (line,) = map(json.loads, exported(jsonl, run).splitlines())
    assert [name for name in line if name in CONTRACT] == CONTRACT
    assert line == {
        "call_id": "0001.m0.00000",
        "arm": "baseline",
        "cell": "base",
        "trial": 1,
        "iteration": 0,
        "agent": "agent",
        "stage": "analysis",
        "phase": "measured",
        "status": "ok",
        "error": None,
        "due_ns": 999 * MS,
        "sent_ns": 1000 * MS,
        "headers_ns": 1002 * MS,
        "first_byte_ns": 1003 * MS,
        "first_chunk_ns": 1050 * MS,
        "first_token_ns": 1050 * MS,
        "first_answer_ns": 1050 * MS,
        "last_token_ns": 1090 * MS,
        "end_ns": 1091 * MS,
        "closed_ns": 1091 * MS,
        "stamp_source": "kernel",
        "realtime_offset_ns": 1_700_000_000_000_000_000,
        "chunks": 5,
        "content_chunks": 5,
        "prompt_tokens": 20,
        "cached_tokens": 0,
        "output_tokens": 5,
        "max_tokens": 5,
        "ttft_ms": 50.0,
        "tpot_ms": 10.0,
        "e2e_ms": 91.0,
        "ttft_from_due_ms": 51.0,
        "e2e_from_due_ms": 92.0,
        "queue_residual_ms": 50.0 - 1 - 40,
        "client_lag_p50_us": 20.0,
        "client_lag_p99_us": 45.5,
        "no_first_token": None,
        "attempts": 1,
        "finish_reason": "stop",
        "cost_usd": None,
        "cost_source": None,
        "price_date": None,
        "server": {"load_duration": 1 * MS, "prompt_eval_duration": 40 * MS, "eval_count": 5},
        "effective": json.loads(msgspec.json.encode(builders.trial().effective)),
    }


def test_jsonl_says_null_for_what_is_unknown_and_gives_the_error():
    call = builders.failed("timeout", "timeout.first_byte", phase="warmup")
    (line,) = map(json.loads, exported(jsonl, Run(call)).splitlines())
    assert line["error"] == {"code": "timeout.first_byte", "message": "boom"}
    unknown = "first_token_ns last_token_ns end_ns output_tokens ttft_ms tpot_ms e2e_ms effective"
    assert [line[name] for name in unknown.split()] == [None] * 8
    assert line["closed_ns"] == call.instants.closed_ns > line["sent_ns"]
    assert line["phase"] == "warmup"
    assert line["status"] == "timeout"


def test_jsonl_joins_each_call_with_its_own_trial():
    run = builders.toy_run()
    lines = [json.loads(line) for line in exported(jsonl, run).splitlines()]
    assert len(lines) == 16
    assert all(line["effective"]["model"] == "toy:1b" for line in lines)


def test_csv_has_one_row_per_call():
    call = builders.call(trial=1, ordinal=0)
    failed = builders.failed("error", "http.500", trial=1, ordinal=1)
    data = exported(csv_calls, Run(call, failed, builders.trial(number=1)))
    assert data.count(b"\r\n") == 3
    first, second = csv.DictReader(io.StringIO(data.decode(), newline=""))
    assert set(CONTRACT) - set(first) == {"error", "server", "effective"}
    assert first["ttft_ms"] == "50.0"
    assert first["error_code"] == ""
    assert first["effective_server_version"] == "1.2"
    assert (second["error_code"], second["error_message"]) == ("http.500", "boom")
    assert second["ttft_ms"] == ""


def test_csv_cells_are_no_formulas_and_no_escapes():
    error = CallError(code="stream", message='=HYPERLINK("http://e")\x1b[31m,\n"quoted"')
    call = msgspec.structs.replace(builders.failed(), error=error, agent="@x", stage="-1+1")
    data = exported(csv_calls, Run(call)).decode()
    assert "\x1b" not in data
    (row,) = csv.DictReader(io.StringIO(data, newline=""))
    assert row["error_message"] == '\'=HYPERLINK("http://e"),\n"quoted"'
    assert (row["agent"], row["stage"]) == ("'@x", "'-1+1")


def test_chunks_has_one_line_per_chunk():
    stamps = [1000, 2000, 3000]
    columns = builders.columns(stamps, size=7)
    sizes = [7, 8 | UPPER_BOUND, 9 | USER_STAMP]
    columns = msgspec.structs.replace(
        columns, size=b"".join(value.to_bytes(4, "little") for value in sizes)
    )
    call = builders.call(chunks=columns)
    lines = exported(chunks, Run(call, builders.trial())).decode().splitlines()
    assert lines[0] == (
        '{"call_id":"0000.m0.00000","index":0,"arrival_ns":1000,"user_ns":21000,'
        '"upper_bound":false,"bytes":7}'
    )
    assert [json.loads(line)["upper_bound"] for line in lines] == [False, True, False]
    assert [json.loads(line)["bytes"] for line in lines] == [7, 8, 9]
    assert [json.loads(line)["index"] for line in lines] == [0, 1, 2]


def test_a_lag_beyond_its_field_is_unknown():
    columns = msgspec.structs.replace(builders.columns([5]), lag_ns=b"\xff" * 4)
    (line,) = exported(chunks, Run(builders.call(chunks=columns))).splitlines()
    assert json.loads(line)["user_ns"] is None


def test_chunks_that_were_not_kept_are_an_error():
    call = builders.call(chunks=ChunkColumns(count=3))
    with pytest.raises(StoreError, match=r"not kept .*keep\.chunks=true"):
        exported(chunks, Run(call))
    assert exported(chunks, Run(builders.failed())) == b""


def test_many_chunks_are_streamed():
    class Count(io.RawIOBase):
        lines = 0

        def write(self, data) -> int:
            self.lines += bytes(data).count(b"\n")
            return len(data)

    n = 60_000
    columns = ChunkColumns(count=n, arrival_ns=bytes(8 * n), lag_ns=bytes(4 * n), size=bytes(4 * n))
    run = Run(builders.call(chunks=columns, usage=Usage()))
    out = Count()
    tracemalloc.start()
    try:
        chunks.write(run, out)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert out.lines == n
    assert peak < 4_000_000  # as one list of lines it would be 12 MB
