"""Gaps between chunks, and when they are gaps between tokens.

A chunk is not a token: servers hold back half characters and possible stop strings, decode
speculatively, or write in batches. Gaps between content chunks are what was seen, and always
available. They are called inter-token latency only where each of those chunks is *known* to hold
exactly one token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.schema import CallRecord, ChunkKind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["content_arrivals", "inter_chunk_ns", "itl_ns", "itl_unknown_because"]


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
    gaps: NDArray[np.int64] = np.diff(arrivals)
    return None if (gaps < 0).any() else gaps


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
    if chunks < 2:
        return f"{chunks} content chunks have no gap between them"
    if inter_chunk_ns(record) is None:
        return "the stamps of its chunks were not kept, or do not fit together"
    if record.chunk_tokens is not None:
        return _because_of_chunk_tokens(record)
    if tokens is None:
        return "the server gave no token count"
    if tokens == chunks + 1:
        return f"{tokens} tokens came in {chunks} chunks: a stop token, or a chunk of two"
    return None if tokens == chunks else f"{tokens} tokens came in {chunks} chunks"


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
    if len(columns.arrival_ns) != 8 * columns.count or len(columns.kind) != columns.count:
        return None
    content = np.frombuffer(columns.kind, "u1") != ChunkKind.EMPTY
    if content.sum() != record.content_chunks:
        return None
    arrivals: NDArray[np.int64] = np.frombuffer(columns.arrival_ns, "<i8")[content]
    return arrivals
