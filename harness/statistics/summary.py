"""Describing a sample, and refusing the quantiles that it is too small for.

A p99 of 40 values is the interpolation of the two largest: a number, but no percentile. So a tail
quantile is given only where at least one value is expected beyond it (n (1 − p) ≥ 1); where it is
not given, `needs` says from which n on it would be. The median and the extremes stand for any n.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

from harness.statistics.intervals import Interval, bootstrap_interval, needed_for_interval

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["NEEDED", "Description", "cv_percent", "describe"]

NEEDED: Final = {"p05": 20, "p95": 20, "p99": 100}
"""The least n that a tail quantile is given for."""

_QUANTILES: Final = {"p05": 0.05, "median": 0.5, "p95": 0.95, "p99": 0.99}


class Description(Struct, frozen=True, kw_only=True):
    """A sample in figures, in the sample's own unit. None: n cannot carry it."""

    n: int
    mean: float | None = None
    sd: float | None = None
    """Sample standard deviation (n − 1): spread, not an interval. None below n = 2."""
    median: float | None = None
    p05: float | None = None
    p95: float | None = None
    p99: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    interval: Interval | None = None
    """95 % interval of the mean; only where groups were given, and enough of them."""
    needs: dict[str, int] = field(default_factory=dict)
    """Quantile that is withheld → the n it needs; `ci` → the groups (with a single group: values)
    that the interval needs."""


def describe(
    values: ArrayLike, groups: Sequence[Hashable] | None = None, *, seed: int = 0
) -> Description:
    """The figures of one sample of shape (n,); n = 0 is allowed.

    groups   one label per value (its trial, say): the mean then gets a hierarchical bootstrap
             interval, repeatable from `seed`. See `bootstrap_interval`.
    """
    import numpy as np

    from harness._native import kernels

    row = np.asarray(values, dtype=np.float64)
    n = int(row.size)
    needs = {name: needed for name, needed in NEEDED.items() if n < needed}
    if n and groups is not None and (needed := needed_for_interval(groups)):
        needs["ci"] = needed
    if n == 0:
        return Description(n=0, needs=needs)
    mean, variance = kernels.mean_variance(row)
    given = {name: q for name, q in _QUANTILES.items() if name not in needs}
    found = kernels.quantiles(row, np.array(list(given.values())))
    return Description(
        n=n,
        mean=mean,
        sd=math.sqrt(variance) if math.isfinite(variance) else None,
        minimum=float(row.min()),
        maximum=float(row.max()),
        interval=None if groups is None else bootstrap_interval(row, groups, seed=seed),
        needs=needs,
        **dict(zip(given, found.tolist(), strict=True)),
    )


def cv_percent(values: ArrayLike) -> float | None:
    """Coefficient of variation: sample standard deviation (n − 1) / mean, in %.

    Say beside it what the values are (calls or iterations). None below n = 2, and where the mean is
    not positive, as the ratio then says nothing about spread.
    """
    import numpy as np

    from harness._native import kernels

    row = np.asarray(values, dtype=np.float64)
    if row.size < 2:
        return None
    mean, variance = kernels.mean_variance(row)
    if mean <= 0.0 or not math.isfinite(variance):
        return None
    return math.sqrt(variance) / mean * 100.0
