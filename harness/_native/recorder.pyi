"""What was received on one call: stamps and payloads, in one compact block owned by C.

A chunk costs 16 bytes beyond its payload (int64 arrival, uint32 lag, uint32 size and flags), 24 at
most while the block grows (of a call with a thousand chunks or more).
"""

from typing import Final, final

import numpy as np
from numpy.typing import NDArray

FLAG_UPPER_BOUND: Final = 0x8000_0000
"""More than line ends followed in the same read: the chunk may have come earlier than stamped."""
FLAG_USER_STAMP: Final = 0x4000_0000
"""The stamp was taken in user space; without the flag it is the kernel's."""
FLAG_NAMED: Final = 0x2000_0000
"""The payload is an SSE event name, LF, then the data."""
SIZE_MASK: Final = 0x1FFF_FFFF

OUTCOMES: Final[tuple[str, ...]]
"""How a call can end at the wire: complete, connect, send, reset, eof, protocol, too_large,
timeout_connect, timeout_first_byte, timeout_payload, timeout_total, cancelled, not_sent."""

@final
class Record:
    """One sealed call. Immutable, except that payloads can be dropped."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        """TypeError: records are made by a Recorder or a Reactor."""
    def __len__(self) -> int:
        """Number of chunks."""
    @property
    def outcome(self) -> str:
        """One of OUTCOMES. `complete` means that the HTTP response is whole, whatever it says."""
    @property
    def errno(self) -> int: ...
    @property
    def detail(self) -> str:
        """What went wrong, in words, where the outcome and errno do not say it."""
    @property
    def http_status(self) -> int | None: ...
    @property
    def head(self) -> bytes:
        """The response head as it came."""
    @property
    def due_ns(self) -> int: ...
    @property
    def connected_ns(self) -> int | None:
        """None on a connection that had served before."""
    @property
    def sent_ns(self) -> int | None:
        """Right before the send that handed the last byte of the request to the kernel."""
    @property
    def headers_ns(self) -> int | None: ...
    @property
    def first_byte_ns(self) -> int | None: ...
    @property
    def body_end_ns(self) -> int | None:
        """Stamp of the read that completed the body (of its close, where that is the body's end);
        None if it was never complete."""
    @property
    def closed_ns(self) -> int: ...
    @property
    def realtime_offset_ns(self) -> int: ...
    @property
    def clock_stepped(self) -> bool: ...
    @property
    def reconnected(self) -> bool: ...
    @property
    def unterminated(self) -> bool:
        """The last frame lacked its own end (see framing.FLAG_UNTERMINATED)."""
    @property
    def comments(self) -> int: ...
    @property
    def arrival_ns(self) -> NDArray[np.int64]:
        """shape (len,), a copy."""
    @property
    def lag_ns(self) -> NDArray[np.uint32]:
        """shape (len,): user-space stamp − arrival of the same read."""
    @property
    def size_flags(self) -> NDArray[np.uint32]:
        """shape (len,): payload size in the low 29 bits, FLAG_* above."""
    def payload(self, index: int) -> bytes:
        """One payload. IndexError out of range; ValueError once dropped."""
    def payloads(self) -> list[bytes]: ...
    def drop_payloads(self) -> None: ...
    @property
    def nbytes(self) -> int:
        """Bytes held in memory (capacity, not length): stamps, payloads, head."""

@final
class Recorder:
    """Builds a Record chunk by chunk; for transports that run in Python."""

    def __init__(self, due_ns: int, *, reserve: int = 64) -> None: ...
    def mark(
        self,
        *,
        connected_ns: int = 0,
        sent_ns: int = 0,
        headers_ns: int = 0,
        first_byte_ns: int = 0,
        http_status: int = 0,
        head: bytes = b"",
        reconnected: bool = False,
    ) -> None:
        """Set what is not zero or empty."""
    def append(self, arrival_ns: int, user_ns: int, payload: bytes, flags: int = 0) -> None:
        """One chunk; flags are FLAG_* of this module. ValueError once sealed, if the payload is
        larger than SIZE_MASK, or if arrival_ns is before the last one."""
    @property
    def nbytes(self) -> int:
        """As Record.nbytes, so far. ValueError once sealed."""
    def seal(
        self,
        outcome: str,
        *,
        closed_ns: int,
        body_end_ns: int = 0,
        realtime_offset_ns: int = 0,
        errno: int = 0,
        detail: str = "",
        comments: int = 0,
        unterminated: bool = False,
        clock_stepped: bool = False,
    ) -> Record:
        """The finished record. ValueError when sealed already or the outcome is not known."""
