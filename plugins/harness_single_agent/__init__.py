"""The workflow scenario `single_agent`: read a folder of benchmark files, analyse, report.

options.py      what can be asked for
ingest.py       the folder → files that were read, files that were not and why
parsing.py      bytes of one file → counts, figures, dates
summary.py      what is read → the data summary for the model, within a bound
prompts.py      the two prompts, fitted into the model's context
answer.py       the model's analysis → its sections
scenario.py     SingleAgent: ingest → analysis call → report call
dates.py patterns.py claims.py facts.py grounding.py
                what the model's text says about the data, and whether that is so
figures.py      a call's record → the figures of the report
report.py       the technical report: every figure by code, the model's text fenced
caveats.py      doubts about a finished run
text.py         somebody else's text, made harmless
corpus/         real benchmark files for the default run, with their notices
specs/          demo.yaml: two arms on the embedded model
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import harness
from harness_single_agent.options import SingleAgentOptions

if TYPE_CHECKING:
    from harness.protocols import RunData, ScenarioConfig, WorkflowScenario
    from harness.registry import ScenarioRegistry
    from harness.schema import Caveat

__all__ = ["SingleAgentOptions", "single_agent"]


def single_agent(config: ScenarioConfig) -> WorkflowScenario:
    """The factory. What the scenario needs (csv, json, statistics) is imported when it is made."""
    from harness_single_agent.scenario import SingleAgent

    return SingleAgent(config)


@harness.hookimpl
def harness_register_scenarios(registry: ScenarioRegistry) -> None:
    registry.add(
        "single_agent",
        single_agent,
        options=SingleAgentOptions,
        summary="ingest a folder of benchmark files → analysis call → report call, fact-checked",
    )


@harness.hookimpl
def harness_find_caveats(result: RunData) -> list[Caveat] | None:
    from harness_single_agent.caveats import find_caveats

    return find_caveats(result)
