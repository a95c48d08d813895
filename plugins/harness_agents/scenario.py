"""Scenario `agent`: one agent program does one agent's work, and what it is made of is in the
figures: its start-up, CPU time, context switches and memory beside its calls.

A program that speaks the protocol (docs/agent-protocol.md) is given a job, and tells of its calls.
Any other program is run as it is (`speaks: nothing`): what is known of it is what the tap saw. One
that writes a metrics.json of an older form (`speaks: files`) has that read, under its own names.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from harness.errors import ScenarioError
from harness.protocols import AgentCalls, Context, ScenarioConfig
from harness.text import listed, one_line, storable, without_surrogates
from harness_agents.agents import agent_named, program_of
from harness_agents.corpus import corpus_of
from harness_agents.ingest import ingest, sha256
from harness_agents.jobs import job_for
from harness_agents.options import IN_PROCESS, AgentOptions
from harness_agents.process import Exit, Process
from harness_agents.program import Outcome, Program
from harness_agents.protocol import Corpus
from harness_agents.team import run_team
from harness_agents.wakeups import WakeUps
from harness_agents.warden import warden
from harness_agents.within import in_process
from harness_agents.workload import Workload, workload

__all__ = ["AgentScenario", "exit_metrics", "outcome_note"]

NAME: Final = "agent"
"""Of the agent, within the run."""
_STDERR_SHOWN: Final = 400
_NOTE_BYTES: Final = 256 * 1024
"""Of what a program says of itself, in the iteration's data."""


