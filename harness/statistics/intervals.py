"""Intervals of a mean, and the upper bound of a quantile.

Figures from one server process resemble one another more than figures from two, so the mean's
interval resamples trials first, then what is within them (Davison & Hinkley 1997, section 3.8).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "GROUPS_MIN",
    "RESAMPLES",
    "VALUES_MIN",
    "Interval",
    "bootstrap_interval",
    "needed_for_interval",
    "needed_for_upper_bound",
    "quantile_upper_bound",
    "t_interval",
]

RESAMPLES: Final = 2000
"""Puts the ends of a 95 % interval at percentiles 2.5 ± 0.35 and 97.5 ± 0.35; 2,000 resamples of
1,000 values take some 5 ms, so that a summary of 30 metrics keeps nobody waiting."""


GROUPS_MIN: Final = 5
"""Groups below which there is no interval. Two groups can be drawn in three ways, so their
"interval" is [least, greatest]; with five, and the widening below, it covers what it says."""

VALUES_MIN: Final = 20
"""The same for the values of one group: a mean of few and skewed latencies is not near normal."""


class Interval(Struct, frozen=True, kw_only=True):
    """Where the mean is believed to lie, and by which method."""

    low: float
    high: float
    level: float
    method: Literal["t", "bootstrap"]


def t_interval(values: ArrayLike, *, level: float = 0.95) -> Interval | None:
    """Student's t interval of the mean of independent values of shape (n,). None below n = 2."""
    import numpy as np
    from scipy.special import stdtrit

    from harness._native import kernels

    _check_share("level", level)
    row = np.asarray(values, dtype=np.float64)
    if row.size < 2:
        return None
    mean, variance = kernels.mean_variance(row)
    if not math.isfinite(variance):
        return None
    half = float(stdtrit(row.size - 1, (1 + level) / 2)) * math.sqrt(variance / row.size)
    return Interval(low=mean - half, high=mean + half, level=level, method="t")


def bootstrap_interval(
    values: ArrayLike,
    groups: Sequence[Hashable],
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval | None:
    """Interval of the mean by hierarchical bootstrap; repeatable from `seed`.

    values   shape (n,)
    groups   one label per value, such as its trial. ValueError if there are not n of them.
    seed     any integer; taken modulo 2⁶⁴

    Groups are drawn with replacement, then values within each drawn group. With a single group only
    the second step is left: the interval then covers what varies within that trial, and nothing of
    what would differ in the next one. None below GROUPS_MIN groups, or VALUES_MIN values in a
    single one.

    Plain percentiles of k groups are too narrow by √((k − 1)/k) and by taking z for t; they are
    taken further out by as much (the expanded percentile interval, Hesterberg 2015, section 5.3).
    """
    import numpy as np

    from harness._native import kernels

    _check_share("level", level)
    row = np.asarray(values, dtype=np.float64)
    if row.size != len(groups):
        raise ValueError(f"{row.size} values have {len(groups)} group labels")
    if needed_for_interval(groups) is not None:
        return None
    ordered, offsets = _by_group(row, groups)
    means = kernels.bootstrap_means(ordered, offsets, resamples, seed % 2**64)
    tail = _tail(level, len(offsets) - 1 if len(offsets) > 2 else row.size)
    low, high = kernels.quantiles(means, np.array([tail, 1 - tail])).tolist()
    return Interval(low=low, high=high, level=level, method="bootstrap")


def needed_for_interval(groups: Sequence[Hashable]) -> int | None:
    """How many groups (of a single group: how many values) `bootstrap_interval` would take; None
    where there are enough."""
    distinct = len(set(groups))
    if distinct > 1:
        return GROUPS_MIN if distinct < GROUPS_MIN else None
    return VALUES_MIN if len(groups) < VALUES_MIN else None


def _tail(level: float, drawn: int) -> float:
    """The share of resampled means beyond either end: Φ(−√(k/(k − 1)) t) with k = `drawn`."""
    from scipy.special import ndtr, stdtrit

    t = float(stdtrit(drawn - 1, (1 + level) / 2))
    return float(ndtr(-math.sqrt(drawn / (drawn - 1)) * t))


def _by_group(
    row: NDArray[np.float64], groups: Sequence[Hashable]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Values brought together by label (in the order in which labels appear), and their offsets."""
    import numpy as np

    numbers: dict[Hashable, int] = {}
    codes = np.array([numbers.setdefault(label, len(numbers)) for label in groups])
    sizes = np.bincount(codes, minlength=len(numbers))
    offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
    return row[np.argsort(codes, kind="stable")], offsets


def quantile_upper_bound(
    values: ArrayLike, q: float = 0.99, *, confidence: float = 0.95
) -> float | None:
    """A bound that the q-quantile stays below with this confidence, whatever the distribution.

    One-sided, for independent values of shape (n,). The k-th smallest lies above the quantile
    unless k or more values fall below it, and how many do is binomial (n, q): the smallest k that
    is sure enough is taken (David & Nagaraja 2003, section 7.1). None where even the largest value
    is not sure enough; see `needed_for_upper_bound` (299 values for p99 at 95 %).
    """
    import numpy as np
    from scipy.special import bdtr

    needed = needed_for_upper_bound(q, confidence=confidence)
    row = np.sort(np.asarray(values, dtype=np.float64))
    if row.size < needed:
        return None
    # P(at most i values below the quantile) for i = 0 … n − 1 ascends: the first that suffices.
    sure = bdtr(np.arange(row.size, dtype=np.float64), row.size, q)
    first = int(np.searchsorted(sure, confidence))
    return float(row[min(first, row.size - 1)])  # a rounding of `sure` must not ask for one more


def needed_for_upper_bound(q: float = 0.99, *, confidence: float = 0.95) -> int:
    """The least n whose largest value bounds the q-quantile: 1 − qⁿ ≥ confidence."""
    _check_share("q", q)
    _check_share("confidence", confidence)
    return math.ceil(math.log1p(-confidence) / math.log(q))


def _check_share(name: str, share: float) -> None:
    if not 0.0 < share < 1.0:
        raise ValueError(f"{name} must lie between 0 and 1, not {share}")
