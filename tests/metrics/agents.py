"""Iterations of several agents whose figures are known by hand: together, and one after another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.schema import CallRecord, Instants, IterationRecord, Span, Usage
from tests.metrics.records import MS, call, iteration

Windows = Mapping[str, tuple[float, float]]
"""Agent → (start, end) in ms."""


def spans(windows: Windows) -> tuple[Span, ...]:
    return tuple(
        Span(name="agent", agent=name, start_ns=round(start * MS), end_ns=round(end * MS))
        for name, (start, end) in windows.items()
    )


def of_agents(windows: Windows, phase: str = "measured", **changes: Any) -> IterationRecord:
    ends = [end for _, end in windows.values()]
    base = {"phase": phase, "spans": spans(windows), "planned_calls": len(windows)}
    end_ns = round(max(ends, default=0.0) * MS) + MS
    return iteration(**({"end_ns": end_ns} | base | changes))


def call_of(
    agent: str,
    window: tuple[float, float],
    phase: str = "measured",
    *,
    ttft_ms: float = 50.0,
    prompt_ms: float | None = 20.0,
    tokens: int | None = 10,
    **changes: Any,
) -> CallRecord:
    """Sent as its agent begins; the server says it loaded for 10 ms, and what it did on the
    prompt."""
    start, end = window
    server = {"load_duration": 10 * MS, "prompt_eval_duration": round((prompt_ms or 0.0) * MS)}
    return call(
        agent=agent,
        phase=phase,
        call_id=f"0000.{phase[0]}0.{agent}",
        instants=Instants(
            due_ns=round(start * MS),
            sent_ns=round(start * MS),
            first_token_ns=round((start + ttft_ms) * MS),
            last_token_ns=round(end * MS),
            end_ns=round(end * MS),
            closed_ns=round(end * MS),
        ),
        usage=Usage(output_tokens=tokens),
        server=server if prompt_ms is not None else {},
        **changes,
    )


def calls_of(windows: Windows, phase: str = "measured", **changes: Any) -> list[CallRecord]:
    return [call_of(name, window, phase, **changes) for name, window in windows.items()]
