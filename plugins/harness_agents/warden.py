"""Ends the programs that we have started, should we ourselves be killed.

`harness.lifeline.guarded` stands between us and a program; here that would be in the figures: CPU
time and memory are those of our own child, and it is told everything on its standard input. So one
process of ours stands beside all of them instead. It knows the process groups that are at work, and
kills them when its standard input ends, or when we are gone (a pidfd says so, also where a copy of
the pipe's other end lives on). What it was told before that, it still reads: it may be killed
itself, but it is never too late. It waits in poll(2), and costs nothing meanwhile; it is run as a
file, and imports nothing of ours.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

__all__ = ["Warden", "warden"]


class Warden:
    """One per process of ours; started when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._groups: set[int] = set()
        """At work. Should somebody kill the process, the next one is told of them."""

    def start(self) -> None:
        """Have it running. A process that was forked from us gets its own."""
        with self._lock:
            self._running()

    def watch(self, group: int) -> None:
        with self._lock:
            self._running()
            self._groups.add(group)
            self._tell(f"+{group}\n")

    def release(self, group: int) -> None:
        """Before the group's leader is reaped: afterwards the number may be somebody else's."""
        with self._lock:
            self._groups.discard(group)
            self._tell(f"-{group}\n")

    def close(self) -> None:
        with self._lock:
            process, self._process = self._process, None
            if process is not None and self._owner == os.getpid():
                _end(process)

    def _tell(self, line: str) -> None:
        process = self._running()
        assert process.stdin is not None
        try:
            process.stdin.write(line.encode())
        except OSError:  # somebody killed it
            _end(process)
            self._process = None
            self._running()

    def _running(self) -> subprocess.Popen[bytes]:
        process = self._process
        if process is None or self._owner != os.getpid():
            if self._owner not in (0, os.getpid()):
                self._groups.clear()  # not ours: we were forked
            self._owner = os.getpid()
            self._process = process = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, str(self._owner)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is ours to handle
                cwd=Path("/"),
            )
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.write(b"".join(b"+%d\n" % group for group in self._groups))
        return process


warden = Warden()
atexit.register(warden.close)


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait()


def _attend(parent: int) -> None:
    poller = select.poll()
    poller.register(0, select.POLLIN)
    watched = _pidfd(parent)
    if watched is not None:
        poller.register(watched, select.POLLIN)
    said = b""
    gone = False
    while not gone:
        ready = {descriptor for descriptor, _ in poller.poll()}
        gone = watched in ready
        more = os.read(0, 65536) if 0 in ready else b""
        gone |= 0 in ready and not more
        said += more
        *lines, last = said.split(b"\n")
        said = b"".join(b"+%d\n" % group for group in _at_work(lines)) + last
    _kill(_at_work(said.split(b"\n")))


def _kill(leaders: set[int]) -> None:
    """Their groups; and who took a group of its own within the session."""
    for leader in leaders:
        with contextlib.suppress(OSError):
            os.killpg(leader, signal.SIGKILL)
    entries = Path("/proc").iterdir() if leaders and sys.platform == "linux" else ()
    for entry in entries:
        with contextlib.suppress(OSError, ValueError):
            if os.getsid(int(entry.name)) in leaders:
                os.kill(int(entry.name), signal.SIGKILL)


def _at_work(lines: list[bytes]) -> set[int]:
    """Groups that were begun and not released."""
    groups: set[int] = set()
    for line in lines:
        if line:
            (groups.add if line[:1] == b"+" else groups.discard)(int(line[1:]))
    return groups


def _pidfd(parent: int) -> int | None:
    """None where there is no such thing, or nobody to watch: then standard input ends."""
    with contextlib.suppress(OSError, AttributeError):
        return os.pidfd_open(parent)
    return None


if __name__ == "__main__":
    _attend(int(sys.argv[1]))
