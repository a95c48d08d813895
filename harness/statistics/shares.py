"""Shares of right answers, of calls that met an objective: intervals for k of n.

Trials of a coin, that is: the n must be independent (different questions, not 10 answers to one).
"""

from __future__ import annotations

import math
from typing import Literal

from msgspec import Struct

__all__ = ["Share", "clopper_pearson", "needed_for_share", "wilson"]


class Share(Struct, frozen=True, kw_only=True):
    """k of n, and where the true share is believed to lie. n = 0: no point, and 0 … 1."""

    k: int
    n: int
    point: float | None
    low: float
    high: float
    level: float
    method: Literal["wilson", "clopper-pearson"]


def wilson(k: int, n: int, *, level: float = 0.95) -> Share:
    """Wilson's score interval (1927): covers what it says on average over true shares."""
    from scipy.special import ndtri

    point = _point(k, n, level)
    if point is None:
        return Share(k=k, n=n, point=None, low=0.0, high=1.0, level=level, method="wilson")
    z = float(ndtri((1 + level) / 2))
    middle = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(k * (n - k) / n + z * z / 4)
    low = max(0.0, middle - half) if k else 0.0
    high = min(1.0, middle + half) if k < n else 1.0
    return Share(k=k, n=n, point=point, low=low, high=high, level=level, method="wilson")


def clopper_pearson(k: int, n: int, *, level: float = 0.95) -> Share:
    """The exact interval (1934): never covers less than it says, and mostly more."""
    from scipy.special import betaincinv

    point = _point(k, n, level)
    tail = (1 - level) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return Share(k=k, n=n, point=point, low=low, high=high, level=level, method="clopper-pearson")


def needed_for_share(share: float, *, level: float = 0.95) -> int:
    """So many, all of them good, put the lower end of Clopper and Pearson's interval at `share`: no
    fewer can show it. ValueError unless 0 < share < 1."""
    if not 0.0 < share < 1.0:
        raise ValueError(f"share must lie between 0 and 1, not {share}")
    return math.ceil(math.log((1 - level) / 2) / math.log(share))


def _point(k: int, n: int, level: float) -> float | None:
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is not a share")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    return k / n if n else None
