"""What the reports of a run share: its iterations one by one, and the differences between arms.

Everything comes from the records and the summary; nothing here was written beforehand about how a
comparison ends. A difference is always candidate − baseline. The baseline is the arm of that name,
else the arm that the spec names first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Literal

from msgspec import Struct, field
from msgspec.structs import replace

from harness.protocols import RunData
from harness.schema import (
    ArmSummary,
    CallRecord,
    IterationRecord,
    MetricSummary,
    Summary,
    TrialRecord,
)

__all__ = ["HEADLINES", "Delta", "IterationLine", "deltas", "iteration_lines", "label", "metric"]

HEADLINES: Final = ("ttft_ms", "tpot_ms", "e2e_ms", "throughput_tok_s")
"""The metrics that get words beside their difference. More of them would need a correction for
their number, which a whole comparison makes and a report of one run does not."""

TRIALS_FOR_WORDS: Final = 5
"""Launches per arm below which a difference gets no words: with fewer groups the bootstrap interval
of a mean is too narrow, and without repeated launches it says nothing of the next one."""

NOT_ENOUGH: Final = "not enough data for a verdict"
_CALL_MEANS: Final = ("ttft_ms", "tpot_ms", "e2e_ms", "decode_rate_server_tok_s")


def label(arm: ArmSummary, summary: Summary) -> str:
    """The arm's name, with its cell where there is more than one."""
    return f"{arm.arm} / {arm.cell}" if len({a.cell for a in summary.arms}) > 1 else arm.arm


def metric(arm: ArmSummary, name: str) -> MetricSummary | None:
    return next((one for one in arm.metrics if one.name == name), None)


# ------------------------------------------------------------------------------------- run by run


class IterationLine(Struct, frozen=True, kw_only=True):
    """One iteration: what became of its calls, and the means over its `ok` calls."""

    arm: str
    cell: str
    trial: int
    iteration: int
    phase: Literal["warmup", "measured"]
    status: str
    """`unfinished`: calls were recorded, but not the iteration's end."""
    planned_calls: int | None
    calls: dict[str, int]
    error: str | None = None
    spans_ms: dict[str, float] = field(default_factory=dict)
    figures: dict[str, float | None] = field(default_factory=dict)
    """Iteration metrics by name, the scenario's own among them."""
    call_means: dict[str, float | None] = field(default_factory=dict)


_Key = tuple[str, str, int, int, str]


def iteration_lines(run: RunData) -> list[IterationLine]:
    """In the order in which they ended. Holds the calls of unfinished iterations only."""
    under_way: dict[_Key, list[CallRecord]] = defaultdict(list)
    lines: dict[_Key, IterationLine] = {}
    for record in run.records():
        if isinstance(record, TrialRecord):
            continue
        key = (record.arm, record.cell, record.trial, record.iteration, record.phase)
        if isinstance(record, IterationRecord):
            lines[key] = _line(record, under_way.pop(key, []), run)
        elif key in lines:  # a call that its iteration never came to: recorded behind it
            lines[key] = _with_call(lines[key], record)
        else:
            under_way[key].append(replace(record, text=None, reasoning=None, payloads=None))
    return [*lines.values(), *(_unfinished(calls) for calls in under_way.values())]


def _line(record: IterationRecord, calls: Sequence[CallRecord], run: RunData) -> IterationLine:
    from harness.metrics import ITERATION_METRICS, IterationView

    view = IterationView(record=record, calls=tuple(calls), load=run.manifest.spec.load)
    spans: dict[str, float] = defaultdict(float)
    for span in record.spans:
        spans[span.name] += (span.end_ns - span.start_ns) / 1e6
    figures: dict[str, float | None] = {own.name: own.value for own in record.metrics}
    figures |= {metric.name: metric.formula(view) for metric in ITERATION_METRICS}
    return IterationLine(
        arm=record.arm,
        cell=record.cell,
        trial=record.trial,
        iteration=record.iteration,
        phase=record.phase,
        status=record.status,
        planned_calls=record.planned_calls,
        calls=dict(Counter(call.status for call in calls)),
        error=f"{record.error.code}: {record.error.message}" if record.error else None,
        spans_ms=dict(spans),
        figures=figures,
        call_means=_means(calls),
    )


def _with_call(line: IterationLine, call: CallRecord) -> IterationLine:
    return replace(line, calls=dict(Counter(line.calls) + Counter([call.status])))


def _unfinished(calls: Sequence[CallRecord]) -> IterationLine:
    first = calls[0]
    return IterationLine(
        arm=first.arm,
        cell=first.cell,
        trial=first.trial,
        iteration=first.iteration,
        phase=first.phase,
        status="unfinished",
        planned_calls=None,
        calls=dict(Counter(call.status for call in calls)),
        call_means=_means(calls),
    )


