"""Sealed records made of literal wire bytes, by the real splitter and the real recorder."""

from __future__ import annotations

from harness._native import framing, recorder

OK_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n\r\n"
SSE, NDJSON, JSON = b"text/event-stream", b"application/x-ndjson", b"application/json"
MODES = {
    SSE: framing.MODE_SSE,
    NDJSON: framing.MODE_NDJSON,
    JSON: framing.MODE_WHOLE,
    b"text/html": framing.MODE_WHOLE,
}


def record(
    body: bytes, content_type: bytes, *, status: int = 200, outcome: str = "complete"
) -> recorder.Record:
    """What a transport would seal after `body` arrived in one read at t = 1000 ns."""
    splitter = framing.Splitter(MODES[content_type])
    frames = splitter.feed(body) + splitter.finish()
    made = recorder.Recorder(due_ns=1)
    made.mark(
        sent_ns=10,
        headers_ns=900,
        first_byte_ns=1000,
        http_status=status,
        head=OK_HEAD % content_type,
    )
    unterminated = False
    for payload, flags in frames:
        named = recorder.FLAG_NAMED if flags & framing.FLAG_NAMED else 0
        unterminated = bool(flags & framing.FLAG_UNTERMINATED)
        made.append(1000, 1001, payload, named)
    return made.seal(
        outcome,
        closed_ns=2000,
        body_end_ns=1000 if outcome == "complete" else 0,
        comments=splitter.comments,
        unterminated=unterminated,
    )


def never_answered(outcome: str = "connect") -> recorder.Record:
    """A call that brought no response at all."""
    return recorder.Recorder(due_ns=1).seal(outcome, closed_ns=2000)


def from_payloads(
    payloads: list[bytes], *, status: int = 200, named: bool = False
) -> recorder.Record:
    """Payloads as a transport might hand them over, whatever they are."""
    made = recorder.Recorder(due_ns=1)
    made.mark(sent_ns=10, http_status=status, head=OK_HEAD % SSE)
    for payload in payloads:
        made.append(1000, 1001, payload, recorder.FLAG_NAMED if named else 0)
    return made.seal("complete", closed_ns=2000, body_end_ns=1000)


def sse(*data: str) -> bytes:
    """Events as a server writes them."""
    return b"".join(b"data: " + line.encode() + b"\n\n" for line in data)