class AgentScenario:
    """See harness.protocols.WorkflowScenario."""

    taps = True

    def __init__(self, config: ScenarioConfig) -> None:
        self._options: AgentOptions = config.options
        if self._options.speaks == "protocol":
            self.planned_calls_per_iteration = self._options.planned_calls()
        programs = not self._options.command and not self._within
        self.agents_used = {"agent": self._options.agent} if programs else {}
        self._corpus: Corpus | None = None
        self._summary_sha256: str | None = None
        self._command: list[str] = []
        self._about: dict[str, Any] | None = None
        self._wakeups: WakeUps | None = None

    @property
    def _within(self) -> bool:
        return self._options.agent == IN_PROCESS and not self._options.command

    async def setup(self, ctx: Context) -> None:
        """Finds the program and the corpus's files. Raises BackendError where the one is missing,
        ScenarioError where the others are."""
        options = self._options
        if options.speaks == "protocol":
            self._corpus = corpus_of(options)
        if options.command:
            self._command = program_of(options.command)
            self._about = {"command": [one_line(word, 200) for word in options.command]}
        elif not self._within:
            agent = agent_named(options.agent)
            self._command = agent.command()
            self._about = await asyncio.to_thread(agent.about)
        if options.chunk_stamps:
            self._wakeups = WakeUps.of(ctx.effective)
        if not self._within:
            warden.start()

    async def execute(self, ctx: Context) -> None:
        """One iteration. Raises ScenarioError where the agent failed."""
        if self._about is not None:
            ctx.note("agent_about", {NAME: self._about})
            self._about = None  # once a trial
        if self._within:
            await self._work_within(ctx)
        elif self._options.speaks == "protocol":
            await self._work_by_program(ctx)
        else:
            await self._work_unheard(ctx)

    async def teardown(self, ctx: Context) -> None:
        pass

    def _workload(self, ctx: Context) -> Workload:
        return workload(
            self._options, agent=NAME, seed=ctx.seed, salt=ctx.salt, corpus=self._corpus
        )

    # ------------------------------------------------------------------------------- in the harness

    async def _work_within(self, ctx: Context) -> None:
        async with ctx.agent(NAME, outside=False) as calls:
            done = await in_process(self._workload(ctx), calls)
            calls.span("agent", done.begin_ns, done.end_ns)
            for name, start_ns, end_ns in done.phases:
                calls.span(name, start_ns, end_ns)
        if done.failed is not None:
            error = done.failed.error
            why = f": {error.code}: {error.message}" if error else ""
            raise ScenarioError(
                f"its {done.failed.stage} call ended as {done.failed.status}{why}",
                where=f"agent {NAME}",
                remedy="the call's record in `harness show`",
            )

    # -------------------------------------------------------------------------------- by a program

    async def _work_by_program(self, ctx: Context) -> None:
        options = self._options
        async with ctx.agent(NAME) as calls:
            job = job_for(
                self._workload(ctx),
                calls,
                job_id=f"{ctx.arm}/{ctx.cell or '-'}/{ctx.trial}.{ctx.phase[0]}{ctx.iteration}",
                model=ctx.effective.model or "",
                timeout_s=options.seconds_per_call(),
                options=ctx.effective.options,
                chunk_stamps=options.chunk_stamps,
            )
            program = Program(self._command, job, timeout_s=options.timeout_s, cpus=options.cpus)
            try:
                await run_team([program])
            finally:
                if program.outcome is not None:
                    _record(calls, program.outcome)
        outcome = program.outcome
        assert outcome is not None
        await self._measure(ctx, outcome)
        if outcome.failure is not None:
            raise outcome.failure.error()
        self._check_summary(outcome)

    async def _measure(self, ctx: Context, outcome: Outcome) -> None:
        if outcome.start_up_ns is not None:
            ctx.metric("start_up_ms", outcome.start_up_ns / 1e6, "ms", better="lower")
        if outcome.exit is not None:
            exit_metrics(ctx, outcome.exit)
        for metric in outcome.metrics:
            ctx.metric(f"agent.{metric.name}", metric.value, metric.unit, better=metric.better)
        ctx.note("agents", {NAME: outcome_note(outcome)})
        if outcome.failure is not None and outcome.stderr:
            ctx.artifact(f"{NAME}.{ctx.phase[0]}{ctx.iteration}.stderr.txt", outcome.stderr)
        if self._wakeups is not None and outcome.failure is None:
            await self._wakeups.measure(ctx, outcome)

    def _check_summary(self, outcome: Outcome) -> None:
        """Once a trial, and after the first work: its ingest must not find the files read."""
        told = outcome.data.get("summary_sha256")
        if self._corpus is None or told is None:
            return
        if self._summary_sha256 is None:
            named = [(file.path, file.kind) for file in self._corpus.files]
            self._summary_sha256 = sha256(ingest(self._corpus.path, named).summary)
        if told != self._summary_sha256:
            raise ScenarioError(
                "its data summary is not that of the protocol: it did other work (rule `summary`)",
                where=f"agent {NAME}",
                remedy="`harness agent check -- PROGRAM …`",
            )

    # ------------------------------------------------------------- by a program that takes no job

    async def _work_unheard(self, ctx: Context) -> None:
        options = self._options
        folder = Path(tempfile.mkdtemp(prefix="harness-agent-"))
        try:
            async with ctx.agent(NAME) as calls:
                exit_, stderr, start_ns, timed_out = await self._run_unheard(calls.url, folder)
                calls.span("agent", start_ns, time.monotonic_ns())
            exit_metrics(ctx, exit_)
            if exit_.status != 0 or timed_out:
                how = f"not over within {options.timeout_s:g} s" if timed_out else exit_.words
                end = one_line(stderr[-_STDERR_SHOWN:], _STDERR_SHOWN)
                raise ScenarioError(
                    f"{how}; its standard error ends with: {end}" if end else how,
                    where=f"agent {one_line(self._command[0], 100)}",
                    remedy="run it by hand, with the same arguments",
                )
            if options.speaks == "files":
                _record_files(ctx, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    async def _run_unheard(self, url: str, folder: Path) -> tuple[Exit, str, int, bool]:
        from harness_agents.options import TappedOptions
        from harness_agents.tapped import environment_for

        words = [word.replace("{url}", url).replace("{out}", str(folder)) for word in self._command]
        start_ns = time.monotonic_ns()
        process = await Process.spawn(
            words,
            heard=lambda data: None,
            cpus=self._options.cpus,
            env=environment_for(url, TappedOptions(), os.environ),
        )
        assert process.ended is not None
        process.close_input()
        timed_out = False
        try:
            async with asyncio.timeout(self._options.timeout_s):
                await asyncio.shield(process.ended)
        except TimeoutError:
            timed_out = True
        finally:
            await process.stop()
        return process.ended.result(), process.stderr, start_ns, timed_out


def _record(calls: AgentCalls, outcome: Outcome) -> None:
    """What the program told, also where it failed in the end."""
    for call in outcome.calls:
        calls.report(call)
    if outcome.begin_ns is None:
        return
    if outcome.end_ns is not None and outcome.end_ns >= outcome.begin_ns:
        calls.span("agent", outcome.begin_ns, outcome.end_ns)
    for name, start_ns, end_ns in outcome.phases:
        if outcome.begin_ns <= start_ns <= end_ns:
            calls.span(one_line(name, 60), start_ns, end_ns)


def exit_metrics(ctx: Context, exit_: Exit) -> None:
    """What a program used, from its start to its end. Public, for plugins."""
    cpu_ns = exit_.cpu_user_ns + exit_.cpu_system_ns
    ctx.metric("cpu_user_ms", exit_.cpu_user_ns / 1e6, "ms", better="lower")
    ctx.metric("cpu_system_ms", exit_.cpu_system_ns / 1e6, "ms", better="lower")
    ctx.metric("cpu_ms", cpu_ns / 1e6, "ms", better="lower")
    voluntary, involuntary = exit_.ctx_switches_voluntary, exit_.ctx_switches_involuntary
    ctx.metric("ctx_switches_voluntary", voluntary, "switches", better="lower")
    ctx.metric("ctx_switches_involuntary", involuntary, "switches", better="lower")
    if exit_.rss_max_bytes is not None:
        ctx.metric("rss_max_bytes", exit_.rss_max_bytes, "B", better="lower")


def outcome_note(outcome: Outcome) -> dict[str, Any]:
    """What a program said of itself, for the iteration's data. Public, for plugins."""
    hello, exit_ = outcome.hello, outcome.exit
    note: dict[str, Any] = {
        "exit_status": exit_.status if exit_ else None,
        "rss_exact": exit_.rss_exact if exit_ else None,
        "start_ns": outcome.start_ns,
        "begin_ns": outcome.begin_ns,
        "data": _bounded(outcome.data),
        "events": _events(outcome),
    }
    if hello is not None:
        note["name"] = one_line(hello.name, 100)
        note["version"] = one_line(hello.version, 100)
        note["language"] = one_line(hello.language, 100)
        note["runtime"] = one_line(hello.runtime or "", 200)
        note["about"] = _bounded(hello.about)
    return note


def _events(outcome: Outcome) -> list[Any]:
    """The first of them, for as long as there is room."""
    kept: list[Any] = []
    left = _NOTE_BYTES
    for event in outcome.extras:
        said = storable(without_surrogates(event))
        left -= len(msgspec.json.encode(said))
        if left < 0:
            kept.append({"left_out": len(outcome.extras) - len(kept)})
            break
        kept.append(said)
    return kept


def _bounded(told: dict[str, Any]) -> dict[str, Any]:
    """As the record log can hold it; too large, and only its size is kept."""
    kept: dict[str, Any] = storable(without_surrogates(told))
    size = len(msgspec.json.encode(kept))
    return kept if size <= _NOTE_BYTES else {"left_out_bytes": size}


def _record_files(ctx: Context, folder: Path) -> None:
    from harness_agents.legacy.named import legacy_metrics

    path = folder / "metrics.json"
    if not path.is_file():
        there = listed(sorted(child.name for child in folder.iterdir()))
        raise ScenarioError(
            f"it left no metrics.json in the folder {{out}}; there is: {there}",
            where=f"agent {NAME}",
            remedy="command: [PROGRAM, …, '{out}']",
        )
    for name, value, unit in legacy_metrics(path):
        ctx.metric(name, value, unit)
