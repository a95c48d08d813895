"""Where did a series of runs step: one figure per run, in the order of time.

Binary segmentation. The statistic of a stretch is the largest |t| between what lies before and
behind a split, over all splits that leave two runs on either side. Its p-value is a permutation's:
if nothing changed, the runs of the stretch could have come in any order, and the statistic is held
against those of shuffled orders. Nothing is assumed of the noise but that it has no order itself.
Below `alpha` the stretch is split, and each part is tested again.

Two errors, and what is known of them (benchmarks/steps.py prints both):

    false alarm  of a series without a step: `alpha`, by construction, as only its first test can
                 begin a division. Not held where neighbours in time resemble one another (a machine
                 that warms through the day): such a series has steps, though not of your making.
    missed step  the rarest order of n runs has a probability, too: below 11 runs (at 1 %) none is
                 rare enough, and of one run alone behind a step nothing can be said.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from harness.statistics.trials import finite

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = ["STEP_ALPHA", "Step", "Steps", "find_steps", "runs_for_a_step"]

STEP_ALPHA: Final = 0.01
"""Of a history that is looked at after each run: 5 % would alarm without cause every month."""
SIDE_MIN: Final = 2
"""Runs on either side of a step: one alone is an outlier."""
SHUFFLES: Final = 1999
"""The smallest p-value is 1/2000; at 0.01 its standard error is 0.002."""


class Step(Struct, frozen=True, kw_only=True):
    """The level changed between value `at` − 1 and value `at`."""

    at: int
    before: float
    """Mean of the level that ends here …"""
    after: float
    """… and of the one that begins."""
    n: tuple[int, int]
    """Values of these levels."""
    p_value: float

    @property
    def share(self) -> float | None:
        """(after − before) / before; None where the level before is not above 0."""
        return (self.after - self.before) / self.before if self.before > 0 else None


class Steps(Struct, frozen=True, kw_only=True):
    """What was found in a series."""

    n: int
    alpha: float
    steps: tuple[Step, ...]
    needs: int | None = None
    """How many values it takes for the plainest step to be shown at all, where there are fewer."""


def find_steps(
    values: ArrayLike, *, alpha: float = STEP_ALPHA, shuffles: int = SHUFFLES, seed: int = 0
) -> Steps:
    """Steps of a series of shape (n,), in order; repeatable from `seed`. ValueError for values that
    are not finite, an `alpha` outside 0 … 0.5, or too few shuffles to reach it."""
    import numpy as np

    if not 0.0 < alpha < 0.5:
        raise ValueError(f"alpha must lie between 0 and 0.5, not {alpha}")
    if 1 / (shuffles + 1) > alpha:
        raise ValueError(f"{shuffles} shuffles cannot give a p-value of {alpha}")
    row = finite(values)
    n = int(row.size)
    needed = runs_for_a_step(alpha)
    if n < needed:
        return Steps(n=n, alpha=alpha, steps=(), needs=needed)
    rng = np.random.default_rng(seed % 2**64)
    found: dict[int, float] = {}
    _divide(row, 0, n, alpha, shuffles, rng, found)
    return Steps(n=n, alpha=alpha, steps=_described(row, found))


@lru_cache
def runs_for_a_step(alpha: float = STEP_ALPHA) -> int:
    """The least n of which a step in the middle can be shown: its order and the reverse one, 2 in
    C(n, n/2), must be half as likely as `alpha`, as a p-value by shuffles has an error of its
    own."""
    n = 2 * SIDE_MIN
    while 2 / math.comb(n, n // 2) > alpha / 2:
        n += 1
    return n


def _divide(
    row: NDArray[np.float64],
    start: int,
    stop: int,
    alpha: float,
    shuffles: int,
    rng: np.random.Generator,
    found: dict[int, float],
) -> None:
    part = row[start:stop]
    if part.size < 2 * SIDE_MIN:
        return
    best, at = _largest(part)
    if best <= _rounding(part):
        return
    p = _p_value(part, best, shuffles, rng)
    if not p < alpha:
        return
    found[start + at] = p
    _divide(row, start, start + at, alpha, shuffles, rng, found)
    _divide(row, start + at, stop, alpha, shuffles, rng, found)


def _rounding(part: NDArray[np.float64]) -> float:
    """What the statistic of equal values may come to, for want of digits in their mean."""
    import numpy as np

    return float((part.size * 4 * np.finfo(np.float64).eps * np.abs(part).max()) ** 2)


def _p_value(
    part: NDArray[np.float64], best: float, shuffles: int, rng: np.random.Generator
) -> float:
    """Share of orders, this one among them, whose statistic is as large."""
    import numpy as np

    drawn = rng.permuted(np.broadcast_to(part, (shuffles, part.size)), axis=1)
    others = _splits(drawn).max(axis=1)
    # Equal up to the rounding of sums in another order.
    return float((1 + np.count_nonzero(others >= best * (1 - 1e-9))) / (shuffles + 1))


def _largest(part: NDArray[np.float64]) -> tuple[float, int]:
    """(statistic, where the second side begins)"""
    import numpy as np

    scores = _splits(part[np.newaxis])[0]
    return float(scores.max()), int(scores.argmax()) + SIDE_MIN


def _splits(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each row, shape (m, n): n₁ n₂ / n · (mean₂ − mean₁)² for every split, shape (m, n − 3). It
    grows with |t| of the split, as the total sum of squares is the same for all orders."""
    import numpy as np

    n = rows.shape[1]
    rest = rows - rows.mean(axis=1, keepdims=True)
    sums = np.cumsum(rest, axis=1)[:, SIDE_MIN - 1 : n - SIDE_MIN]
    first = np.arange(SIDE_MIN, n - SIDE_MIN + 1)
    return np.asarray(sums * sums * (n / (first * (n - first))))


def _described(row: NDArray[np.float64], found: dict[int, float]) -> tuple[Step, ...]:
    edges = [0, *sorted(found), int(row.size)]
    steps = []
    for left, at, right in zip(edges, edges[1:-1], edges[2:], strict=False):
        before, after = row[left:at], row[at:right]
        steps.append(
            Step(
                at=at,
                before=float(before.mean()),
                after=float(after.mean()),
                n=(int(before.size), int(after.size)),
                p_value=found[at],
            )
        )
    return tuple(steps)
