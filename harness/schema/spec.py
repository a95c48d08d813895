"""What a person asks for. Unknown fields are refused, with their path (see engine.specfile).

The spec has room for everything the design names. A field that this version does not implement is
refused by `engine.plan` with "not supported yet"; it is never ignored.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from msgspec import Struct, field

__all__ = [
    "ArmSpec",
    "BackendSpec",
    "ClosedLoad",
    "IterationsSpec",
    "KeepSpec",
    "Load",
    "OpenLoad",
    "RunSpec",
    "ScenarioSpec",
    "StopSpec",
    "SweepSpec",
    "TimeoutsSpec",
    "ValiditySpec",
]


class _Spec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of every spec Struct: immutable, keyword-only, strict."""


class BackendSpec(_Spec, frozen=True):
    """Which model server, and how it is to be set up."""

    name: str
    """A registered backend: see `harness list`."""
    model: str | None = None
    """As the backend names it: a tag, a path, or `tiny` for the embedded random-weights model."""
    url: str | tuple[str, ...] | None = None
    """One endpoint or several (calls go round them in turn). Default: the backend's own."""
    options: dict[str, Any] = field(default_factory=dict)
    """Checked against the option type that the backend registered."""


class ScenarioSpec(_Spec, frozen=True):
    """What is executed."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    """Checked against the option type that the scenario registered."""


class ArmSpec(_Spec, frozen=True):
    """One configuration under comparison: what differs from the base spec, merged into it.

    `{backend: {options: {num_ctx: 512}}}` changes that option and leaves the others.
    """

    backend: dict[str, Any] = field(default_factory=dict)
    scenario: dict[str, Any] = field(default_factory=dict)
    notes: str = ""


class ClosedLoad(_Spec, frozen=True, tag="closed", tag_field="mode"):
    """A fixed number of requests in flight: the next starts when one ends."""

    concurrency: int = 1
    requests: int = 20


class OpenLoad(_Spec, frozen=True, tag="open", tag_field="mode"):
    """Requests start by a schedule, whether or not earlier ones have ended."""

    rate_per_s: float
    arrival: Literal["constant", "poisson", "gamma"] = "poisson"
    shape: float = 1.0
    """Gamma only: 1 is Poisson, less is burstier, more is more regular."""
    requests: int = 20
    concurrency_max: int | None = None
    """A cap on requests in flight. Waiting behind it counts: latency runs from the due instant."""


Load: TypeAlias = ClosedLoad | OpenLoad


class IterationsSpec(_Spec, frozen=True):
    """Executions of the scenario within one trial."""

    warmup: int = 1
    measured: int = 1


class TimeoutsSpec(_Spec, frozen=True):
    """Seconds. Comments and keep-alive pings do not re-arm `between_payloads_s`."""

    connect_s: float = 10.0
    first_byte_s: float = 300.0
    between_payloads_s: float = 60.0
    total_s: float = 900.0


class KeepSpec(_Spec, frozen=True):
    """What of the responses is kept in the record log."""

    text: bool = True
    """The decoded text and reasoning of every call."""
    chunks: bool = True
    """The stamp columns of every call (17 bytes a chunk)."""
    payloads: bool = False
    """The raw payload bytes of every chunk."""


class ValiditySpec(_Spec, frozen=True):
    """Bounds of the validity rules; each default is explained in docs/measuring.md."""

    error_share_max: float = 0.0
    """Share of calls that may fail (`errors`)."""
    send_lag_max_ms: float = 1.0
    """How late an open loop's requests may be sent: all but 1 %, or one of them (`schedule-slip`)
    …"""
    send_lag_share_max: float = 0.10
    """… or as a share of the median E2E latency; the larger of the two is the bound."""
    rate_share_min: float = 0.95
    """Achieved / offered rate of an open loop (`schedule-slip`)."""
    client_lag_max_ms: float = 1.0
    """p99 of the client's own delay where stamps are user-space ones (`client-lag`) …"""
    client_lag_share_max: float = 0.01
    """… or as a share of the median inter-chunk latency; the smaller of the two is the bound."""
    merged_share_max: float = 0.20
    """Share of content chunks that a late reader may take in together, and of calls whose first one
    is among them (`client-lag`)."""
    prompt_short_share_max: float = 0.10
    """By what share the server's count of a prompt may fall short (`prompt-truncated`)."""
    chars_per_token_max: float = 10.0
    """Characters of a long prompt per prompt token (`prompt-truncated`)."""
    token_slack_max: int = 1
    """By how many tokens two counts of the server may differ (`token-mismatch`)."""
    token_count_share_max: float = 0.10
    """By what share the server's and the tokenizer's count of the output may differ, over the calls
    that were counted (`token-mismatch`)."""
    cached_share_max: float = 0.5
    """Share of a cold prompt that may have been cached … (`prompt-cache`)"""
    cached_tokens_max: int = 64
    """… and so many of its tokens in any case: what a chat template puts before every prompt."""
    load_max_ms: float = 500.0
    """Until the model was ready for a measured call, as the server says (`cold-in-warm`) …"""
    load_ratio_max: float = 5.0
    """… or as a multiple of that of the arm's warm calls; the larger of the two is the bound."""
    drift_share_max: float = 0.10
    """By what share a level may change within the second half of a run (`no-steady-state`)."""
    steal_share_max: float = 0.02
    """Share of all CPU time that the hypervisor may take (`host-noise`)."""
    run_wait_share_max: float = 0.5
    """Share of the wall time that our threads, together, may wait for a core (`host-noise`) …"""
    run_wait_share_local_max: float = 0.85
    """… and where the server is on this machine, and so may rightly take its cores."""
    load_per_cpu_max: float = 4.0
    """Load average per CPU of the machine, where our threads waited at all (`host-noise`)."""
    swap_mib_per_s_max: float = 1.0
    """Swapped in and out, on the whole machine (`host-noise`)."""
    major_faults_per_s_max: float = 10.0
    """Pages of our own that had to come from a disk (`host-noise`)."""
    throttled_share_max: float = 0.10
    """Share of the wall time in which heat may slow a core down (`host-noise`)."""


