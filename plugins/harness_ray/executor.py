"""The run's end: starts the driver when the first trial is to be placed, and takes what it sends.

The driver is a process (driver.py), so that nothing of Ray is in ours: not its threads, not its
handlers of signals, not what it prints. What it prints is logged (`harness.ray`, debug).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable
from typing import Final

from harness.errors import PlaceLostError, PluginError, TrialLostError
from harness.lifeline import guarded_python
from harness.protocols import ExecutorConfig
from harness.text import one_line
from harness_ray import wire
from harness_ray.options import RayOptions, checked

__all__ = ["RayExecutor"]

log = logging.getLogger("harness.ray")

POLITE_S: Final = 30.0
"""After an interrupt: the trial has 20 s for it where it runs, and then is ended there."""
LEAVE_S: Final = 10.0
"""For the driver to end what it has, and its cluster."""
KILL_S: Final = 20.0
TAIL_LINES: Final = 3
LINE_BYTES: Final = 1 << 16

_PROGRAM: Final = "from harness_ray.driver import main; main()"


class RayExecutor:
    """See harness.protocols.Executor."""

    def __init__(self, config: ExecutorConfig) -> None:
        self._options = checked(config)
        self._numbers = itertools.count(1)
        self._driver: asyncio.Task[_Driver] | None = None

    async def execute(
        self, job: bytes, placement: dict[str, str], deliver: Callable[[bytes], None]
    ) -> None:
        driver = await self._connected()
        one = _Attempt(next(self._numbers), placement, deliver)
        driver.begin(one, job)
        try:
            await asyncio.shield(one.over)
        except asyncio.CancelledError:
            driver.send(wire.Interrupt(one.number))
            await asyncio.wait([one.over], timeout=POLITE_S)
            raise
        finally:
            await driver.end(one)
        over = one.over.result()
        if over.how == "place_lost":
            raise PlaceLostError(over.what)
        if over.how == "refused":
            raise PluginError(over.what, where="ray", remedy=over.remedy)
        if over.how != "done":
            raise TrialLostError(over.what or "it was ended")

    async def close(self) -> None:
        task, self._driver = self._driver, None
        if task is None:
            return
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled() and task.exception() is None:
            await task.result().close()

    async def _connected(self) -> _Driver:
        """One for all trials; another, where it has died. Raises PluginError."""
        task = self._driver
        if task is None or (task.done() and (task.cancelled() or not _serves(task))):
            self._driver = task = asyncio.ensure_future(self._anew(task))
        return await asyncio.shield(task)

    async def _anew(self, gone: asyncio.Task[_Driver] | None) -> _Driver:
        """In place of one that has died, whose processes and files go first."""
        if gone is not None and not gone.cancelled() and gone.exception() is None:
            await gone.result().close()
        return await _Driver.start(self._options)


async def _knock(options: RayOptions) -> None:
    """Ray asks an address where nobody is for a minute. Raises PluginError."""
    host, found, port = options.address.removeprefix("ray://").rpartition(":")
    if not found or not port.isdigit():
        return
    try:
        async with asyncio.timeout(options.connect_timeout_s):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except (OSError, OverflowError, TimeoutError) as error:
        raise PluginError(
            f"nobody answers at {options.address}: {one_line(str(error), 200) or 'no answer'}",
            where="ray",
            remedy="ray status; executor_options.address",
        ) from None
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def _serves(task: asyncio.Task[_Driver]) -> bool:
    return task.exception() is not None or not task.result().is_gone


class _Attempt:
    """One job. `over` is how it ended; it holds the error that `deliver` raised, if it did."""

    def __init__(
        self, number: int, placement: dict[str, str], deliver: Callable[[bytes], None]
    ) -> None:
        self.number = number
        self.over: asyncio.Future[wire.Over] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()
        """The driver says no more of it."""
        self._placement = placement
        self._deliver = deliver

    def take(self, reply: wire.Placed | wire.Delivered | wire.Over) -> None:
        if isinstance(reply, wire.Over):
            self.ended.set()
        if self.over.done():
            return
        if isinstance(reply, wire.Over):
            self.over.set_result(reply)
        elif isinstance(reply, wire.Placed):
            self._placement.update(reply.placement)
        else:
            try:
                for message in reply.messages:
                    self._deliver(message)
            except Exception as error:  # a sink that takes no more; whoever waits for us ends us
                self.over.set_exception(error)


class _Driver:
    """The process, and the trials that are under way in it."""

    def __init__(self, process: asyncio.subprocess.Process, folder: str) -> None:
        self.is_gone = False
        self._process = process
        self._folder = folder
        self._attempts: dict[int, _Attempt] = {}
        self._said: deque[str] = deque(maxlen=TAIL_LINES)
        self._reading: asyncio.Task[None] | None = None
        self._logging = asyncio.ensure_future(self._log())

    @classmethod
    async def start(cls, options: RayOptions) -> _Driver:
        """Connected to its cluster. Raises PluginError."""
        await _knock(options)
        folder = tempfile.mkdtemp(prefix="hr-")  # sockets lie in it: their paths are to be short
        try:
            process = await asyncio.create_subprocess_exec(
                *guarded_python(_PROGRAM),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise PluginError(
                f"no process can be started: {error.strerror}", where="ray"
            ) from error
        driver = cls(process, folder)
        environment = {name: os.environ[name] for name in options.pass_env}
        driver.send(wire.Open(options, folder, environment))
        try:
            await driver._opened(options)
        except BaseException:
            await driver.close()
            raise
        driver._reading = asyncio.ensure_future(driver._read())
        return driver

    async def _opened(self, options: RayOptions) -> None:
        where = options.address or "a cluster on this machine"
        try:
            async with asyncio.timeout(options.connect_timeout_s):
                reply = await self._reply()
        except TimeoutError:
            raise PluginError(
                f"{where} did not answer within {options.connect_timeout_s:g} s",
                where="ray",
                remedy="ray status --address …, or executor_options.connect_timeout_s",
            ) from None
        if isinstance(reply, wire.Refused):
            raise PluginError(reply.what, where="ray", remedy=reply.remedy)
        if not isinstance(reply, wire.Opened):
            raise PluginError(f"its driver ended: {self._last_words()}", where="ray")
        log.info("Ray %s, %d nodes, at %s", reply.ray, reply.nodes, where)

    def begin(self, one: _Attempt, job: bytes) -> None:
        self._attempts[one.number] = one
        self.send(wire.Execute(one.number, job))
        if self.is_gone:
            self._lose(one)

    def send(self, command: wire.Command) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, RuntimeError):  # it is gone, which its reader sees
            self._process.stdin.write(wire.framed(command))

    async def end(self, one: _Attempt) -> None:
        """At once, and nothing of it is delivered after this."""
        if not one.over.done():
            one.over.set_result(wire.Over(one.number, "killed"))
        if not one.over.cancelled():
            one.over.exception()  # an interrupt may have come before anybody saw it
        if not one.ended.is_set():
            self.send(wire.Kill(one.number))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    await one.ended.wait()
        self._attempts.pop(one.number, None)

    async def close(self) -> None:
        """Ended, with every process that it started. May be called again."""
        process = self._process
        assert process.stdin is not None
        self.send(wire.Close())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S if self._reading is not None else 0):
                await process.wait()
        process.stdin.close()  # its guard then kills all that there is, and goes
        try:
            async with asyncio.timeout(KILL_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        with contextlib.suppress(OSError):
            await process.stdin.wait_closed()
        for task in (self._reading, self._logging):
            if task is not None:
                await asyncio.wait([task])
        shutil.rmtree(self._folder, ignore_errors=True)

    # ------------------------------------------------------------------------------------------

    async def _reply(self) -> wire.Reply | None:
        """None: there are no more."""
        assert self._process.stdout is not None
        try:
            head = await self._process.stdout.readexactly(wire.LENGTH.size)
            body = await self._process.stdout.readexactly(*wire.LENGTH.unpack(head))
        except (asyncio.IncompleteReadError, OSError):
            return None
        return wire.decode_reply(body)

    async def _read(self) -> None:
        while (reply := await self._reply()) is not None:
            if isinstance(reply, wire.Said):
                log.warning("%s", reply.text)
            elif isinstance(reply, wire.Placed | wire.Delivered | wire.Over):
                self._hand_over(reply)
        self.is_gone = True
        for one in [*self._attempts.values()]:
            self._lose(one)

    def _hand_over(self, reply: wire.Placed | wire.Delivered | wire.Over) -> None:
        if one := self._attempts.get(reply.number):
            one.take(reply)

    def _lose(self, one: _Attempt) -> None:
        what = f"the connection to the cluster is gone: {self._last_words()}"
        one.take(wire.Over(one.number, "place_lost", what))

    async def _log(self) -> None:
        """What Ray prints, in our log."""
        assert self._process.stderr is not None
        rest = b""
        while data := await self._process.stderr.read(1 << 16):
            *lines, rest = (rest[-LINE_BYTES:] + data).split(b"\n")
            for line in lines:
                if text := one_line(line.decode("utf-8", "replace"), 300).strip():
                    self._said.append(text)
                    log.debug("%s", text)

    def _last_words(self) -> str:
        return " | ".join(self._said) or "it said nothing"
