"""Incremental framing of byte streams: `feed(bytes) → frames`, pure, no I/O.

The same inline state machines (_native/http.pxd, frames.pxd) run in the reactor without the GIL.
Input may be any contiguous buffer of bytes; it is not kept. Objects are not for several threads at
once.
"""

from typing import Final, Literal, final

MODE_WHOLE: Final = 0
MODE_SSE: Final = 1
MODE_NDJSON: Final = 2

FLAG_NAMED: Final = 1
"""The SSE event had an `event:` field: the payload is its name, LF, then the data."""
FLAG_UNTERMINATED: Final = 2
"""The stream ended before the frame's own end (a line without LF, an event without blank line)."""

@final
class Splitter:
    """Splits a body into frames: SSE events (WHATWG rules), NDJSON lines, or the whole body.

    SSE frames hold the value of `data` (several lines joined by LF); comments, `id` and `retry`
    make no frame, and an event without data makes none either. NDJSON frames hold a line without
    its LF or CRLF; blank lines make none. A leading BOM is skipped. With MODE_WHOLE the body, if it
    has any bytes, is one frame that comes from finish().

    A line (without its LF) or a frame longer than `limit` bytes raises ValueError, the same for
    every split of the input; frames completed before it are returned first, and the next call
    raises. The splitter is then dead. Parse errors do not exist otherwise: every byte string is a
    stream of frames.
    """

    def __init__(self, mode: Literal[0, 1, 2], *, limit: int = 67108864) -> None: ...
    def feed(self, data: bytes | bytearray | memoryview) -> list[tuple[bytes, int]]:
        """Frames completed by `data`, as (payload, flags). ValueError after finish()."""
    def finish(self) -> list[tuple[bytes, int]]:
        """The stream has ended: the frame that was left open, if any, flagged unterminated (with
        MODE_WHOLE not flagged: the end of the body is that frame's own end)."""
    @property
    def comments(self) -> int:
        """SSE comment lines and blank NDJSON lines so far."""

@final
class ResponseParser:
    """Parses one HTTP/1.1 response: head, then body (chunked, Content-Length, or until close).

    Interim 1xx heads are skipped. Raises ValueError on bytes that are not a response we asked for
    (the rules are in http.pxd: at least as strict as h11); body bytes before them are returned
    first, and the next call raises. The parser is then dead.
    """

    def __init__(self, method: str = "POST", *, head_limit: int = 65536) -> None:
        """`method` is the request's: the response to HEAD has no body. `head_limit` bounds the
        head, and once more the trailer, in bytes."""
    def feed(self, data: bytes | bytearray | memoryview) -> tuple[bytes, int]:
        """(body bytes in `data`, bytes of `data` used). Bytes after a complete response are left;
        while it is not complete, bytes that are left are to be fed again."""
    def finish(self) -> bool:
        """The peer closed: whether the response is complete."""
    @property
    def status(self) -> int:
        """0 until the head is complete."""
    @property
    def head(self) -> bytes:
        """The head as it came, with its final blank line; b"" until it is complete."""
    @property
    def complete(self) -> bool: ...
    @property
    def keep_alive(self) -> bool:
        """Whether the connection may be used again (meaningful once complete)."""
    @property
    def mode(self) -> Literal[0, 1, 2]:
        """What Content-Type says: MODE_SSE, MODE_NDJSON, or MODE_WHOLE for anything else."""
