"""What a figure is called: excellent, good, moderate or poor, by bounds that the spec gives.

Bounds are data and no verdict of ours. A figure that n cannot carry has no band, nor has one of a
stub: a simulation ranks nothing.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Final, get_args

from harness.errors import SpecError
from harness.metrics.call import CALL_METRICS
from harness.metrics.cold import COLD_METRICS
from harness.metrics.concurrency import CONCURRENCY_METRICS
from harness.metrics.energy import ENERGY_METRICS
from harness.metrics.iteration import ITERATION_METRICS
from harness.metrics.metric import Better
from harness.schema import BandName, BandSpec, MetricSummary

__all__ = ["band_of", "check_bands", "why_no_band"]

NAMES: Final = ("excellent", "good", "moderate")

LIKE_A_MISTAKE: Final = 0.8
"""A name so close to one of ours is taken for a slip of the pen; others may be a scenario's own."""


def check_bands(bands: Mapping[str, BandSpec], *, where: str = "$.bands") -> None:
    """Raises SpecError with the path of the first mistake. A metric that is none of ours is taken
    for the scenario's: which way is better follows from the order of its bounds."""
    known = _known()
    for name, band in bands.items():
        at = f"{where}.{name}"
        if name not in known and (meant := _meant(name, known)):
            raise SpecError("there is no such metric", where=at, remedy=meant)
        limits = _limits(band)
        if not limits:
            raise SpecError("has no bound", where=at, remedy="excellent, good or moderate")
        for label, limit in limits.items():
            if not math.isfinite(limit):
                raise SpecError(f"{limit} is no bound", where=f"{at}.{label}")
        better = _better(known.get(name, "neither"), band)
        for (one, least), (other, most) in pairwise(limits.items()):
            if (least > most) if better == "lower" else (least < most):
                raise SpecError(
                    f"{better} is better, so {one} ({least:g}) cannot be worse than {other} "
                    f"({most:g})",
                    where=at,
                    remedy=f"the {'least' if better == 'lower' else 'greatest'} bound first",
                )


def band_of(summary: MetricSummary, band: BandSpec) -> BandName | None:
    """None where `why_no_band` says why."""
    value = None if why_no_band(summary, band) else _figure(summary, band)
    if value is None:
        return None
    lower = _better(summary.better, band) == "lower"
    for name in get_args(BandName):
        limit = getattr(band, name, None)
        if limit is not None and (value <= limit if lower else value >= limit):
            return name  # type: ignore[no-any-return]
    return "poor"


def why_no_band(summary: MetricSummary, band: BandSpec) -> str:
    """Empty where there is one."""
    if summary.provenance == "simulated":
        return "simulated"
    if _figure(summary, band) is not None:
        return ""
    if summary.n and band.of in summary.needs:
        return f"needs n = {summary.needs[band.of]}"
    if summary.n and band.of == "cv_percent":
        return "needs n = 2" if summary.n < 2 else "no mean above 0"
    return "no value"


def _meant(name: str, known: Iterable[str]) -> str | None:
    """One of ours without its unit, or with a slip of the pen."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=LIKE_A_MISTAKE)
    return next((one for one in known if one.startswith(f"{name}_")), near[0] if near else None)


def _figure(summary: MetricSummary, band: BandSpec) -> float | None:
    if band.of != "cv_percent":
        found: float | None = getattr(summary, band.of)
        return found
    if summary.sd is None or summary.mean is None or summary.mean <= 0:
        return None
    return summary.sd / summary.mean * 100.0


def _limits(band: BandSpec) -> dict[str, float]:
    return {name: limit for name in NAMES if (limit := getattr(band, name)) is not None}


def _better(better: Better, band: BandSpec) -> Better:
    """Of the figure that is looked at; by the order of the bounds where the metric does not say."""
    if band.of == "cv_percent":
        return "lower"
    if better != "neither":
        return better
    limits = [*_limits(band).values()]
    return "lower" if limits[0] <= limits[-1] else "higher"


def _known() -> dict[str, Better]:
    iterations = (*ITERATION_METRICS, *ENERGY_METRICS, *COLD_METRICS)
    registries = (CALL_METRICS, iterations, CONCURRENCY_METRICS)
    return {metric.name: metric.better for registry in registries for metric in registry}
