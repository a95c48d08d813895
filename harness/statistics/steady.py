"""Does a series settle: where a warm-up ends (MSER-5), and whether anything still moves after it.

Latencies in order of sending begin with a transient and then, one hopes, scatter around one level.
Two questions are kept apart:

    mser5   Where would one cut the beginning off? It always has an answer, right or wrong: of
            independent values it cuts more than half off in one series of ten.
    drift   Is the second half, what any warm-up of up to half would leave, still on the move? That
            is a test, with a stated rate of false alarms, and the one to build a verdict on. That
            discarding half must do is the convention of Heidelberger & Welch (1983).

How `drift` tells movement from scatter
  Values are replaced by their ranks, so that tails, outliers and modes weigh nothing (Conover &
  Iman 1981). Where there are several series of the same thing (iterations, launches) their ranks
  are averaged by position (Welch 1983). Then a line and a step at each of some 20 places are fitted
  by least squares, and the slope or height t-tested with the residuals' own lag-1 autocorrelation
  in the standard error. For short and strongly correlated series such a t is far from Student's,
  and so are maxima over places. The bounds are therefore simulated: the level is held for
  first-order autoregressions of ρ = 0, 0.5, 0.8 and 0.9, whichever is worst at that length
  (`benchmarks/false_alarms.py --calibrate` prints the table, `--simulate` what it leads to).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from harness.statistics.autocorrelation import lag1

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = ["DRIFT_NEEDS", "Drift", "drift", "mser5"]

DRIFT_NEEDS: Final = 40
"""Values below which nothing is said: of 20 values with ρ = 0.9 in the second half, one series in a
thousand looks as straight as a ramp whose scatter is a thirtieth of its rise."""

POINTS_MAX: Final = 200
"""A longer second half is first averaged in runs of equal length: this keeps the power, and leaves
little correlation between the points."""

PLACES: Final = 20
"""At so many places a step is tried …"""
EDGE_SHARE: Final = 0.2
"""… and none so near an end: a few last values are no level."""

LENGTHS: Final = (20, 30, 40, 60, 80, 120, 200)
"""Points of the second half for which the bounds below were simulated; linear in log n between."""
LEVELS: Final = (1e-3, 1e-4)
"""Their levels per test; log-linear between and beyond."""
BOUNDS: Final = {
    "trend": (
        (17.4, 14.8, 12.5, 9.5, 8.4, 6.9, 5.5),
        (25.6, 21.6, 18.4, 13.5, 12.0, 9.5, 7.0),
    ),
    "shift": (
        (7.4, 8.6, 8.8, 8.5, 8.4, 7.9, 7.0),
        (7.4, 9.2, 10.0, 9.9, 9.8, 9.2, 8.5),
    ),
}

FAMILY_LEVEL: Final = 0.005
"""Chance that a run without drift is said to have one, however many series are tested in it. Half
of the 1 % that is promised: bounds between the simulated lengths and levels are interpolated."""


class Drift(Struct, frozen=True, kw_only=True):
    """The strongest movement in the second half of a series."""

    kind: Literal["trend", "shift"]
    begins: int
    """Index into the series: where the second half begins (trend), or the new level (shift)."""
    before: float
    after: float
    """Levels: medians on both sides of the shift; for a trend, those it rises or falls between."""
    change_share: float
    """(after − before) over the smaller of both in size, signed; inf if that is 0."""
    statistic: float
    """|t| of the slope or height …"""
    bound: float
    """… and what it had to exceed."""
    significant: bool


# ---- MSER-5


def mser5(values: ArrayLike, *, batch: int = 5) -> int | None:
    """The index from which on to keep a series of shape (n,); None below 4 batches.

    White's rule on means of 5 (White, Cobb & Spratt 2000): cut off those first d of k batch means
    for which the squared standard error of the rest, Σ(y − ȳ)²/(k − d)², is least. The last 4 are
    never cut off: of so few, two that are equal by chance would decide.
    An index in the second half means that the series is too short to tell.
    """
    import numpy as np

    row = np.asarray(values, dtype=np.float64)
    count = row.size // batch
    if count < 4:
        return None
    means = row[: count * batch].reshape(count, batch).mean(axis=1)
    means -= means.mean()  # so that the sums of squares below do not cancel
    left = np.arange(count, 0, -1, dtype=np.float64)
    total = np.cumsum(means[::-1])[::-1]
    squares = np.cumsum(np.square(means)[::-1])[::-1]
    error = (squares - total**2 / left) / left**2
    return int(np.argmin(np.maximum(error[: count - 3], 0.0))) * batch


# ---- drift


def drift(replicates: Sequence[ArrayLike], *, tests: int = 1, together: int = 1) -> Drift | None:
    """The strongest movement in the second halves of series of the same thing, each in its order.

    replicates   shape (n,) each; those much shorter than the longest (under 90 %) are left out
    tests        how many series of the same run are tested in all: the bound is raised so that the
                 chance of any false alarm stays at `FAMILY_LEVEL`
    together     average so many successive values first, where it is known over how many of them
                 chance itself reaches

    None where the series are shorter than `DRIFT_NEEDS` times `together`, or all values are equal.
    """
    import numpy as np

    rows = [np.asarray(values, dtype=np.float64) for values in replicates]
    longest = max((row.size for row in rows), default=0)
    rows = [row for row in rows if row.size >= 0.9 * longest]
    length = min((row.size for row in rows), default=0)
    if length < DRIFT_NEEDS * together:
        return None
    half = np.stack([row[-(length // 2) :] for row in rows])
    points = ranked(half, together)
    if not points.any():
        return None
    level = FAMILY_LEVEL / (2 * tests)
    slope = float(trend_statistic(points))
    heights = step_statistics(points)
    place = int(np.argmax(heights))
    bounds = {kind: bound(kind, points.size, level) for kind in ("trend", "shift")}
    over = {"trend": slope / bounds["trend"], "shift": float(heights[place]) / bounds["shift"]}
    kind: Literal["trend", "shift"] = "trend" if over["trend"] >= over["shift"] else "shift"
    run = half.shape[1] / points.size
    split = round(run * places(points.size)[place]) if kind == "shift" else half.shape[1] // 2
    before, after = float(np.median(half[:, :split])), float(np.median(half[:, split:]))
    if kind == "trend":  # the medians of two halves lie half of the rise apart
        before, after = (3 * before - after) / 2, (3 * after - before) / 2
    smaller = min(abs(before), abs(after))
    return Drift(
        kind=kind,
        begins=length - half.shape[1] + (split if kind == "shift" else 0),
        before=before,
        after=after,
        change_share=(after - before) / smaller if smaller else float("inf"),
        statistic=over[kind] * bounds[kind],
        bound=bounds[kind],
        significant=over[kind] > 1.0,
    )


def ranked(half: NDArray[np.float64], together: int = 1) -> NDArray[np.float64]:
    """(replicates, m) → centred mean ranks by position, at most `POINTS_MAX` of them."""
    import numpy as np

    ranks = np.mean([_ranks(row) for row in half], axis=0)
    count = min(POINTS_MAX, ranks.size // together)
    if count < ranks.size:
        edges = np.linspace(0, ranks.size, count + 1).astype(np.int64)
        ranks = np.add.reduceat(ranks, edges[:-1]) / np.diff(edges)
    return np.asarray(ranks - ranks.mean())


def _ranks(row: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 … m, equal values sharing the mean of theirs. (scipy.stats takes long to import.)"""
    import numpy as np

    _, place, count = np.unique(row, return_inverse=True, return_counts=True)
    mean = np.cumsum(count) - (count - 1) / 2
    return np.asarray(mean[place])


