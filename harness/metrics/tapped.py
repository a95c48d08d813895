"""Calls of agent programs: what they say of a call beside what the tap saw of it.

The tap stamps a chunk right before it sends it on, the agent when it has it in hand: the difference
is what the agent's own runtime adds, waking up and parsing. Both read the same clock.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from harness.schema import CallRecord, ChunkKind

__all__ = ["ChunkDelays", "chunk_delays"]

NEVER_SENT_NS: Final = 2**32 - 1


class ChunkDelays(Struct, frozen=True, kw_only=True):
    """How much later than the tap sent them on the agent saw the content chunks of one call, ns."""

    p50_ns: float
    p99_ns: float


def chunk_delays(record: CallRecord) -> ChunkDelays | None:
    """None where one side has no stamps of its chunks, or another number of them; and where any of
    them would have been seen before it was sent."""
    import numpy as np

    told, columns = record.reported, record.chunks
    if record.tap is None or told is None or not told.chunk_ns:
        return None
    if len(columns.arrival_ns) != 8 * columns.count or len(columns.lag_ns) != 4 * columns.count:
        return None
    content = np.frombuffer(columns.kind, "u1") != ChunkKind.EMPTY
    if len(told.chunk_ns) != 8 * int(content.sum()):
        return None
    lags = np.frombuffer(columns.lag_ns, "<u4")[content].astype(np.int64)
    sent_on = np.frombuffer(columns.arrival_ns, "<i8")[content] + lags
    delays = np.frombuffer(told.chunk_ns, "<i8") - sent_on
    if (lags >= NEVER_SENT_NS).any() or (delays < 0).any():
        return None
    p50_ns, p99_ns = np.quantile(delays.astype(float), (0.5, 0.99))
    return ChunkDelays(p50_ns=float(p50_ns), p99_ns=float(p99_ns))
