"""The request scenario `load`: one prompt after another, synthetic or from a file.

options.py      what can be asked for
lengths.py      seeded lengths, in tokens
words.py        the vocabulary, and what its words cost in tokens
synthetic.py    texts of a stated length, made by cutting one long text
prompts.py      a JSON Lines file of prompts
scenario.py     Load: the generator of requests
caveats.py      the stated length against the server's own count
specs/          runnable examples: load.yaml (closed loop), open_loop.yaml
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import harness
from harness_load.options import LoadOptions

if TYPE_CHECKING:
    from harness.protocols import RequestScenario, RunData, ScenarioConfig
    from harness.registry import ScenarioRegistry
    from harness.schema import Caveat

__all__ = ["LoadOptions", "load"]


def load(config: ScenarioConfig) -> RequestScenario:
    """The factory. What the scenario needs is imported when it is made."""
    from harness_load.scenario import Load

    return Load(config)


@harness.hookimpl
def harness_register_scenarios(registry: ScenarioRegistry) -> None:
    registry.add(
        "load",
        load,
        options=LoadOptions,
        summary="prompts of a stated length, or from a file, under closed or open load",
    )


@harness.hookimpl
def harness_find_caveats(result: RunData) -> list[Caveat] | None:
    from harness_load.caveats import find_caveats

    return find_caveats(result)
