"""The hooks, nothing else. docs/hooks.md shows a whole plugin for each; a test compares the two.

All hooks are synchronous and none is called inside the timed window of a call. Implement any
subset, with any subset of the arguments, as module-level functions marked `@harness.hookimpl`.
Registration hooks receive a registrar, so that a mistake raises in your own frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import click

    from harness.protocols import RunData
    from harness.registry import (
        AgentRegistry,
        BackendRegistry,
        ExecutorRegistry,
        ExporterRegistry,
        ImporterRegistry,
        InstrumentRegistry,
        ScenarioRegistry,
        ScorerRegistry,
    )
    from harness.schema import (
        Caveat,
        Environment,
        RunSpec,
        Summary,
        TrialRecord,
    )

hookspec = pluggy.HookspecMarker("harness")


@hookspec
def harness_register_backends(registry: BackendRegistry) -> None:
    """Offer backends. Called once, when the host loads; must be quick (import heavy packages in the
    factory, not in the module)."""


@hookspec
def harness_register_scenarios(registry: ScenarioRegistry) -> None:
    """Offer scenarios. Called once, when the host loads; must be quick."""


@hookspec
def harness_register_agents(registry: AgentRegistry) -> None:
    """Offer agent programs. Called once, when the host loads; must be quick."""


@hookspec
def harness_register_instruments(registry: InstrumentRegistry) -> None:
    """Offer instruments. Called once, when the host loads; must be quick."""


@hookspec
def harness_register_scorers(registry: ScorerRegistry) -> None:
    """Offer scorers. Called once, when the host loads; must be quick."""


@hookspec
def harness_register_exporters(registry: ExporterRegistry) -> None:
    """Offer exporters. Called once, when the host loads; must be quick."""


@hookspec
def harness_register_importers(registry: ImporterRegistry) -> None:
    """Offer importers, which read results that others measured. Called once, when the host loads;
    must be quick."""


@hookspec
def harness_register_executors(registry: ExecutorRegistry) -> None:
    """Offer executors. Called once, when the host loads; must be quick."""


@hookspec
def harness_add_commands(group: click.Group) -> None:
    """Add sub-commands to the command line. Called once, by the command line only, before it parses
    its arguments; must be quick. The built-in names win."""


@hookspec
def harness_collect_environment(spec: RunSpec) -> dict[str, Any] | None:
    """Add facts to the run's environment. Called once a run, before the first trial; may take a
    second. Keys go under your plugin's name; two runs are compared in all of them but what stands
    under `now`, which is of one instant. None: nothing to add."""


@hookspec
def harness_run_started(spec: RunSpec, environment: Environment) -> None:
    """A run is about to execute its first trial. Called once a run, in its process: trials may be
    executed in others, which know nothing of it; must be quick."""


@hookspec(firstresult=True)
def harness_count_tokens(model: str, text: str) -> int | None:
    """How many tokens `text` has for `model`. Called while requests are prepared, many times, and
    after a measured iteration for a sample of its calls, whose counts are then compared with the
    server's; never while calls are timed. Should be quick, and exact: a guess would be held against
    the server. The first plugin that answers wins. None: I do not know this model."""


@hookspec
def harness_find_caveats(result: RunData) -> list[Caveat] | None:
    """Doubts about a finished run. Called once, after the last trial, with everything that was
    recorded; may be slow. None: no doubts."""


@hookspec
def harness_trial_finished(trial: TrialRecord) -> None:
    """A trial ended, well or badly. Called once a trial, in the process of the run, where others
    may be under way; must be quick."""


@hookspec
def harness_run_finished(result: Summary) -> None:
    """The run is over and everything is written. Called once a run; may be slow."""
