"""Small, exact runs for tests of store, summary and reports. Nothing in them was measured."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from harness.schema import (
    SCHEMA_VERSION,
    ArmSpec,
    BackendSpec,
    CallError,
    CallRecord,
    ChunkColumns,
    Effective,
    Environment,
    Instants,
    IterationRecord,
    IterationsSpec,
    Manifest,
    Record,
    RunSpec,
    ScenarioSpec,
    Span,
    Summary,
    TrialRecord,
    Usage,
)

MS = 1_000_000
UPPER_BOUND = 0x8000_0000
USER_STAMP = 0x4000_0000


def spec(**changes: Any) -> RunSpec:
    base = RunSpec(
        backend=BackendSpec(name="scripted", model="toy:1b"),
        scenario=ScenarioSpec(name="single_agent"),
        name="toy run",
        arms={"baseline": ArmSpec(), "chimera": ArmSpec(backend={"options": {"num_ctx": 512}})},
        trials=2,
        iterations=IterationsSpec(warmup=1, measured=1),
    )
    return msgspec.structs.replace(base, **changes)


def manifest(arms: Sequence[str] = ("baseline", "chimera"), **changes: Any) -> Manifest:
    trials = [(arm, "base") for _ in range(2) for arm in arms]
    base = Manifest(
        schema_version=SCHEMA_VERSION,
        run_id="c0ffee12",
        name="toy run",
        state="running",
        spec=spec(arms={arm: ArmSpec() for arm in arms}),
        spec_digest="sha256:00ff",
        plan=tuple((arm, cell, index) for index, (arm, cell) in enumerate(trials)),
        environment=Environment(harness_version="0.1.0", python="3.11.7", platform="linux"),
        started="2026-11-20T21:17:00.250+00:00",
        realtime_offset_ns=1_700_000_000_000_000_000,
    )
    return msgspec.structs.replace(base, **changes)


def columns(arrivals_ns: Sequence[int], *, flags: int = 0, size: int = 10) -> ChunkColumns:
    n = len(arrivals_ns)
    return ChunkColumns(
        count=n,
        arrival_ns=struct.pack(f"<{n}q", *arrivals_ns),
        lag_ns=struct.pack(f"<{n}I", *[20_000] * n),
        size=struct.pack(f"<{n}I", *[size | flags] * n),
        kind=bytes([3] * n),
    )


def call(
    *,
    arm: str = "baseline",
    trial: int = 0,
    iteration: int = 0,
    ordinal: int = 0,
    phase: str = "measured",
    sent_ms: float = 1000.0,
    ttft_ms: float = 50.0,
    tpot_ms: float = 10.0,
    tokens: int = 5,
    **changes: Any,
) -> CallRecord:
    """An `ok` call whose tokens came one per chunk, at exact distances."""
    sent = int(sent_ms * MS)
    stamps = [sent + int((ttft_ms + tpot_ms * i) * MS) for i in range(tokens)]
    end = stamps[-1] + 1 * MS if stamps else sent + int(ttft_ms * MS)
    base = CallRecord(
        call_id=f"{trial:04d}.{phase[0]}{iteration}.{ordinal:05d}",
        arm=arm,
        cell="base",
        trial=trial,
        iteration=iteration,
        phase=phase,
        status="ok",
        agent="agent",
        stage="analysis" if ordinal % 2 == 0 else "report",
        instants=Instants(
            due_ns=sent - MS,
            sent_ns=sent,
            headers_ns=sent + 2 * MS,
            first_byte_ns=sent + 3 * MS,
            first_chunk_ns=stamps[0] if stamps else None,
            first_token_ns=stamps[0] if stamps else None,
            first_answer_ns=stamps[0] if stamps else None,
            last_token_ns=stamps[-1] if stamps else None,
            end_ns=end,
            closed_ns=end,
        ),
        stamp_source="kernel",
        realtime_offset_ns=1_700_000_000_000_000_000,
        endpoint="http://127.0.0.1:1/api/chat",
        http_status=200,
        finish_reason="stop",
        usage=Usage(prompt_tokens=20, cached_tokens=0, output_tokens=tokens),
        server={"load_duration": 1 * MS, "prompt_eval_duration": 40 * MS, "eval_count": tokens},
        chunks=columns(stamps),
        content_chunks=tokens,
        max_tokens=tokens,
        client_lag_p50_ns=20_000,
        client_lag_p99_ns=45_500,
        client_lag_max_ns=50_000,
        text="hello",
    )
    return msgspec.structs.replace(base, **changes)


def failed(status: str = "error", code: str = "http.500", **arguments: Any) -> CallRecord:
    """A call that never gave a token."""
    made = call(tokens=0, **arguments)
    instants = msgspec.structs.replace(made.instants, end_ns=None)
    error = CallError(code=code, message="boom")
    return msgspec.structs.replace(
        made,
        status=status,
        error=error,
        instants=instants,
        usage=Usage(),
        server={},
        finish_reason=None,
        client_lag_p50_ns=None,
        client_lag_p99_ns=None,
    )


def iteration(calls: Sequence[CallRecord], **changes: Any) -> IterationRecord:
    """The iteration that made these calls, from the first one's due instant to the last end."""
    first = calls[0]
    start = min(c.instants.due_ns for c in calls)
    end = max(c.instants.closed_ns or c.instants.due_ns for c in calls)
    base = IterationRecord(
        arm=first.arm,
        cell=first.cell,
        trial=first.trial,
        iteration=first.iteration,
        phase=first.phase,
        status="ok",
        start_ns=start,
        end_ns=end,
        planned_calls=len(calls),
        spans=(Span(name="ingest", start_ns=start - 5 * MS, end_ns=start),),
    )
    return msgspec.structs.replace(base, **changes)


