"""One command in a process tree of its own: on which cores, for how long, and what it took.

    python -m benchmarks.peers.launch JOB.json        prints one line of JSON (see Ended)

A process of its own and standard library only, so that what the kernel counts for its children is
this command and nothing else. It makes itself the reaper of the whole tree: what a tool leaves
behind is waited for, and counted.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Ended", "Job", "launch", "tree_of"]

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PAGE = os.sysconf("SC_PAGE_SIZE")
SAMPLE_S = 0.2
PSS_EVERY = 5
"""Every so many samples: reading it costs more."""
GRACE_S = 8.0


class Job(NamedTuple):
    command: list[str]
    folder: str
    """Working directory; standard output and error go to said.txt in it."""
    cores: list[int]
    limit_s: float
    environment: dict[str, str]
    """On top of ours."""


class Ended(NamedTuple):
    status: int | None
    """Exit status; None: stopped at the limit."""
    start_ns: int
    """CLOCK_MONOTONIC right before the command was started."""
    wall_s: float
    user_s: float
    system_s: float
    rss_bytes: int
    """Most that the tree held at once: resident sets added up, shared pages in each."""
    pss_bytes: int
    """The same, shared pages divided among those who share them."""
    processes: int
    """Most at once."""


def launch(job: Job) -> Ended:
    """Run in a process of its own: its children's CPU is taken as the job's."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def prepare() -> None:
        os.sched_setaffinity(0, job.cores)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    watch = _Watch()
    with (Path(job.folder) / "said.txt").open("wb") as said:
        start_ns = time.monotonic_ns()
        process = subprocess.Popen(
            job.command,
            cwd=job.folder,
            env={**os.environ, **job.environment},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=prepare,
        )
    try:
        status = _wait(process, start_ns, job.limit_s, watch)
    finally:
        wall_s = (time.monotonic_ns() - start_ns) / 1e9
        _end_tree()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Ended(
        status,
        start_ns,
        round(wall_s, 3),
        used.ru_utime,
        used.ru_stime,
        watch.rss_bytes,
        watch.pss_bytes,
        watch.processes,
    )


def _wait(process: subprocess.Popen[bytes], start_ns: int, limit_s: float, watch: _Watch) -> Any:
    end_ns = start_ns + int(limit_s * 1e9)
    while time.monotonic_ns() < end_ns:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(SAMPLE_S)
        watch.look()
    return None


def _end_tree() -> None:
    """Ask those that are left to stop, then make them, and wait for each."""
    for number, patience_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
        until = time.monotonic() + patience_s
        for pid in tree_of(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        while time.monotonic() < until:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                time.sleep(0.02)


class _Watch:
    """The most that the tree held at once."""

    def __init__(self) -> None:
        self.rss_bytes = self.pss_bytes = self.processes = 0
        self._looks = 0

    def look(self) -> None:
        pids = tree_of(os.getpid())
        self.processes = max(self.processes, len(pids))
        self.rss_bytes = max(self.rss_bytes, sum(map(_rss_bytes, pids)))
        if self._looks % PSS_EVERY == 0:
            self.pss_bytes = max(self.pss_bytes, sum(map(_pss_bytes, pids)))
        self._looks += 1


def tree_of(root: int) -> list[int]:
    """Every descendant of `root`, itself left out."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            # The second field is the name in brackets, which may hold anything.
            with contextlib.suppress(OSError):
                fields = Path(entry.path, "stat").read_bytes().rpartition(b")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, ahead = [], [root]
    while ahead:
        below = children.get(ahead.pop(), [])
        found += below
        ahead += below
    return found


def _rss_bytes(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * PAGE
    return 0


def _pss_bytes(pid: int) -> int:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_bytes().splitlines()
        return int(next(line for line in lines if line.startswith(b"Pss:")).split()[1]) * 1024
    return 0


def main() -> None:
    job = Job(**json.loads(Path(sys.argv[1]).read_text()))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # `finally` ends the tree
    print(json.dumps(launch(job)._asdict()))


if __name__ == "__main__":
    main()