def _means(calls: Iterable[CallRecord]) -> dict[str, float | None]:
    from harness.metrics import call_metric

    ok = [call for call in calls if call.status == "ok"]
    return {name: _mean(call_metric(name).formula, ok) for name in _CALL_MEANS}


def _mean(
    formula: Callable[[CallRecord], float | None], calls: Sequence[CallRecord]
) -> float | None:
    known = [value for value in map(formula, calls) if value is not None]
    return sum(known) / len(known) if known else None


# ---------------------------------------------------------------------------- differences of arms


class Delta(Struct, frozen=True, kw_only=True):
    """One metric of two arms: candidate − baseline."""

    metric: str
    unit: str
    better: Literal["lower", "higher", "neither"]
    baseline_n: int
    candidate_n: int
    median: float | None
    """Difference of the medians, in `difference_unit`."""
    mean: float | None
    difference_unit: str
    """`unit`; percentage points where the metric is itself a percentage."""
    median_percent: float | None
    """`median` relative to the baseline's median, in %. None for percentages, and where the
    baseline is 0 or negative."""
    mean_percent: float | None
    favours: Literal["baseline", "candidate"] | None
    """By the sign of `mean` and what is better: which way it points, not whether it is real."""
    reading: str
    """What the intervals allow to say; empty for metrics that are not headlines."""


class Pair(Struct, frozen=True, kw_only=True):
    """Two arms of the same cell."""

    baseline: ArmSummary
    candidate: ArmSummary
    deltas: tuple[Delta, ...]


def deltas(summary: Summary) -> list[Pair]:
    """Every other arm against the baseline, cell by cell; metrics that both have a value of."""
    pairs = []
    for cell in dict.fromkeys(arm.cell for arm in summary.arms):
        arms = [arm for arm in summary.arms if arm.cell == cell]
        baseline = next((arm for arm in arms if arm.arm == "baseline"), arms[0])
        pairs += [
            Pair(baseline=baseline, candidate=arm, deltas=tuple(_deltas(baseline, arm, summary)))
            for arm in arms
            if arm is not baseline
        ]
    return pairs


def _deltas(baseline: ArmSummary, candidate: ArmSummary, summary: Summary) -> Iterator[Delta]:
    for one in baseline.metrics:
        other = metric(candidate, one.name)
        if other is None or one.mean is None or other.mean is None or one.unit != other.unit:
            continue
        mean = other.mean - one.mean
        median = _minus(other.median, one.median)
        is_percent = one.unit == "%"
        trials = min(baseline.trials, candidate.trials)
        yield Delta(
            metric=one.name,
            unit=one.unit,
            better=one.better,
            baseline_n=one.n,
            candidate_n=other.n,
            median=median,
            mean=mean,
            difference_unit="percentage points" if is_percent else one.unit,
            median_percent=None if is_percent else _percent_of(median, one.median),
            mean_percent=None if is_percent else _percent_of(mean, one.mean),
            favours=_favours(mean, one.better),
            reading=_reading(one, other, trials, summary) if one.name in HEADLINES else "",
        )


def _reading(one: MetricSummary, other: MetricSummary, trials: int, summary: Summary) -> str:
    codes = {caveat.code for caveat in summary.verdict.caveats}
    if summary.verdict.state == "invalid":
        return "none: the run is invalid"
    if "simulated" in codes:
        return "none: the server is simulated"
    if "unbounded-output" in codes and one.name == "e2e_ms":
        return "none: the arms' outputs differ in length"
    if one.ci_low is None or one.ci_high is None or other.ci_low is None or other.ci_high is None:
        return NOT_ENOUGH
    if trials < TRIALS_FOR_WORDS:
        return NOT_ENOUGH
    if one.ci_low <= other.ci_high and other.ci_low <= one.ci_high:
        return "no difference shown: the intervals overlap"
    higher = other.ci_low > one.ci_high
    return f"candidate {'higher' if higher else 'lower'}: the intervals do not overlap"


def _favours(
    difference: float, better: Literal["lower", "higher", "neither"]
) -> Literal["baseline", "candidate"] | None:
    if better == "neither" or difference == 0:
        return None
    return "candidate" if (difference > 0) == (better == "higher") else "baseline"


def _minus(candidate: float | None, baseline: float | None) -> float | None:
    return None if candidate is None or baseline is None else candidate - baseline


def _percent_of(difference: float | None, baseline: float | None) -> float | None:
    if difference is None or baseline is None or baseline <= 0:
        return None
    return difference / baseline * 100
