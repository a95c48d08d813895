"""One agent of one iteration, whatever it is: within the harness, or a program.

A worker's life is prepare → work, or prepare → abandon where another one did not get ready; discard
ends it in whatever state it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from harness_agents.corpus import corpus_of
from harness_agents.ingest import ingest, sha256
from harness_agents.jobs import job_for
from harness_agents.program import Outcome, Program
from harness_agents.protocol import Corpus
from harness_agents.team import Worker as TeamWorker
from harness_agents.warden import warden
from harness_agents.within import in_process
from harness_agents.workload import Workload, workload

from harness.errors import ScenarioError
from harness.protocols import Agent, AgentCalls, Context
from harness.text import one_line
from harness_multi_agent.figures import told_by_program, told_by_record
from harness_multi_agent.members import Member
from harness_multi_agent.options import MultiAgentOptions
from harness_multi_agent.report import Work

__all__ = ["Worker", "Workers"]


Worker: TypeAlias = TeamWorker[Work]


class Workers:
    """Makes the workers of every iteration of a trial."""

    def __init__(self, options: MultiAgentOptions, members: Sequence[Member]) -> None:
        self._options = options
        self._members = members
        self._corpus: Corpus | None = None
        self._summary_sha256: str | None = None
        self._commands: dict[str, list[str]] = {}
        """Of members that are programs."""

    async def setup(self) -> dict[str, Any]:
        """Once a trial: what each program is made of. Raises ScenarioError for an empty corpus,
        BackendError for a program that is not there, SpecError for one that nobody registered."""
        self._corpus = corpus_of(self._options)
        made_of: dict[str, Any] = {}
        about: dict[str, Any] = {}
        for one in self._members:
            if one.command:
                from harness_agents.agents import program_of

                self._commands[one.name] = program_of(one.command)
                made_of[one.name] = {"command": [one_line(word, 200) for word in one.command]}
            elif not one.in_process:
                agent = _agent(one.program)
                self._commands[one.name] = agent.command()
                if one.program not in about:
                    about[one.program] = await asyncio.to_thread(agent.about)
                made_of[one.name] = about[one.program]
        if self._commands:
            warden.start()
        return made_of

    def make(self, ctx: Context, member: Member, calls: AgentCalls) -> Worker:
        """Raises SpecError where the backend speaks no dialect that programs know."""
        work = workload(
            self._options,
            agent=member.name,
            seed=ctx.seed,
            salt=ctx.salt,
            corpus=self._corpus,
            persona=member.persona,
            backend_options=member.options,
        )
        if member.in_process:
            return _Inside(member, work, calls)
        job = job_for(
            work,
            calls,
            job_id=f"{ctx.arm}/{ctx.cell or '-'}/{ctx.trial}.{ctx.phase[0]}{ctx.iteration}",
            model=ctx.effective.model or "",
            timeout_s=self._options.seconds_per_call(),
            options={**ctx.effective.options, **member.options},
        )
        command = self._commands[member.name]
        program = Program(command, job, timeout_s=self._options.timeout_s)
        return _Outside(member, program, calls)

    async def check_summaries(self, works: Sequence[Work]) -> None:
        """Raises ScenarioError for a program that read another corpus. Ours is read after the first
        work: that must not find the files read already."""
        if self._corpus is None:
            return
        for work in works:
            told = work.outcome.data.get("summary_sha256") if work.outcome is not None else None
            if told is None:
                continue
            if self._summary_sha256 is None:
                listed = [(file.path, file.kind) for file in self._corpus.files]
                found = await asyncio.to_thread(ingest, self._corpus.path, listed)
                self._summary_sha256 = sha256(found.summary)
            if told != self._summary_sha256:
                raise ScenarioError(
                    "its data summary is not the protocol's: it did other work (rule `summary`)",
                    where=f"agent {work.member.name}",
                    remedy="`harness agent check -- PROGRAM …`",
                )


class _Inside:
    """Its calls are the harness's own. Agents at once share one Python, as programs do not."""

    def __init__(self, member: Member, work: Workload, calls: AgentCalls) -> None:
        self._member = member
        self._work = work
        self._calls = calls

    async def prepare(self) -> bool:
        return True

    async def work(self, at_ns: int, done: Callable[[], None] | None = None) -> Work:
        await _until(at_ns)
        made = await in_process(self._work, self._calls)
        why = ""
        if (failed := made.failed) is not None:
            said = f": {failed.error.code}: {failed.error.message}" if failed.error else ""
            why = f"its {failed.stage} call ended as {failed.status}{said}"
        return Work(
            member=self._member,
            start_ns=made.begin_ns,
            end_ns=made.end_ns,
            phases=made.phases,
            calls=tuple(map(told_by_record, made.calls)),
            error=why,
        )

    async def abandon(self) -> Work:
        now_ns = time.monotonic_ns()
        why = "it was not started: another agent did not get ready"
        return Work(member=self._member, start_ns=now_ns, end_ns=now_ns, error=why, idle=True)

    async def discard(self) -> Work | None:
        return None


class _Outside:
    """A program, started anew."""

    def __init__(self, member: Member, program: Program, calls: AgentCalls) -> None:
        self._member = member
        self._program = program
        self._calls = calls
        self._done = False

    async def prepare(self) -> bool:
        return await self._program.prepare()

    async def work(self, at_ns: int, done: Callable[[], None] | None = None) -> Work:
        return self._told(await self._program.work(at_ns, done))

    async def abandon(self) -> Work:
        was_ready = self._program.failed is None
        return self._told(await self._program.abandon(), idle=was_ready)

    async def discard(self) -> Work | None:
        await self._program.discard()
        outcome = self._program.outcome
        return None if outcome is None or self._done else self._told(outcome)

    def _told(self, outcome: Outcome, *, idle: bool = False) -> Work:
        self._done = True
        for call in outcome.calls:
            self._calls.report(call)
        start_ns = outcome.begin_ns or outcome.start_ns or time.monotonic_ns()
        failure = outcome.failure
        error = failure.error().what if failure is not None else ""
        if not error and (outcome.end_ns or 0) < start_ns:
            error = "it ended before it began"  # the rules do not allow it
        return Work(
            member=self._member,
            start_ns=start_ns,
            end_ns=max(outcome.end_ns or 0, start_ns),
            phases=tuple((one_line(name, 60), start, end) for name, start, end in outcome.phases),
            calls=tuple(map(told_by_program, outcome.calls)),
            error=error,
            idle=idle,
            outcome=outcome,
        )


def _agent(name: str) -> Agent:
    from harness_agents.agents import agent_named

    return agent_named(name)


async def _until(at_ns: int) -> None:
    """The loop's clock is the same, but may wake up a little early."""
    while (left_ns := at_ns - time.monotonic_ns()) > 0:  # noqa: ASYNC110
        await asyncio.sleep(left_ns / 1e9)
