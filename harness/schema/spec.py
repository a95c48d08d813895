"""What a person asks for. Unknown fields are refused, with their path (see engine.specfile); no
field is ever ignored: one that cannot be done is refused by `engine.plan`."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from msgspec import Struct, field

from harness.schema.money import PriceRecord

__all__ = [
    "ArmSpec",
    "BackendSpec",
    "BandSpec",
    "ClosedLoad",
    "GuardSpec",
    "InstrumentSpec",
    "IterationsSpec",
    "KeepSpec",
    "Load",
    "OpenLoad",
    "PlacementSpec",
    "RunSpec",
    "ScenarioSpec",
    "SearchSpec",
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
    tap: bool = False
    """Agent programs reach the server through a proxy on this machine, which stamps both directions
    and records their calls. Without it, their calls are what they report themselves."""


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
    load: dict[str, Any] = field(default_factory=dict)
    swept: bool = True
    """False: this arm stays out of the sweep, and runs once per block as it is (a baseline)."""
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
    cold: int = 0
    """Cold starts per trial, before everything else: the model is dropped, that is confirmed, and
    the scenario is executed once. Their figures are kept apart from warm ones."""
    cold_by: Literal["unload", "restart"] = "unload"
    """How: the backend unloads the model (harness.protocols.Unloads), or is closed and opened."""


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
    no_op_width_share_max: float = 0.10
    """By what share launches of one cell may differ for an axis without a larger effect to be named
    (`no-op-factor`)."""
    solo_work_share_max: float = 0.05
    """By what share agents may have generated more or less alone than beside each other
    (`unequal-work`): a speed-up is of the same work."""
    contention_slowdown_max: float = 1.5
    """How many times as long as alone an agent may take; beyond it, an iteration is contended …"""
    contention_queue_max_ms: float = 1000.0
    """… or where the median queue residual of its calls exceeds that of calls alone by more."""
    ttft_anomaly_ms: float = 3000.0
    """How far above the arm's median a TTFT must lie to be named an anomaly."""
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
    cgroup_throttled_share_max: float = 0.05
    """Time that a container's CPU quota may hold it back / wall time (`host-noise`)."""
    gpu_throttled_share_max: float = 0.01
    """Share of the measured time in which heat may hold a GPU's clocks down (`thermal`)."""
    gpu_clock_ratio_max: float = 1.05
    """Ratio of the SM clocks of two arms (`clocks`)."""
    footprint_share_max: float = 0.25
    """By what share the memory that a model took may differ from what was predicted
    (`memory-prediction`) …"""
    footprint_slack_mib: float = 512.0
    """… and by how much at least: the libraries of a small model outweigh it."""


class SweepSpec(_Spec, frozen=True):
    """A grid over spec paths: its points are the cells of every swept arm."""

    axes: dict[str, Any]
    """Dotted path (`backend.options.num_ctx`, `backend`, `load.concurrency`) → its levels: a list
    of values, or a mapping of labels to values. A mapping as a value is merged, not assigned."""
    strategy: Literal["cartesian", "random", "zip"] = "cartesian"
    """Every combination; `samples` of them, without replacement; or the levels side by side."""
    samples: int | None = None
    seed: int | None = None
    """Of the random strategy; default: the run's seed."""


class StopSpec(_Spec, frozen=True):
    """Adaptive stopping: `trials` are run, then more until every arm's interval is narrow enough.

    The arms of a cell stop together, so that they can still be compared block by block."""

    metric: str
    relative_width_max: float = 0.05
    """Half the width of the 95 % interval of the mean over trials / that mean."""
    trials_max: int = 30


class SearchSpec(_Spec, frozen=True):
    """The highest load that still meets the SLO: bisection over a geometric grid of loads."""

    low: float
    high: float
    path: Literal["load.rate_per_s", "load.concurrency"] = "load.rate_per_s"
    step: float = 1.1
    """Ratio of neighbouring loads: how finely it is searched."""
    share_min: float = 0.99
    """Share of requests that must meet every bound of `slo` for a load to pass."""
    trials_max: int = 5
    """Trials at one load, until the share's interval lies on one side of `share_min`: 95 % over all
    these looks, each at 1 − 0.05 / trials_max."""


