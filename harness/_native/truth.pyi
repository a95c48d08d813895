"""The sending half of the truth server (`harness sim`): a native thread that never takes the GIL.

It accepts connections, reads HTTP/1.1 requests, sends prepared responses piece by piece at absolute
instants, and notes the instants right before and right after every send. What to send is decided
in Python, before it is due. Linux only. All instants are CLOCK_MONOTONIC ns.
"""

from typing import Final, final

KEEP: Final = 0
"""Endings: the connection waits for its next request."""
CLOSE: Final = 1
RESET: Final = 2
"""With RST, so that the client's read fails."""
HOLD: Final = 3
"""Nothing more is sent, and the connection stays open until the client closes it."""

REQUEST: Final = 0
"""Events: a request is complete."""
FINISHED: Final = 1
"""A response is out and its ending carried out (or, for HOLD, begun)."""
GONE: Final = 2
"""The client went away before its response was finished."""

ROW_SIZE: Final = 48
"""Bytes of a row of the log: int64 serial, due_ns, before_ns, after_ns; uint32 index, size, kind,
tries; in the machine's byte order."""

@final
class Sender:
    """Create, listen, wait on fileno() and drain(), answer; close.

    All methods are for one Python thread. After close(), only drain, rows and stats are of use; the
    others raise ValueError. OSError if the thread, or what it needs, cannot be had.
    """

    def __init__(self, realtime: bool = False) -> None:
        """realtime: ask for SCHED_FIFO; stats() says whether it was granted (else as without)."""
    def fileno(self) -> int:
        """An eventfd, readable while events wait to be drained."""
    def listen(self, fd: int) -> None:
        """Accept on this listening, non-blocking socket from now on (it becomes ours), and close
        the one before. -1: on none, so that connecting is refused."""
    def answer(
        self,
        conn: int,
        serial: int,
        data: bytes,
        ends: list[int],
        due_ns: list[int],
        kinds: bytes,
        ending: int,
    ) -> None:
        """Answer request `serial` of connection `conn`: `data`, cut at `ends` (offsets behind each
        piece; a piece may be empty), each piece sent at its `due_ns`. Both must not decrease. If
        the client has gone, nothing happens. ValueError for lists that do not fit each other."""
    def revise(
        self,
        conn: int,
        serial: int,
        data: bytes,
        ends: list[int],
        due_ns: list[int],
        kinds: bytes,
    ) -> None:
        """Another plan for an answer that is under way, of as many pieces: those that are not begun
        are sent by it, and those that are out stay as they went. Applied by the thread as soon as
        it looks. If the answer is over, or of another number of pieces, nothing happens. ValueError
        as for answer."""
    def drain(self) -> list[tuple[int, int, int, int, int, bytes, bytes]]:
        """Events, oldest first: (what, conn, serial, at_ns, kernel_ns, head, body). at_ns: when the
        read that completed the request returned, the last piece was out, or the client was seen to
        be gone. kernel_ns: the kernel's receive stamp of that read; 0 where there is none. head and
        body are the request's. Requests have serials 1, 2, 3 … in order of arrival."""
    def rows(self) -> list[bytes]:
        """Rows of the log that nobody took yet, in blocks of whole rows. The latest of them come
        with the next call, or after close()."""
    def stats(self) -> dict[str, int]:
        """connections (open now), requests, pieces, bytes, blocked (pieces that a slow client held
        up), wakeups, lost_rows, realtime (1: granted), thread_cpu_ns."""
    def close(self) -> None:
        """Stop the thread and close every connection. A second time does nothing."""
