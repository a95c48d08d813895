"""The process of one trial, as `local.py` starts it.

    standard input   the job, as one frame; then a byte asks for an interrupt, and its end means
                     that nobody waits for us any more (the guard between us and our parent kills
                     us then: see lifeline.fork_guarded)
    a pipe           our messages, as frames
    standard output, standard error    what plugins print, for our parent to keep

What we have to say is written as it comes, between the calls, as a run in one process writes its
log. The pipe never holds us up: what it does not take at once is kept until it does.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import faulthandler
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Final, NoReturn

from harness.engine.messages import Said, encode_message, log_level_of
from harness.engine.perform import perform
from harness.engine.pipes import LENGTH, PipeWriter
from harness.engine.places import parse_cpus, pin

__all__ = ["main"]

_STDIN: Final = 0


def main(arguments: Sequence[str]) -> None:
    """Does not return. Arguments: the descriptor of the pipe; the CPUs to run on, or nothing."""
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    job, commands = _read_job(), _take_stdin()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    if arguments[1]:
        pin(parse_cpus(arguments[1]))
    asyncio.new_event_loop().run_until_complete(_serve(job, commands, int(arguments[0])))
    # Not by way of Python's own end, which would wait for threads that resolve a name for ever.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


async def _serve(job: bytes, commands: int, descriptor: int) -> None:
    os.set_inheritable(descriptor, False)
    pipe = PipeWriter(descriptor, broken=_nobody_waits)
    _send_log(pipe, log_level_of(job))
    performing = asyncio.ensure_future(perform(job, pipe.send))

    def obey() -> None:
        if not os.read(commands, 1):
            asyncio.get_running_loop().remove_reader(commands)
        performing.cancel()

    asyncio.get_running_loop().add_reader(commands, obey)
    await performing
    pipe.send(b"")
    await pipe.drain()


class _Said(logging.Handler):
    """Log messages go to the run, which shows them as its own."""

    def __init__(self, pipe: PipeWriter) -> None:
        super().__init__()
        self._pipe = pipe
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        said = Said(level=record.levelno, name=record.name, text=self.format(record))
        message = encode_message(said)
        if threading.get_ident() == self._thread:
            self._pipe.send(message)
        else:
            with contextlib.suppress(RuntimeError):  # the loop is closed: we are leaving
                self._loop.call_soon_threadsafe(self._pipe.send, message)


def _send_log(pipe: PipeWriter, level: int) -> None:
    logging.getLogger().addHandler(_Said(pipe))
    logging.getLogger("harness").setLevel(level)


def _nobody_waits() -> NoReturn:
    os._exit(1)


def _read_job() -> bytes:
    (length,) = LENGTH.unpack(_read(LENGTH.size))
    return _read(length)


def _read(count: int) -> bytes:
    """Exactly so many bytes: what follows is a command."""
    found = b""
    while len(found) < count:
        part = os.read(_STDIN, count - len(found))
        if not part:
            _nobody_waits()
        found += part
    return found


def _take_stdin() -> int:
    """For commands alone: who reads standard input now finds it empty."""
    ours = os.dup(_STDIN)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, _STDIN)
    os.close(nothing)
    return ours
