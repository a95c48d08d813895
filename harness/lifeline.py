"""How a process that we start ends with us, whatever happens to us. Public, for plugins.

A child that knows this module says, first of all, `die_with_parent(parent)`; when it is about to
say that it is ready, `watched = watch(parent)`; and then `wait(watched)`, which returns when it is
to end. A program that knows nothing of us is started as `guarded([program, …])`: between it and us
stands a process that does know, and that ends the program with everything it has started. A child
of Python that is to have such a guard of its own is started as `guarded_python(program)`, and one
that needs none as `own_python(program)`: both have our import path.

Three means, because each has a hole. (1) The pipe on standard input: it ends when its other end is
closed by any kind of death, on every system; but a process forked meanwhile may hold a copy of that
end. (2) A pidfd of the parent, where there are such things: no copy can hold it up; but Python has
to be able to look, and an engine may keep the interpreter lock while it loads. (3) Linux's parent
death signal, during the load only: it fires when the *thread* that started us ends, which is not
wanted later.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

__all__ = [
    "die_with_parent",
    "fork_guarded",
    "guarded",
    "guarded_python",
    "own_python",
    "wait",
    "watch",
]

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_STDIN: Final = 0
_POLL_S: Final = 0.005
_PATIENCE_S: Final = 10.0
"""For those that we have killed to end."""


def die_with_parent(parent: int) -> None:
    """From now until `watch`, the kernel kills us with our parent (Linux; elsewhere nothing)."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it went before we asked


def watch(parent: int) -> int | None:
    """Take over from the kernel: a pidfd of `parent`, where there is one. To be called before
    anybody is told that we are ready, for then the thread that started us may end."""
    descriptor = _pidfd(parent)
    _prctl(_PR_SET_PDEATHSIG, 0)
    return descriptor


def wait(parent: int | None, *, forever: bool = False, also: Sequence[int] = ()) -> None:
    """Return when standard input ends, the watched `parent` dies, or one of the descriptors in
    `also` is readable; if `forever`, never."""
    if forever:
        threading.Event().wait()
    if not hasattr(select, "poll"):
        _read_to_end()
        return
    ends = {descriptor for descriptor in (parent, *also) if descriptor is not None}
    poller = select.poll()
    for descriptor in (_STDIN, *ends):
        poller.register(descriptor, select.POLLIN)
    while True:
        for descriptor, _ in poller.poll():
            if descriptor in ends or not _read_some():
                return


def guarded(command: Sequence[str]) -> list[str]:
    """What to start instead of `command`, from this process, with a pipe as standard input.

    It runs `command` in a session of its own, without standard input, and exits as it exits (128
    and the signal's number where one ended it). When that pipe is closed, when this process ends in
    any way, or on SIGTERM, the program is killed; and so is, on Linux, every process that came from
    it, also one that has detached itself.
    """
    return [sys.executable, "-P", __file__, str(os.getpid()), *command]


