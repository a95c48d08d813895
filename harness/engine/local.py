"""The executor `local`: every job in a fresh process on this machine.

A child is two processes. The first to be started stays a small guard and forks the second, in which
the trial runs (lifeline.fork_guarded): so the trial, and whatever it starts, ends with us however
we end, and nothing that it leaves behind outlives it. We hold three pipes: its standard input, for
the job and for an interrupt; one for its messages; one for what it prints.

To end a child is to close its standard input: the guard then kills everything, and goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import threading
from collections.abc import Callable
from typing import Final

from harness.engine.lastwords import Output, ending, oom_kills
from harness.engine.messages import Printed, encode_message
from harness.engine.pipes import Frames, PipeWriter, enlarge
from harness.engine.places import ORDER
from harness.errors import TrialLostError
from harness.lifeline import guarded_python

__all__ = ["LocalExecutor"]

POLITE_S: Final = 20.0
"""After an interrupt: for calls to end, for the backend to close, for the last message."""
LEAVE_S: Final = 5.0
"""After the last message."""
KILL_S: Final = 15.0
"""For the guard to kill all that it finds; then it is killed itself."""
EASE_S: Final = 0.02
"""Between two looks at the messages: every one of them wakes us while calls are timed."""
READ_BYTES: Final = 1 << 18

_PROGRAM: Final = "from harness.engine.child import main; main(sys.argv[1:])"


class LocalExecutor:
    """See protocols.Executor."""

    def __init__(self) -> None:
        self._children: set[_Child] = set()

    async def execute(
        self, job: bytes, placement: dict[str, str], deliver: Callable[[bytes], None]
    ) -> None:
        child = _Child(deliver)
        self._children.add(child)
        try:
            child.start(job, placement)
            await asyncio.shield(child.done)
        except asyncio.CancelledError:
            child.interrupt()
            await asyncio.wait([child.done], timeout=POLITE_S)
            raise
        finally:
            await child.end()
            self._children.discard(child)
        if not child.said_all:
            raise TrialLostError(child.last_words())

    async def close(self) -> None:
        for child in list(self._children):
            await child.end()


class _Child:
    """One child. `done` is set when it has ended, and all that it said is delivered; it holds the
    error that `deliver` raised, if it did."""

    def __init__(self, deliver: Callable[[bytes], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()
        self.said_all = False
        self._deliver = deliver
        self._frames = Frames()
        self._output = Output()
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = asyncio.Event()
        self._stdin: PipeWriter | None = None
        self._readers: dict[int, Callable[[bytes], None]] = {}
        """Descriptor → who takes its bytes."""
        self._oom_kills = 0

    def start(self, job: bytes, placement: dict[str, str]) -> None:
        """Raises TrialLostError where no process can be had: there may be memory for the next."""
        self._oom_kills = oom_kills()
        messages, theirs = os.pipe()
        enlarge(messages)
        try:
            process = self._process = _spawn(theirs, placement)
        except OSError as error:
            os.close(messages)
            raise TrialLostError(f"no process can be started: {error.strerror}") from error
        finally:
            os.close(theirs)
        try:
            # First of all: whatever goes wrong from here on, `end` waits for this.
            threading.Thread(target=self._await_end, args=(process,), daemon=True).start()
        except RuntimeError as error:
            process.kill()
            process.wait()
            self._has_ended()
            os.close(messages)
            raise TrialLostError(f"no thread can be started: {error}") from error
        try:
            self._connect(process, messages)
        except OSError as error:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
            raise TrialLostError(f"its process cannot be reached: {error.strerror}") from error
        assert self._stdin is not None
        self._stdin.send(job)

    def _connect(self, process: subprocess.Popen[bytes], messages: int) -> None:
        """Raises OSError where there are no descriptors left."""
        assert process.stdin is not None and process.stdout is not None
        os.set_blocking(messages, False)
        self._readers = {messages: self._take_messages}
        printed = os.dup(process.stdout.fileno())
        os.set_blocking(printed, False)
        self._readers[printed] = self._output.take
        for descriptor in self._readers:
            self._loop.add_reader(descriptor, self._read, descriptor)
        self._stdin = PipeWriter(os.dup(process.stdin.fileno()), broken=bool)
        process.stdin.close()
        process.stdout.close()

    def interrupt(self) -> None:
        if self._stdin is not None:
            self._stdin.write(b"i")

    async def end(self) -> None:
        """At once, with all that it has started. May be called again."""
        if self._stdin is not None:
            self._stdin.close()
        if self._process is not None:
            try:
                async with asyncio.timeout(KILL_S):
                    await self._ended.wait()
            except TimeoutError:
                self._process.kill()
                await self._ended.wait()
        for descriptor in self._readers:
            self._loop.remove_reader(descriptor)
            os.close(descriptor)
        self._readers = {}
        if self.done.done():
            self.done.exception()  # an interrupt may have come before anybody saw it
        if printed := self._output.take_all():
            self._deliver(encode_message(Printed(text=printed)))

    def last_words(self) -> str:
        """How it ended, and the last lines that it printed."""
        assert self._process is not None
        how = ending(self._process.returncode, oom_kills() - self._oom_kills)
        said = self._output.last_lines
        return f"{how}; it last printed: {' | '.join(said)}" if said else how

    # ------------------------------------------------------------------------------------------

    def _await_end(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody asks any more
            self._loop.call_soon_threadsafe(self._has_ended)

    def _has_ended(self) -> None:
        self._ended.set()
        for descriptor in self._readers:
            while self._read(descriptor):
                pass
        if not self.done.done():
            self.done.set_result(None)

    def _read(self, descriptor: int) -> bool:
        """Whether there may be more."""
        try:
            data = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            return False
        self._loop.remove_reader(descriptor)
        if data:
            self._readers[descriptor](data)
            if not self._ended.is_set():
                self._loop.call_later(EASE_S, self._look_again, descriptor)
        return bool(data)

    def _look_again(self, descriptor: int) -> None:
        if descriptor in self._readers and not self._ended.is_set():
            self._loop.add_reader(descriptor, self._read, descriptor)

    def _take_messages(self, data: bytes) -> None:
        if self.done.done():
            return
        try:
            for message in self._frames.feed(data):
                if message:
                    self._deliver(message)
                else:
                    self.said_all = True
                    assert self._stdin is not None
                    self._loop.call_later(LEAVE_S, self._stdin.close)
        except Exception as error:  # a sink that takes no more; whoever waits for us ends us
            self.done.set_exception(error)


def _spawn(pipe: int, placement: dict[str, str]) -> subprocess.Popen[bytes]:
    gpus = {"CUDA_VISIBLE_DEVICES": placement["gpus"], **ORDER} if "gpus" in placement else {}
    return subprocess.Popen(
        guarded_python(_PROGRAM, str(pipe), placement.get("cpus", "")),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(pipe,),
        env={**os.environ, **gpus},
        start_new_session=True,
    )
