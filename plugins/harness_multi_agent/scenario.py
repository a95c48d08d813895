"""MultiAgent: all agents at once, or (in the solo arm) the same agents one after another.

An iteration goes: every agent's way to the server is opened; every program is started and says that
it is ready; then all are given one instant, a little in the future, at which they begin. In a solo
iteration each is started, ready, and begins when the one before has ended. So both arms leave out
the same things (starting a program, its imports, the handshake), and nothing else. Their order is
drawn with the iteration's seed: the same in both, and in all arms.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from time import monotonic_ns
from typing import Any, Final, TypeVar

from harness.errors import ScenarioError
from harness.protocols import Context, ScenarioConfig
from harness_multi_agent.members import Member, members_of
from harness_multi_agent.options import MultiAgentOptions
from harness_multi_agent.recording import record_spans, record_work
from harness_multi_agent.report import Work
from harness_multi_agent.workers import Worker, Workers

__all__ = ["MultiAgent"]

T = TypeVar("T")

LEAD_NS: Final = 20_000_000
"""How far ahead the common start lies, so that every program has read it before it comes …"""
LEAD_PER_AGENT_NS: Final = 1_000_000
"""… however many there are."""


class MultiAgent:
    """The workflow scenario `multi_agent`."""

    solo = True
    taps = True

    def __init__(self, config: ScenarioConfig) -> None:
        options: MultiAgentOptions = config.options
        self._options = options
        self._form = options.form or "agents"
        self._members = members_of(options)
        self._workers = Workers(options, self._members)
        self._made_of: dict[str, Any] = {}
        self.planned_calls_per_iteration = len(self._members) * options.planned_calls()
        self.request_options = {
            one.options_path: one.options for one in self._members if one.options_path
        }
        self.agents_used = {
            one.program_path: one.program
            for one in self._members
            if one.program and not one.in_process
        }
        self.endpoints_used = 1 + max(one.endpoint for one in self._members)

    async def setup(self, ctx: Context) -> None:
        """Refuses an empty corpus, a program that is not there, a context that is too small."""
        self._made_of = await self._workers.setup()

    async def execute(self, ctx: Context) -> None:
        """One iteration. Raises ScenarioError where an agent failed; the others end their work."""
        ctx.note("form", self._form)
        if (self._options.semaphore or len(self._members)) < len(self._members):
            ctx.note("semaphore", self._options.semaphore)
        if self._made_of:
            ctx.note("agent_about", self._made_of)
            self._made_of = {}  # once a trial
        async with AsyncExitStack() as stack:
            ways = {
                one.name: await stack.enter_async_context(_way(ctx, one)) for one in self._members
            }
            workers = [self._workers.make(ctx, one, ways[one.name]) for one in self._members]
            # Whoever comes first meets a colder server; it must not always be the same one.
            ctx.rng.shuffle(workers)
            try:
                alone = ctx.phase == "solo"
                done = await (_one_by_one(workers) if alone else self._at_once(workers))
            finally:
                await _all(worker.discard() for worker in workers)
            works = sorted(done, key=lambda work: self._members.index(work.member))
            for work in works:
                record_spans(work, ways[work.member.name])
        record_work(ctx, self._form, self._members, works)
        for work in sorted(works, key=lambda one: one.idle):
            if work.error:
                raise ScenarioError(
                    work.error,
                    where=f"agent {work.member.name}",
                    remedy="the iteration's calls in `harness show`",
                )
        await self._workers.check_summaries(works)

    async def teardown(self, ctx: Context) -> None:
        pass

    async def _at_once(self, workers: Sequence[Worker]) -> list[Work]:
        """Behind one barrier; with a semaphore, so many at a time: whose turn comes begins at once,
        while the program before it is still on its way out. Their time lies within that of all."""
        ready = await _all(worker.prepare() for worker in workers)
        if not all(ready):
            return await _all(worker.abandon() for worker in workers)
        start_ns = monotonic_ns() + LEAD_NS + LEAD_PER_AGENT_NS * len(workers)
        at_once = self._options.semaphore or len(workers)
        turns = asyncio.Semaphore(at_once)  # first come, first served

        async def in_turn(index: int, worker: Worker) -> Work:
            await turns.acquire()
            over = _Once(turns.release)
            try:
                at_ns = start_ns if index < at_once else monotonic_ns()
                return await worker.work(at_ns, over)
            finally:
                over()

        return await _all(in_turn(*one) for one in enumerate(workers))


class _Once:
    """Calls `what` the first time it is called itself."""

    def __init__(self, what: Callable[[], None]) -> None:
        self._what: Callable[[], None] | None = what

    def __call__(self) -> None:
        what, self._what = self._what, None
        if what is not None:
            what()


async def _one_by_one(workers: Sequence[Worker]) -> list[Work]:
    """Behind one that failed there is nobody."""
    works: list[Work] = []
    for worker in workers:
        ready = await worker.prepare()
        works.append(await (worker.work(monotonic_ns() + LEAD_NS) if ready else worker.abandon()))
        if works[-1].error:
            break
    return works


async def _all(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Their results in order. Raises the first exception, when every one is over."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        if tasks:
            await asyncio.wait(tasks)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        raise
    return [task.result() for task in tasks]


def _way(ctx: Context, member: Member) -> Any:
    return ctx.agent(member.name, endpoint=member.endpoint, outside=not member.in_process)
