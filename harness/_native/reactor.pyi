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

    All methods may be called from any Python thread, but drain and close by one at a time. After
    close(), only drain and stats are of use; the others raise ValueError. OSError if the thread, or
    what it needs, cannot be had.

    timestamps: ask the kernel for receive stamps. batch_window_ns: the longest pause between rounds
    while many streams run (0: never; see loop.pxd); commands end it. read_size: bytes a read can
    take. frame_limit: a larger frame or body ends its call as `too_large`. idle_max: connections
    kept for later calls. connections_max: beyond it, calls end as `connect` with EMFILE, as they
    do where the system has no descriptor left (0: as many as it has).
    """

    def __init__(
        self,
        timestamps: bool = True,
        *,
        batch_window_ns: int = 500_000,
        read_size: int = 262_144,
        frame_limit: int = 67_108_864,
        idle_max: int = 4096,
        connections_max: int = 0,
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
        stays. The total timeout counts from when it leaves its lane. A request that meets a closed
        connection in the pool is sent again, once, on a fresh one (Record.reconnected).
        ValueError for an unknown origin, lane or framing, a timeout that is not positive, an empty
        request, or an ident in use (from submit until drained)."""
    def cancel(self, ident: int) -> None:
        """End the call as `cancelled`, or `not_sent` if nothing of it was sent. An unknown ident
        has no effect."""
    def drain(self) -> list[tuple[int, Record]]:
        """Sealed calls, oldest first."""
    def stats(self) -> dict[str, int]:
        """reads, chunks, merged_chunks (those flagged as upper bounds), bytes, wakeups, pauses,
        connections (open now), reconnects, clock_steps, kernel_stamps, user_stamps (of reads),
        thread_cpu_ns, in_flight, queued."""
    def close(self) -> None:
        """Stop the thread. Calls of which something was sent are sealed as cancelled, the others
        as not_sent; all can still be drained. A second time does nothing."""
    def _nudge_clock(self, ns: int) -> None:
        """For tests: as if the wall clock had been stepped by −ns since it was last looked at."""
