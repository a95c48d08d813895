"""MultiAgent: all agents at once, or (in the solo arm) the same agents one after another.

An iteration goes: every agent's way to the server is opened; every program is started and says that
it is ready; then all are given one instant, a little in the future, at which they begin. In a solo
iteration each is started, ready, and begins when the one before has ended. So both arms leave out
the same things (starting a program, its imports, the handshake), and nothing else. Their order is
drawn with the iteration's seed: the same in both, and in all arms.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from harness_agents.team import all_over, run_team

from harness.errors import ScenarioError
from harness.protocols import Context, ScenarioConfig
from harness_multi_agent.members import Member, members_of
from harness_multi_agent.options import MultiAgentOptions
from harness_multi_agent.recording import record_spans, record_work
from harness_multi_agent.report import Work
from harness_multi_agent.workers import Worker, Workers

__all__ = ["MultiAgent"]


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
                done = await (
                    _one_by_one(workers)
                    if alone
                    else run_team(workers, at_once=self._options.semaphore)
                )
            finally:
                await all_over(worker.discard() for worker in workers)
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


async def _one_by_one(workers: Sequence[Worker]) -> list[Work]:
    """Behind one that failed there is nobody."""
    works: list[Work] = []
    for worker in workers:
        works += await run_team([worker])
        if works[-1].error:
            break
    return works


def _way(ctx: Context, member: Member) -> Any:
    return ctx.agent(member.name, endpoint=member.endpoint, outside=not member.in_process)
