"""The tap's native half: a thread that passes bytes on between agents and servers, and stamps them.

It never takes the GIL. Every door is a listening socket with one server behind it; an agent's
connection gets one of its own to that server. Bytes go on as they come, both ways; beside that,
requests and responses are taken apart as the reactor does it. Linux only. All instants are
CLOCK_MONOTONIC ns.
"""

from typing import final

from harness._native.recorder import Record

@final
class Tapper:
    """Create, add doors, wait on fileno() and drain(); close.

    All methods are for one Python thread. After close(), only drain and stats are of use; the
    others raise ValueError. OSError if the thread, or what it needs, cannot be had.
    """

    def __init__(self, timestamps: bool = True, realtime: bool = False) -> None:
        """timestamps: ask the kernel for receive stamps. realtime: ask for SCHED_FIFO, so that no
        other program keeps bytes waiting; stats() says whether it was granted (else as without)."""
    def fileno(self) -> int:
        """An eventfd, readable while exchanges wait to be drained."""
    def add_door(
        self,
        fd: int,
        addresses: list[tuple[int, bytes]],
        *,
        host: bytes,
        prefix: bytes,
        label: bytes,
    ) -> int:
        """Accept on this listening, non-blocking socket from now on (it becomes ours). Behind it
        is the server at `addresses`, (address family, packed struct sockaddr) to be tried in this
        order. `host` replaces what the agent says, `prefix` is put before its path, and
        Accept-Encoding becomes `identity`; `label` names the server in messages, and must be fit to
        stand within a JSON string. Returns the door's number. ValueError for addresses that are
        none."""
    def close_door(self, door: int) -> None:
        """Let nobody in any more. Responses that have arrived whole are passed on (for 2 s at
        most), what else is under way ends as `cancelled`; then comes the note that the door is
        closed. A door that is not there has no effect."""
    def drain(self) -> list[tuple[int, tuple[bytes, bytes, int, bool, int | None, Record] | None]]:
        """(door, exchange) in the order in which they ended. An exchange is the request's head as
        it came, its body (decoded, where it was chunked), the arrival of its last byte, whether
        that is the kernel's stamp, the instant right before the response's last byte was handed
        on, and the record. None in its place: the door is closed, and this is its last."""
    def stats(self) -> dict[str, int]:
        """connections (of agents, open now), requests, chunks, bytes (from servers), errors
        (exchanges that did not end as complete), reconnects, wakeups, clock_steps, kernel_stamps,
        user_stamps (of reads), realtime (1: granted), thread_cpu_ns; and, where there were any,
        request_delay_p50_ns, _p99_ns, _max_ns (arrival of a request's last byte → it is sent on)
        and chunk_delay_p50_ns, _p99_ns, _max_ns (arrival of a chunk → it is sent on). Quantiles are
        within 3 %."""
    def close(self) -> None:
        """Stop the thread and close every connection; what was under way can still be drained. A
        second time does nothing."""
    def _nudge_clock(self, ns: int) -> None:
        """For tests: as if the wall clock had been stepped by −ns since it was last looked at; at
        most 2 s."""
