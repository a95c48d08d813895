"""Readable twins of _native/framing: whole streams in, what must come out.

They are written from the rules, not from the native code: SSE from the WHATWG text, NDJSON from its
one sentence, HTTP by h11 in the client role. None is incremental: what must have come out after k
bytes is what the twin makes of those k bytes, which also says what must not have come out yet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import h11

SSE, NDJSON, WHOLE = 1, 2, 0
NAMED, UNTERMINATED = 1, 2
BOM = b"\xef\xbb\xbf"


@dataclass
class Frames:
    """What a stream comes to. `last` is what its end adds, `failed` that a limit was passed."""

    complete: list[tuple[bytes, int]] = field(default_factory=list)
    last: list[tuple[bytes, int]] = field(default_factory=list)
    comments: int = 0
    comments_at_end: int = 0
    failed: bool = False
    failed_at_end: bool = False


class TooLongError(Exception):
    pass


def frames(mode: int, body: bytes, limit: int = 1 << 26) -> Frames:
    return {SSE: sse, NDJSON: ndjson, WHOLE: whole}[mode](body, limit)


def whole(body: bytes, limit: int) -> Frames:
    if len(body) > limit:
        return Frames(failed=True, failed_at_end=True)
    return Frames(last=[(body, 0)] if body else [])


def ndjson(body: bytes, limit: int) -> Frames:
    *lines, rest = body.removeprefix(BOM).split(b"\n")
    out = Frames()
    for line in lines:
        if len(line) > limit:
            out.failed = out.failed_at_end = True
            out.comments_at_end = out.comments
            return out
        text = line.removesuffix(b"\r")
        if text:
            out.complete.append((text, 0))
        else:
            out.comments += 1
    out.comments_at_end = out.comments + (rest == b"\r")
    if len(_undecided(body, rest)) > limit:
        out.failed = True
    if len(rest) > limit:
        out.failed_at_end = True
    elif rest.removesuffix(b"\r"):
        out.last = [(rest.removesuffix(b"\r"), UNTERMINATED)]
    return out


def _undecided(body: bytes, rest: bytes) -> bytes:
    """`rest`, or nothing while it may still turn out to be a byte order mark."""
    return b"" if BOM.startswith(body) else rest


class _Event:
    """The buffers of WHATWG HTML 9.2.6, "interpreting an event stream"."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.data: list[bytes] = []
        self.type = b""
        self.comments = 0

    def line(self, line: bytes) -> list[tuple[bytes, int]]:
        if len(line) > self.limit:
            raise TooLongError
        if not line:
            return self.dispatch(0)
        if line.startswith(b":"):
            self.comments += 1
            return []
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self.data.append(value)
            if len(b"\n".join(self.data)) > self.limit:
                raise TooLongError
        elif name == b"event":
            self.type = value
        return []

    def dispatch(self, flags: int) -> list[tuple[bytes, int]]:
        data, name = self.data, self.type
        self.data, self.type = [], b""
        if not data:
            return []
        if not name:
            return [(b"\n".join(data), flags)]
        payload = name + b"\n" + b"\n".join(data)
        if len(payload) > self.limit:
            raise TooLongError
        return [(payload, flags | NAMED)]


def sse(body: bytes, limit: int) -> Frames:
    *lines, rest = re.split(rb"\r\n|\n|\r", body.removeprefix(BOM))
    event = _Event(limit)
    out = Frames()
    try:
        for line in lines:
            out.complete += event.line(line)
    except TooLongError:
        out.failed = out.failed_at_end = True
    out.comments = event.comments
    if not out.failed:
        out.failed = len(_undecided(body, rest)) > limit
        try:
            out.last = (event.line(rest) if rest else []) + event.dispatch(UNTERMINATED)
        except TooLongError:
            out.failed_at_end = True
    out.comments_at_end = event.comments
    return out


# ------------------------------------------------------------------------------------------- HTTP


@dataclass
class Response:
    status: int = 0
    version: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    complete: bool = False
    keep_alive: bool = False
    used: int = 0
    failed: bool = False
    failed_in_trailer: bool = False


def response(wire: bytes, *, method: str = "POST", eof: bool = False) -> Response:
    """What h11 makes of the first response in `wire`."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 30)
    connection.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
    connection.send(h11.EndOfMessage())
    out = Response()
    try:
        if wire:
            connection.receive_data(wire)
        ended_itself = _read(connection, out)
        if not ended_itself and eof:
            connection.receive_data(b"")
            _read(connection, out)
    except h11.RemoteProtocolError as error:
        # A body that ends too early is incomplete, not malformed.
        out.failed = not eof or not _is_cut_short(wire, method)
        # h11 also reads framing fields in a trailer, where RFC 9110 (6.5.1) forbids them.
        says_framing = "Content-Length" in str(error) or "Transfer-Encoding" in str(error)
        out.failed_in_trailer = out.status > 0 and says_framing
        return out
    rest, _ = connection.trailing_data
    out.used = len(wire) - len(rest)
    out.keep_alive = ended_itself and connection.their_state is h11.DONE
    return out


def _read(connection: h11.Connection, out: Response) -> bool:
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Response):
            out.status, out.version = event.status_code, event.http_version
            out.headers = list(event.headers)
        elif isinstance(event, h11.Data):
            out.body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            out.complete = True
            return True
        elif event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
            return False


def _is_cut_short(wire: bytes, method: str) -> bool:
    return not response(wire, method=method).failed


def is_refused_beyond_h11(wire: bytes) -> bool:
    """Whether `wire` holds what h11 takes and we do not; the list stands in _native/http.pxd."""
    return any(re.search(rule, wire) for rule in _STRICTER)


_STRICTER = [
    rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]",  # control characters
    rb"\r(?!\n)",  # a CR that is not part of a line end (in a chunk extension)
    rb"\n[ \t]",  # folded header lines
    rb"HTTP/(?!1\.)",  # another major version
    rb"HTTP/1\.\d [06-9]",  # a status outside 100 to 599
    rb"(?i)content-length:[^\n]*,",  # a list, even of equal values
    rb"(?i)content-length:[ \t]*\d{19}",
    rb"(?i)(?:^|\n)[0-9a-f]{16}",  # a chunk size of more digits than fit
    rb"(?i);[^\n]{4000}",  # a size line of more than 4096 bytes
    rb"[0-9a-fA-F][ \t]{4000}",
]