def trial(arm: str = "baseline", number: int = 0, **changes: Any) -> TrialRecord:
    base = TrialRecord(
        arm=arm,
        cell="base",
        trial=number,
        status="ok",
        start_ns=900 * MS,
        end_ns=2000 * MS,
        effective=Effective(
            server="toyd",
            server_version="1.2",
            model="toy:1b",
            context_length=512,
            options={"num_ctx": 512},
        ),
        transport="native",
        transport_stats={"reads": 10},
    )
    return msgspec.structs.replace(base, **changes)


def records(arms: Sequence[str] = ("baseline", "chimera"), calls: int = 2) -> list[Record]:
    """Two trials per arm, interleaved; the second arm is 10 ms slower to its first token."""
    made: list[Record] = []
    for number in range(2 * len(arms)):
        arm = arms[number % len(arms)]
        start_ms = 1000.0 * (number + 1)
        for phase in ("warmup", "measured"):
            group = [
                call(
                    arm=arm,
                    trial=number,
                    ordinal=ordinal,
                    phase=phase,
                    sent_ms=start_ms + 200 * ordinal + (500 if phase == "measured" else 0),
                    ttft_ms=50 + 10 * arms.index(arm) + ordinal + number,
                )
                for ordinal in range(calls)
            ]
            made += [*group, iteration(group)]
        end_ns = int((start_ms + 999) * MS)
        made.append(trial(arm, number, start_ns=int(start_ms * MS), end_ns=end_ns))
    return made


class FakeRun:
    """RunData from lists."""

    sessions = ()

    def __init__(
        self, manifest: Manifest, records: Iterable[Record], summary: Summary | None = None
    ) -> None:
        from harness.engine.summary import derive_summary

        self.manifest = manifest
        self._records = list(records)
        self.summary = summary or derive_summary(manifest, self._records)

    def records(self) -> list[Record]:
        return self._records


def toy_run() -> FakeRun:
    return FakeRun(manifest(state="finished"), records())
