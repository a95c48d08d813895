"""Where a job is executed: `perform` anywhere, `main` in a process that `local.py` has started.

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
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from harness import __version__
from harness.engine.messages import (
    Begun,
    Ended,
    Failure,
    Kept,
    Message,
    Said,
    decode_job,
    encode_message,
)
from harness.engine.pipes import LENGTH, PipeWriter
from harness.engine.places import parse_cpus, pin
from harness.engine.plan import PlannedTrial, make_plan
from harness.engine.seams import Scene, Silent
from harness.engine.trial import Trial, uninterrupted
from harness.errors import HarnessError, PluginError, StoreError
from harness.host import Host
from harness.schema import Record, TrialRecord
from harness.transport import open_transport

__all__ = ["main", "perform"]

_STDIN: Final = 0


async def perform(
    job: bytes, deliver: Callable[[bytes], None], *, host: Host | None = None
) -> None:
    """Execute one trial here. Every message goes to `deliver`, the last of them Ended.

    Cancelled: the trial is interrupted and ends with what it has; that is delivered, and then this
    returns. What `deliver` raises ends the trial, and is raised. `deliver` is called between calls,
    on the event loop's thread; it must be quick.
    """
    outbox = _Outbox(deliver)
    asked = decode_job(job)
    try:
        found = host if host is not None else Host.load()
        plan = make_plan(asked.spec, found)
        if (asked.version, asked.digest) != (__version__, plan.digest):
            raise PluginError(
                "this trial was planned by another version of the harness or of its plugins",
                where="executor",
                remedy="the same packages wherever trials are executed",
            )
    except HarnessError as error:
        outbox.post(Ended(record=None, failure=Failure.of(error)))
        return
    scene = Scene(plan, asked.run_id, found, outbox, _Seen(outbox), open_transport)
    _, failure = await uninterrupted(Trial(plan.trials[asked.trial], scene))
    outbox.end(failure)


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
    _send_log(pipe, decode_job(job).log_level)
    performing = asyncio.ensure_future(perform(job, pipe.send))

    def obey() -> None:
        if not os.read(commands, 1):
            asyncio.get_running_loop().remove_reader(commands)
        performing.cancel()

    asyncio.get_running_loop().add_reader(commands, obey)
    await performing
    pipe.send(b"")
    await pipe.drain()


class _Outbox:
    """The sink of a trial that is executed away from its run."""

    def __init__(self, deliver: Callable[[bytes], None]) -> None:
        self._deliver = deliver
        self._refusal: Exception | None = None
        self._artifacts = 0
        self._trial: TrialRecord | None = None

    def post(self, message: Message) -> None:
        """Raises StoreError for what cannot be written down, and what `deliver` raises: then, and
        from then on."""
        if self._refusal is not None:
            raise self._refusal
        encoded = encode_message(message)
        try:
            self._deliver(encoded)
        except Exception as error:
            self._refusal = error
            raise

    def append(self, record: Record) -> None:
        if isinstance(record, TrialRecord):
            self._trial = record  # goes with the end
        else:
            self.post(record)

    def artifact(self, trial: int, name: str, content: str | bytes) -> str:
        """A name for it until the run knows its path."""
        self._artifacts += 1
        ticket = f"artifact {self._artifacts}"
        self.post(Kept(ticket=ticket, name=name, content=content))
        return ticket

    def end(self, failure: BaseException | None) -> None:
        said = Failure.of(failure) if failure is not None else None
        try:
            self.post(Ended(record=self._trial, failure=said))
        except StoreError as error:
            # A backend's account of itself may hold anything; a refusal is raised again.
            self.post(Ended(record=None, failure=Failure.of(error)))


class _Seen(Silent):
    """The run tells by itself what it hears of calls and trials."""

    def __init__(self, outbox: _Outbox) -> None:
        self._outbox = outbox

    def iteration_started(self, planned: PlannedTrial, phase: str, calls: int | None) -> None:
        self._outbox.post(Begun(phase=phase, calls=calls))


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
