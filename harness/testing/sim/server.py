"""The truth server: listener, native sender, desk and log, in one Python thread.

`serve` returns when one of the descriptors it was given becomes readable; who calls it decides what
those are (signals, standard input). Nothing here prints.
"""

from __future__ import annotations

import errno
import os
import secrets
import select
import socket
import time
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from harness import __version__
from harness._native.clock import monotonic_ns, realtime_offset_ns
from harness._native.truth import FINISHED, REQUEST, Sender
from harness.errors import BackendError
from harness.testing.sim.desk import Desk
from harness.testing.sim.draft import TIMED, Wire
from harness.testing.sim.job import Job
from harness.testing.sim.log import LATE_NS, LogWriter, punctuality, row_blocks
from harness.testing.sim.spec import SimSpec

__all__ = ["SimServer"]

FLUSH_S: Final = 0.05
"""Seldom enough to cost little, and so often that the rows of one time (5,000 where 1,000 streams
run at 100 a second) keep the sending thread from its core for 0.1 ms, not for many."""
CLOCK_S: Final = 10.0
BACKLOG: Final = 4096
THREAD: Final = "harness-truth"


class SimServer:
    """Use: create, serve() until told to stop, close(). The log is complete after close()."""

    def __init__(
        self,
        spec: SimSpec,
        log: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        realtime: bool = False,
    ) -> None:
        """`realtime` asks for SCHED_FIFO for the sending thread; `self.realtime` and the log say if
        it was granted (without, it sends at normal priority). Listens from now on. BackendError if
        the address cannot be had, StoreError if the log cannot be made, either or SpecError if a
        run that the spec replays cannot be."""
        self.spec = spec
        self._host = host
        self.boot = secrets.token_hex(4)
        offset_ns, uncertainty_ns = realtime_offset_ns()
        self._desk = Desk(
            spec,
            boot=self.boot,
            version=__version__,
            offset_ns=offset_ns,
            answer=self._answer,
            revise=self._revise,
            refuse=self._refuse,
        )
        listener = self._listener(port)
        self.address: str = listener.getsockname()[0]
        self.port: int = listener.getsockname()[1]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        self.log = LogWriter(log)
        self.sender = Sender(realtime)
        self.realtime = bool(self.sender.stats()["realtime"]) if realtime else None
        """Whether real-time priority was granted; None: it was not asked for."""
        self.log.line(
            "server",
            format=1,
            boot=self.boot,
            version=__version__,
            pid=os.getpid(),
            url=self.url,
            started_ns=monotonic_ns(),
            realtime_offset_ns=offset_ns,
            realtime_uncertainty_ns=uncertainty_ns,
            realtime=self.realtime,
            spec=msgspec.to_builtins(spec),
        )
        self.log.rows(())  # no send is in the log before the server's name is
        self.sender.listen(listener.detach())
        self._jobs: dict[int, tuple[Job, int, bool]] = {}
        self._listen_again_s: float | None = None
        self._made_late = 0
        self._closed = False

    def serve(self, until: Iterable[int] = ()) -> int:
        """Answer requests until one of these descriptors is readable; returns which."""
        stops = list(until)
        now_s = time.monotonic()
        clock_s, flush_s = now_s + CLOCK_S, now_s + FLUSH_S
        while True:
            patience_s = max(0.0, min(flush_s, self._listen_again_s or flush_s) - now_s)
            ready, _, _ = select.select([self.sender.fileno(), *stops], [], [], patience_s)
            for fd in ready:
                if fd in stops:
                    return fd
            self._take_events()
            now_s = time.monotonic()
            if self._listen_again_s is not None and now_s >= self._listen_again_s:
                self._listen_again_s = None
                self.sender.listen(self._listener(self.port).detach())
            if now_s >= clock_s:
                clock_s = now_s + CLOCK_S
                self._note_clock()
            if now_s >= flush_s:
                flush_s = now_s + FLUSH_S
                self.log.rows(self.sender.rows())

    def close(self) -> dict[str, Any]:
        """Stop at once: streams under way are broken off. Returns how punctual the sends were."""
        if self._closed:
            return {}
        self._closed = True
        self._take_events()
        waited_ns = _waited_for_a_core_ns()
        self.sender.close()
        self._take_last_events()
        ended_ns = monotonic_ns()
        for job, read_ns, kernel in self._jobs.values():
            self.log.request(job, read_ns=read_ns, kernel=kernel, ended="open", ended_ns=ended_ns)
        self._note_clock()
        self.log.rows(self.sender.rows())
        found = punctuality(lambda: row_blocks(self.log.folder))
        found["late"]["made"] = self._made_late
        found["waited_for_a_core_ns"] = waited_ns
        self.log.line("end", at_ns=ended_ns, punctuality=found, sender=self.sender.stats())
        self.log.rows(())
        self.log.close()
        return found

    # ------------------------------------------------------------------------------------------

    def _listener(self, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            listener = socket.create_server((self._host, port), family=family, backlog=BACKLOG)
        except (OSError, OverflowError, UnicodeError) as error:
            said, remedy = _refusal(error)
            raise BackendError(
                f"cannot listen: {said}", where=f"{self._host}:{port}", remedy=remedy
            ) from None
        listener.setblocking(False)
        return listener

    def _take_events(self) -> None:
        for what, conn, serial, at_ns, kernel_ns, head, body in self.sender.drain():
            if what == REQUEST:
                job = Job(serial=serial, conn=conn, arrived_ns=kernel_ns or at_ns)
                self._jobs[serial] = (job, at_ns, bool(kernel_ns))
                self._desk.arrive(job, head, body)
                continue
            job, read_ns, kernel = self._jobs[serial]
            if what == FINISHED:
                if not self._desk.finished(job, at_ns):
                    continue
                ended = "finished"
            else:
                self._desk.gone(job, at_ns)
                ended = "gone"
            del self._jobs[serial]
            self.log.request(job, read_ns=read_ns, kernel=kernel, ended=ended, ended_ns=at_ns)
        self._desk.settle()

    def _take_last_events(self) -> None:
        """A client may have had all of its answer, and we be stopped, before we heard of that."""
        for what, _, serial, at_ns, *_ in self.sender.drain():
            if what == FINISHED and serial in self._jobs and not self._jobs[serial][0].held:
                job, read_ns, kernel = self._jobs.pop(serial)
                self.log.request(
                    job, read_ns=read_ns, kernel=kernel, ended="finished", ended_ns=at_ns
                )

    def _answer(self, job: Job, wire: Wire) -> None:
        job.answered_ns = now_ns = monotonic_ns()
        overdue = bisect_left(wire.due_ns, now_ns - LATE_NS)
        self._made_late += sum(kind in TIMED for kind in wire.kinds[:overdue])
        self.sender.answer(
            job.conn, job.serial, wire.data, wire.ends, wire.due_ns, wire.kinds, wire.ending
        )

    def _revise(self, job: Job, wire: Wire) -> None:
        self.sender.revise(job.conn, job.serial, wire.data, wire.ends, wire.due_ns, wire.kinds)

    def _refuse(self, for_ms: float) -> None:
        """Nothing listens for a while: connecting is refused by the system itself."""
        self.sender.listen(-1)
        self._listen_again_s = time.monotonic() + for_ms / 1e3

    def _note_clock(self) -> None:
        offset_ns, uncertainty_ns = realtime_offset_ns()
        self.log.line(
            "clock",
            at_ns=monotonic_ns(),
            realtime_offset_ns=offset_ns,
            realtime_uncertainty_ns=uncertainty_ns,
        )


def _refusal(error: Exception) -> tuple[str, str]:
    """Why an address cannot be had, and what to try."""
    here = "--host 127.0.0.1, or an address that `ip address` lists"
    number = getattr(error, "errno", None) or 0
    if number < 0 or isinstance(error, UnicodeError):  # the resolver's own numbers
        return "this name cannot be resolved", here
    if number == errno.EADDRNOTAVAIL:
        return "this is no address of this machine", here
    # create_server adds the address to what the system said; `where` has it.
    said = os.strerror(number) if number else str(error)
    return said.lower(), "--port 0 takes any that is free"


def _waited_for_a_core_ns() -> int | None:
    """How long the sending thread was ready to run and did not: what other programs on this machine
    did to it. None where the kernel does not say."""
    try:
        for task in Path("/proc/self/task").iterdir():
            if (task / "comm").read_text().strip() == THREAD:
                return int((task / "schedstat").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        pass
    return None
