"""A model server in a process of our own making. Public, for plugins.

The parent's end: start it, learn its address, keep its last words, end it. And what the server's
end needs besides harness.lifeline: `take_stdout`, `default_threads`.

One thread reads the child's standard output (one line, then nothing) and one its standard error,
of which the last lines are kept for error messages. A healthy server writes to neither after it is
ready, so neither thread runs while calls are timed. The child is in a session of its own: Ctrl-C
reaches us alone, and we end the calls before the server.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec

from harness.lifeline import own_python
from harness.schema import CallError, Decoded
from harness.text import one_line

if TYPE_CHECKING:
    from harness._native.recorder import Record

__all__ = ["ServerGoneError", "ServerProcess", "default_threads", "take_stdout"]

_TAIL_LINES: Final = 60
_LINE_BYTES: Final = 1000
_POLITE_S: Final = 5.0

_BROKEN: Final = ("reset", "eof", "connect", "send")
"""Outcomes at the wire that a dead server leaves."""
_DYING_S: Final = 0.1
"""Its sockets close a moment before it can be seen to have ended."""


class ServerGoneError(Exception):
    """The server ended before it was ready; the message says how, with its last words."""


class ServerProcess:
    """One child. The constructor starts it, `ready` has its first line, `close` ends it."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        module: str,
        polite_s: float = _POLITE_S,
        tidy: Callable[[str], str] = str.strip,
    ) -> None:
        """`module` has the `main` that is given `arguments`, and --parent; within `polite_s` of the
        end of its standard input it is to be gone. `tidy` is given each line of its standard error
        for `last_words`. OSError where no process can be started."""
        self._polite_s = polite_s
        self._tidy = tidy
        program = f"from {module} import main; sys.exit(main())"
        self._child = subprocess.Popen(
            own_python(program, *arguments, "--parent", str(os.getpid())),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.pid = self._child.pid
        self.ready: Future[dict[str, Any]] = Future()
        """What the server says of itself once it answers requests; ServerGoneError if never."""
        self.ready.set_running_or_notify_cancel()  # who stops waiting does not stop the reader
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._readers = [
            threading.Thread(target=self._read_stdout, daemon=True),
            threading.Thread(target=self._read_stderr, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def alive(self) -> bool:
        return self._child.poll() is None

    def ended(self, patience_s: float) -> bool:
        """Whether it has ended, or does within `patience_s`; then `last_words` are complete."""
        try:
            self._child.wait(patience_s)
        except subprocess.TimeoutExpired:
            return False
        self._readers[1].join(patience_s)
        return True

    def last_words(self) -> str:
        """One printable line: how the server ended, and the first two errors among the last lines
        that it wrote (later ones are mostly echoes of the first)."""
        errors = [line for line in self._tail if "rror" in line or "ASSERT" in line]
        said = list(dict.fromkeys(errors))[:2] or list(self._tail)[-2:]
        return "; ".join([_ending(self._child.poll()), *said])

    def died_over(self, record: Record, decoded: Decoded) -> Decoded:
        """What was read of a call, with what the server died of, where that is what broke it."""
        if record.outcome not in _BROKEN or decoded.error is not None or decoded.end is not None:
            return decoded
        if not self.ended(_DYING_S):
            return decoded
        message = one_line(f"the embedded server died: {self.last_words()}", 500)
        return msgspec.structs.replace(
            decoded, error=CallError(code="server_died", message=message)
        )

    def close(self) -> None:
        """End and reap the child, in milliseconds if it is well. May be called again."""
        assert self._child.stdin is not None
        if not self.ready.done():
            self._child.kill()  # while it loads, it looks at no pipe
        with contextlib.suppress(OSError):
            self._child.stdin.close()
        self._end(self._polite_s)
        for reader in self._readers:
            reader.join()

    def _end(self, patience_s: float) -> None:
        try:
            self._child.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def _read_stdout(self) -> None:
        with _stream(self._child.stdout) as stream:
            line = stream.readline()
            try:
                self.ready.set_result(msgspec.json.decode(line, type=dict[str, Any]))
            except msgspec.DecodeError:
                self._end(_POLITE_S)  # no address, no use; mostly it is about to end by itself
                self._readers[1].join()
                self.ready.set_exception(ServerGoneError(self.last_words()))

    def _read_stderr(self) -> None:
        with _stream(self._child.stderr) as stream:
            while line := stream.readline(_LINE_BYTES):
                self._tail.append(self._tidy(one_line(line.decode(errors="replace"), _LINE_BYTES)))


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def _ending(code: int | None) -> str:
    if code is None:
        return "the server is still running"
    if code < 0:
        names = {number.value: number.name for number in signal.Signals}
        return f"the server was killed by {names.get(-code, f'signal {-code}')}"
    return f"the server ended with status {code}"


def take_stdout() -> IO[str]:
    """In the server: standard output for its one line alone. Whatever else is printed there goes to
    standard error."""
    sys.stdout.flush()
    ours = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return ours


def default_threads() -> int:
    """Physical cores less one, at least one: an engine spins while it computes, and a client that
    has to share its core would report the engine's appetite as latency."""
    import psutil

    physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        physical = min(physical, len(os.sched_getaffinity(0)))
    return max(1, physical - 1)
