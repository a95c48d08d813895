"""What a run amounts to: manifest, summary, verdict. All derived from records, all re-derivable.

Schema versions
1   2026-11-20  first. Added since, each with a default: Summary.load_mode, MetricSummary.ci_of,
    Environment.selfcheck, Effective.read_back, .not_effective and .changed, IterationRecord.host
    and .token_checks, CallRecord.prompt_chars, .prompt_digest, .cold_prompt and .tool_chunks;
    Manifest.cells, Summary.cells, .stopping, .search and .sessions, phases `cold` and `extra`,
    TrialRecord.isolation, .placement and status `skipped`, MetricValue.better, provenance
    `imported`, SessionRecord, IterationRecord.imported,
    MetricSummary.n_eff, .outliers, .mean_without_outliers, .median_without_outliers, .band and
    .band_by, ArmSummary.goodput and .warmup; BackendSpec.tap, phase `solo`, Span.agent,
    CallRecord.reported, .tap and .no_first_token, ArmSummary.agents; CallRecord.cost, .attempts,
    .earlier and .stamps_refused, Effective.parameters, .quantization, .disk_bytes, .load_ms,
    .location and .price, IterationRecord.accounts, TrialRecord.fit and .lost, RetryRecord,
    ArmSummary.cost, Manifest.prices, PriceRecord.host, RunSpec.sizes, .guard, .prices and
    .budget_usd, PlacementSpec.share_gpus, .executor and .executor_options
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct, field

from harness.schema.environment import Environment
from harness.schema.money import PriceRecord
from harness.schema.spec import RunSpec

__all__ = [
    "SCHEMA_VERSION",
    "AgentSummary",
    "ArmSummary",
    "BandName",
    "Caveat",
    "CostSummary",
    "Goodput",
    "Manifest",
    "MetricSummary",
    "ModelInfo",
    "Objective",
    "Probe",
    "RunState",
    "SearchResult",
    "Stopping",
    "Summary",
    "Verdict",
    "WarmupHint",
]

SCHEMA_VERSION: Final = 1

BandName: TypeAlias = Literal["excellent", "good", "moderate", "poor"]

RunState: TypeAlias = Literal["running", "finished", "interrupted", "failed"]


class ModelInfo(Struct, frozen=True, kw_only=True):
    """One model that a server offers."""

    name: str
    size_bytes: int | None = None
    digest: str | None = None
    details: dict[str, Any] = field(default_factory=dict)


class Caveat(Struct, frozen=True, kw_only=True):
    """One doubt about a result: coded, with its evidence and what to do about it."""

    code: str
    severity: Literal["note", "doubtful", "invalid"]
    message: str
    evidence: dict[str, Any] = field(default_factory=dict)
    remedy: str = ""
    arm: str | None = None
    cell: str | None = None
    """Of a sweep. None: the arm as a whole."""
    more_cells: tuple[str, ...] = ()
    """Cells of the same arm of which the same is to be said; only the first is spelt out."""


class Verdict(Struct, frozen=True, kw_only=True):
    """The worst severity among the caveats decides."""

    state: Literal["valid", "doubtful", "invalid"]
    caveats: tuple[Caveat, ...] = ()


class MetricSummary(Struct, frozen=True, kw_only=True):
    """One metric over one arm and cell. A quantile that n cannot carry is None, with the n it needs
    in `needs`."""

    name: str
    unit: str
    better: Literal["lower", "higher", "neither"]
    provenance: Literal["measured", "derived", "declared", "simulated", "imported"]
    of: Literal["call", "iteration", "trial"]
    n: int
    mean: float | None = None
    sd: float | None = None
    median: float | None = None
    p05: float | None = None
    p95: float | None = None
    p99: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    ci_low: float | None = None
    """95 % interval of the mean by bootstrap over `ci_of`. None where there are too few of them:
    `needs["ci"]` says how many it takes."""
    ci_high: float | None = None
    ci_of: Literal["trials", "iterations", "calls"] | None = None
    """What is drawn with replacement, and so what the interval speaks of: of further launches only
    where it is `trials`; otherwise of this one launch. None without values."""
    needs: dict[str, int] = field(default_factory=dict)
    missing: int = 0
    """Units for which the metric is unknown."""
    n_eff: float | None = None
    """So many independent values would fix the mean as well: fewer than `n`, where those that were
    sent one after the other resemble one another. Within trials, added up. None below 4 values."""
    outliers: int | None = None
    """Values more than 3.5 scaled deviations from the median (MAD). They are in every figure but
    the next two. None below 10 values."""
    mean_without_outliers: float | None = None
    median_without_outliers: float | None = None
    band: BandName | None = None
    """What the spec's bands call it."""
    band_by: str = ""
    """Which figure was looked at (`p95`), and why there is no band where there is none; empty: the
    spec has no band for this metric."""


class Objective(Struct, frozen=True, kw_only=True):
    """One bound of the SLO, and how many requests met it."""

    metric: str
    bound: float
    better: Literal["lower", "higher"]
    """`lower`: at most the bound."""
    met: int
    unknown: int
    """`ok` requests whose figure is not known: they do not count as good."""


