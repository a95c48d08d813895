"""How many trials does it take to see a difference of a given size?

By the noncentral t of a one-sided test: of two arms with n trials each, or of n blocks.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["TRIALS_MAX", "power_of", "trials_needed"]

TRIALS_MAX: Final = 100_000
"""Beyond this a number of trials is no advice any more."""


def power_of(
    distance: float, sd: float, trials: int, *, alpha: float = 0.05, df_per_trial: float = 1.0
) -> float:
    """Probability that a one-sided t-test at `alpha` sees a true difference of `distance`.

    sd            of the difference of one trial to one trial: √(s_a² + s_b²); of blocks, the sd of
                  the differences within them
    df_per_trial  degrees of freedom are this times (trials − 1): 1 for blocks, up to 2 for two arms
                  of equal variance
    """
    from scipy.special import nctdtr, stdtrit

    if distance <= 0:
        raise ValueError(f"a distance is above 0, not {distance}")
    if sd == 0:
        return 1.0
    df = df_per_trial * (trials - 1)
    reach = distance / sd * math.sqrt(trials)
    bound = float(stdtrit(df, 1 - alpha))
    if reach > bound + 30:  # where the series of the noncentral t gives up
        return 1.0
    return 1.0 - float(nctdtr(df, reach, bound))


def trials_needed(
    distance: float,
    sd: float,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    df_per_trial: float = 1.0,
) -> int | None:
    """The least number of trials an arm (or blocks) with that power; None above `TRIALS_MAX`."""

    def enough(trials: int) -> bool:
        found = power_of(distance, sd, trials, alpha=alpha, df_per_trial=df_per_trial)
        return found >= power

    high = 2
    while not enough(high):
        high *= 2
        if high > TRIALS_MAX:
            return None
    low = high // 2  # never enough, unless it is 1, which is not asked
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