def own_python(program: str, *arguments: str) -> list[str]:
    """The command of another Python that imports what we do, whether we are installed or run from a
    checkout, and then runs `program`, for which `sys` is imported and `sys.argv[1:]` is
    `arguments`."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    boot = f"import sys; sys.path[:] = sys.argv.pop(1).split({os.pathsep!r}); {program}"
    return [sys.executable, "-P", "-c", boot, path, *arguments]


def guarded_python(program: str, *arguments: str) -> list[str]:
    """`own_python` with a guard between it and us (`fork_guarded`), and a pipe as standard input.
    As little as can be is imported before the guard is there: it holds all of that for as long as
    it lives."""
    guard = "from harness.lifeline import fork_guarded; fork_guarded(int(sys.argv.pop(1)))"
    return own_python(f"{guard}; {program}", str(os.getpid()), *arguments)


def fork_guarded(parent: int) -> None:
    """Go on in a new process, in a session of its own; the one that called this stays behind as its
    guard, and exits as it does (a signal that ended it ends the guard too).

    To be called before there is any thread. Standard input is left to the new process: when its
    other end is closed, or `parent` ends in any way, everything is killed that came from here; and
    so is, when the new process ends, whatever it leaves behind.
    """
    die_with_parent(parent)
    watched = watch(parent)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    reader = _wake_on(signal.SIGCHLD)
    guard = os.getpid()
    child = os.fork()
    if child == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in (watched, reader):
            if descriptor is not None:
                os.close(descriptor)
        os.setsid()
        die_with_parent(guard)  # which has one thread, and so ends as a whole
        return
    status = _attend(child, watched, reader)
    _kill_all()
    if status is not None and os.WIFSIGNALED(status):
        _die_of(os.WTERMSIG(status))
    os._exit(1 if status is None else os.waitstatus_to_exitcode(status))


def _attend(child: int, parent: int | None, reader: int) -> int | None:
    """The status with which `child` ended; None if it is to be ended first."""
    poller = select.poll()
    poller.register(_STDIN, 0)  # nothing but the end of it
    for descriptor in (parent, reader):
        if descriptor is not None:
            poller.register(descriptor, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poller.poll()}
        if reader in ready:
            os.read(reader, 4096)
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == child:
                return status
            if pid == 0:
                break
        if ready - {reader}:
            return None


def _die_of(number: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # one core file is enough
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _wake_on(*numbers: int) -> int:
    """A descriptor that is readable once one of these signals has come; they do nothing else."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    return reader


def _guard(parent: int, command: Sequence[str]) -> int:
    """The process between: see `guarded`. Returns the exit status."""
    die_with_parent(parent)
    # Before there is a program: from now on we outlive our parent for as long as it takes to end
    # all that the program has started.
    watched = watch(parent)
    # What the program leaves behind becomes ours, and so can be found.
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    reader = _wake_on(signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            # Should we be killed: what the program itself started is then out of reach.
            preexec_fn=partial(die_with_parent, os.getpid()) if os.name == "posix" else None,
        )
    except OSError as error:
        sys.stderr.write(f"error: {command[0]}: {error.strerror}\n")
        return 127
    while child.poll() is None:
        if not _signalled(watched, reader):
            break
    status = child.returncode
    _kill_all()
    return status if status is not None and status >= 0 else 128 + -(status or -signal.SIGKILL)


def _signalled(parent: int | None, reader: int) -> bool:
    """Wait. True if a child ended, which need not be the program; False if it is to be ended."""
    wait(parent, also=(reader,))
    found, _, _ = select.select([reader], [], [], 0)
    return bool(found) and set(os.read(reader, 4096)) == {signal.SIGCHLD}


def _kill_all() -> None:
    """Every descendant. Who is orphaned by that becomes our child, and has its turn. Left alone is
    who may not be killed (it runs as somebody else), or does not die in a while."""
    if not _has_children():
        return
    import psutil

    spared: set[psutil.Process] = set()
    until_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until_s:
        children = set(psutil.Process().children(recursive=True)) - spared
        if not children:
            return
        for child in children:
            try:
                child.kill()
            except psutil.AccessDenied:
                spared.add(child)
            except psutil.Error:
                pass
        if not _reap():
            time.sleep(_POLL_S)


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _reap() -> bool:
    """Whether a child of ours had ended."""
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def _read_some() -> bool:
    """Throw away what there is on standard input. False: it has ended, or is closed."""
    try:
        return bool(os.read(_STDIN, 4096))
    except OSError:
        return False


def _read_to_end() -> None:
    while _read_some():
        pass


def _pidfd(pid: int) -> int | None:
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        os._exit(1)
    except OSError:  # an old kernel, or a sandbox that forbids it
        return None


def _prctl(option: int, value: int) -> None:
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(_guard(int(sys.argv[1]), sys.argv[2:]))