class Goodput(Struct, frozen=True, kw_only=True):
    """Requests of one arm and cell by the SLO of the spec. Shares are of all that were planned."""

    good: int
    of: int
    unknown: int
    """Not good only because a figure is unknown."""
    objectives: tuple[Objective, ...]
    share: float | None = None
    share_low: float | None = None
    """95 %: by bootstrap over trials where there are enough of them, but never narrower than chance
    among so many independent requests makes it (Clopper–Pearson); else that alone."""
    share_high: float | None = None
    ci_of: Literal["trials", "calls"] | None = None
    """As of MetricSummary."""
    per_s: float | None = None
    """Good requests per second: mean over iterations."""


class WarmupHint(Struct, frozen=True, kw_only=True):
    """Where the rule MSER-5 would cut a warm-up off the series of one figure, in order of sending,
    averaged over `series` iterations (or launches)."""

    metric: str
    of: Literal["calls", "iterations"]
    n: int
    series: int
    keep_from: int | None = None
    """Place in the series. None: it is too short to tell."""
    mean: float | None = None
    """Of the whole series, and without what would be cut off."""
    mean_kept: float | None = None


class CostSummary(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What all calls of one arm and cell cost, warm-up and failed ones included."""

    usd: str
    """A decimal: the sum of those that are known."""
    calls: int
    """That were sent."""
    unknown: int = 0
    """Of these, calls of which nobody knows what they cost: they are not free."""
    provider_usd: str = "0"
    """The part of it that is the provider's own account."""


class AgentSummary(Struct, frozen=True, kw_only=True):
    """One of several agents: its figures beside the others, and while it worked alone."""

    agent: str
    together: tuple[MetricSummary, ...]
    """`agent_ms` is the time of all its work; the others are of its calls."""
    alone: tuple[MetricSummary, ...] = ()
    """The same, in the same order; n is 0 where there is no solo arm."""


class ArmSummary(Struct, frozen=True, kw_only=True):
    """One arm and cell."""

    arm: str
    cell: str
    trials: int
    iterations: int
    calls: dict[str, int]
    """Status → number of measured calls. They add up to `planned`, unless the run was cut short."""
    planned: int
    metrics: tuple[MetricSummary, ...]
    output_tokens: int | None = None
    skipped: int = 0
    """Planned trials that a rule of the spec made unnecessary."""
    goodput: Goodput | None = None
    """None: the spec has no SLO."""
    warmup: tuple[WarmupHint, ...] = ()
    agents: tuple[AgentSummary, ...] = ()
    """Where several worked at once, or each alone as well."""
    cost: CostSummary | None = None
    """None: of no call is it known what it cost."""


class Stopping(Struct, frozen=True, kw_only=True):
    """What adaptive stopping decided for one cell, and on what evidence."""

    cell: str
    metric: str
    trials: int
    decision: Literal["reached", "cap", "open"]
    """Narrow enough; not by `trials_max`; or still running, or interrupted."""
    relative_widths: dict[str, float | None]
    """Arm → half the width of the interval of its mean over trials / that mean."""
    bound: float


class Probe(Struct, frozen=True, kw_only=True):
    """One load of a search, and whether it meets the SLO."""

    cell: str
    load: float
    trials: int
    requests: int
    good: int
    share_low: float | None = None
    """Interval of the share of good requests (Clopper–Pearson): 95 % over as many looks as there
    may be trials, so each at 1 − 0.05 / trials_max."""
    share_high: float | None = None
    decision: Literal["meets", "fails", "undecided", "invalid"] = "undecided"
    """`invalid`: the client could not offer this load, so it says nothing of the server."""
    because: str = ""


class SearchResult(Struct, frozen=True, kw_only=True):
    """The highest load of one arm that was shown to meet the SLO, and the lowest that was not."""

    arm: str
    path: str
    share_min: float
    probes: tuple[Probe, ...]
    highest: float | None = None
    next_higher: float | None = None
    """The lowest load tried above it that did not pass; None: the search ended at its upper end."""


class Summary(Struct, frozen=True, kw_only=True):
    """Written as summary.json; printed by `harness run --json`."""

    schema_version: int
    run_id: str
    name: str
    state: RunState
    scenario: str
    backend: str
    model: str | None
    spec_digest: str
    arms: tuple[ArmSummary, ...]
    verdict: Verdict
    started: str
    """ISO 8601, UTC."""
    wall_s: float | None = None
    load_mode: Literal["closed", "open"] | None = None
    """How requests were offered; None for a workflow. An open loop is read from the due instant."""
    cells: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Cell → path → value. Empty: no sweep."""
    stopping: tuple[Stopping, ...] = ()
    search: tuple[SearchResult, ...] = ()
    sessions: int = 1
    """Times that it was started or resumed."""


class Manifest(Struct, frozen=True, kw_only=True):
    """Written as run.json before the first trial, and again when the run ends."""

    schema_version: int
    run_id: str
    name: str
    state: RunState
    spec: RunSpec
    spec_digest: str
    plan: tuple[tuple[str, str, int], ...]
    """(arm, cell, trial) in the order in which they were to run."""
    cells: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Cell → path → value, as the sweep gives them. Empty: no sweep, one cell `base`."""
    environment: Environment
    started: str
    ended: str | None = None
    realtime_offset_ns: int | None = None
    prices: tuple[PriceRecord, ...] = ()
    """Those that the models of this run were found in, whether or not a provider's account won."""
    error: str | None = None
