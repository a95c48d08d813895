"""Records whose figures are known by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.metrics import CALL_METRICS, call_metric
from harness.schema import (
    CallRecord,
    ChunkColumns,
    ChunkKind,
    Instants,
    IterationRecord,
    Usage,
)

MS = 1_000_000
A, R, E = ChunkKind.ANSWER, ChunkKind.REASONING, ChunkKind.EMPTY


def columns(arrivals_ms, kinds) -> ChunkColumns:
    return ChunkColumns(
        count=len(kinds),
        arrival_ns=np.array([round(ms * MS) for ms in arrivals_ms], "<i8").tobytes(),
        lag_ns=bytes(4 * len(kinds)),
        size=bytes(4 * len(kinds)),
        kind=bytes(kinds),
    )


def call(**changes: Any) -> CallRecord:
    """Due at 100 ms, sent 0.5 ms late; reasoning at 150, answers at 170, 190, 215, end at 216."""
    base: dict[str, Any] = {
        "call_id": "0000.m0.00000",
        "arm": "a",
        "cell": "c",
        "trial": 0,
        "iteration": 0,
        "phase": "measured",
        "status": "ok",
        "instants": instants(),
        "usage": Usage(prompt_tokens=40, output_tokens=4),
        "chunks": columns([145, 150, 170, 190, 215, 216], [E, R, A, A, A, E]),
        "content_chunks": 4,
        "client_lag_p50_ns": 12_000,
        "client_lag_p99_ns": 30_500,
        "client_lag_max_ns": 31_000,
    }
    return CallRecord(**(base | changes))


def instants(**changes: Any) -> Instants:
    base = {
        "due_ns": 100 * MS,
        "sent_ns": 100 * MS + MS // 2,
        "headers_ns": 140 * MS,
        "first_byte_ns": 145 * MS,
        "first_chunk_ns": 145 * MS,
        "first_token_ns": 150 * MS,
        "first_answer_ns": 170 * MS,
        "last_token_ns": 215 * MS,
        "end_ns": 216 * MS,
        "closed_ns": 216 * MS,
    }
    return Instants(**(base | changes))


OLLAMA = {
    "total_duration": 115 * MS,
    "load_duration": 10 * MS,
    "prompt_eval_count": 40,
    "prompt_eval_duration": 20 * MS,
    "eval_count": 4,
    "eval_duration": 60 * MS,
}
LLAMACPP = {
    "timings": {
        "cache_n": 10,
        "prompt_n": 30,
        "prompt_ms": 25.0,
        "predicted_n": 4,
        "predicted_ms": 64.0,
    }
}


def value(name: str, record: CallRecord) -> float | None:
    return call_metric(name).formula(record)


def values(record: CallRecord) -> dict[str, float | None]:
    return {metric.name: metric.formula(record) for metric in CALL_METRICS}


def plain(start_ms, end_ms, *, tokens=10, **changes) -> CallRecord:
    """Sent when due; tokens spread evenly from the start to the end, stamps not kept."""
    return call(
        instants=Instants(
            due_ns=round(start_ms * MS),
            sent_ns=round(start_ms * MS),
            first_token_ns=round(start_ms * MS),
            last_token_ns=round(end_ms * MS),
            end_ns=round(end_ms * MS),
            closed_ns=round(end_ms * MS),
        ),
        usage=Usage(output_tokens=tokens),
        chunks=ChunkColumns(count=0),
        **changes,
    )


def iteration(**changes: Any) -> IterationRecord:
    base: dict[str, Any] = {
        "arm": "a",
        "cell": "c",
        "trial": 0,
        "iteration": 0,
        "phase": "measured",
        "status": "ok",
        "start_ns": 0,
        "end_ns": 1500 * MS,
        "planned_calls": 2,
    }
    return IterationRecord(**(base | changes))
