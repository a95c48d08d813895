"""Literal wire bytes, and the record that a transport makes of them.

This is the real framing and the real recorder; only the socket is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from harness._native import framing, recorder

if TYPE_CHECKING:
    from harness._native.recorder import Record

__all__ = ["Piece", "record_from", "respond"]

_MODES: dict[str, Literal[0, 1, 2]] = {"whole": 0, "sse": 1, "ndjson": 2}


class Piece(msgspec.Struct, frozen=True):
    """Bytes that arrive in one read, `after_ns` after the read before."""

    data: bytes
    after_ns: int = 1_000_000


def respond(
    body: Iterable[bytes],
    *,
    status: int = 200,
    content_type: str = "text/event-stream",
    after_ns: int = 1_000_000,
) -> list[Piece]:
    """An HTTP/1.1 response whose head and body pieces each arrive in a read of their own."""
    head = (
        f"HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    pieces = [Piece(head.encode(), after_ns)]
    pieces += [Piece(b"%x\r\n%s\r\n" % (len(part), part), after_ns) for part in body if part]
    return [*pieces, Piece(b"0\r\n\r\n", after_ns)]


def record_from(
    pieces: Sequence[Piece],
    *,
    sent_ns: int = 1_000_000_000,
    framing_hint: Literal["auto", "sse", "ndjson", "whole"] = "auto",
    cut: Literal["eof", "reset", "timeout_payload"] = "eof",
) -> Record:
    """The record of a call answered with `pieces`; `cut` is how it ended if it was not whole."""
    made = recorder.Recorder(due_ns=sent_ns)
    made.mark(sent_ns=sent_ns)
    parser = framing.ResponseParser()
    splitter: framing.Splitter | None = None
    now_ns = sent_ns
    body_end_ns = 0
    try:
        for piece in pieces:
            now_ns += piece.after_ns
            rest = memoryview(piece.data)
            while len(rest) and not parser.complete:
                body, used = parser.feed(rest)
                rest = rest[used:]
                if splitter is None and parser.status:
                    made.mark(headers_ns=now_ns, http_status=parser.status, head=parser.head)
                    splitter = framing.Splitter(_mode(parser, framing_hint))
                if splitter is not None and body:
                    made.mark(first_byte_ns=now_ns)
                    _append(made, splitter.feed(body), now_ns, bool(len(rest)))
            if parser.complete:
                body_end_ns = now_ns
                break
    except ValueError as error:
        return made.seal("protocol", closed_ns=now_ns, detail=str(error))
    unterminated = False
    if splitter is not None:
        last = splitter.finish()
        unterminated = _left_open(last)
        _append(made, last, now_ns, False)
    whole = parser.complete or (bool(parser.status) and cut == "eof" and parser.finish())
    return made.seal(
        "complete" if whole else cut,
        closed_ns=now_ns,
        body_end_ns=(body_end_ns or now_ns) if whole else 0,
        comments=splitter.comments if splitter else 0,
        unterminated=unterminated,
    )


def _left_open(last: list[tuple[bytes, int]]) -> bool:
    """Whether the frame left at the end lacked its own end."""
    return any(flags & framing.FLAG_UNTERMINATED for _, flags in last)


def _mode(parser: framing.ResponseParser, hint: str) -> Literal[0, 1, 2]:
    if parser.status >= 400:
        return framing.MODE_WHOLE
    if parser.mode == framing.MODE_WHOLE and hint != "auto":
        return _MODES[hint]
    return parser.mode


def _append(
    made: recorder.Recorder, frames: list[tuple[bytes, int]], now_ns: int, more: bool
) -> None:
    for index, (payload, flags) in enumerate(frames):
        mark = recorder.FLAG_USER_STAMP
        if flags & framing.FLAG_NAMED:
            mark |= recorder.FLAG_NAMED
        if more or index < len(frames) - 1:
            mark |= recorder.FLAG_UPPER_BOUND
        made.append(now_ns, now_ns, payload, mark)
