"""What a plugin implements: one Protocol per kind of thing, each with at most six methods.

A plugin registers a *factory* under a name (see hookspecs); the harness calls the factory with a
typed configuration and then only the methods below. None of them runs in the timed window of a
call: requests are turned into bytes before they are due, responses are decoded after they ended.
"""

from __future__ import annotations

from harness.protocols.agents import Agent
from harness.protocols.backends import (
    Backend,
    BackendConfig,
    BackendFactory,
    Footprints,
    ListsModels,
    Reads,
    Reconciles,
    Retries,
    Unloads,
)
from harness.protocols.executors import Executor, ExecutorConfig, ExecutorFactory
from harness.protocols.importers import (
    ImportedRow,
    ImportedRows,
    Importer,
    ImporterFactory,
    Stated,
    Suggests,
)
from harness.protocols.instruments import (
    Instrument,
    InstrumentConfig,
    InstrumentFactory,
    Observation,
)
from harness.protocols.runs import Exporter, RunData, Scorer
from harness.protocols.scenarios import (
    AgentCalls,
    Context,
    RequestContext,
    RequestScenario,
    ScenarioConfig,
    ScenarioFactory,
    WorkflowScenario,
)
from harness.protocols.transport import Transport

__all__ = [
    "Agent",
    "AgentCalls",
    "Backend",
    "BackendConfig",
    "BackendFactory",
    "Context",
    "Executor",
    "ExecutorConfig",
    "ExecutorFactory",
    "Exporter",
    "Footprints",
    "ImportedRow",
    "ImportedRows",
    "Importer",
    "ImporterFactory",
    "Instrument",
    "InstrumentConfig",
    "InstrumentFactory",
    "ListsModels",
    "Observation",
    "Reads",
    "Reconciles",
    "RequestContext",
    "RequestScenario",
    "Retries",
    "RunData",
    "ScenarioConfig",
    "ScenarioFactory",
    "Scorer",
    "Stated",
    "Suggests",
    "Transport",
    "Unloads",
    "WorkflowScenario",
]
