"""How a process that we start ends with us, whatever happens to us. Public, for plugins.

A child that knows this module says, first of all, `die_with_parent(parent)`; when it is about to
say that it is ready, `watched = watch(parent)`; and then `wait(watched)`, which returns when it is
to end. A program that knows nothing of us is started as `guarded([program, …])`: between it and us
stands a process that does know, and that ends the program with everything it has started.

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

__all__ = ["die_with_parent", "guarded", "wait", "watch"]

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


def _guard(parent: int, command: Sequence[str]) -> int:
    """The process between: see `guarded`. Returns the exit status."""
    die_with_parent(parent)
    # Before there is a program: from now on we outlive our parent for as long as it takes to end
    # all that the program has started.
    watched = watch(parent)
    # What the program leaves behind becomes ours, and so can be found.
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
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
