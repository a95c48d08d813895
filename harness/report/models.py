"""Models side by side: one row per arm and cell, with the model's size and whether it passed.

What a model is comes from what its server said of it, and from the spec where the server does not
tell: `parameters_of` says which of the two. What it came to is the summary's; nothing is worked out
here but counts. Unknown stays None.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from harness.engine.cells import configuration, sweeps_models
from harness.engine.guard import DOES_NOT_FIT
from harness.errors import SpecError
from harness.metrics import CALL_METRICS, ITERATION_METRICS
from harness.protocols import RunData
from harness.report.grid import axes, level
from harness.schema import (
    ArmSummary,
    CallRecord,
    CostSummary,
    Effective,
    Fit,
    IterationRecord,
    RunSpec,
    TrialRecord,
)
from harness.sizes import parse_size, size_words
from harness.text import one_line

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

Outcome: TypeAlias = Literal["passed", "failed", "skipped", "not run"]

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


class Size(Struct, frozen=True, kw_only=True):
    """How many parameters a model has, and who says so."""

    parameters: int | None = None
    source: Literal["server", "declared", ""] = ""
    """`server`: the backend read it back, or out of the model's files; `declared`: by the spec."""

    @property
    def words(self) -> str:
        """`7.62B`; `7.6B*` where it is only declared; a dash where it is not known."""
        return size_words(self.parameters) + ("*" if self.source == "declared" else "")


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
    found = _Seen()
    for record in run.records():
        if isinstance(record, TrialRecord) and (record.arm, record.cell) == (arm, cell):
            found.add(record)
    return found.size(run.manifest.spec, _asked(run, arm, cell)[1])


def model_rows(run: RunData) -> list[ModelRow]:
    """In the order of the summary. The records are read once."""
    seen: dict[tuple[str, str], _Seen] = defaultdict(_Seen)
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


# One model's records. -----------------------------------------------------------------------------


class _Seen:
    """What is taken out of the records of one arm and cell."""

    def __init__(self) -> None:
        self.trials: list[TrialRecord] = []
        self.failed: list[IterationRecord] = []
        self.bad_calls: Counter[str] = Counter()
        self.calls = 0
        self._prompt_tokens: list[int | None] = []

    def add(self, record: CallRecord | IterationRecord | TrialRecord) -> None:
        if isinstance(record, TrialRecord):
            self.trials.append(record)
        elif record.phase != "measured":
            return
        elif isinstance(record, IterationRecord):
            self.failed += [record] if record.status == "error" else []
        else:
            self.calls += 1
            if record.status == "ok":
                self._prompt_tokens.append(record.usage.prompt_tokens)
            else:
                self.bad_calls[record.error.code if record.error else record.status] += 1

    @property
    def effective(self) -> Effective:
        """Of the first launch whose server said anything."""
        told = (one.effective for one in self.trials if one.effective != Effective())
        return next(told, Effective())

    @property
    def fits(self) -> list[Fit]:
        return [one.fit for one in self.trials if one.fit is not None]

    @property
    def prompt_tokens(self) -> int | None:
        known = [count for count in self._prompt_tokens if count is not None]
        return sum(known) if known and len(known) == len(self._prompt_tokens) else None

    def size(self, spec: RunSpec, model: str | None) -> Size:
        foreseen = [fit.predicted.parameters for fit in self.fits]
        for found in [*(one.effective.parameters for one in self.trials), *foreseen]:
            if found:
                return Size(parameters=found, source="server")
        for name in (model, self.effective.model):
            if name is not None and name in spec.sizes:
                try:
                    return Size(parameters=parse_size(spec.sizes[name]), source="declared")
                except SpecError:
                    break  # of a run that another version made
        return Size()

    def outcome(self, error_share_max: float) -> tuple[Outcome, str]:
        """What became of it, and why it is not simply `passed`."""
        errors = [one for one in self.trials if one.status == "error"]
        unfit = [one for one in self.trials if one.error and one.error.code == DOES_NOT_FIT]
        bad = sum(self.bad_calls.values())
        if errors:
            what = f"{len(errors)} of {len(self.trials)} launches failed: {_why(errors)}"
            return "failed", what
        if self.failed:
            return "failed", f"{len(self.failed)} iterations failed: {_why(self.failed)}"
        if bad and bad > error_share_max * self.calls:
            code = one_line(self.bad_calls.most_common(1)[0][0], 60)
            return "failed", f"{bad} of {self.calls} calls are not ok: {code}"
        if any(one.status == "ok" for one in self.trials):
            left = f"{len(unfit)} of {len(self.trials)} launches: {_unfit(unfit)}" if unfit else ""
            return "passed", left
        if unfit:
            return "skipped", _unfit(unfit)
        return "not run", "interrupted" if self.trials else "the run did not come to it"


def _why(records: Sequence[TrialRecord | IterationRecord]) -> str:
    error = next((one.error for one in records if one.error is not None), None)
    return one_line(error.message or error.code, 300) if error is not None else "for no reason told"


def _unfit(trials: Sequence[TrialRecord]) -> str:
    fit = next((one.fit for one in trials if one.fit is not None), None)
    return f"does not fit: {one_line(fit.reason, 300)}" if fit is not None else _why(trials)


def _asked(run: RunData, arm: str, cell: str) -> tuple[str, str | None]:
    """(backend, model) as the spec has them; of a run that this version cannot read, its base."""
    spec = run.manifest.spec
    try:
        backend = configuration(spec, arm, cell, run.manifest.cells).backend
    except SpecError:
        backend = spec.backend
    return backend.name, backend.model


def _row(run: RunData, arm: ArmSummary, seen: _Seen, planned: int) -> ModelRow:
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