class BandSpec(_Spec, frozen=True):
    """What a metric's value is called. Lower is better: at most these; higher is better: at least.
    Beyond the last of them it is poor; what is left out is a name that nothing gets."""

    excellent: float | None = None
    good: float | None = None
    moderate: float | None = None
    of: Literal["median", "mean", "p95", "p99", "cv_percent"] = "median"
    """`cv_percent`: sample standard deviation / mean, of which lower is always better."""


class InstrumentSpec(_Spec, frozen=True):
    """What observes the iterations from outside."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    """Checked against the option type that the instrument registered."""


class GuardSpec(_Spec, frozen=True):
    """Whether a model that cannot fit into memory is launched. What is predicted is recorded beside
    what became of it, in any case."""

    memory: Literal["skip", "off"] = "skip"
    """`skip`: a trial whose model is predicted not to fit is not begun, and says why. What cannot
    be predicted is begun."""
    share_max: float = 0.95
    """Of the free memory of the chosen GPU (of the machine, for a model on CPUs)."""
    free_bytes: int | None = None
    """Take this for the free memory, where it is known better, or to be less."""


class PlacementSpec(_Spec, frozen=True):
    """Where trials run, and how long one may take."""

    parallel: int = 1
    """Trials at once. More than one measure each other too: only where each has its own machine
    part, or where that is the question."""
    cpus: tuple[str, ...] = ()
    """One list of CPUs per place, such as `0-3,8`; fewer than `parallel` is a mistake."""
    gpus: tuple[str, ...] | Literal["each"] = ()
    """CUDA_VISIBLE_DEVICES of each place. `each`: a place for every GPU that is there, whatever
    `parallel` says."""
    share_gpus: bool = False
    """Whether one GPU may be in several places: their trials then measure each other too."""
    executor: str = "local"
    """Who places the trials: see `harness list`."""
    executor_options: dict[str, Any] = field(default_factory=dict)
    """Checked against the option type that the executor registered."""
    trial_timeout_s: float | None = None
    """A trial that takes longer is ended, with every process that it started."""


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
    isolation: Literal["auto", "inline", "process"] = "auto"
    """`process`: every trial in a fresh process. `auto`: that, where there is more than one."""
    placement: PlacementSpec = PlacementSpec()
    instruments: tuple[str | InstrumentSpec, ...] = ()
    seed: int = 0
    slo: dict[str, float] | None = None
    """Metric of a call → bound: at most, or at least where higher is better. A request is good if
    it is `ok` and meets every one."""
    search: SearchSpec | None = None
    equivalent: dict[str, str] = field(default_factory=dict)
    """Metric → margin (`5%`, `20us`) within which two arms count as equal: stated with the
    question, before anything is measured. Comparisons go by it."""
    bands: str | dict[str, BandSpec] = field(default_factory=dict)
    """Metric → what its values are called; or the name of shipped ones."""
    sizes: dict[str, str | float] = field(default_factory=dict)
    """Model → its number of parameters (`7.6B`, `135M`), where its server does not tell: a declared
    figure, and shown as one."""
    guard: GuardSpec = GuardSpec()
    prices: tuple[PriceRecord, ...] = ()
    """They win over the shipped table and the user's own (docs/money.md); a provider's own account
    of what a call cost wins over all."""
    budget_usd: float | None = None
    """No call is sent that could take the run beyond it: prompt and `max_tokens` at the price."""
    timeouts: TimeoutsSpec = TimeoutsSpec()
    transport: Literal["auto", "native", "portable"] = "auto"
    keep: KeepSpec = KeepSpec()
    validity: ValiditySpec = ValiditySpec()
    tags: tuple[str, ...] = ()
    notes: str = ""
