"""The Linux reactor: one native thread that never takes the GIL while it measures.

epoll, non-blocking sockets, HTTP/1.1 keep-alive pool per origin, SO_TIMESTAMPING receive stamps,
requests dispatched at absolute due times. Stamps are kept with the payload; nothing is decoded.
"""

from typing import Final, final

from harness._native.recorder import Record

FRAMING_AUTO: Final = -1
"""By Content-Type; a body that is neither SSE nor NDJSON is one chunk."""

@final
class Reactor:
    """Create, add origins and lanes, submit; wait on fileno() and drain(); close.

    All methods may be called from any Python thread. OSError if the thread cannot start.
    """

    def __init__(
        self,
        *,
        timestamps: bool = True,
        batch_window_ns: int = 500_000,
        read_size: int = 262_144,
        frame_limit: int = 67_108_864,
        idle_max: int = 4096,
    ) -> None: ...
    def fileno(self) -> int:
        """An eventfd, readable while sealed calls wait to be drained."""
    def add_origin(self, addresses: list[tuple[int, bytes]]) -> int:
        """A server, as (address family, packed struct sockaddr) to be tried in this order."""
    def add_lane(self, limit: int) -> int:
        """A queue with at most `limit` calls in flight (0: no limit). Lane 0 has no limit."""
    def submit(
        self,
        ident: int,
        origin: int,
        request: bytes,
        *,
        lane: int = 0,
        due_ns: int = 0,
        framing: int = FRAMING_AUTO,
        connect_timeout_ns: int,
        first_byte_timeout_ns: int,
        payload_timeout_ns: int,
        total_timeout_ns: int,
    ) -> None:
        """Queue one request, complete with its head. `due_ns` 0: as soon as its lane has room, and
        due is then the instant at which the slot became free (or of submission, if it was free).
        With `due_ns`, it is sent at that instant, or when the lane has room, if that is later; due
        stays. ValueError for an unknown origin, lane or framing, or an ident in use."""
    def cancel(self, ident: int) -> None:
        """End the call as `cancelled` (`not_sent` if nothing of it was sent). Unknown: no effect."""
    def drain(self) -> list[tuple[int, Record]]:
        """Sealed calls, oldest first."""
    def stats(self) -> dict[str, int]:
        """reads, chunks, merged_chunks, bytes, wakeups, connections, reconnects, clock_steps,
        kernel_stamps, user_stamps, thread_cpu_ns, in_flight, queued."""
    def close(self) -> None:
        """Stop the thread; calls in flight are sealed as cancelled and can still be drained."""
