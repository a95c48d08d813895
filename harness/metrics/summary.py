"""From the records of one arm and cell to its metric summaries.

How many calls failed is said beside them (ArmSummary.calls). `missing` is how many `ok` units lack
the figure.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Literal

from harness.metrics.series import Series, Unit, all_series
from harness.schema import CallRecord, IterationRecord, Load, MetricSummary
from harness.statistics import GROUPS_MIN, describe

__all__ = ["summarise"]


def summarise(
    calls: Iterable[CallRecord],
    iterations: Iterable[IterationRecord],
    *,
    load: Load | None = None,
    simulated: bool = False,
    seed: int = 0,
) -> tuple[MetricSummary, ...]:
    """A summary of each of `all_series`, in that order. A metric that no unit has is listed with
    n = 0.

    seed        of the bootstrap; the same records and seed give the same summary

    ValueError if the records are of more than one arm or cell.
    """
    found = all_series(calls, iterations, load=load, simulated=simulated)
    return tuple(_summary(series, seed) for series in found)


def _summary(series: Series, seed: int) -> MetricSummary:
    drawn, groups = _groups(series.places, series.of)
    lone = len(set(groups)) == 1
    described = describe(series.values, groups, seed=seed)
    return MetricSummary(
        name=series.name,
        unit=series.unit,
        better=series.better,
        provenance=series.provenance,
        of=series.of,
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
        missing=series.missing,
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
