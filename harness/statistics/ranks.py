"""Exact null distributions of rank statistics, ties included, by counting.

Given the (mid)ranks of all values, every way to deal them out to the arms is equally likely if the
arms do not differ. How many ways give each sum is counted item by item, so that 25 + 25 trials
(1.3 · 10¹⁴ ways) take milliseconds. Midranks are halves, so that sums are kept doubled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["EXACT_MAX", "doubled_ranks", "signed_rank_ways", "two_sided", "ways_of_rank_sum"]

EXACT_MAX: Final = 50
"""Values up to which distributions are exact (tied or not); the normal approximation is good to
three decimals from there on."""


def doubled_ranks(row: NDArray[np.float64]) -> NDArray[np.int64]:
    """2 × midrank of each value of shape (n,): 2 … 2n."""
    import numpy as np

    _, place, count = np.unique(row, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((2 * last - count + 1)[place], dtype=np.int64)


def ways_of_rank_sum(doubled: NDArray[np.int64], drawn: int) -> NDArray[np.float64]:
    """Share of all choices of `drawn` of these ranks, by their doubled sum: shape (2 Σ + 1,)."""
    import numpy as np

    ways = np.zeros((drawn + 1, int(doubled.sum()) + 1))
    ways[0, 0] = 1.0
    for rank in doubled.tolist():
        ways[1:, rank:] += ways[:-1, : ways.shape[1] - rank].copy()
    return np.asarray(ways[drawn] / ways[drawn].sum())


def signed_rank_ways(doubled: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of all choices of signs, by the doubled sum of the ranks that got a plus."""
    import numpy as np

    ways = np.zeros(int(doubled.sum()) + 1)
    ways[0] = 1.0
    for rank in doubled.tolist():
        ways[rank:] += ways[: ways.size - rank].copy()
        ways /= 2.0
    return ways


def two_sided(shares: NDArray[np.float64], place: int) -> float:
    """Twice the smaller tail, `place` included; at most 1."""
    tail = min(float(shares[: place + 1].sum()), float(shares[place:].sum()))
    return min(1.0, 2 * tail)
