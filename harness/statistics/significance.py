"""Tests: could this difference between two arms be chance?

Each takes one figure per trial (see trials.py), the baseline's first, and is two-sided. Where there
are too few trials it refuses: `p_value` is None, and `needs` says how many an arm it takes.
A family of them goes through `holm`, because of twenty metrics one is "significant" by chance.

    independent trials    welch           difference of means, unequal variances
                          mann_whitney    one arm tends to be larger; exact up to 50, with ties
    interleaved blocks    paired_t        mean difference within blocks
                          wilcoxon        the same by signed ranks; exact up to 50, with ties
                          mcnemar         right or wrong on the same questions; exact
    within a margin       tost            equivalence: a difference beyond ±margin is excluded
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from harness.statistics.contrasts import at_least, moments, t_of_contrast
from harness.statistics.ranks import (
    EXACT_MAX,
    doubled_ranks,
    signed_rank_ways,
    two_sided,
    ways_of_rank_sum,
)
from harness.statistics.trials import finite

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "TRIALS_NEEDED",
    "Outcome",
    "holm",
    "mann_whitney",
    "mcnemar",
    "paired_t",
    "tost",
    "welch",
    "wilcoxon",
]

TestName = Literal[
    "welch-t", "paired-t", "mann-whitney", "wilcoxon", "mcnemar", "tost-welch", "tost-paired"
]

TRIALS_NEEDED: Final = {
    "welch-t": 3,
    "paired-t": 3,
    "tost-welch": 3,
    "tost-paired": 3,
    "mann-whitney": 4,
    "wilcoxon": 6,
}
"""Trials an arm. Of two trials a standard deviation is a guess. The rank tests cannot fall below
p = 0.05 with fewer: 2 / C(6, 3) = 0.1 for three a side, 2 / 2⁵ = 0.063 for five blocks."""


class Outcome(Struct, frozen=True, kw_only=True):
    """What a test found. Its direction is that of the effect, which is given elsewhere."""

    test: TestName
    n: tuple[int, int]
    """Trials of baseline and candidate that the test could use."""
    p_value: float | None = None
    statistic: float | None = None
    """t (positive: the candidate is larger), U of the candidate, sum of positive ranks, or the
    count of pairs that only the candidate got right."""
    df: float | None = None
    """Degrees of freedom, of t."""
    needs: int | None = None
    """Trials an arm that the test needs, where there are fewer."""


# ---- independent trials


def welch(
    baseline: ArrayLike, candidate: ArrayLike, *, floors: tuple[float, float] | None = None
) -> Outcome:
    """Welch's t of trial figures of shapes (n,) and (m,). Arms without any spread that differ have
    p = 0: such a figure (a count of tokens, say) is not subject to chance. `floors`: the least
    squared standard errors of the two means, where it is (contrasts.at_least)."""
    return _student("welch-t", baseline, candidate, floors)


def mann_whitney(baseline: ArrayLike, candidate: ArrayLike) -> Outcome:
    """Mann–Whitney U: pairs in which the candidate is larger, ties for a half.

    Exact given the ties up to 50 values in all; beyond, the normal approximation with corrections
    for ties and continuity (Hollander, Wolfe & Chicken 2014, section 4.1).
    """
    import numpy as np
    from scipy.special import ndtr

    a, b = finite(baseline), finite(candidate)
    n, m = a.size, b.size
    if min(n, m) < TRIALS_NEEDED["mann-whitney"]:
        return _refused("mann-whitney", n, m)
    doubled = doubled_ranks(np.concatenate([a, b]))
    total = int(doubled[n:].sum())
    u = total / 2 - m * (m + 1) / 2
    if n + m <= EXACT_MAX:
        p = two_sided(ways_of_rank_sum(doubled, m), total)
    else:
        count = np.unique(doubled, return_counts=True)[1].astype(np.float64)
        whole = n + m
        ties = float((count**3 - count).sum()) / (whole * (whole - 1))
        sd = math.sqrt(n * m / 12 * (whole + 1 - ties))
        z = max(0.0, abs(u - n * m / 2) - 0.5) / sd if sd else 0.0
        p = min(1.0, 2 * float(ndtr(-z)))
    return Outcome(test="mann-whitney", n=(n, m), p_value=p, statistic=u)


# ---- blocks


def paired_t(
    baseline: ArrayLike, candidate: ArrayLike, *, floors: tuple[float, float] | None = None
) -> Outcome:
    """Student's t of the differences within k blocks: shape (k,) both, in the same order. `floors`
    as for `welch`."""
    return _student("paired-t", baseline, candidate, floors)


def wilcoxon(baseline: ArrayLike, candidate: ArrayLike) -> Outcome:
    """Wilcoxon's signed ranks of k blocks. Blocks without a difference are left out, as Wilcoxon
    did. Exact given the ties up to 50 blocks."""
    import numpy as np
    from scipy.special import ndtr

    a, b = _blocks(baseline, candidate)
    if a.size < TRIALS_NEEDED["wilcoxon"]:
        return _refused("wilcoxon", a.size, b.size)
    rest = b - a
    rest = rest[rest != 0.0]
    k = int(rest.size)
    doubled = doubled_ranks(np.abs(rest))
    total = int(doubled[rest > 0].sum())
    if k <= EXACT_MAX:
        p = two_sided(signed_rank_ways(doubled), total)
    else:
        sd = math.sqrt(float(np.square(doubled / 2).sum()) / 4)
        z = max(0.0, abs(total / 2 - k * (k + 1) / 4) - 0.5) / sd
        p = min(1.0, 2 * float(ndtr(-z)))
    return Outcome(test="wilcoxon", n=(k, k), p_value=p, statistic=total / 2)


def mcnemar(baseline: Sequence[bool], candidate: Sequence[bool]) -> Outcome:
    """Right or wrong on the same questions, in the same order: exact binomial test of the questions
    on which the arms disagree (McNemar 1947). Here a question, not a trial, is the unit: several
    answers to one must be made one before. None at all disagreeing: p = 1."""
    from scipy.special import bdtr

    if len(baseline) != len(candidate):
        raise ValueError(f"{len(baseline)} answers are paired with {len(candidate)}")
    lost = sum(1 for a, b in zip(baseline, candidate, strict=True) if a and not b)
    won = sum(1 for a, b in zip(baseline, candidate, strict=True) if b and not a)
    p = min(1.0, 2 * float(bdtr(float(min(lost, won)), lost + won, 0.5))) if lost + won else 1.0
    n = len(baseline)
    return Outcome(test="mcnemar", n=(n, n), p_value=p, statistic=float(won))


# ---- within a margin


def tost(
    baseline: ArrayLike,
    candidate: ArrayLike,
    *,
    margin: float,
    relative: bool = True,
    paired: bool = False,
    floors: tuple[float, float] | None = None,
) -> Outcome:
    """Two one-sided t-tests (Schuirmann 1987): below p = 0.05 both a lower and a higher candidate
    beyond the margin are excluded at 5 % each. The statistic is the t of the weaker of the two.

    margin     > 0, and stated before the data were seen; ValueError otherwise
    relative   the margin is a share of the baseline's mean (0.05: within ±5 %), whose own error is
               counted; False: in the unit of the figures
    floors     least squared standard errors of the two means (contrasts.at_least)
    """
    from scipy.special import stdtr

    if not (margin > 0 and math.isfinite(margin)):
        raise ValueError(f"a margin is a number above 0, not {margin}")
    test: TestName = "tost-paired" if paired else "tost-welch"
    a, b = _blocks(baseline, candidate) if paired else (finite(baseline), finite(candidate))
    if min(a.size, b.size) < TRIALS_NEEDED[test]:
        return _refused(test, a.size, b.size)
    of = at_least(moments(a, b, paired=paired), floors)
    if relative:
        share = math.copysign(margin, float(of.baseline))
        lower, upper = t_of_contrast(of, 1 - share), t_of_contrast(of, 1 + share)
    else:
        lower, upper = t_of_contrast(of, shift=-margin), t_of_contrast(of, shift=margin)
    found = [
        (float(stdtr(lower[1], -lower[0])), float(lower[0]), float(lower[1])),
        (float(stdtr(upper[1], upper[0])), float(upper[0]), float(upper[1])),
    ]
    p, t, df = max(found)
    return Outcome(test=test, n=(a.size, b.size), p_value=p, statistic=t, df=df)


# ---- families


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values of a family, in its order (Holm 1979): whatever is called significant at
    adjusted p ≤ α, the chance of a single false call in the whole family is at most α.

    None (a test that was refused) stays None and does not count.
    """
    given = [place for place, p in enumerate(p_values) if p is not None]
    for place in given:
        if not 0.0 <= float(p_values[place] or 0.0) <= 1.0:
            raise ValueError(f"p-value {place} is {p_values[place]}")
    adjusted: list[float | None] = [None] * len(p_values)
    floor = 0.0
    for left, place in zip(
        range(len(given), 0, -1), sorted(given, key=lambda at: p_values[at] or 0.0), strict=True
    ):
        floor = max(floor, min(1.0, left * (p_values[place] or 0.0)))
        adjusted[place] = floor
    return adjusted


# ---- what they share


def _student(
    test: TestName,
    baseline: ArrayLike,
    candidate: ArrayLike,
    floors: tuple[float, float] | None,
) -> Outcome:
    from scipy.special import stdtr

    paired = test == "paired-t"
    a, b = _blocks(baseline, candidate) if paired else (finite(baseline), finite(candidate))
    if min(a.size, b.size) < TRIALS_NEEDED[test]:
        return _refused(test, a.size, b.size)
    of = at_least(moments(a, b, paired=paired), floors)
    t, df = (float(figure) for figure in t_of_contrast(of))
    p = min(1.0, 2 * float(stdtr(df, -abs(t))))
    return Outcome(test=test, n=(a.size, b.size), p_value=p, statistic=t, df=df)


def _blocks(
    baseline: ArrayLike, candidate: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = finite(baseline), finite(candidate)
    if a.size != b.size:
        raise ValueError(f"{a.size} blocks of the baseline are paired with {b.size}")
    return a, b


def _refused(test: TestName, n: int, m: int) -> Outcome:
    return Outcome(test=test, n=(n, m), needs=TRIALS_NEEDED[test])
