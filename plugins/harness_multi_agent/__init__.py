"""The workflow scenario `multi_agent`: several agents at one server, together and one by one.

options.py      what can be asked for
members.py      a form, a number or a list → who takes part
workers.py      one agent of an iteration: within the harness, or a program
scenario.py     MultiAgent: all at once, or (the solo arm) one after another
recording.py    what an iteration leaves behind
figures.py      calls as their agents tell of them → the figures of older reports
report.py       combined_report.md: figures by code, the models' text fenced
caveats.py      doubts about a finished run
specs/          presets tr110, tr113, tr114, tr115, tr116
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import harness
from harness_multi_agent.options import AgentOptions, MultiAgentOptions

if TYPE_CHECKING:
    from harness.protocols import RunData, ScenarioConfig, WorkflowScenario
    from harness.registry import ScenarioRegistry
    from harness.schema import Caveat

__all__ = ["AgentOptions", "MultiAgentOptions", "multi_agent"]


def multi_agent(config: ScenarioConfig) -> WorkflowScenario:
    """The factory. What the scenario needs is imported when it is made."""
    from harness_multi_agent.scenario import MultiAgent

    return MultiAgent(config)


@harness.hookimpl
def harness_register_scenarios(registry: ScenarioRegistry) -> None:
    registry.add(
        "multi_agent",
        multi_agent,
        options=MultiAgentOptions,
        summary="several agents at once, each iteration beside one with the same agents one by one",
    )


@harness.hookimpl
def harness_find_caveats(result: RunData) -> list[Caveat] | None:
    from harness_multi_agent.caveats import find_caveats

    return find_caveats(result)
