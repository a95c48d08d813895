"""From the records of one arm and cell to its metric summaries.

How many calls failed is said beside them (ArmSummary.calls). `missing` is how many `ok` units lack
the figure.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from msgspec.structs import replace

from harness.metrics.bands import band_of, why_no_band
from harness.metrics.by_agent import by_agent
from harness.metrics.goodput import goodput, share_intervals
from harness.metrics.series import Series, Unit, all_series
from harness.metrics.slo import Slo
from harness.schema import (
    AgentSummary,
    BandSpec,
    CallRecord,
    Goodput,
    IterationRecord,
    Load,
    MetricSummary,
    ValiditySpec,
)
from harness.statistics import GROUPS_MIN, describe

__all__ = ["summarise", "summarise_agents", "summarise_with_goodput"]

OUTLIERS_NEED: Final = 10
"""Values below which none is called an outlier: of normal samples of five, one in five has one, of
ten, one in eight."""
N_EFF_NEEDS: Final = 4
"""Values of a trial below which they tell nothing of one another (harness.statistics.n_eff)."""


def summarise(
    calls: Iterable[CallRecord],
    iterations: Iterable[IterationRecord],
    *,
    load: Load | None = None,
    simulated: bool = False,
    slo: Slo | None = None,
    cold_by: Literal["unload", "restart"] = "unload",
    bands: Mapping[str, BandSpec] | None = None,
    validity: ValiditySpec | None = None,
    seed: int = 0,
) -> tuple[MetricSummary, ...]:
    """A summary of each of `all_series`, in that order. A metric that no unit has is listed with
    n = 0.

    bands       metric → what its values are called
    seed        of the bootstrap; the same records and seed give the same summary
    others      see `all_series`

    ValueError if the records are of more than one arm or cell.
    """
    found, _ = summarise_with_goodput(
        calls,
        iterations,
        load=load,
        simulated=simulated,
        slo=slo,
        cold_by=cold_by,
        bands=bands,
        validity=validity,
        seed=seed,
    )
    return found


def summarise_with_goodput(
    calls: Iterable[CallRecord],
    iterations: Iterable[IterationRecord],
    *,
    slo: Slo | None = None,
    bands: Mapping[str, BandSpec] | None = None,
    seed: int = 0,
    **how: Any,
) -> tuple[tuple[MetricSummary, ...], Goodput | None]:
    """`summarise`, and the requests that met the SLO; None without one."""
    calls, iterations = [*calls], [*iterations]
    found = [_summary(series, seed) for series in all_series(calls, iterations, slo=slo, **how)]
    made = None
    if slo is not None:
        made = goodput(calls, iterations, slo)
        found = [*share_intervals(found, made)]
        made = _completed(made, found)
    return tuple(_banded(one, bands or {}) for one in found), made


def summarise_agents(
    calls: Iterable[CallRecord],
    iterations: Iterable[IterationRecord],
    *,
    simulated: bool = False,
    seed: int = 0,
) -> tuple[AgentSummary, ...]:
    """The figures of each agent, of one arm and cell; nothing where there is one agent, and that
    was never measured alone."""
    return tuple(
        AgentSummary(
            agent=one.agent,
            together=tuple(_summary(series, seed) for series in one.together),
            alone=tuple(_summary(series, seed) for series in one.alone),
        )
        for one in by_agent(calls, iterations, simulated=simulated)
    )


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
        n_eff=_n_eff(series),
        **_outliers(series.values),
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


def _n_eff(series: Series) -> float | None:
    from harness.statistics import n_eff

    trials = [*series.by_trial().values()]
    if not any(len(values) >= N_EFF_NEEDS for values in trials):
        return None
    return sum(n_eff(values) for values in trials)


def _outliers(values: Sequence[float]) -> dict[str, Any]:
    """They are counted, and left out of these two figures alone."""
    import numpy as np

    from harness._native import kernels
    from harness.statistics import flag_outliers

    if len(values) < OUTLIERS_NEED:
        return {}
    row = np.asarray(values, dtype=np.float64)
    kept = row[~flag_outliers(row)]
    return {
        "outliers": int(row.size - kept.size),
        "mean_without_outliers": kernels.mean_variance(kept)[0],
        "median_without_outliers": kernels.median(kept),
    }


def _completed(made: Goodput, found: Sequence[MetricSummary]) -> Goodput:
    """With the interval and the rate, which are those of the metrics."""
    by_name = {one.name: one for one in found}
    share, rate = by_name["goodput_share"], by_name["goodput_per_s"]
    return replace(
        made,
        share_low=share.ci_low,
        share_high=share.ci_high,
        ci_of="trials" if share.ci_of == "trials" else "calls" if made.of else None,
        per_s=rate.mean,
    )


def _banded(one: MetricSummary, bands: Mapping[str, BandSpec]) -> MetricSummary:
    band = bands.get(one.name)
    if band is None:
        return one
    why = why_no_band(one, band)
    return replace(one, band=band_of(one, band), band_by=f"{band.of}: {why}" if why else band.of)
