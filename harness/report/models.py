"""Models side by side: one row per arm and cell, with the model's size and whether it passed.

What a model is comes from what its server said of it, and from the spec where the server does not
tell: `parameters_of` says which of the two. What it came to is the summary's; nothing is worked out
here but counts. Unknown stays None.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from statistics import median
from typing import Final, Literal

from msgspec import Struct

from harness.engine.cells import configuration, sweeps_models
from harness.errors import SpecError
from harness.metrics import CALL_METRICS, ITERATION_METRICS
from harness.protocols import RunData
from harness.report.grid import axes, level
from harness.report.model_outcome import Outcome, Seen, Size
from harness.schema import ArmSummary, CostSummary, Effective, TrialRecord

__all__ = [
    "METRICS",
    "Figure",
    "ModelRow",
    "Size",
    "is_over_models",
    "model_rows",
    "own_metrics",
    "parameters_of",
]

METRICS: Final = (
    "ttft_ms",
    "tpot_ms",
    "e2e_ms",
    "ttft_from_due_ms",
    "e2e_from_due_ms",
    "throughput_tok_s",
    "decode_rate_client_tok_s",
    "prefill_rate_tok_s",
    "wall_ms",
    "cost_usd",
    "iteration_cost_usd",
    "cost_usd_per_1k_output_tokens",
    "gpu.energy_j",
    "gpu_energy_j_per_request",
    "gpu_energy_j_per_token",
    "gpu_energy_j_per_correct",
    "gpu.power_mean_w",
    "gpu.power_peak_w",
    "rapl.energy_j",
    "cpu_energy_j_per_request",
    "cpu_energy_j_per_token",
    "gpu.memory_used_max_bytes",
    "gpu.process_memory_max_bytes",
    "allocated_peak_mib",
    "reserved_peak_mib",
    "process_peak_mib",
)
"""What models are compared by, where the run has it."""


class Figure(Struct, frozen=True, kw_only=True):
    """One metric of one model. The interval is that of the mean."""

    unit: str
    n: int
    median: float | None = None
    mean: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    ci_of: str | None = None
    provenance: str
    missing: int = 0


class ModelRow(Struct, frozen=True, kw_only=True):
    """One model, in one arm and cell."""

    arm: str
    cell: str
    label: str
    """Its level on the axis of models, or its name."""
    backend: str
    model: str | None
    """As the spec asks for it."""
    size: Size
    location: Literal["local", "api"] | None = None
    quantization: str | None = None
    model_digest: str | None = None
    context_length: int | None = None
    outcome: Outcome
    reason: str = ""
    """Why it did not pass, or not with every launch."""
    trials: dict[str, int]
    """Status → launches; `planned` is all of them."""
    calls: dict[str, int]
    """Status → measured calls."""
    prompt_tokens: int | None = None
    """Of all measured calls that are ok; None if one of them does not tell."""
    output_tokens: int | None = None
    disk_bytes: int | None = None
    load_ms: float | None = None
    """Median over launches; no token is in it."""
    load_n: int = 0
    memory_predicted_bytes: int | None = None
    memory_peak_bytes: int | None = None
    """The most of any launch …"""
    memory_peak_of: str = ""
    """… by this measure."""
    memory_free_bytes: int | None = None
    """Before the first launch, of the memory that the model goes to (`memory_device`)."""
    memory_device: str = ""
    cost: CostSummary | None = None
    figures: dict[str, Figure]
    """By name; only those of which there is a value."""
    simulated: bool | None = None
    random_weights: bool | None = None
    """None: its server never said anything."""


def is_over_models(run: RunData) -> bool:
    """Whether the run sweeps over models."""
    return sweeps_models(run.manifest.cells)


def parameters_of(run: RunData, arm: str, cell: str) -> Size:
    """Reads the records of the run; for many models, take `model_rows`."""
    found = Seen()
    for record in run.records():
        if isinstance(record, TrialRecord) and (record.arm, record.cell) == (arm, cell):
            found.add(record)
    return found.size(run.manifest.spec, _asked(run, arm, cell)[1])


def model_rows(run: RunData) -> list[ModelRow]:
    """In the order of the summary. The records are read once."""
    seen: dict[tuple[str, str], Seen] = defaultdict(Seen)
    for record in run.records():
        seen[record.arm, record.cell].add(record)
    planned = Counter((arm, cell) for arm, cell, _ in run.manifest.plan)
    return [
        _row(run, arm, seen[arm.arm, arm.cell], planned[arm.arm, arm.cell])
        for arm in run.summary.arms
    ]


def own_metrics(rows: Iterable[ModelRow]) -> list[str]:
    """Names of what the scenario itself measured (a score, say), in the order of the rows."""
    ours = {one.name for one in CALL_METRICS} | {one.name for one in ITERATION_METRICS}
    ours |= set(METRICS)
    derived = ("span.", "slo.", "slowdown.", "gpu_energy", "cpu_energy")
    names = (name for row in rows for name in row.figures if name not in ours)
    return [n for n in dict.fromkeys(names) if "." not in n and not n.startswith(derived)]


def _asked(run: RunData, arm: str, cell: str) -> tuple[str, str | None]:
    """(backend, model) as the spec has them; of a run that this version cannot read, its base."""
    spec = run.manifest.spec
    try:
        backend = configuration(spec, arm, cell, run.manifest.cells).backend
    except SpecError:
        backend = spec.backend
    return backend.name, backend.model


def _row(run: RunData, arm: ArmSummary, seen: Seen, planned: int) -> ModelRow:
    backend, model = _asked(run, arm.arm, arm.cell)
    spec, effective = run.manifest.spec, seen.effective
    outcome, reason = seen.outcome(spec.validity.error_share_max)
    loads = [t.effective.load_ms for t in seen.trials if t.effective.load_ms is not None]
    peak = max(seen.fits, key=lambda fit: fit.peak_bytes or 0, default=None)
    statuses: Counter[str] = Counter(one.status for one in seen.trials)
    return ModelRow(
        arm=arm.arm,
        cell=arm.cell,
        label=_label(run, arm.cell) or model or effective.model or backend,
        backend=backend,
        model=model,
        size=seen.size(spec, model),
        location=effective.location,
        quantization=effective.quantization,
        model_digest=effective.model_digest,
        context_length=effective.context_length,
        outcome=outcome,
        reason=reason,
        trials={"planned": planned, **statuses},
        calls=arm.calls,
        prompt_tokens=seen.prompt_tokens,
        output_tokens=arm.output_tokens,
        disk_bytes=effective.disk_bytes,
        load_ms=median(loads) if loads else None,
        load_n=len(loads),
        memory_predicted_bytes=peak.predicted.total_bytes if peak is not None else None,
        memory_peak_bytes=peak.peak_bytes if peak is not None else None,
        memory_peak_of=peak.peak_of if peak is not None else "",
        memory_free_bytes=seen.fits[0].free_bytes if seen.fits else None,
        memory_device=seen.fits[0].device if seen.fits else "",
        cost=arm.cost,
        figures=_figures(arm),
        simulated=effective.simulated if effective != Effective() else None,
        random_weights=effective.random_weights if effective != Effective() else None,
    )


def _label(run: RunData, cell: str) -> str:
    """The level on the axis of models; with others beside it, all of them."""
    cells = run.manifest.cells
    found = [axis for axis in axes(cells) if axis.path in cells.get(cell, {})]
    of_model = [a for a in found if a.path in ("backend", "backend.model", "backend.name")]
    if not of_model:
        return ""
    if len(of_model) == len(found):
        return " ".join(level(cells, cell, axis) for axis in of_model)
    rest = (f"{a.head}={level(cells, cell, a)}" for a in found if a not in of_model)
    return ", ".join([*(level(cells, cell, axis) for axis in of_model), *rest])


def _figures(arm: ArmSummary) -> dict[str, Figure]:
    return {
        one.name: Figure(
            unit=one.unit,
            n=one.n,
            median=one.median,
            mean=one.mean,
            ci_low=one.ci_low,
            ci_high=one.ci_high,
            ci_of=one.ci_of,
            provenance=one.provenance,
            missing=one.missing,
        )
        for one in arm.metrics
        if one.n
    }
