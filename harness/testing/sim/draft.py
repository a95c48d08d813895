"""An answer before it is sent: frames with their instants, and their way onto the wire.

A frame is one SSE event, one NDJSON line, or something that is none (a comment, rubbish). Each goes
out in a send of its own, as one HTTP chunk, so that one row of the log is one frame. The HTTP head
goes with the first frame or ahead of it, as the server in question does it; the last HTTP chunk
goes with the last frame.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Final

import msgspec
from msgspec import Struct, field

from harness._native.truth import CLOSE, HOLD, KEEP, RESET

__all__ = [
    "CLOSE",
    "COMMENT",
    "CONTENT",
    "EMPTY",
    "END",
    "FRAMES",
    "HEAD",
    "HOLD",
    "KEEP",
    "PART",
    "REASONING",
    "RESET",
    "STATUS",
    "TAIL",
    "TIMED",
    "WHOLE",
    "Draft",
    "Wire",
    "http_head",
    "silent",
    "whole",
]

# Kinds of rows in the log. Those in FRAMES are one chunk each to a client.
HEAD: Final = 0
EMPTY: Final = 1
REASONING: Final = 2
CONTENT: Final = 3
END: Final = 4
COMMENT: Final = 5
PART: Final = 6
TAIL: Final = 7
WHOLE: Final = 8
FRAMES: Final = (EMPTY, REASONING, CONTENT, END)
TIMED: Final = (REASONING, CONTENT, END)
"""Those that a law of time governs; the others go as soon as they can."""

STATUS: Final = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    411: "Length Required",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
}
MEDIA: Final = {"sse": "text/event-stream", "ndjson": "application/x-ndjson"}


class Wire(Struct, kw_only=True):
    """What the native sender takes."""

    data: bytes
    ends: list[int]
    due_ns: list[int]
    kinds: bytes
    ending: int


class Draft(Struct, kw_only=True):
    """A streamed answer. Faults change it before it is encoded."""

    head: bytes
    head_due_ns: int | None
    """None: with the first frame."""
    frames: list[bytes] = field(default_factory=list)
    due_ns: list[int] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    ending: int = KEEP
    last_chunk: bool = True
    """Whether the body is ended as HTTP wants it."""
    cut_last: bool = False
    """Of the last frame only the first half is sent, within its HTTP chunk."""
    step_ns: int = 0
    """More than 0: byte by byte."""
    tail_due_ns: int | None = None
    """When the connection is ended; None: with the last frame."""

    def add(self, frame: bytes, due_ns: int, kind: int) -> None:
        self.frames.append(frame)
        self.due_ns.append(due_ns)
        self.kinds.append(kind)

    def extend(self, frames: list[bytes], due_ns: list[int], kind: int) -> None:
        self.frames += frames
        self.due_ns += due_ns
        self.kinds += [kind] * len(frames)

    def content(self) -> list[int]:
        """Indices of the frames with content."""
        return [i for i, kind in enumerate(self.kinds) if kind in (REASONING, CONTENT)]

    def cut(self, index: int) -> None:
        """Frames from `index` on are not sent."""
        del self.frames[index:], self.due_ns[index:], self.kinds[index:]

    def wire(self) -> Wire:
        parts = [b"%x\r\n%b\r\n" % (len(frame), frame) for frame in self.frames]
        due_ns, kinds = list(self.due_ns), list(self.kinds)
        if self.cut_last and parts:
            parts[-1] = parts[-1][: len(parts[-1]) // 2]
            kinds[-1] = PART
        if self.last_chunk:
            if not parts:
                parts, due_ns, kinds = [b""], [self.head_due_ns or 0], [TAIL]
            parts[-1] += b"0\r\n\r\n"
        if self.head_due_ns is not None or not parts:
            parts.insert(0, self.head)
            due_ns.insert(0, self.head_due_ns or 0)
            kinds.insert(0, HEAD)
        else:
            parts[0] = self.head + parts[0]
        if self.tail_due_ns is not None:
            parts.append(b"")
            due_ns.append(self.tail_due_ns)
            kinds.append(TAIL)
        if self.step_ns:
            parts, due_ns, kinds = _bytewise(parts, due_ns, kinds, self.step_ns)
        due_ns = _rising(due_ns)
        ends = list(accumulate(map(len, parts)))
        return Wire(
            data=b"".join(parts), ends=ends, due_ns=due_ns, kinds=bytes(kinds), ending=self.ending
        )


def http_head(
    status: int, media: str, *, version: str, length: int | None = None, more: tuple[str, ...] = ()
) -> bytes:
    """`Server` names us: nobody is to take these figures for a model's."""
    lines = [f"HTTP/1.1 {status} {STATUS.get(status, 'Other')}", f"Server: harness-sim/{version}"]
    lines.append(f"Content-Type: {media}")
    lines.append("Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}")
    return "\r\n".join([*lines, *more, "", ""]).encode("latin-1")


def whole(
    status: int,
    body: object,
    due_ns: int,
    *,
    version: str,
    keep_alive: bool = True,
    more: tuple[str, ...] = (),
) -> Wire:
    """An answer that is not streamed: JSON, or text as it stands."""
    text = body if isinstance(body, bytes) else msgspec.json.encode(body)
    media = "text/plain" if isinstance(body, bytes) else "application/json"
    data = http_head(status, media, version=version, length=len(text), more=more) + text
    ending = KEEP if keep_alive else CLOSE
    return Wire(data=data, ends=[len(data)], due_ns=[due_ns], kinds=bytes([WHOLE]), ending=ending)


def silent(due_ns: int, ending: int) -> Wire:
    """Not a byte."""
    return Wire(data=b"", ends=[0], due_ns=[due_ns], kinds=bytes([TAIL]), ending=ending)


def _rising(due_ns: list[int]) -> list[int]:
    """The sender wants no instant before the one that precedes it."""
    return list(accumulate(due_ns, max))


def _bytewise(
    parts: list[bytes], due_ns: list[int], kinds: list[int], step_ns: int
) -> tuple[list[bytes], list[int], list[int]]:
    """A frame is complete with the last byte of its payload, which the CRLF of its HTTP chunk (and
    at the end the last chunk) follows: that byte's row has the frame's kind."""
    pieces: list[bytes] = []
    instants: list[int] = []
    marks: list[int] = []
    at = 0
    for number, (part, due, kind) in enumerate(zip(parts, due_ns, kinds, strict=True)):
        after = 7 if number == len(parts) - 1 and part.endswith(b"\r\n0\r\n\r\n") else 2
        at = max(at, due)
        for offset in range(len(part)):
            pieces.append(part[offset : offset + 1])
            instants.append(at)
            marks.append(kind if offset == len(part) - 1 - after and kind != HEAD else PART)
            at += step_ns
    return pieces, instants, marks
