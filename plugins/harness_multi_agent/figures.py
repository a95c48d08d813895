"""What the agents of one iteration say of their calls → the figures of older reports.

Everything here is what an agent saw itself: of one within the harness the record of the call, of a
program its own report. Figures that hold for a run (speed-up, slowdown, contention) are derived by
the harness from spans and records; they are not made here a second time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from harness.schema import CallRecord, ReportedCall

__all__ = ["AgentFigures", "Told", "told_by_program", "told_by_record"]


class Told(Struct, frozen=True, kw_only=True):
    """One call, as its agent tells of it."""

    stage: str
    status: str
    error: str = ""
    ttft_ms: float | None = None
    e2e_ms: float | None = None
    output_tokens: int | None = None
    eval_tok_s: float | None = None
    """Tokens generated / time of generating, both as the server reports them."""
    text: str | None = None


class AgentFigures(Struct, frozen=True, kw_only=True):
    """Over the calls of one agent in one iteration; None where one of them does not tell."""

    calls: int
    throughput_tok_s: float | None
    """Mean of the calls' rates, as older reports have it; not tokens per time of anything."""
    ttft_ms: float | None
    output_tokens: int | None

    @classmethod
    def of(cls, calls: Sequence[Told]) -> AgentFigures:
        tokens = [call.output_tokens for call in calls]
        known = [count for count in tokens if count is not None]
        return cls(
            calls=len(calls),
            throughput_tok_s=_mean(call.eval_tok_s for call in calls),
            ttft_ms=_mean(call.ttft_ms for call in calls),
            output_tokens=sum(known) if known and len(known) == len(tokens) else None,
        )


def told_by_record(record: CallRecord) -> Told:
    at = record.instants
    return Told(
        stage=record.stage,
        status=record.status,
        error=f"{record.error.code}: {record.error.message}" if record.error else "",
        ttft_ms=_span_ms(at.sent_ns, at.first_token_ns),
        e2e_ms=_span_ms(at.sent_ns, at.end_ns),
        output_tokens=record.usage.output_tokens,
        eval_tok_s=_eval_tok_s(record.server),
        text=record.text,
    )


def told_by_program(call: ReportedCall) -> Told:
    at = call.reported
    return Told(
        stage=call.stage,
        status=at.status,
        error=f"{call.error.code}: {call.error.message}" if call.error else "",
        ttft_ms=_span_ms(at.sent_ns, at.first_token_ns),
        e2e_ms=_span_ms(at.sent_ns, at.end_ns),
        output_tokens=call.usage.output_tokens,
        eval_tok_s=_eval_tok_s(call.server),
        text=call.text or None,
    )


def _span_ms(start_ns: int | None, end_ns: int | None) -> float | None:
    if start_ns is None or end_ns is None or end_ns < start_ns:
        return None
    return (end_ns - start_ns) / 1e6


def _eval_tok_s(server: dict[str, Any]) -> float | None:
    """Ollama's eval_count / eval_duration (ns), or predicted_n / predicted_ms of llama.cpp."""
    timings = server.get("timings")
    if isinstance(timings, dict):
        count, length_ms = timings.get("predicted_n"), timings.get("predicted_ms")
        scale = 1e3
    else:
        count, length_ms = server.get("eval_count"), server.get("eval_duration")
        scale = 1e9
    if not _is_positive(count) or not _is_positive(length_ms):
        return None
    return float(count * scale / length_ms)  # type: ignore[operator]


def _is_positive(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and value > 0


def _mean(values: Iterable[float | None]) -> float | None:
    found = [*values]
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known and len(known) == len(found) else None
