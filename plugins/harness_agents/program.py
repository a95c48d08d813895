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

from msgspec import Struct

from harness.errors import ScenarioError
from harness.schema import ReportedCall
from harness.text import one_line
from harness_agents.process import Exit, Process
from harness_agents.protocol import (
    LINE_BYTES_MAX,
    OUTPUT_BYTES_MAX,
    AgentMetric,
    Clock,
    Extra,
    Failed,
    Hello,
    Job,
    Ready,
    Rule,
    Violation,
    encode_line,
    read_event,
    type_of,
)
from harness_agents.reporting import reported_calls
from harness_agents.transcript import Transcript, judge, read_transcript

__all__ = ["Failure", "Outcome", "Program"]

READY_S: Final = 30.0
_AFTER_RESULT_S: Final = 2.0
_CLOCKS: Final = 5
_LOOKED_AT_BYTES: Final = 64 * 1024
_STDERR_SHOWN: Final = 400


class Failure(Struct, frozen=True, kw_only=True):
    """Why an agent's work does not count."""

    agent: str
    rule: Rule | None
    """None: it kept to the rules, and says that it failed."""
    what: str
    stderr: str = ""

    def error(self) -> ScenarioError:
        by = f" (rule `{self.rule}`)" if self.rule else ""
        end = self.stderr[-_STDERR_SHOWN:]
        said = f"; its standard error ends with: {one_line(end, _STDERR_SHOWN)}" if end else ""
        return ScenarioError(
            f"{one_line(self.what, 300)}{by}{said}",
            where=f"agent {one_line(self.agent, 60)}",
            remedy="`harness agent check -- PROGRAM …`" if self.rule else "the call's record",
        )


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of one program's work."""

    agent: str
    hello: Hello | None = None
    start_up_ns: int | None = None
    """From before it was started until it was ready."""
    start_ns: int | None = None
    """The barrier's instant that it was given."""
    begin_ns: int | None = None
    end_ns: int | None = None
    """When its work was done, by itself."""
    phases: tuple[tuple[str, int, int], ...] = ()
    """(name, start_ns, end_ns)"""
    calls: tuple[ReportedCall, ...] = ()
    """Also of a program that failed: what it told of."""
    metrics: tuple[AgentMetric, ...] = ()
    data: dict[str, Any] = {}
    extras: tuple[dict[str, Any], ...] = ()
    exit: Exit | None = None
    stderr: str = ""
    failure: Failure | None = None


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
        self._lines: list[bytes] = []
        self._rest = bytearray()
        self._heard_bytes = 0
        self._opening: asyncio.Queue[tuple[bytes, int]] | None = asyncio.Queue()
        self._hello: Hello | None = None
        self._start_up_ns: int | None = None
        self._start_ns: int | None = None
        loop = asyncio.get_running_loop()
        self._broken: asyncio.Future[Violation] = loop.create_future()
        self._final: asyncio.Future[None] = loop.create_future()
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
        self._opening = None
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
        assert process.ended is not None and self._opening is not None
        while True:
            getting = asyncio.ensure_future(self._opening.get())
            try:
                await asyncio.wait(
                    _any(getting, process.ended, self._broken), return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                if not getting.done():
                    getting.cancel()
            if not getting.done() or getting.cancelled():
                if self._broken.done():
                    return self._broken.result(), 0
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
            self._final.add_done_callback(lambda _: done())
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
            _any(process.ended, self._broken, self._final),
            timeout=lead_s + self._timeout_s,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if self._final.done() and not self._broken.done():
            await asyncio.wait(
                _any(process.ended, self._broken),
                timeout=_AFTER_RESULT_S,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not process.ended.done() and not self._broken.done():
                return Violation("exit", f"it still runs {_AFTER_RESULT_S:g} s after its result")
        if self._broken.done():
            return self._broken.result()
        if not process.ended.done():
            return Violation("result", f"there is none within {self._timeout_s:g} s")
        return None

    async def _stop(self) -> Outcome:
        """Have it gone, whatever it does, and read what it said."""
        process = self._process
        assert process is not None and process.ended is not None
        if self._final.done() and not self._broken.done():  # it knows that it is over
            await asyncio.wait(_any(process.ended), timeout=_AFTER_RESULT_S)
        if not process.ended.done():
            self.stopped = True
            if self._broken.done():
                process.kill()  # it has had its say
            await process.stop()
        loop = asyncio.get_running_loop()
        self.outcome = await loop.run_in_executor(None, self._read, process, process.ended.result())
        return self.outcome

    def _read(self, process: Process, exit_: Exit) -> Outcome:
        self.script = script = read_transcript(self._lines)
        result = script.result
        failure = self._failure(script, exit_)
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

    def _failure(self, script: Transcript, exit_: Exit) -> Violation | str | None:
        if self.failed is not None:
            return self.failed
        if script.failed is not None:
            return f"it cannot go on: {one_line(script.failed.message, 200)}"
        if script.result is None:
            if script.broken:
                return script.broken[0]
            return Violation("result", f"it ended without one: {exit_.words}")
        broken = judge(script, self.job, start_ns=self._start_ns)
        if broken:
            return broken[0]
        if (script.result.status == "ok") != (exit_.status == 0):
            return Violation("exit", f"{exit_.words} after a result that is {script.result.status}")
        if script.result.status != "ok":
            return _why(script)
        return None

    # ------------------------------------------------------------------------------------ hearing

    def _hear(self, data: bytes) -> None:
        heard_ns = time.monotonic_ns()
        if self._broken.done():
            return
        if self._process is not None and self._start_ns is not None and not self._final.done():
            self._process.look()
        self._heard_bytes += len(data)
        self._rest += data
        if b"\n" in data:
            *lines, rest = bytes(self._rest).split(b"\n")
            self._rest = bytearray(rest)
            for line in lines:
                self._take(line, heard_ns)
        if len(self._rest) > LINE_BYTES_MAX:
            self._break("json", f"a line of more than {LINE_BYTES_MAX >> 20} MiB")
        if self._heard_bytes > OUTPUT_BYTES_MAX:
            self._break("json", f"more than {OUTPUT_BYTES_MAX >> 20} MiB of output")

    def _take(self, line: bytes, heard_ns: int) -> None:
        if len(line) > LINE_BYTES_MAX:
            self._break("json", f"a line of more than {LINE_BYTES_MAX >> 20} MiB")
            return
        self._lines.append(line)
        if self._opening is not None:
            self._opening.put_nowait((line, heard_ns))
        # Who speaks nonsense is ended at once; a long line can wait, unless it may be the last.
        if len(line) > _LOOKED_AT_BYTES and b'"result"' not in line:
            return
        kind = type_of(line)
        if isinstance(kind, Violation):
            self._break(kind.rule, kind.what)
        elif kind in ("result", "error") and not self._final.done():
            self._final.set_result(None)

    def _break(self, rule: Rule, what: str) -> None:
        if not self._broken.done():
            self._broken.set_result(Violation(rule, what))


def _any(*futures: asyncio.Future[Any]) -> set[asyncio.Future[Any]]:
    return set(futures)


def _ending(process: Process) -> str:
    return process.exited.result().words if process.exited.done() else "it is gone"


def _why(script: Transcript) -> str:
    """What a program that failed by the rules has to say for itself."""
    for call in script.calls.values():
        if call.end is not None and call.end.error is not None:
            error = call.end.error
            told = f"{call.name} ended as {call.end.status}: {error.code}: {error.message}"
            return f"its work failed: {one_line(told, 240)}"
    return "its work failed, and no call of its says why"
