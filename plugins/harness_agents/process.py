"""One program as a process: started on its CPUs, heard, measured, ended with all it has started.

Nothing here blocks the event loop. The program is a child of ours, without anything in between, so
that `wait4` gives its own CPU time and context switches; it leads a session, so that the whole of
it can be ended.

Memory is not as easy. Until a new process has loaded its program it is a copy of ours, and the
kernel counts that: `ru_maxrss` of a child is never below our own size. It is taken where it is
above; otherwise what counts is the program's own high-water mark (VmHWM), read while it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from harness.errors import BackendError, SpecError
from harness.redaction import Redactor, environment_secrets
from harness.text import one_line, plain
from harness_agents.warden import warden

__all__ = ["Exit", "Process"]

STDERR_BYTES: Final = 64 * 1024
_GRACE_S: Final = 2.0
_LOOK_S: Final = 0.25
_POLL_S: Final = 0.02
_LOOKS_MAX: Final = 20


class Exit(Struct, frozen=True, kw_only=True):
    """How a program ended, and what it used."""

    status: int
    """Exit status; negative: the signal that ended it."""
    cpu_user_ns: int
    cpu_system_ns: int
    ctx_switches_voluntary: int
    ctx_switches_involuntary: int
    rss_max_bytes: int | None
    rss_exact: bool
    """False: as last read while it ran, a quarter of a second before its end at most."""

    @property
    def words(self) -> str:
        if self.status >= 0:
            return f"exit status {self.status}"
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-self.status).name}"
        return f"killed by signal {-self.status}"


class Process:
    """Made by `spawn`. `ended` is done when it has exited and all it wrote was heard."""

    def __init__(self, child: subprocess.Popen[bytes], spawned_ns: int, floor_bytes: int) -> None:
        self.pid = child.pid
        self.spawned_ns = spawned_ns
        self._child = child
        self._floor_bytes = floor_bytes
        self._loop = asyncio.get_running_loop()
        self._stderr = bytearray()
        self._peak_bytes: int | None = None
        self._gone = False
        self._looking: asyncio.TimerHandle | None = None
        self._stdin: asyncio.WriteTransport | None = None
        self._readers: list[asyncio.ReadTransport] = []
        self.exited: asyncio.Future[Exit] = self._loop.create_future()
        self.ended: asyncio.Task[Exit] | None = None

    @classmethod
    async def spawn(
        cls,
        command: Sequence[str],
        *,
        heard: Callable[[bytes], None],
        cpus: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Process:
        """Start it; `heard` gets what it writes to standard output, as it comes. Raises
        BackendError where there is no such program, SpecError for CPUs that are not ours."""
        floor_bytes = _high_water(os.getpid()) or 0
        loop = asyncio.get_running_loop()
        starting = loop.run_in_executor(None, _spawn, list(command), tuple(cpus), env, cwd)
        try:
            child, spawned_ns = await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(_abandon)
            raise
        self = cls(child, spawned_ns, floor_bytes)
        try:
            await self._connect(heard)
        except BaseException:
            self.kill()
            raise
        return self

    async def _connect(self, heard: Callable[[bytes], None]) -> None:
        child, loop = self._child, self._loop
        assert child.stdin and child.stdout and child.stderr
        self._await_exit()
        out, err = _Reader(heard), _Reader(self._note_stderr)
        self._readers.append((await loop.connect_read_pipe(lambda: out, child.stdout))[0])
        self._readers.append((await loop.connect_read_pipe(lambda: err, child.stderr))[0])
        self._stdin, _ = await loop.connect_write_pipe(_Writer, child.stdin)
        self._look()
        self.ended = loop.create_task(self._until_ended(out, err))

    async def _until_ended(self, out: _Reader, err: _Reader) -> Exit:
        """A process that it has left behind in another session may hold the pipes: they are
        listened to a little longer, not for ever."""
        exit_ = await asyncio.shield(self.exited)
        await asyncio.wait({out.closed, err.closed}, timeout=_GRACE_S)
        for reader in self._readers:
            reader.close()
        if self._stdin is not None and not self._stdin.is_closing():
            self._stdin.abort()
        return exit_

    # ---------------------------------------------------------------------------- to and from it

    def write(self, data: bytes) -> None:
        """To standard input; never blocks, and does nothing once it has gone."""
        if self._stdin is not None and not self._stdin.is_closing():
            self._stdin.write(data)

    def close_input(self) -> None:
        """Once what was written is gone."""
        if self._stdin is not None:
            self._stdin.close()

    @property
    def stderr(self) -> str:
        """The last of what it wrote to standard error, harmless, and without what our environment
        has of secrets."""
        text = bytes(self._stderr[-STDERR_BYTES:]).decode("utf-8", "replace")
        return Redactor(environment_secrets()).text(plain(text)).strip()

    def _note_stderr(self, data: bytes) -> None:
        self._stderr += data
        if len(self._stderr) > 4 * STDERR_BYTES:
            del self._stderr[:-STDERR_BYTES]

    # ------------------------------------------------------------------------------------ its end

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    async def stop(self) -> Exit:
        """SIGTERM, two seconds, SIGKILL. Cancelled meanwhile: SIGKILL at once."""
        assert self.ended is not None
        try:
            self.terminate()
            await asyncio.wait({self.ended}, timeout=_GRACE_S)
        finally:
            self.kill()
        return await asyncio.shield(self.ended)

    def _signal(self, number: int) -> None:
        if not self._gone:
            with contextlib.suppress(OSError):
                os.killpg(self.pid, number)

    def _await_exit(self) -> None:
        if hasattr(os, "pidfd_open"):
            try:
                descriptor = os.pidfd_open(self.pid)
            except OSError:  # an old kernel, or a sandbox that forbids it
                pass
            else:
                self._loop.add_reader(descriptor, self._exit_by, descriptor)
                return
        self._poll()

    def _exit_by(self, descriptor: int) -> None:
        self._loop.remove_reader(descriptor)
        os.close(descriptor)
        self._reap()

    def _poll(self) -> None:
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        if os.waitid(os.P_PID, self.pid, flags) is None:
            self._loop.call_later(_POLL_S, self._poll)
        else:
            self._reap()

    def _reap(self) -> None:
        """It has exited, and not been waited for: its number still stands for its group."""
        self.kill()  # what it left behind
        _kill_session(self.pid)
        self._gone = True
        warden.release(self.pid)
        if self._looking is not None:
            self._looking.cancel()
        _, status, used = os.wait4(self.pid, 0)
        self._child.returncode = os.waitstatus_to_exitcode(status)
        most_bytes = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        exact = most_bytes > self._floor_bytes
        self.exited.set_result(
            Exit(
                status=self._child.returncode,
                cpu_user_ns=round(used.ru_utime * 1e9),
                cpu_system_ns=round(used.ru_stime * 1e9),
                ctx_switches_voluntary=used.ru_nvcsw,
                ctx_switches_involuntary=used.ru_nivcsw,
                rss_max_bytes=most_bytes if exact else self._peak_bytes,
                rss_exact=exact,
            )
        )

    # ----------------------------------------------------------------------------------- its size

    def look(self) -> None:
        """Read its high-water mark now."""
        if not self._gone:
            self._peak_bytes = _high_water(self.pid) or self._peak_bytes

    def _look(self) -> None:
        self.look()
        self._looking = self._loop.call_later(_LOOK_S, self._look)


class _Reader(asyncio.Protocol):
    def __init__(self, heard: Callable[[bytes], None]) -> None:
        self._heard = heard
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self._heard(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)


class _Writer(asyncio.BaseProtocol):
    """Who has closed its standard input is told nothing more."""


def _spawn(
    command: list[str], cpus: tuple[int, ...], env: Mapping[str, str] | None, cwd: Path | None
) -> tuple[subprocess.Popen[bytes], int]:
    """In a thread of its own kind: a child inherits the CPUs of the thread that makes it, so that
    the program is on its own from birth, and its threads with it."""
    if not cpus:
        return _start(command, env, cwd)
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, cpus)
    except OSError:
        raise SpecError(
            f"cannot run on CPUs {list(cpus)}", where="cpus", remedy=f"some of {sorted(before)}"
        ) from None
    try:
        return _start(command, env, cwd)
    finally:
        os.sched_setaffinity(0, before)


def _start(
    command: list[str], env: Mapping[str, str] | None, cwd: Path | None
) -> tuple[subprocess.Popen[bytes], int]:
    spawned_ns = time.monotonic_ns()
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=None if env is None else dict(env),
            cwd=cwd,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:  # a NUL in a word
        raise BackendError(
            f"cannot be started: {getattr(error, 'strerror', None) or error}",
            where=one_line(command[0], 200),
            remedy="a program that is there and may be executed; `harness agents list`",
        ) from None
    warden.watch(child.pid)
    _allow_files(child.pid)
    return child, spawned_ns


def _allow_files(pid: int) -> None:
    """A connection is a file, and a thousand of them are more than the usual soft limit allows:
    the program gets all that the system lets it have, whatever its language does about that."""
    with contextlib.suppress(ImportError, AttributeError, OSError, ValueError):
        import resource

        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))


def _abandon(starting: asyncio.Future[tuple[subprocess.Popen[bytes], int]]) -> None:
    """Started after nobody wanted it any more."""
    if starting.cancelled() or starting.exception() is not None:
        return
    child, _ = starting.result()
    with contextlib.suppress(OSError):
        os.killpg(child.pid, signal.SIGKILL)
    warden.release(child.pid)
    child.wait()
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()


def _kill_session(leader: int) -> None:
    """Those that took a process group of their own, as the jobs of a shell do (Linux; a tenth of a
    millisecond for a few hundred processes). Whoever is born meanwhile is found by another look."""
    for _ in range(_LOOKS_MAX):
        left = _members(leader)
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not left:
            return


def _members(leader: int) -> list[int]:
    """Processes of its session, but for itself, that have not ended."""
    members = []
    with contextlib.suppress(OSError):
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or (pid := int(entry.name)) == leader:
                continue
            with contextlib.suppress(OSError):
                if os.getsid(pid) == leader and not _is_over(entry):
                    members.append(pid)
    return members


def _is_over(process: Path) -> bool:
    """A zombie, or about to be one."""
    stat = (process / "stat").read_bytes()
    return stat[stat.rindex(b")") + 2 :][:1] in (b"Z", b"X")


def _high_water(pid: int) -> int | None:
    """VmHWM in bytes; None where the system does not say, or the process is over."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return None
    _, found, rest = status.partition(b"VmHWM:")
    return int(rest.split()[0]) * 1024 if found else None
