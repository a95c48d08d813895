"""A stranger's plugin whose scenarios do what must not go unnoticed. Found by its entry point."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec

import harness
from harness.errors import PlaceLostError
from harness.executors import local_executor
from harness.protocols import Observation
from harness.schema import Message, MetricValue, Reported, ReportedCall, Request, Usage

HOGS = 4
# Both helpers end with the process that started them: their standard input closes.
HOG = """
import os, resource, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(0)), daemon=True).start()
os.write(1, b"!")
while sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) < 0.8: pass
"""
STOPPER = """
import os, select, signal
pid = os.getppid()
os.write(1, b"!")
while not select.select([0], [], [], 0.005)[0]:
    os.kill(pid, signal.SIGSTOP)
    select.select([], [], [], 0.03)
    os.kill(pid, signal.SIGCONT)
"""


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    num_ctx: tuple[int, ...] = ()
    """Per call of `asks`."""
    cold: bool = False
    fails_from: int = 0
    """First measured iteration of `fails` that does."""
    tokens: int = 200
    alone: str = "one"
    """What the agents of `crew` ask while they are alone …"""
    alone_tokens: int = 4
    """… and for how much."""


def asked(text, tokens=4, **more):
    return Request(messages=(Message(role="user", content=text),), max_tokens=tokens, **more)


class Workflow:
    def __init__(self, config):
        self.options = config.options

    async def setup(self, ctx):
        self.iteration = -1

    async def teardown(self, ctx): ...


class Asks(Workflow):
    """The same text again and again, each call with a context of its own."""

    async def execute(self, ctx):
        for num_ctx in self.options.num_ctx or (0, 0):
            own = {"num_ctx": num_ctx} if num_ctx else {}
            text = " ".join(["word"] * 200)
            await ctx.call(asked(text, cold=self.options.cold, options=own))


class Fails(Workflow):
    async def execute(self, ctx):
        self.iteration += 1
        await ctx.call(asked("one"))
        if self.iteration >= self.options.fails_from:
            raise ValueError("the scenario broke")


class Interrupts(Workflow):
    """Ctrl-C in the middle of the second iteration."""

    planned_calls_per_iteration = 2

    async def execute(self, ctx):
        self.iteration += 1
        await ctx.call(asked("one"))
        if self.iteration:
            os.kill(os.getpid(), signal.SIGINT)
        await ctx.call(asked("two"))
        if self.iteration:
            await ctx.call(asked("three"))  # never begun, or cut short


class Bypasses(Workflow):
    """An agent that is given a tap, and tells of a call that went by it."""

    taps = True

    async def execute(self, ctx):
        async with ctx.agent("a") as calls:
            assert calls.tapped
            at_ns = time.monotonic_ns()
            stamps = {"sent_ns": at_ns, "first_token_ns": at_ns + 1000, "end_ns": at_ns + 2000}
            said = Reported(status="ok", content_chunks=1, **stamps)
            calls.report(ReportedCall(call="a.0.one", reported=said, usage=Usage(output_tokens=1)))


class Crew(Workflow):
    """Two agents at once, and one after another."""

    solo = True

    async def execute(self, ctx):
        if ctx.phase == "solo":
            for name in ("a", "b"):
                await self.work(ctx, name, asked(self.options.alone, self.options.alone_tokens))
        else:
            await asyncio.gather(*(self.work(ctx, name, asked("one")) for name in ("a", "b")))

    async def work(self, ctx, name, request):
        async with ctx.agent(name, outside=False) as agent:
            start_ns = time.monotonic_ns()
            await agent.call(request)
            agent.span("agent", start_ns, time.monotonic_ns())


class Duo(Crew):
    solo = False


class Silent(Crew):
    """Agents that make their calls themselves, and tell of no tokens."""

    async def work(self, ctx, name, request):
        async with ctx.agent(name) as agent:
            at_ns = time.monotonic_ns()
            stamps = {"sent_ns": at_ns, "first_token_ns": at_ns + 1000, "end_ns": at_ns + 2000}
            said = Reported(status="ok", content_chunks=1, **stamps)
            agent.report(ReportedCall(call=f"{name}.0.one", reported=said))
            agent.span("agent", at_ns, at_ns + 2000)


class Empty:
    def __init__(self, config): ...

    def requests(self, ctx):
        return iter(())


class Beset:
    """Requests, while helpers do something to this process or to its core."""

    helper = ""
    count = 1

    def __init__(self, config):
        self.options = config.options

    def requests(self, ctx):
        helpers = []
        if ctx.phase == "measured":
            for _ in range(self.count):
                words = [sys.executable, "-c", self.helper]
                pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
                helpers.append(subprocess.Popen(words, **pipes))
            for helper in helpers:
                helper.stdout.read(1)
        Beset.helpers = helpers  # for as long as this process lives
        while True:
            yield asked("one two three", self.options.tokens)


class Hogged(Beset):
    """Programs that keep our core busy for a while, and go before us."""

    helper = HOG
    count = HOGS

    def requests(self, ctx):
        for request in super().requests(ctx):
            if ctx.phase == "measured":
                for thread in Path("/proc/self/task").iterdir():
                    os.setpriority(os.PRIO_PROCESS, int(thread.name), 19)
            yield request


class Stopped(Beset):
    helper = STOPPER


class Loses:
    """A scheduler that takes the worker of the first trial away, in the midst of it."""

    def __init__(self, config):
        self.inner, self.left = local_executor(), 1

    async def execute(self, job, placement, deliver):
        heard = []

        def cut(message):
            heard.append(message)
            if self.left and len(heard) > 3:
                self.left -= 1
                raise PlaceLostError("preempted")
            deliver(message)

        await self.inner.execute(job, placement, cut)

    async def close(self):
        await self.inner.close()


class Scatters:
    """Trials by turns on two machines, as far as their records say."""

    def __init__(self, config):
        self.inner, self.trials = local_executor(), 0
        self.models = config.options.models

    async def execute(self, job, placement, deliver):
        turn = self.trials % 2
        self.trials += 1
        placement |= {"host": f"host {turn}", "cpu_model": self.models[turn]}
        await self.inner.execute(job, placement, deliver)

    async def close(self):
        await self.inner.close()


class Models(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    models: tuple[str, str] = ("one", "one")


class Figures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    figures: dict[str, dict[str, float]] = {}
    """Arm → figure → value."""


class Says:
    """An instrument that saw what it was told to see."""

    perturbing = False

    def __init__(self, config):
        self.figures = config.options.figures.get(config.arm, {})

    def open(self): ...

    def start(self): ...

    def stop(self):
        figures = self.figures.items()
        return Observation(
            metrics=tuple(MetricValue(name=n, value=v, unit="1") for n, v in figures)
        )

    def close(self): ...


@harness.hookimpl
def harness_register_instruments(registry):
    if os.environ.get("CULPRIT_GPU"):  # in the place of ours, which is then disabled
        registry.add("gpu", Says, options=Figures)


@harness.hookimpl
def harness_register_executors(registry):
    registry.add("loses", Loses)
    registry.add("scatters", Scatters, options=Models)


@harness.hookimpl
def harness_register_scenarios(registry):
    for name, factory in (
        ("asks", Asks),
        ("fails", Fails),
        ("interrupts", Interrupts),
        ("bypasses", Bypasses),
        ("crew", Crew),
        ("duo", Duo),
        ("silent", Silent),
        ("empty", Empty),
        ("hogged", Hogged),
        ("stopped", Stopped),
    ):
        registry.add(name, factory, options=Options)


def lose_a_record():
    """As a defect of ours would: every fifth record of a call is never written."""
    from harness.schema import CallRecord
    from harness.store import RunWriter

    append, calls = RunWriter.append, []

    def losing(self, record):
        calls.append(isinstance(record, CallRecord) and record.phase == "measured")
        if not calls[-1] or sum(calls) % 5:
            append(self, record)

    RunWriter.append = losing


def step_the_clock():
    """A wall clock cannot be stepped in a test: the record is told that it was."""
    from msgspec.structs import replace

    from harness.schema import CallRecord
    from harness.store import RunWriter

    append = RunWriter.append

    def stepped(self, record):
        if isinstance(record, CallRecord):
            record = replace(record, clock_stepped=True)
        append(self, record)

    RunWriter.append = stepped


def hold_back():
    """No test may give itself a CPU quota: the record is told that there was one, and too small."""
    from msgspec.structs import replace

    from harness.schema import IterationRecord
    from harness.store import RunWriter

    append = RunWriter.append

    def held(self, record):
        if isinstance(record, IterationRecord) and record.host is not None:
            record = replace(record, host=replace(record.host, cgroup_throttled_share=0.5))
        append(self, record)

    RunWriter.append = held


@harness.hookimpl
def harness_run_started(spec, environment):
    faults = {"lose": lose_a_record, "step": step_the_clock, "held": hold_back}
    for tag in spec.tags:
        faults.get(tag, lambda: None)()
