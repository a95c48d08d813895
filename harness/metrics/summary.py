"""From the records of one arm and cell to its metric summaries.

Only measured, `ok` units count: a failed call has no figure that belongs in an average, and how
many failed is said beside it (ArmSummary.calls). `missing` is how many `ok` units lack the figure.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Literal, TypeAlias

from harness.metrics.call import CALL_METRICS
from harness.metrics.metric import Better, Provenance
from harness.metrics.window import ITERATION_METRICS, IterationView
from harness.schema import CallRecord, IterationRecord, Load, MetricSummary
from harness.statistics import GROUPS_MIN, describe

__all__ = ["summarise"]

Unit: TypeAlias = tuple[int, int]
"""(trial, iteration) that a value comes from."""
Values: TypeAlias = Sequence[tuple[Unit, float | None]]


def summarise(
    calls: Iterable[CallRecord],
    iterations: Iterable[IterationRecord],
    *,
    load: Load | None = None,
    simulated: bool = False,
    seed: int = 0,
) -> tuple[MetricSummary, ...]:
    """Every metric of one arm and cell: of its calls, of its iterations, of their spans, and what
    the scenario measured itself, in this order. Warm-up is left out. A metric that no unit has is
    listed with n = 0.

    load        the run's load, for `held_throughput_tok_s`; None for a workflow
    simulated   the server is a stub: no figure may pass for a measured one
    seed        of the bootstrap; the same records and seed give the same summary

    ValueError if the records are of more than one arm or cell.
    """
    measured_calls = [call for call in calls if call.phase == "measured"]
    measured = [one for one in iterations if one.phase == "measured"]
    places = {(call.arm, call.cell) for call in measured_calls}
    places |= {(one.arm, one.cell) for one in measured}
    if len(places) > 1:
        raise ValueError(f"records of more than one arm and cell: {sorted(places)}")
    views = [view for view in _views(measured_calls, measured, load) if view.record.status == "ok"]
    ok_calls = [call for call in measured_calls if call.status == "ok"]
    found = [*_of_calls(ok_calls, seed), *_of_iterations(views, seed), *_of_scenario(views, seed)]
    return tuple(_watermarked(found) if simulated else found)


def _views(
    calls: Sequence[CallRecord], iterations: Sequence[IterationRecord], load: Load | None
) -> Iterator[IterationView]:
    made: dict[Unit, list[CallRecord]] = defaultdict(list)
    for call in calls:
        made[call.trial, call.iteration].append(call)
    for one in iterations:
        yield IterationView(record=one, calls=tuple(made[one.trial, one.iteration]), load=load)


def _of_calls(calls: Sequence[CallRecord], seed: int) -> Iterator[MetricSummary]:
    units = [(call.trial, call.iteration) for call in calls]
    for metric in CALL_METRICS:
        values = [*zip(units, map(metric.formula, calls), strict=True)]
        yield _summary(
            metric.name, metric.unit, metric.better, metric.provenance, "call", values, seed
        )


def _of_iterations(views: Sequence[IterationView], seed: int) -> Iterator[MetricSummary]:
    for metric in ITERATION_METRICS:
        values = [(_unit(view), metric.formula(view)) for view in views]
        yield _summary(
            metric.name, metric.unit, metric.better, metric.provenance, "iteration", values, seed
        )


def _of_scenario(views: Sequence[IterationView], seed: int) -> Iterator[MetricSummary]:
    """Spans, as `span.<name>_ms`, and the scenario's own metrics, under its names (with `scenario.`
    before a name that is ours)."""
    for name in dict.fromkeys(span.name for view in views for span in view.record.spans):
        values = [(_unit(view), _span_ms(view.record, name)) for view in views]
        yield _summary(f"span.{name}_ms", "ms", "lower", "measured", "iteration", values, seed)
    ours = {metric.name for metric in CALL_METRICS} | {metric.name for metric in ITERATION_METRICS}
    kinds = {(m.name, m.unit, m.provenance): None for view in views for m in view.record.metrics}
    for name, unit, provenance in kinds:
        values = [(_unit(view), _own(view.record, name, unit, provenance)) for view in views]
        shown = f"scenario.{name}" if name in ours else name
        yield _summary(shown, unit, "neither", provenance, "iteration", values, seed)


def _unit(view: IterationView) -> Unit:
    return view.record.trial, view.record.iteration


def _span_ms(record: IterationRecord, name: str) -> float | None:
    """Together, if the iteration opened it several times."""
    lengths_ns = [span.end_ns - span.start_ns for span in record.spans if span.name == name]
    return sum(lengths_ns) / 1e6 if lengths_ns and min(lengths_ns) >= 0 else None


def _own(record: IterationRecord, name: str, unit: str, provenance: str) -> float | None:
    """The last value, if the scenario gave several."""
    wanted = (name, unit, provenance)
    values = [m.value for m in record.metrics if (m.name, m.unit, m.provenance) == wanted]
    return values[-1] if values else None


def _summary(
    name: str,
    unit: str,
    better: Better,
    provenance: Provenance,
    of: Literal["call", "iteration"],
    values: Values,
    seed: int,
) -> MetricSummary:
    known = [(place, x) for place, x in values if x is not None and math.isfinite(x)]
    places, figures = [place for place, _ in known], [x for _, x in known]
    drawn, groups = _groups(places, of)
    lone = len(set(groups)) == 1
    described = describe(figures, groups, seed=seed)
    return MetricSummary(
        name=name,
        unit=unit,
        better=better,
        provenance=provenance,
        of=of,
        n=described.n,
        mean=described.mean,
        sd=described.sd,
        median=described.median,
        p05=described.p05,
        p95=described.p95,
        p99=described.p99,
        minimum=described.minimum,
        maximum=described.maximum,
        ci_low=described.interval.low if described.interval else None,
        ci_high=described.interval.high if described.interval else None,
        ci_of=drawn,
        # One figure of one iteration lacks iterations, not further values of the same one.
        needs=described.needs | ({"ci": GROUPS_MIN} if lone and drawn == "iterations" else {}),
        missing=len(values) - len(known),
    )


def _groups(
    places: Sequence[Unit], of: Literal["call", "iteration"]
) -> tuple[Literal["trials", "iterations", "calls"] | None, Sequence[Hashable]]:
    """What the bootstrap draws first, and by which label: trials; with a single trial its
    iterations; with a single iteration its calls, the only replication that a quick run has. But
    for the first, the interval covers what varies within that launch, and nothing of the next."""
    trials = [trial for trial, _ in places]
    if len(set(trials)) > 1:
        return "trials", trials
    if len(set(places)) > 1 or (places and of == "iteration"):
        return "iterations", places
    return ("calls" if places else None), places


def _watermarked(found: Iterable[MetricSummary]) -> Iterator[MetricSummary]:
    from msgspec.structs import replace

    return (replace(one, provenance="simulated") for one in found)
