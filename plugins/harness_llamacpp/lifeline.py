"""How the server's process ends with the one that started it, whatever happens to that one.

Three means, because each has a hole. (1) The pipe on standard input: it ends when its other end is
closed by any kind of death, on every system; but a process forked meanwhile may hold a copy of that
end. (2) A pidfd of the parent, where there are such things: no copy can hold it up; but Python has
to be able to look, and the engine keeps the interpreter lock while it loads. (3) Linux's parent
death signal, during the load only: it fires when the *thread* that started us ends, which is not
wanted later.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading

__all__ = ["die_with_parent", "wait", "watch"]

_PR_SET_PDEATHSIG = 1
_STDIN = 0


def die_with_parent(parent: int) -> None:
    """From now until `watch`, the kernel kills us with our parent (Linux; elsewhere nothing)."""
    _set_death_signal(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it went before we asked


def watch(parent: int) -> int | None:
    """Take over from the kernel: a pidfd of `parent`, where there is one. To be called before
    anybody is told that we are ready, for then the thread that started us may end."""
    descriptor = _pidfd(parent)
    _set_death_signal(0)
    return descriptor


def wait(parent: int | None, *, forever: bool) -> None:
    """Return when standard input ends or the watched `parent` dies; if `forever`, never."""
    if forever:
        threading.Event().wait()
    if not hasattr(select, "poll"):
        _read_to_end()
        return
    poller = select.poll()
    poller.register(_STDIN, select.POLLIN)
    if parent is not None:
        poller.register(parent, select.POLLIN)
    while True:
        for descriptor, _ in poller.poll():
            if descriptor == parent or not _read_some():
                return


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


def _set_death_signal(number: int) -> None:
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
