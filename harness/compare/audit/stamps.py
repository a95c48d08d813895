"""Can a call be as it is recorded: the order of its instants, its counts, its rates.

Instants of one call come from two clocks (the kernel's stamps, mapped to ours) and agree within
microseconds; a millisecond is allowed before anything is called impossible.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from harness.metrics import server
from harness.schema import CallRecord, IterationRecord, TrialRecord

__all__ = ["RATE_MAX", "Odd", "call_oddities", "span_oddities"]

SLACK_NS: Final = 1_000_000
RATE_MAX: Final = 200_000.0
"""Tokens per second of one stream. The fastest hardware there is gives some ten thousand."""
TOKENS_MIN: Final = 16
"""Fewer say nothing of a rate: they may come in one read."""
SERVER_SLACK_MS: Final = 5.0
SERVER_SLACK_SHARE: Final = 0.05
"""By so much may the server's account exceed the call's own length: its clock is another."""

SIGNED: Final = ("delta", "difference", "residual", "offset")
"""A figure of such a name may be below zero."""

Odd = tuple[str, str]
"""(code, what is odd about it)"""

_ORDER: Final = (
    "sent_ns",
    "headers_ns",
    "first_byte_ns",
    "first_chunk_ns",
    "first_token_ns",
    "last_token_ns",
    "end_ns",
    "closed_ns",
)

_AT_THE_WIRE: Final = ("headers_ns", "first_byte_ns")


def call_oddities(call: CallRecord, *, token_slack: int) -> Iterator[Odd]:
    """What cannot be, or should not. A stub may be faster than any hardware: what its trial's
    record says of that comes behind its calls, and so is for the caller to heed."""
    yield from _instants(call)
    yield from _chunks(call)
    if call.status == "ok":
        yield from _tokens(call, token_slack)
        yield from _rates(call)


def _instants(call: CallRecord) -> Iterator[Odd]:
    stamps = [(name, getattr(call.instants, name)) for name in _ORDER]
    if call.stamp_source == "in_process":  # a token is made before anything of it is at the wire
        stamps = [(name, at) for name, at in stamps if name not in _AT_THE_WIRE]
    known = [(name, at) for name, at in stamps if at is not None]
    for (one, before), (other, after) in pairwise(known):
        if after < before - SLACK_NS:
            yield (
                "impossible-stamps",
                f"{other} lies {(before - after) / 1e6:.3f} ms before {one}",
            )
            return
    instants = call.instants
    answer, last = instants.first_answer_ns, instants.last_token_ns
    first = instants.first_token_ns
    if answer is not None and (
        first is None
        or answer < first - SLACK_NS
        or (last is not None and answer > last + SLACK_NS)
    ):
        yield "impossible-stamps", "first_answer_ns lies outside first to last token"
    if instants.sent_ns is not None and instants.sent_ns < instants.due_ns - SLACK_NS:
        early_ms = (instants.due_ns - instants.sent_ns) / 1e6
        yield "impossible-stamps", f"sent {early_ms:.3f} ms before it was due"
    if call.status == "ok" and (instants.end_ns is None or instants.sent_ns is None):
        yield "impossible-stamps", "ok, without the instant of sending or of its proper end"


def _chunks(call: CallRecord) -> Iterator[Odd]:
    import numpy as np

    columns = call.chunks
    arrival = columns.arrival_ns
    if not arrival:
        return
    for name, width in (("arrival_ns", 8), ("lag_ns", 4), ("size", 4), ("kind", 1)):
        content = getattr(columns, name)
        if content and len(content) != width * columns.count:
            yield (
                "impossible-chunks",
                f"{columns.count} chunks, and {name} has {len(content)} bytes",
            )
            return
    stamps = np.frombuffer(arrival, "<i8")
    gaps = np.diff(stamps)
    if len(gaps) and int(gaps.min()) < -SLACK_NS:
        yield "impossible-chunks", f"a gap of {int(gaps.min()) / 1e6:.3f} ms between two chunks"
    if columns.kind:
        content_chunks = int(np.count_nonzero(np.frombuffer(columns.kind, "u1")))
        if content_chunks != call.content_chunks:
            yield (
                "impossible-chunks",
                f"{call.content_chunks} chunks with content, and {content_chunks} are marked so",
            )
        yield from _ends(call, stamps[np.frombuffer(columns.kind, "u1") > 0])


def _ends(call: CallRecord, content: object) -> Iterator[Odd]:
    """First and last token against the stamps of the chunks that they are."""
    import numpy as np

    stamps = np.asarray(content)
    for name, at in (("first_token_ns", 0), ("last_token_ns", -1)):
        instant = getattr(call.instants, name)
        if len(stamps) and instant is not None and abs(int(stamps[at]) - instant) > SLACK_NS:
            yield "impossible-stamps", f"{name} is not the stamp of that chunk"


def _tokens(call: CallRecord, slack: int) -> Iterator[Odd]:
    output = server.output_tokens(call)
    silent = call.instants.first_token_ns is None and not call.no_first_token
    if output == 0 or (output is None and silent):
        yield "zero-tokens", "ok, with no output token"
    if output is not None and call.max_tokens is not None and output > call.max_tokens + slack:
        yield "beyond-bound", f"{output} output tokens, where {call.max_tokens} were allowed"


def _rates(call: CallRecord) -> Iterator[Odd]:
    instants, output = call.instants, server.output_tokens(call)
    first, last = instants.first_token_ns, instants.last_token_ns
    sent, end = instants.sent_ns, instants.end_ns
    if output is not None and output >= TOKENS_MIN and None not in (sent, last):
        assert sent is not None and last is not None
        begin = sent if first is None or first == last else first
        rate = (output - 1) * 1e9 / max(last - begin, 1)
        if rate > RATE_MAX:
            yield "impossible-rate", f"{rate:.3g} tokens per second in one stream"
    if sent is None or end is None:
        return
    took_ms = (end - sent) / 1e6
    parts = [server.load_ms(call), server.prompt_ms(call)]
    decoded = server.decode(call)
    parts.append(decoded[1] if decoded else None)
    said_ms = sum(part for part in parts if part is not None)
    if said_ms > took_ms * (1 + SERVER_SLACK_SHARE) + SERVER_SLACK_MS:
        yield (
            "server-account",
            f"the server says it worked {said_ms:.1f} ms on a call that took {took_ms:.1f} ms",
        )


def span_oddities(record: IterationRecord | TrialRecord) -> Iterator[Odd]:
    if record.end_ns < record.start_ns:
        yield "impossible-stamps", "it ends before it starts"
    if isinstance(record, IterationRecord):
        for span in record.spans:
            if span.end_ns < span.start_ns:
                yield "impossible-stamps", f"its span {span.name[:40]!r} ends before it starts"
        for metric in record.metrics:
            signed = any(word in metric.name for word in SIGNED)
            if metric.unit in ("ms", "s", "us", "ns") and metric.value < 0 and not signed:
                yield "impossible-figure", f"{metric.name[:40]} is {metric.value:.4g} {metric.unit}"
