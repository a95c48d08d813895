"""Agents in any language: programs that do an agent's work by docs/agent-protocol.md.

tapped.py        scenario `tapped`: whatever programs do through the tap
protocol.py      the events, decoded strictly; the job
transcript.py    all that a program said, in order; judging.py: by the rules
reporting.py     what it told of its calls, as the harness records it
process.py       one program as a process: its CPUs, its pipes, what it used, its end
warden.py        ends the programs, should we ourselves be killed
program.py       one program does one job: greeted, started, heard to its end (hearing.py)
outcome.py       what became of its work
team.py          several at once behind one barrier, or one after another
workload.py      the work: stages of calls, made of a corpus (corpus.py)
jobs.py          … as a job for a program; within.py: done by the harness itself
options.py       what can be asked for
scenario.py      scenario `agent`: one program, with what it costs
wakeups.py       how long a chunk was on its way from the truth server to the agent
agents.py        the agents that are registered
python_agent.py  the reference agent, with answers.py and ingest.py; node/ has its twin
recording.py     a small server that keeps what it was sent
checking/        `harness agent check`: the rules, one by one
commands.py      `harness agent`: check, list, build
legacy/          what older agent benchmarks left behind; chimeraforge.py imports it
vectors/         streams and summaries to test an agent with
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import harness

if TYPE_CHECKING:
    import click

    from harness.protocols import ScenarioConfig, WorkflowScenario
    from harness.registry import AgentRegistry, ScenarioRegistry

__all__ = ["harness_register_agents", "harness_register_scenarios"]


def _agent(config: ScenarioConfig) -> WorkflowScenario:
    from harness_agents.scenario import AgentScenario

    return AgentScenario(config)


def _tapped(config: ScenarioConfig) -> WorkflowScenario:
    from harness_agents.tapped import TappedScenario

    return TappedScenario(config)


@harness.hookimpl
def harness_register_scenarios(registry: ScenarioRegistry) -> None:
    from harness_agents.options import AgentOptions, TappedOptions

    registry.add(
        "tapped",
        _tapped,
        options=TappedOptions,
        summary="whatever programs do through the tap (`harness tap`)",
    )
    registry.add(
        "agent",
        _agent,
        options=AgentOptions,
        summary="one agent program, or the same work in process, with what it costs",
    )


@harness.hookimpl
def harness_register_agents(registry: AgentRegistry) -> None:
    from harness_agents.agents import offered

    for name, factory, summary in offered():
        registry.add(name, factory, summary=summary)


@harness.hookimpl
def harness_add_commands(group: click.Group) -> None:
    from harness_agents.commands import agent

    group.add_command(agent, "agent")
    group.add_command(agent, "agents")
