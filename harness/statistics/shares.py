"""Shares of right answers, of calls that met an objective: intervals for k of n.

Trials of a coin, that is: the n must be independent (different questions, not 10 answers to one).
"""

from __future__ import annotations

import math

from msgspec import Struct

from harness.statistics.trials import check_level

__all__ = ["Share", "clopper_pearson", "needed_for_share"]


class Share(Struct, frozen=True, kw_only=True):
    """k of n, and where the true share is believed to lie. n = 0: no point, and 0 … 1."""

    k: int
    n: int
    point: float | None
    low: float
    high: float
    level: float


def clopper_pearson(k: int, n: int, *, level: float = 0.95) -> Share:
    """The exact interval (1934): never covers less than it says, and mostly more."""
    from scipy.special import betaincinv

    point = _point(k, n, level)
    tail = (1 - level) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return Share(k=k, n=n, point=point, low=low, high=high, level=level)


def needed_for_share(share: float, *, level: float = 0.95) -> int:
    """So many, all of them good, put the lower end of Clopper and Pearson's interval at `share`: no
    fewer can show it. ValueError unless 0 < share < 1."""
    if not 0.0 < share < 1.0:
        raise ValueError(f"share must lie between 0 and 1, not {share}")
    return math.ceil(math.log((1 - level) / 2) / math.log(share))


def _point(k: int, n: int, level: float) -> float | None:
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is not a share")
    check_level(level)
    return k / n if n else None
