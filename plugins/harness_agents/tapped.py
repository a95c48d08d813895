"""Scenario `tapped`: whatever programs do through the tap, recorded. What `harness tap` runs.

With a program: from its start until it ends. Without one: until somebody says that it is enough, or
so many calls are recorded. The harness makes no call of its own here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from harness.errors import ScenarioError
from harness.openend import open_end, wrote
from harness.redaction import Redactor, environment_secrets
from harness.text import one_line
from harness_agents.options import TappedOptions

if TYPE_CHECKING:
    from harness.protocols import AgentCalls, Context, ScenarioConfig

__all__ = ["TappedScenario", "environment_for"]

SETTLE_S: Final = 0.2
"""How often what has ended is recorded: a kill loses no more than that."""
STDERR_KEPT: Final = 64 * 1024
STDERR_SHOWN: Final = 400
INTERRUPTED_S, TERMINATED_S = 5.0, 2.0
"""How long a program may take to end after SIGINT, and then after SIGTERM."""


class TappedScenario:
    """See harness.protocols.WorkflowScenario."""

    taps = True
    passive = True

    def __init__(self, config: ScenarioConfig) -> None:
        self.options: TappedOptions = config.options

    async def setup(self, ctx: Context) -> None: ...

    async def execute(self, ctx: Context) -> None:
        options = self.options
        begun_ns = time.monotonic_ns()
        failure = None
        async with ctx.agent(options.name, port=options.port) as calls:
            if not calls.tapped:
                raise ScenarioError(
                    "nothing can be recorded without the tap",
                    where="scenario tapped",
                    remedy="backend: {tap: true}",
                )
            with open_end(url=calls.url) as enough:
                program = await _Program.start(options, calls.url) if options.program else None
                try:
                    await self._until(calls, enough, program)
                finally:
                    if program is not None:
                        await program.end(asked=enough.is_set())
            if program is not None:
                failure = program.failure(asked=enough.is_set())
                ctx.note("exit_status", program.status)
                if program.stderr:
                    ctx.artifact(f"{options.name}.stderr.txt", program.said())
            calls.span("agent", begun_ns, time.monotonic_ns())
        if failure is not None:
            raise failure
        if not await calls.settle():
            raise ScenarioError(
                "no model call went through the tap",
                remedy="the program must send its requests to the tap's address, not the server's",
            )

    async def teardown(self, ctx: Context) -> None: ...

    async def _until(
        self, calls: AgentCalls, enough: asyncio.Event, program: _Program | None
    ) -> None:
        """Returns when it is over."""
        waiting: list[asyncio.Future[Any]] = [asyncio.ensure_future(enough.wait())]
        if program is not None:
            waiting.append(asyncio.ensure_future(program.over()))
        try:
            while not any(one.done() for one in waiting):
                await asyncio.wait(waiting, timeout=SETTLE_S, return_when=asyncio.FIRST_COMPLETED)
                recorded = await calls.settle()
                if self.options.calls is not None and recorded >= self.options.calls:
                    return
        finally:
            for one in waiting:
                one.cancel()


class _Program:
    """The one program that is run, in a process group of its own. What it writes is passed on as it
    comes, and the end of its standard error is kept."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self._process = process
        self._name = name
        self.stderr = bytearray()
        self._readers = [
            asyncio.ensure_future(self._read(process.stdout, 1)),
            asyncio.ensure_future(self._read(process.stderr, 2)),
        ]

    @classmethod
    async def start(cls, options: TappedOptions, url: str) -> _Program:
        words = [_filled(word, url, options) for word in options.program]
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=environment_for(url, options, os.environ),
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ScenarioError(
                f"the program cannot be started: {reason}", where=one_line(words[0], 100)
            ) from None
        return cls(process, one_line(words[0], 60))

    @property
    def status(self) -> int | None:
        return self._process.returncode

    async def over(self) -> None:
        """It has ended, and all that it wrote is here."""
        await self._process.wait()
        # A child of its own may hold the pipes open for ever.
        await asyncio.wait(self._readers, timeout=TERMINATED_S)

    async def end(self, *, asked: bool) -> None:
        """Leave nothing of it running. `asked`: by a person, whose Ctrl-C it has not seen."""
        for number, patience_s in (
            (signal.SIGINT, INTERRUPTED_S) if asked else (signal.SIGTERM, TERMINATED_S),
            (signal.SIGTERM, TERMINATED_S),
        ):
            if self.status is not None:
                break
            self._kill(number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), patience_s)
        self._kill(signal.SIGKILL)  # of its children, whatever is left
        await self.over()
        for one in self._readers:
            one.cancel()

    def failure(self, *, asked: bool) -> ScenarioError | None:
        """None if it went well, or was told to end."""
        if asked or self.status == 0 or self.status is None:
            return None
        how = f"ended with status {self.status}"
        if self.status < 0:
            how = f"was ended by {_signal_name(-self.status)}"
        said = one_line(self.said().strip()[-STDERR_SHOWN:])
        return ScenarioError(f"{self._name} {how}" + (f": {said}" if said else ""))

    def said(self) -> str:
        """The end of its standard error, without what the environment holds of secrets."""
        text = self.stderr.decode("utf-8", "replace")
        return Redactor(environment_secrets()).text(text)

    async def _read(self, stream: asyncio.StreamReader | None, number: int) -> None:
        assert stream is not None
        while data := await stream.read(65536):
            wrote(number, data)
            if number == 2:
                self.stderr += data
                del self.stderr[:-STDERR_KEPT]

    def _kill(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def environment_for(url: str, options: TappedOptions, environ: Mapping[str, str]) -> dict[str, str]:
    """What a program finds the tap by, under the names that client libraries know."""
    made = {
        **environ,
        "HARNESS_TAP_URL": url,
        "OPENAI_BASE_URL": url + options.base,
        "OPENAI_API_BASE": url + options.base,
        "OLLAMA_HOST": url + options.root,
    }
    for name in ("NO_PROXY", "no_proxy"):  # a proxy would not find this machine's loopback
        before = environ.get(name, "")
        made[name] = f"{before},127.0.0.1" if before else "127.0.0.1"
    return made


def _filled(word: str, url: str, options: TappedOptions) -> str:
    return word.replace("{url}", url).replace("{base_url}", url + options.base)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
