"""One execution of a scenario (iteration), one launch (trial), and the backend's own account."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from msgspec import Struct, field

from harness.schema.call import CallError, CallRecord, Phase
from harness.schema.environment import Environment
from harness.schema.money import PriceRecord

__all__ = [
    "Account",
    "Artifact",
    "Effective",
    "Fit",
    "Footprint",
    "HostLoad",
    "IterationRecord",
    "LogEntry",
    "MetricValue",
    "Record",
    "RetryRecord",
    "SessionRecord",
    "Span",
    "TokenCheck",
    "TrialRecord",
]


class Span(Struct, frozen=True, kw_only=True):
    """A named part of an iteration: `ingest`, `analysis`, `report`."""

    name: str
    start_ns: int
    end_ns: int
    agent: str = ""
    """Whose, where several agents work. `agent` is the name of the span in which an agent did all
    of its work."""


class MetricValue(Struct, frozen=True, kw_only=True):
    """A figure that a scenario measured itself."""

    name: str
    value: float
    unit: str
    provenance: Literal["measured", "derived", "declared", "simulated", "imported"] = "measured"
    better: Literal["lower", "higher", "neither"] = "neither"


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
    read_back: dict[str, Any] = field(default_factory=dict)
    """Option → the value the server says it runs with, for those options that it tells of. Two arms
    that differ in `options` alone, and not in these, are the same configuration."""
    not_effective: dict[str, str] = field(default_factory=dict)
    """Option → `asked 8192, runs 4096`: what was asked for and is not so. Empty: nothing known."""
    changed: tuple[str, ...] = ()
    """Those of `not_effective` that changed while the trial ran."""
    parameters: int | None = None
    """Weights of the model: how many numbers."""
    quantization: str | None = None
    """How they are kept, as the server names it: `Q4_0`, `nf4`, `bfloat16`."""
    disk_bytes: int | None = None
    """Of the model's files."""
    load_ms: float | None = None
    """Until the model was ready, as measured by the process that loaded it; no token is in it."""
    location: Literal["local", "api"] | None = None
    """`api`: a service of somebody else, behind a network: its latency is no model's speed."""
    price: PriceRecord | None = None
    """What the calls of this trial were priced by. None: unknown (`unknown["price"]`), or none."""


