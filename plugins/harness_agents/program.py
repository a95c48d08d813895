"""One program does one job: started, greeted, given its start, heard to its end. Public, for
plugins.

    program = Program(command, job, timeout_s=60)
    await program.prepare()            # started, its clock checked, and ready
    outcome = await program.work(at_ns)

Neither raises for what the program does: whatever happened is in the Outcome, with the rule of
docs/agent-protocol.md that was broken and the end of its standard error. While the program works,
its lines are only split and kept; they are read when it is over, in another thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from harness.text import one_line
from harness_agents.hearing import Hearing
from harness_agents.outcome import Failure, Outcome, what_failed
from harness_agents.process import Exit, Process
from harness_agents.protocol import (
    Clock,
    Extra,
    Failed,
    Hello,
    Job,
    Ready,
    Violation,
    encode_line,
    read_event,
)
from harness_agents.reporting import reported_calls
from harness_agents.transcript import Transcript, read_transcript

__all__ = ["Failure", "Outcome", "Program"]

READY_S: Final = 30.0
_AFTER_RESULT_S: Final = 2.0
_CLOCKS: Final = 5


class Program:
    """Runs once."""

    def __init__(
        self,
        command: Sequence[str],
        job: Job,
        *,
        timeout_s: float,
        cpus: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        ready_s: float = READY_S,
    ) -> None:
        self.command = tuple(command)
        self.job = job
        self.outcome: Outcome | None = None
        """Once it is over, also where `work` was cancelled."""
        self.script: Transcript | None = None
        """All that it said, once it is over."""
        self.stopped = False
        """It did not end by itself."""
        self._timeout_s = timeout_s
        self._ready_s = ready_s
        self._cpus, self._env, self._cwd = tuple(cpus), env, cwd
        self._process: Process | None = None
        self._heard = Hearing()
        self._hello: Hello | None = None
        self._start_up_ns: int | None = None
        self._start_ns: int | None = None
        self.failed: Violation | None = None

    # -------------------------------------------------------------------------------- the opening

    async def prepare(self) -> bool:
        """Until it is ready. False: it will never be, and `work` says why. Raises BackendError
        where the program cannot be started, SpecError for CPUs that are not ours."""
        self._process = await Process.spawn(
            self.command, heard=self._hear, cpus=self._cpus, env=self._env, cwd=self._cwd
        )
        try:
            async with asyncio.timeout(self._ready_s):
                self.failed = await self._greet(self._process)
        except TimeoutError:
            self.failed = Violation("ready", f"not ready within {self._ready_s:g} s")
        except asyncio.CancelledError:
            await self._stop()
            raise
        self._heard.opening = None
        return self.failed is None

    async def _greet(self, process: Process) -> Violation | None:
        process.write(encode_line(self.job))
        hello, _ = await self._next(process)
        if isinstance(hello, Violation):
            if hello.rule in ("event", "fields"):
                return Violation("hello", f"the first line is none: {hello.what}")
            return hello
        if not isinstance(hello, Hello) or hello.protocol != self.job.protocol:
            return Violation("hello", "the first line is no hello of this protocol")
        self._hello = hello
        for n in range(_CLOCKS):
            asked_ns = time.monotonic_ns()
            process.write(encode_line({"t": "clock", "n": n}))
            answer, heard_ns = await self._next(process)
            if isinstance(answer, Violation):
                return answer
            if isinstance(answer, Ready):
                return Violation("ready", "it comes before the clock lines")
            if not isinstance(answer, Clock) or answer.n != n:
                return Violation("clock", f"clock line {n} is not answered by its number")
            if not asked_ns <= answer.at_ns <= heard_ns:
                off_ms = (answer.at_ns - asked_ns) / 1e6
                return Violation(
                    "clock", f"not the harness's clock: {off_ms:.3f} ms from when it was asked"
                )
        ready, heard_ns = await self._next(process)
        if isinstance(ready, Violation):
            return ready
        if not isinstance(ready, Ready):
            return Violation("ready", "something else comes before ready")
        self._start_up_ns = heard_ns - process.spawned_ns
        process.look()
        return None

    async def _next(self, process: Process) -> tuple[Any, int]:
        """The next event that is not the program's own, or what is wrong with it; and when its
        line was heard."""
        assert process.ended is not None and self._heard.opening is not None
        while True:
            getting = asyncio.ensure_future(self._heard.opening.get())
            try:
                await asyncio.wait(
                    _any(getting, process.ended, self._heard.broken),
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                if not getting.done():
                    getting.cancel()
            if not getting.done() or getting.cancelled():
                if self._heard.broken.done():
                    return self._heard.broken.result(), 0
                return Violation("ready", f"it ended before it was ready: {_ending(process)}"), 0
            line, heard_ns = getting.result()
            event = read_event(line)
            if isinstance(event, Failed):
                said = one_line(event.message, 200)
                if self._hello is None:
                    return Violation("version", f"it refuses the job: {said}"), 0
                return Violation("ready", f"it cannot go on: {said}"), 0
            if not isinstance(event, Extra):
                return event, heard_ns

    # ----------------------------------------------------------------------------------- the work

    async def work(self, at_ns: int, done: Callable[[], None] | None = None) -> Outcome:
        """Start it at that instant, and hear it to the end. `done` is called when its result is
        heard, if it comes: it has yet to exit. Cancelled: it is interrupted, and what it said until
        then is in `outcome`."""
        process = self._process
        assert process is not None and process.ended is not None
        if done is not None:
            self._heard.final.add_done_callback(lambda _: done())
        if self.failed is None:
            self._start_ns = at_ns
            process.write(encode_line({"t": "start", "at_ns": at_ns}))
            lead_s = max(0, at_ns - time.monotonic_ns()) / 1e9
            try:
                self.failed = await self._until_over(process, lead_s)
            except asyncio.CancelledError:
                self.failed = Violation("interrupt", "it was interrupted")
                await self._stop()
                raise
        return await self._stop()

    async def abandon(self) -> Outcome:
        """End it without having it work."""
        self.failed = self.failed or Violation("interrupt", "it was not started: another failed")
        return await self._stop()

    async def interrupt(self) -> float | None:
        """SIGTERM; how many seconds it took to end, or None where it did not within two. `work`
        goes on, and gives the Outcome."""
        process = self._process
        assert process is not None and process.ended is not None
        before_ns = time.monotonic_ns()
        process.terminate()
        await asyncio.wait(_any(process.exited), timeout=_AFTER_RESULT_S)
        return (time.monotonic_ns() - before_ns) / 1e9 if process.exited.done() else None

    def kill(self) -> None:
        """SIGKILL; `work` goes on, and gives the Outcome."""
        if self._process is not None:
            self._process.kill()

    async def discard(self) -> None:
        """Leave nothing running, whatever state this is in. Does nothing twice."""
        if self._process is not None and self.outcome is None:
            self.failed = self.failed or Violation("interrupt", "it was interrupted")
            await self._stop()

    async def _until_over(self, process: Process, lead_s: float) -> Violation | None:
        assert process.ended is not None
        await asyncio.wait(
            _any(process.ended, self._heard.broken, self._heard.final),
            timeout=lead_s + self._timeout_s,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if self._heard.final.done() and not self._heard.broken.done():
            await asyncio.wait(
                _any(process.ended, self._heard.broken),
                timeout=_AFTER_RESULT_S,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not process.ended.done() and not self._heard.broken.done():
                return Violation("exit", f"it still runs {_AFTER_RESULT_S:g} s after its result")
        if self._heard.broken.done():
            return self._heard.broken.result()
        if not process.ended.done():
            return Violation("result", f"there is none within {self._timeout_s:g} s")
        return None

    async def _stop(self) -> Outcome:
        """Have it gone, whatever it does, and read what it said."""
        process = self._process
        assert process is not None and process.ended is not None
        if self._heard.final.done() and not self._heard.broken.done():  # it knows that it is over
            await asyncio.wait(_any(process.ended), timeout=_AFTER_RESULT_S)
        if not process.ended.done():
            self.stopped = True
            if self._heard.broken.done():
                process.kill()  # it has had its say
            await process.stop()
        loop = asyncio.get_running_loop()
        self.outcome = await loop.run_in_executor(None, self._read, process, process.ended.result())
        return self.outcome

    def _read(self, process: Process, exit_: Exit) -> Outcome:
        self.script = script = read_transcript(self._heard.lines)
        result = script.result
        failure = self.failed or what_failed(script, self.job, exit_, start_ns=self._start_ns)
        return Outcome(
            agent=self.job.agent,
            hello=self._hello,
            start_up_ns=self._start_up_ns,
            start_ns=self._start_ns,
            begin_ns=script.begin.at_ns if script.begin else None,
            end_ns=result.at_ns if result else None,
            phases=tuple(script.phases),
            calls=reported_calls(script, self.job),
            metrics=result.metrics if result else (),
            data=result.data if result else {},
            extras=tuple(script.extras),
            exit=exit_,
            stderr=process.stderr,
            failure=None
            if failure is None
            else Failure(
                agent=self.job.agent,
                rule=None if isinstance(failure, str) else failure.rule,
                what=failure if isinstance(failure, str) else failure.what,
                stderr=process.stderr,
            ),
        )

    # ------------------------------------------------------------------------------------ hearing

    def _hear(self, data: bytes) -> None:
        heard_ns = time.monotonic_ns()
        heard = self._heard
        works = self._start_ns is not None and not heard.final.done()
        if self._process is not None and works and not heard.broken.done():
            self._process.look()
        heard.hear(data, heard_ns)


def _any(*futures: asyncio.Future[Any]) -> set[asyncio.Future[Any]]:
    return set(futures)


def _ending(process: Process) -> str:
    return process.exited.result().words if process.exited.done() else "it is gone"
