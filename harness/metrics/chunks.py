"""Gaps between chunks, and when they are gaps between tokens.

A chunk is not a token: servers hold back half characters and possible stop strings, decode
speculatively, or write in batches. Gaps between content chunks are what was seen, and always
available. They are called inter-token latency only where each of those chunks is *known* to hold
exactly one token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from harness.metrics.tapped import ChunkDelays, chunk_delays
from harness.schema import CallRecord, ChunkColumns, ChunkKind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "Condensed",
    "Gaps",
    "agent_delays",
    "condense",
    "content_arrivals",
    "gaps",
    "inter_chunk_ns",
    "itl_ns",
    "itl_unknown_because",
]


class Gaps(Struct, frozen=True, kw_only=True):
    """What the gaps between the content chunks of one call amount to."""

    chunks: int
    """With content."""
    upper_bounds: int | None
    """Those among them whose stamp is a bound; None where the flags were not kept."""
    p50_ns: float | None
    max_ns: int | None
    """Both None below two chunks."""
    bounds_lag_p50_ns: float | None = None
    """Median over the upper bounds of how late the read was that brought them; None without any."""
    first_is_bound: bool = False


class Condensed(ChunkColumns, frozen=True, kw_only=True):
    """Columns without their stamps: `arrival_ns`, `lag_ns` and `size` are empty, `kind` is there.
    Never stored."""

    gaps: Gaps | None = None
    """As of the columns before; None where those told nothing."""
    agent_delays: ChunkDelays | None = None
    """Likewise, of calls of agent programs."""


def condense(record: CallRecord) -> CallRecord:
    """The record with the stamps of its chunks let go. Every call metric stays what it was; of the
    functions here `gaps` and `itl_unknown_because` do, the others raise ValueError."""
    if isinstance(record.chunks, Condensed):
        return record
    columns, told = record.chunks, record.reported
    return replace(
        record,
        chunks=Condensed(
            count=columns.count,
            kind=columns.kind,
            gaps=gaps(record),
            agent_delays=chunk_delays(record),
        ),
        reported=replace(told, chunk_ns=None) if told is not None else None,
    )


def gaps(record: CallRecord) -> Gaps | None:
    """None where `inter_chunk_ns` is."""
    from harness._native.kernels import median

    if isinstance(record.chunks, Condensed):
        return record.chunks.gaps
    between = inter_chunk_ns(record)
    if between is None:
        return None
    bounds = _upper_bounds(record)
    lags = None if bounds is None else _lags(record, bounds)
    return Gaps(
        chunks=record.content_chunks,
        upper_bounds=None if bounds is None else int(bounds.sum()),
        p50_ns=median(between.astype(float)) if len(between) else None,
        max_ns=int(between.max()) if len(between) else None,
        bounds_lag_p50_ns=median(lags) if lags is not None and len(lags) else None,
        first_is_bound=bounds is not None and len(bounds) > 0 and bool(bounds[0]),
    )


def agent_delays(record: CallRecord) -> ChunkDelays | None:
    """`chunk_delays`, of a condensed record too."""
    if isinstance(record.chunks, Condensed):
        return record.chunks.agent_delays
    return chunk_delays(record)


def _upper_bounds(record: CallRecord) -> NDArray[np.bool_] | None:
    """Which of the content chunks have a bound for a stamp; None where the flags were not kept."""
    import numpy as np

    from harness._native.recorder import FLAG_UPPER_BOUND

    columns = record.chunks
    if len(columns.size) != 4 * columns.count:
        return None
    content = np.frombuffer(columns.kind, "u1") != ChunkKind.EMPTY
    sizes = np.frombuffer(columns.size, "<u4")[content]
    bounds: NDArray[np.bool_] = sizes & FLAG_UPPER_BOUND != 0
    return bounds


def _lags(record: CallRecord, chosen: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """Lag of the reads that brought these content chunks; None where lags were not kept."""
    import numpy as np

    columns = record.chunks
    if len(columns.lag_ns) != 4 * columns.count:
        return None
    content = np.frombuffer(columns.kind, "u1") != ChunkKind.EMPTY
    lags: NDArray[np.float64] = np.frombuffer(columns.lag_ns, "<u4")[content][chosen].astype("f8")
    return lags


def inter_chunk_ns(record: CallRecord) -> NDArray[np.int64] | None:
    """Gaps between successive content chunks, shape (content chunks − 1,); empty below two.

    Chunks that came in one read share its stamp, so a gap may be 0 and the one before it too long:
    the earlier ones carry the upper-bound flag in `chunks.size`. None where the stamps were not
    kept (`keep: {chunks: false}`), do not fit together, or run backwards.
    """
    import numpy as np

    arrivals = content_arrivals(record)
    if arrivals is None:
        return None
    between: NDArray[np.int64] = np.diff(arrivals)
    return None if (between < 0).any() else between


def itl_ns(record: CallRecord) -> NDArray[np.int64] | None:
    """Inter-token latencies, shape (tokens − 1,): `inter_chunk_ns` where chunks are single tokens.

    None otherwise; `itl_unknown_because` has the reason.
    """
    return None if itl_unknown_because(record) else inter_chunk_ns(record)


def itl_unknown_because(record: CallRecord) -> str | None:
    """Why this call has no inter-token latencies; None where it has.

    Text never comes in more chunks than it has tokens. So content chunks = output tokens proves one
    token each; and a server that tells how many tokens each chunk holds needs no such argument.
    One token more than chunks proves nothing: it may be the stop token, which has no text and which
    many servers count, or a chunk may hold two.
    """
    chunks, tokens = record.content_chunks, record.usage.output_tokens
    if record.status != "ok":
        return f"the call is not ok but {record.status}"
    if record.attempts > 1:
        return f"it was sent {record.attempts} times"
    if chunks < 2:
        return f"{chunks} content chunks have no gap between them"
    if _stamps_are_missing(record):
        return "the stamps of its chunks were not kept, or do not fit together"
    if record.chunk_tokens is not None:
        return _because_of_chunk_tokens(record)
    if tokens is None:
        return "the server gave no token count"
    if tokens == chunks + 1:
        return f"{tokens} tokens came in {chunks} chunks: a stop token, or a chunk of two"
    return None if tokens == chunks else f"{tokens} tokens came in {chunks} chunks"


def _stamps_are_missing(record: CallRecord) -> bool:
    if isinstance(record.chunks, Condensed):
        return record.chunks.gaps is None
    return inter_chunk_ns(record) is None


def _because_of_chunk_tokens(record: CallRecord) -> str | None:
    import numpy as np

    per_chunk = record.chunk_tokens or b""
    content = np.frombuffer(record.chunks.kind, "u1") != ChunkKind.EMPTY
    if len(per_chunk) != 4 * len(content):
        return "the server's token counts do not fit its chunks"
    odd = np.frombuffer(per_chunk, "<u4")[content] != 1
    return f"{odd.sum()} content chunks do not hold one token" if odd.any() else None


def content_arrivals(record: CallRecord) -> NDArray[np.int64] | None:
    import numpy as np

    columns = record.chunks
    if isinstance(columns, Condensed):
        raise ValueError(f"the stamps of {record.call_id} were let go: gaps() has what they were")
    if len(columns.arrival_ns) != 8 * columns.count or len(columns.kind) != columns.count:
        return None
    content = np.frombuffer(columns.kind, "u1") != ChunkKind.EMPTY
    if content.sum() != record.content_chunks:
        return None
    arrivals: NDArray[np.int64] = np.frombuffer(columns.arrival_ns, "<i8")[content]
    return arrivals
