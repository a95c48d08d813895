"""The data: msgspec Structs that know nothing, print nothing and import nothing of ours.

spec.py          what a person asks for; unknown fields are refused
request.py       what a scenario asks a model for, and the bytes that a backend makes of it
call.py          one model call as it was measured
iteration.py     one execution of a scenario, one trial, and what a backend said of itself
environment.py   the machine and software under which a run was made
result.py        manifest, summary, verdict
"""

from harness.schema.call import (
    CallError,
    CallRecord,
    ChunkColumns,
    ChunkKind,
    Decoded,
    Instants,
    StampSource,
    Status,
    Usage,
)
from harness.schema.environment import Environment, PluginInfo, SelfCheck, SelfCheckLoad
from harness.schema.iteration import (
    Artifact,
    Effective,
    HostLoad,
    IterationRecord,
    MetricValue,
    Record,
    Span,
    TokenCheck,
    TrialRecord,
)
from harness.schema.request import Exchange, Message, Request
from harness.schema.result import (
    SCHEMA_VERSION,
    ArmSummary,
    Caveat,
    Manifest,
    MetricSummary,
    ModelInfo,
    RunState,
    Summary,
    Verdict,
)
from harness.schema.spec import (
    ArmSpec,
    BackendSpec,
    ClosedLoad,
    IterationsSpec,
    KeepSpec,
    Load,
    OpenLoad,
    RunSpec,
    ScenarioSpec,
    StopSpec,
    SweepSpec,
    TimeoutsSpec,
    ValiditySpec,
)

__all__ = [
    "SCHEMA_VERSION",
    "ArmSpec",
    "ArmSummary",
    "Artifact",
    "BackendSpec",
    "CallError",
    "CallRecord",
    "Caveat",
    "ChunkColumns",
    "ChunkKind",
    "ClosedLoad",
    "Decoded",
    "Effective",
    "Environment",
    "Exchange",
    "HostLoad",
    "Instants",
    "IterationRecord",
    "IterationsSpec",
    "KeepSpec",
    "Load",
    "Manifest",
    "Message",
    "MetricSummary",
    "MetricValue",
    "ModelInfo",
    "OpenLoad",
    "PluginInfo",
    "Record",
    "Request",
    "RunSpec",
    "RunState",
    "ScenarioSpec",
    "SelfCheck",
    "SelfCheckLoad",
    "Span",
    "StampSource",
    "Status",
    "StopSpec",
    "Summary",
    "SweepSpec",
    "TimeoutsSpec",
    "TokenCheck",
    "TrialRecord",
    "Usage",
    "ValiditySpec",
    "Verdict",
]