class SweepSpec(_Spec, frozen=True):
    """A grid over spec paths. Not supported yet."""

    axes: dict[str, tuple[Any, ...]]
    strategy: Literal["cartesian", "random", "zip"] = "cartesian"
    samples: int | None = None
    seed: int | None = None


class StopSpec(_Spec, frozen=True):
    """Adaptive stopping. Not supported yet."""

    metric: str
    relative_width_max: float = 0.05
    trials_max: int = 30


class RunSpec(_Spec, frozen=True):
    """Everything that one run is made from; its canonical form has a digest."""

    backend: BackendSpec
    scenario: ScenarioSpec
    name: str | None = None
    """First part of the run folder's name; default: the scenario's."""
    arms: dict[str, ArmSpec] = field(default_factory=dict)
    """Empty: one arm called `default`."""
    sweep: SweepSpec | None = None
    load: Load | None = None
    """Request scenarios only; default: closed loop, concurrency 1, 20 requests."""
    trials: int = 1
    """Launches per arm and cell: the outer unit for statistics."""
    iterations: IterationsSpec = IterationsSpec()
    stop: StopSpec | None = None
    order: Literal["interleaved", "randomised", "sequential"] = "interleaved"
    isolation: Literal["inline", "process"] = "inline"
    instruments: tuple[str, ...] = ()
    seed: int = 0
    slo: dict[str, float] | None = None
    timeouts: TimeoutsSpec = TimeoutsSpec()
    transport: Literal["auto", "native", "portable"] = "auto"
    keep: KeepSpec = KeepSpec()
    validity: ValiditySpec = ValiditySpec()
    tags: tuple[str, ...] = ()
    notes: str = ""
