"""How large is the difference between two arms, and between which bounds does it lie?

Here as difference or ratio of means or medians; shifts.py has what ranks say of it. An arm is given
as its trials, each an array of values (see trials.py), the baseline first: a positive difference, a
ratio above 1 mean that the candidate's figures are larger. What is better is for the metric to say.

The bootstrap draws trials, then values within each (as `bootstrap_interval` does); of blocks, whole
blocks of both arms are drawn. It counts the scatter within trials twice, once as part of the
scatter between them, so its bounds are up to √2 too wide where launches do not differ: they err on
the careful side (Davison & Hinkley 1997, section 3.8). `whole_trials` leaves the second draw out;
what either covers is printed by `benchmarks/comparisons.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from harness.statistics.intervals import GROUPS_MIN, RESAMPLES
from harness.statistics.trials import Of, finite

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    Draws = NDArray[np.float64]

__all__ = ["Effect", "change", "check_level", "effect"]

Kind = Literal["difference", "ratio", "shift", "delta"]

CHUNK: Final = 2_000_000
"""Values drawn at a time: 16 MB."""


class Effect(Struct, frozen=True, kw_only=True):
    """Of the candidate over the baseline. None: not known, and `needs` or `because` says why."""

    kind: Kind
    of: Literal["mean", "median", "trials"]
    """What is compared; `trials`: all pairs of trials (shift and delta)."""
    n: tuple[int, int]
    """Trials of baseline and candidate."""
    level: float
    paired: bool = False
    point: float | None = None
    low: float | None = None
    high: float | None = None
    needs: int | None = None
    """Trials an arm that bounds need, where there are fewer."""
    because: str | None = None
    """Why there is no ratio."""


def effect(
    baseline: Sequence[ArrayLike],
    candidate: Sequence[ArrayLike],
    *,
    of: Of = "median",
    kind: Literal["difference", "ratio"] = "ratio",
    level: float = 0.95,
    paired: bool = False,
    whole_trials: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Effect:
    """Difference or ratio of the arms' means or medians (of all their values).

    baseline      one array of values (n_i,) per trial; an empty one is a ValueError
    paired        the i-th trials of both arms ran in the same block
    whole_trials  draw trials only, with the values that they have
    seed          any integer; the same seed gives the same bounds

    Bounds need 5 trials an arm. They are percentiles, further out by Student's t over the normal
    quantile and by √(k / (k − 1)), without which 5 trials would cover too little (Hesterberg 2015,
    section 5.3); ratios are resampled as logarithms. A figure that is not positive has no ratio.
    """
    import numpy as np

    check_level(level)
    arms = [[finite(trial) for trial in arm] for arm in (baseline, candidate)]
    n = (len(arms[0]), len(arms[1]))
    if any(trial.size == 0 for arm in arms for trial in arm):
        raise ValueError("a trial has no values")
    if paired and n[0] != n[1]:
        raise ValueError(f"{n[0]} blocks of the baseline are paired with {n[1]}")
    found = Effect(kind=kind, of=of, n=n, level=level, paired=paired)
    if not min(n):
        return change(found, needs=GROUPS_MIN)
    middle = np.median if of == "median" else np.mean
    a, b = (float(middle(np.concatenate(arm))) for arm in arms)
    if kind == "ratio" and not min(a, b) > 0:
        return change(found, because="a figure that is not above 0 has no ratio")
    found = change(found, point=b / a if kind == "ratio" else b - a)
    if min(n) < GROUPS_MIN:
        return change(found, needs=GROUPS_MIN)
    rng = np.random.default_rng(seed % 2**64)
    first = rng.integers(n[0], size=(resamples, n[0]))
    second = first if paired else rng.integers(n[1], size=(resamples, n[1]))
    draws_a = _figures(arms[0], first, of, whole_trials, rng)
    draws_b = _figures(arms[1], second, of, whole_trials, rng)
    if kind == "difference":
        low, high = _bounds(a, b, draws_a, draws_b, found)
        return change(found, low=low, high=high)
    if not min(draws_a.min(), draws_b.min()) > 0:
        return change(found, because="a figure that is not clearly above 0 has no ratio")
    low, high = _bounds(math.log(a), math.log(b), np.log(draws_a), np.log(draws_b), found)
    return change(found, low=math.exp(low), high=math.exp(high))


def _bounds(a: float, b: float, draws_a: Draws, draws_b: Draws, of: Effect) -> tuple[float, float]:
    """Of b − a, from resamples of both: percentiles of how far these lie from a and b, each arm's
    widened by √(k / (k − 1)), then all by t over z."""
    import numpy as np

    away = (draws_b - b) * _widening(of.n[1]) - (draws_a - a) * _widening(of.n[0])
    ends = np.quantile(away, [(1 - of.level) / 2, (1 + of.level) / 2])
    low, high = (b - a + _t_over_z(of, draws_a, draws_b) * ends).tolist()
    return low, high


def _figures(
    arm: list[Draws], picks: NDArray[np.int64], of: Of, whole: bool, rng: np.random.Generator
) -> Draws:
    """The mean or median of each resample; `picks` names its trials, shape (resamples, k)."""
    import numpy as np

    sizes = np.array([trial.size for trial in arm])
    widest = int(sizes.max())
    table = np.full((len(arm), widest), np.inf)  # inf: no value, sorts behind all others
    for row, trial in zip(table, arm, strict=True):
        row[: trial.size] = trial
    found = []
    step = max(1, CHUNK // (len(arm) * widest))
    for start in range(0, len(picks), step):
        drawn = picks[start : start + step]
        values = table[drawn]
        if not whole:
            places = rng.random(values.shape, dtype=np.float32) * sizes[drawn][..., np.newaxis]
            places = np.minimum(places.astype(np.int64), sizes[drawn][..., np.newaxis] - 1)
            values = table[drawn[..., np.newaxis], places]
            values[np.arange(widest) >= sizes[drawn][..., np.newaxis]] = np.inf
        rows, count = values.reshape(len(drawn), -1), sizes[drawn].sum(axis=1)
        found.append(_medians(rows, count) if of == "median" else _means(rows, count))
    return np.concatenate(found)


def _means(rows: Draws, count: NDArray[np.int64]) -> Draws:
    import numpy as np

    return np.asarray(np.where(np.isinf(rows), 0.0, rows).sum(axis=1) / count)


def _medians(rows: Draws, count: NDArray[np.int64]) -> Draws:
    """Of the first `count` of each row in ascending order."""
    import numpy as np

    if count.min() == count.max() == rows.shape[1]:
        return np.asarray(np.median(rows, axis=1, overwrite_input=True))
    rows.sort(axis=1)
    at = np.arange(len(rows))
    return np.asarray((rows[at, (count - 1) // 2] + rows[at, count // 2]) / 2)


def _widening(k: int) -> float:
    return math.sqrt(k / (k - 1))


def _t_over_z(of: Effect, draws_a: Draws, draws_b: Draws) -> float:
    """How much further out than the normal the tails of k trials reach. Degrees of freedom: k − 1
    for blocks, Welch–Satterthwaite's of the drawn figures' variances for independent arms."""
    from scipy.special import ndtri, stdtrit

    n, m = of.n
    df = n - 1.0
    if not of.paired:
        va, vb = float(draws_a.var()), float(draws_b.var())
        whole = va + vb
        df = n + m - 2.0
        if whole > 0:
            df = 1 / ((va / whole) ** 2 / (n - 1) + (vb / whole) ** 2 / (m - 1))
    at = (1 + of.level) / 2
    return float(stdtrit(df, at) / ndtri(at))


# ---- what they share


def change(found: Effect, **changes: float | int | str | None) -> Effect:
    """The same with other values in some fields."""
    from msgspec.structs import replace

    return replace(found, **changes)


def check_level(level: float) -> None:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