def trend_statistic(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """|t| of the slope along the last axis of centred points, shape (…, m) → (…)."""
    import numpy as np

    m = points.shape[-1]
    return _t(points, np.arange(m, dtype=np.float64) - (m - 1) / 2)


def step_statistics(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """|t| of a step at each of `places`, shape (…, m) → (…, places)."""
    import numpy as np

    m = points.shape[-1]
    found = []
    for place in places(m):
        step = np.zeros(m)
        step[place:] = 1.0
        found.append(_t(points, step - step.mean()))
    return np.stack(found, axis=-1)


def places(m: int) -> list[int]:
    """Where a step is tried among m points."""
    edge = max(4, round(EDGE_SHARE * m))
    return list(range(edge, m - edge + 1, max(1, (m - 2 * edge) // PLACES)))


def _t(points: NDArray[np.float64], shape: NDArray[np.float64]) -> NDArray[np.float64]:
    """|t| of the regression of centred points on a centred shape, its error widened by
    √((1 + ρ)/(1 − ρ)). A perfect fit has no error: its residual is taken for a millionth."""
    import numpy as np

    m = points.shape[-1]
    square = float(shape @ shape)
    slope = points @ shape / square
    rest = points - slope[..., np.newaxis] * shape
    rho = lag1(rest, 2)
    whole = np.square(points).sum(axis=-1)
    error = np.maximum(np.square(rest).sum(axis=-1), 1e-12 * whole) / (m - 2) / square
    error *= (1.0 + rho) / (1.0 - rho)
    t = np.divide(np.abs(slope), np.sqrt(error), out=np.zeros_like(error), where=error > 0)
    return np.asarray(t)


def bound(kind: str, points: int, level: float) -> float:
    """What |t| exceeds with probability `level` at most, for up to ρ = 0.9 (see `BOUNDS`)."""
    import numpy as np

    lengths = np.log(LENGTHS)
    loose, tight = (float(np.interp(np.log(points), lengths, row)) for row in BOUNDS[kind])
    steps = (np.log10(LEVELS[0]) - np.log10(level)) / (np.log10(LEVELS[0]) - np.log10(LEVELS[1]))
    return float(loose + steps * (tight - loose))
