"""The parent's end of the server: start it, learn its address, keep its last words, end it.

One thread reads the child's standard output (one line, then nothing) and one its standard error,
of which the last lines are kept for error messages. A healthy server writes to neither after it is
ready, so neither thread runs while calls are timed. The child is in a session of its own: Ctrl-C
reaches us alone, and we end the calls before the server.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import IO, Any, Final

import msgspec

from harness.text import one_line

__all__ = ["ServerGoneError", "ServerProcess"]

_TAIL_LINES: Final = 60
_LINE_BYTES: Final = 1000
_POLITE_S: Final = 5.0

# The child gets our own import path, whether we are installed or run from a checkout.
_BOOT: Final = (
    "import sys; sys.path[:] = sys.argv.pop(1).split({separator!r}); "
    "from {module} import main; sys.exit(main())"
)
_LOG_PREFIX: Final = re.compile(r"^[\d.]+ (?P<level>[A-Z]) +")


class ServerGoneError(Exception):
    """The server ended before it was ready; the message says how, with its last words."""


class ServerProcess:
    """One child. The constructor starts it, `ready` has its first line, `close` ends it."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        module: str = "harness_llamacpp.server",
        polite_s: float = _POLITE_S,
    ) -> None:
        """`module` has the `main` that is given `arguments`, and --parent; within `polite_s` of the
        end of its standard input it is to be gone. OSError where no process can be started."""
        self._polite_s = polite_s
        path = os.pathsep.join(entry for entry in sys.path if entry)
        boot = _BOOT.format(separator=os.pathsep, module=module)
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-c", boot, path, *arguments, "--parent", str(os.getpid())],
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
                self._tail.append(_tidied(line))


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def _tidied(line: bytes) -> str:
    """Printable, without llama.cpp's clock; errors keep a mark by which they are found again."""
    text = one_line(line.decode(errors="replace"), _LINE_BYTES)
    match = _LOG_PREFIX.match(text)
    if match is None:
        return text.strip()
    mark = "error: " if match["level"] == "E" else ""
    return mark + text[match.end() :].strip()


def _ending(code: int | None) -> str:
    if code is None:
        return "the server is still running"
    if code < 0:
        names = {number.value: number.name for number in signal.Signals}
        return f"the server was killed by {names.get(-code, f'signal {-code}')}"
    return f"the server ended with status {code}"
