"""How large is the difference between two arms, as far as only the order of the trials counts?

    hodges_lehmann  shift: the median of all differences between trials
    cliffs_delta    how often a trial of the candidate is larger than one of the baseline

Both take one figure per trial (see trials.py), the baseline first, and are positive where the
candidate's are larger. A single outlying trial hardly moves them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from msgspec import Struct
from msgspec.structs import replace as change

from harness.statistics.intervals import GROUPS_MIN
from harness.statistics.ranks import (
    EXACT_MAX,
    doubled_ranks,
    signed_rank_ways,
    ways_of_rank_sum,
)
from harness.statistics.trials import check_level, finite

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Effect", "cliffs_delta", "hodges_lehmann"]


class Effect(Struct, frozen=True, kw_only=True):
    """Of the candidate over the baseline. None: not known; `needs` says what it would take."""

    kind: Literal["shift", "delta"]
    n: tuple[int, int]
    """Trials of baseline and candidate."""
    level: float
    paired: bool = False
    point: float | None = None
    low: float | None = None
    high: float | None = None
    needs: int | None = None
    """Trials an arm that bounds need, where there are fewer."""


def hodges_lehmann(
    baseline: ArrayLike, candidate: ArrayLike, *, level: float = 0.95, paired: bool = False
) -> Effect:
    """The shift between trial figures of shapes (n,) and (m,).

    Independent arms: the median of all n·m differences, bounds from Mann–Whitney's U. Blocks: the
    median of all means of two within-block differences (Walsh averages), bounds from the signed
    ranks (Hollander, Wolfe & Chicken 2014, sections 3.2 and 4.2). Exact up to 50 values, the normal
    approximation beyond. At 95 % bounds need 4 trials an arm, or 6 blocks.
    """
    import numpy as np

    check_level(level)
    a, b = finite(baseline), finite(candidate)
    n = (int(a.size), int(b.size))
    found = Effect(kind="shift", n=n, level=level, paired=paired)
    if paired and n[0] != n[1]:
        raise ValueError(f"{n[0]} blocks of the baseline are paired with {n[1]}")
    if not min(n):
        return change(found, needs=_ranks_need(level, paired))
    if paired:
        gaps = b - a
        pairs = np.triu_indices(gaps.size)
        apart = np.sort((gaps[pairs[0]] + gaps[pairs[1]]) / 2)
    else:
        apart = np.sort(np.subtract.outer(b, a), axis=None)
    found = change(found, point=float(np.median(apart)))
    outside = _outside(n, level, paired)
    if outside < 0:
        return change(found, needs=_ranks_need(level, paired))
    return change(found, low=float(apart[outside]), high=float(apart[-1 - outside]))


def _outside(n: tuple[int, int], level: float, paired: bool) -> int:
    """How many of the sorted differences lie outside the bounds on either side; −1: too few."""
    import numpy as np
    from scipy.special import ndtri

    tail = (1 - level) / 2
    if (n[0] if paired else sum(n)) <= EXACT_MAX:
        doubled = doubled_ranks(np.arange(n[0] if paired else sum(n), dtype=np.float64))
        if paired:
            below = np.cumsum(signed_rank_ways(doubled)[::2])
        else:
            below = np.cumsum(ways_of_rank_sum(doubled, n[1])[n[1] * (n[1] + 1) :: 2])
        return int(np.searchsorted(below, tail * (1 + 1e-9), side="right")) - 1
    k, m = n
    middle = k * (k + 1) / 4 if paired else k * m / 2
    variance = k * (k + 1) * (2 * k + 1) / 24 if paired else k * m * (k + m + 1) / 12
    return math.floor(middle + float(ndtri(tail)) * math.sqrt(variance) - 0.5)


def _ranks_need(level: float, paired: bool) -> int:
    return next(k for k in range(1, EXACT_MAX) if _outside((k, k), level, paired) >= 0)


def cliffs_delta(baseline: ArrayLike, candidate: ArrayLike, *, level: float = 0.95) -> Effect:
    """P(candidate > baseline) − P(candidate < baseline) of trial figures (n,) and (m,): −1 … 1.

    Bounds by Newcombe (2006, method 5): all deltas that are no further from the observed one than
    their own standard error allows, so that they stay within −1 … 1 and have a width at the ends,
    where the usual estimate of the error is 0. They need 5 trials an arm.
    """
    import numpy as np
    from scipy.special import stdtrit

    check_level(level)
    a, b = finite(baseline), finite(candidate)
    n = (int(a.size), int(b.size))
    found = Effect(kind="delta", n=n, level=level)
    if not min(n):
        return change(found, needs=GROUPS_MIN)
    ordered = np.sort(a)
    below = np.searchsorted(ordered, b, side="left").sum()
    not_above = np.searchsorted(ordered, b, side="right").sum()
    larger = float(below + not_above) / (2 * n[0] * n[1])  # ties for a half
    found = change(found, point=2 * larger - 1)
    if min(n) < GROUPS_MIN:
        return change(found, needs=GROUPS_MIN)
    far = float(stdtrit(sum(n) - 2, (1 + level) / 2))
    high = _newcombe(larger, n, far)
    low = 1 - _newcombe(1 - larger, n, far)
    return change(found, low=2 * low - 1, high=2 * high - 1)


def _newcombe(share: float, n: tuple[int, int], far: float) -> float:
    """The largest θ with θ − share ≤ far · error(θ), by bisection (Hanley & McNeil's error with
    both sizes taken for their mean)."""
    spare = (n[0] + n[1]) / 2 - 1
    low, high = share, 1.0
    for _ in range(60):
        theta = (low + high) / 2
        inner = 1 + spare * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        error = math.sqrt(theta * (1 - theta) * inner / (n[0] * n[1]))
        low, high = (theta, high) if theta - share <= far * error else (low, theta)
    return low