class HostLoad(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What else the machine did while an iteration ran. Read before and after it, never within;
    shares are of the time in between. What the system does not tell is None."""

    wall_ns: int
    steal_share: float | None = None
    """Of all CPU time: taken by the hypervisor."""
    busy_share: float | None = None
    """Of all CPU time: anything running, ourselves and a local server included."""
    run_wait_share: float | None = None
    """Of the wall time: our own threads, together, were ready to run and had no core."""
    load_average: float | None = None
    """Over the last minute, as the iteration ended."""
    cpus: int | None = None
    """That this process may use."""
    cpus_online: int | None = None
    """Of the machine; `load_average` is that of them all."""
    swap_in_bytes: int | None = None
    swap_out_bytes: int | None = None
    major_faults: int | None = None
    """Of this process."""
    frequency_min_mhz: float | None = None
    """Lowest and highest of the samples before and after, over all cores: of two instants, in which
    a core may have been idle."""
    frequency_max_mhz: float | None = None
    throttled_share: float | None = None
    """Of the wall time: the core that was slowed down longest because of heat."""
    pressure_share: float | None = None
    """Of the wall time: some task waited for a CPU (/proc/pressure/cpu)."""
    cgroup_throttled_share: float | None = None
    """CPU time that a quota of our cgroup, or of one above, held back / wall time: all of its CPUs
    together, so that it may exceed 1. A local server in the same container counts in it."""


class TokenCheck(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call's token counts, ours beside the server's. Counted after the iteration."""

    call_id: str
    prompt_counted: int | None = None
    """Of the prompt's text alone; a chat template adds to what the server counts."""
    prompt_reported: int | None = None
    output_counted: int | None = None
    output_reported: int | None = None


class Account(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a service says of one call afterwards, when it is asked (harness.protocols.Reconciles).
    Asked for after the iteration, of a sample of its calls."""

    call_id: str
    facts: dict[str, Any] = field(default_factory=dict)
    """Under the service's own names, in its own units."""
    disagrees: dict[str, str] = field(default_factory=dict)
    """Figure → `call 12, account 14`: what it said in the response, and says now."""
    unknown: str = ""
    """Why there is no account."""


class Footprint(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Memory that a model is going to take, as its backend predicts (harness.protocols.Footprints).
    Bytes; None where it cannot be told, which `unknown` explains."""

    weights_bytes: int | None = None
    kv_bytes: int | None = None
    """Keys and values at the effective context, over all sequences at once."""
    overhead_bytes: int | None = None
    """Context of the device, libraries, activations: an allowance, explained in `basis`."""
    parameters: int | None = None
    context_length: int | None = None
    device: Literal["gpu", "host"] = "gpu"
    """Which memory they take."""
    spread: bool = False
    """On GPUs: over all that are visible. Otherwise on the first of them."""
    reclaimable_bytes: int = 0
    """Of that memory, what the server holds already and gives up for this model, or holds of it: a
    model that stayed loaded. As good as free."""
    basis: dict[str, str] = field(default_factory=dict)
    """Part → how it was come by."""
    unknown: dict[str, str] = field(default_factory=dict)

    @property
    def total_bytes(self) -> int | None:
        """None unless weights and keys are known."""
        if self.weights_bytes is None or self.kv_bytes is None:
            return None
        return self.weights_bytes + self.kv_bytes + (self.overhead_bytes or 0)


class Fit(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether a model was to fit into memory, and whether it did."""

    predicted: Footprint
    free_bytes: int | None = None
    """Of the memory that it goes to, before it was loaded."""
    limit_bytes: int | None = None
    """What of it may be used by the spec."""
    device: str = ""
    """Which memory: a GPU's UUID, `host`, or `declared` where the spec says how much there is."""
    decision: Literal["fits", "too_large", "unknown", "unguarded"] = "unknown"
    reason: str = ""
    peak_bytes: int | None = None
    """The most that was taken in fact …"""
    peak_of: str = ""
    """… and by which measure."""


class IterationRecord(
    Struct, frozen=True, kw_only=True, tag="iteration", tag_field="t", omit_defaults=True
):
    """One execution of the scenario and what it made of its calls."""

    arm: str
    cell: str
    trial: int
    iteration: int
    phase: Phase
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
    host: HostLoad | None = None
    token_checks: tuple[TokenCheck, ...] = ()
    """Of a sample of its calls, where a plugin knows the model's tokenizer."""
    instruments: tuple[str, ...] = ()
    """Those that observed it. In an `extra` iteration they slow down what they observe."""
    unobserved: dict[str, str] = field(default_factory=dict)
    """Instrument, or one of its figures → why it is not there."""
    ready_ns: int | None = None
    """Cold starts: when the model was confirmed gone, or the restarted backend was open again."""
    imported: bool = False
    """Read from a table that somebody else made: `metrics` is all there is of it. Its instants are
    0 and say nothing."""
    accounts: tuple[Account, ...] = ()
    """What the service says of a sample of its calls afterwards."""
    error: CallError | None = None


class TrialRecord(
    Struct, frozen=True, kw_only=True, tag="trial", tag_field="t", omit_defaults=True
):
    """One launch: written when it ends, however it ends."""

    arm: str
    cell: str
    trial: int
    status: Literal["ok", "error", "cancelled", "skipped"]
    """`skipped`: a rule of the spec decided that it was not needed, or that its model does not fit
    into memory; `error` says which (`not_needed`, `does_not_fit`), and why."""
    start_ns: int
    end_ns: int
    effective: Effective = Effective()
    transport: str = ""
    """`native` or `portable`."""
    transport_stats: dict[str, int] = field(default_factory=dict)
    isolation: Literal["inline", "process"] = "inline"
    placement: dict[str, str] = field(default_factory=dict)
    """Where it ran, as far as that was asked for: `cpus`, `gpus`; where an executor placed it, also
    `node` and what harness.jobs.here says of it: `clock`, `host`, `cpu_model`, …"""
    home_ns: tuple[int, int] | None = None
    """Start and end by the clock of the run's own machine, where the trial ran by another: all its
    other instants, and those of its iterations and calls, are comparable with one another only."""
    fit: Fit | None = None
    """None: nobody asked whether the model fits."""
    lost: int = 0
    """Times that its place was lost and it was begun anew elsewhere."""
    error: CallError | None = None


class SessionRecord(
    Struct, frozen=True, kw_only=True, tag="session", tag_field="t", omit_defaults=True
):
    """The run was taken up again: everything behind this was recorded by another process, perhaps
    after the machine was started anew, so that instants before and behind it cannot be compared."""

    started: str
    """ISO 8601, UTC."""
    realtime_offset_ns: int
    superseded: tuple[int, ...] = ()
    """Trials that were cut short: what is recorded of them before this is void, and they run again.
    Readers leave those records out."""
    stands: tuple[int, ...] = ()
    """Trials that had ended before and still count: all others are of this session or a later one
    (harness.metrics.session_of)."""
    environment: Environment | None = None
    """Where it differs from the one before; None: the same."""


class RetryRecord(
    Struct, frozen=True, kw_only=True, tag="retry", tag_field="t", omit_defaults=True
):
    """The place where a trial ran was lost, and the trial is begun anew: what is recorded of it
    before this is void. Readers leave those records out."""

    trial: int
    attempt: int
    """1: the first one was lost."""
    reason: str
    placement: dict[str, str] = field(default_factory=dict)
    """The place that was lost."""


Record: TypeAlias = CallRecord | IterationRecord | TrialRecord
"""What was measured."""

LogEntry: TypeAlias = Record | SessionRecord | RetryRecord
"""What the record log holds. A loaded run gives its records, and its sessions apart."""
