"""One execution of a scenario (iteration), one launch (trial), and the backend's own account."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from msgspec import Struct, field

from harness.schema.call import CallError, CallRecord

__all__ = [
    "Artifact",
    "Effective",
    "IterationRecord",
    "MetricValue",
    "Record",
    "Span",
    "TrialRecord",
]


class Span(Struct, frozen=True, kw_only=True):
    """A named part of an iteration: `ingest`, `analysis`, `report`."""

    name: str
    start_ns: int
    end_ns: int


class MetricValue(Struct, frozen=True, kw_only=True):
    """A figure that a scenario measured itself."""

    name: str
    value: float
    unit: str
    provenance: Literal["measured", "derived", "declared", "simulated"] = "measured"


class Artifact(Struct, frozen=True, kw_only=True):
    """A file that a scenario left, relative to the run folder."""

    name: str
    path: str


class Effective(Struct, frozen=True, kw_only=True):
    """The configuration that a backend read back, not the one that was asked for."""

    server: str | None = None
    server_version: str | None = None
    model: str | None = None
    model_digest: str | None = None
    context_length: int | None = None
    layers_on_gpu: int | None = None
    size_bytes: int | None = None
    size_vram_bytes: int | None = None
    simulated: bool = False
    """A truth server or a stub: reports carry a watermark."""
    random_weights: bool = False
    """The text is noise; speed is real."""
    options: dict[str, Any] = field(default_factory=dict)
    """Every option as it was sent, defaults included."""
    details: dict[str, Any] = field(default_factory=dict)
    """What else the server says of itself, under its own names."""
    unknown: dict[str, str] = field(default_factory=dict)
    """Field → why it could not be read."""


class IterationRecord(
    Struct, frozen=True, kw_only=True, tag="iteration", tag_field="t", omit_defaults=True
):
    """One execution of the scenario and what it made of its calls."""

    arm: str
    cell: str
    trial: int
    iteration: int
    phase: Literal["warmup", "measured"]
    status: Literal["ok", "error", "cancelled"]
    start_ns: int
    end_ns: int
    planned_calls: int
    """Calls the iteration meant to make; its call records must balance with it."""
    spans: tuple[Span, ...] = ()
    metrics: tuple[MetricValue, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    """What the scenario wants its own exporters to find again."""
    error: CallError | None = None


class TrialRecord(
    Struct, frozen=True, kw_only=True, tag="trial", tag_field="t", omit_defaults=True
):
    """One launch: written when it ends, however it ends."""

    arm: str
    cell: str
    trial: int
    status: Literal["ok", "error", "cancelled"]
    start_ns: int
    end_ns: int
    effective: Effective = Effective()
    transport: str = ""
    """`native` or `portable`."""
    transport_stats: dict[str, int] = field(default_factory=dict)
    error: CallError | None = None


Record: TypeAlias = CallRecord | IterationRecord | TrialRecord
"""What the record log holds."""
