"""Student's t for contrasts of two arms: candidate − θ · baseline, of means of trial figures.

θ = 1 is the plain difference. A relative margin is a contrast as well: "at least 5 % more" is
candidate − 1.05 · baseline ≥ 0. This asks for no logarithm and counts the baseline's own error,
which "5 % of the observed baseline" would not. All θ that such a t-test does not reject make up
Fieller's interval of the ratio of means (Fieller 1954; Hauschke, Steinijans & Pigeot 2007, ch. 5).

Independent arms have Welch's standard error and degrees of freedom; paired ones (blocks) those of
the k differences. Everything works along the last axis, so that a simulation of 10,000 comparisons
is one call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Moments", "at_least", "difference_bounds", "moments", "ratio_bounds", "t_of_contrast"]

ROUNDING: Final = 1e-12
"""Relative to the means: smaller differences and errors are those of float64, and taken for 0."""


class Moments(NamedTuple):
    """Of two arms' trial figures. All arrays have the figures' shape without its last axis."""

    baseline: NDArray[np.float64]
    candidate: NDArray[np.float64]
    """Means over trials."""
    var_baseline: NDArray[np.float64]
    var_candidate: NDArray[np.float64]
    """Squared standard errors of those means: s² / trials."""
    covariance: NDArray[np.float64]
    """Of the two means; 0 unless paired."""
    trials: tuple[int, int]
    paired: bool


def moments(
    baseline: NDArray[np.float64], candidate: NDArray[np.float64], *, paired: bool
) -> Moments:
    """Of trial figures of shape (…, n) and (…, m); at least 2 each, and n = m if paired."""
    import numpy as np

    n, m = baseline.shape[-1], candidate.shape[-1]
    mean_a, mean_b = baseline.mean(axis=-1), candidate.mean(axis=-1)
    rest_a, rest_b = baseline - mean_a[..., np.newaxis], candidate - mean_b[..., np.newaxis]
    covariance = (rest_a * rest_b).sum(axis=-1) / (n - 1) / n if paired else np.zeros_like(mean_a)
    return Moments(
        baseline=mean_a,
        candidate=mean_b,
        var_baseline=np.square(rest_a).sum(axis=-1) / (n - 1) / n,
        var_candidate=np.square(rest_b).sum(axis=-1) / (m - 1) / m,
        covariance=covariance,
        trials=(n, m),
        paired=paired,
    )


def at_least(of: Moments, floors: tuple[ArrayLike, ArrayLike] | None) -> Moments:
    """With squared standard errors of at least `floors` (baseline, candidate), and what pairing
    takes off their sum leaving at least that of the floors."""
    import numpy as np

    if floors is None or not any(np.any(floor) for floor in floors):
        return of
    var_a = np.maximum(of.var_baseline, floors[0])
    var_b = np.maximum(of.var_candidate, floors[1])
    covariance = np.minimum(of.covariance, (var_a + var_b - np.add(*floors)) / 2)
    return of._replace(var_baseline=var_a, var_candidate=var_b, covariance=covariance)


def t_of_contrast(
    of: Moments, theta: float | NDArray[np.float64] = 1.0, shift: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(t, degrees of freedom) of candidate − θ · baseline − shift.

    Without any spread t is 0 where the contrast is 0 and infinite elsewhere.
    """
    import numpy as np

    gap = of.candidate - theta * of.baseline - shift
    error = np.sqrt(_squared_error(of, theta))
    scale = ROUNDING * np.maximum(np.abs(of.candidate), np.abs(theta * of.baseline))
    gap = np.where(np.abs(gap) <= scale, 0.0, gap)
    error = np.where(error <= scale, 0.0, error)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(gap == 0.0, 0.0, gap / error)
    return t, _freedom(of, theta)


def difference_bounds(
    of: Moments, below: float, above: float, *, careful: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(low, high) of candidate − baseline, with probability `below` and `above` outside.

    careful   arms of unequally many trials have the fewer ones' degrees of freedom, n − 1. There,
              skewed figures do not cancel out, and Welch's bounds at 1 % are exceeded in 2 %.
    """
    import numpy as np
    from scipy.special import stdtrit

    gap, error = of.candidate - of.baseline, np.sqrt(_squared_error(of, 1.0))
    df = _freedom(of, 1.0, careful)
    return gap + stdtrit(df, below) * error, gap + stdtrit(df, 1 - above) * error


def ratio_bounds(
    of: Moments, below: float, above: float, *, careful: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(low, high) of candidate / baseline by Fieller, with probability `below` and `above` outside.

    NaN where the baseline's mean is not clearly above 0: its ratio then has no bounds.
    The degrees of freedom are those at the observed ratio; `careful` as above.
    """
    import numpy as np
    from scipy.special import stdtrit

    with np.errstate(divide="ignore", invalid="ignore"):
        df = _freedom(of, of.candidate / of.baseline, careful)
    low = _fieller(of, stdtrit(df, below))
    high = _fieller(of, stdtrit(df, 1 - above))
    known = (of.baseline > 0) & np.isfinite(low) & np.isfinite(high)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def _fieller(of: Moments, t: NDArray[np.float64]) -> NDArray[np.float64]:
    """The root θ of (b − θa)² = t² (v_b − 2θc + θ² v_a) on t's side of b / a."""
    import numpy as np

    square = t * t
    a = np.square(of.baseline) - square * of.var_baseline
    b = of.baseline * of.candidate - square * of.covariance
    c = np.square(of.candidate) - square * of.var_candidate
    with np.errstate(divide="ignore", invalid="ignore"):
        root = (b + np.sign(t) * np.sqrt(np.maximum(b * b - a * c, 0.0))) / a
    return np.asarray(np.where(a > 0, root, np.nan))


def _squared_error(of: Moments, theta: float | NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    plain = of.var_candidate - 2 * theta * of.covariance + theta * theta * of.var_baseline
    return np.asarray(np.maximum(plain, 0.0))  # a difference of equal terms may round below 0


def _freedom(
    of: Moments, theta: float | NDArray[np.float64], careful: bool = False
) -> NDArray[np.float64]:
    """k − 1 for blocks, Welch–Satterthwaite's for independent arms."""
    import numpy as np

    n, m = of.trials
    if of.paired or (careful and n != m):
        return np.full_like(of.baseline, min(n, m) - 1.0)
    va, vb = theta * theta * of.var_baseline, of.var_candidate
    whole = va + vb
    with np.errstate(divide="ignore", invalid="ignore"):  # as shares: squares may underflow
        df = 1 / (np.square(va / whole) / (n - 1) + np.square(vb / whole) / (m - 1))
    return np.asarray(np.where(whole > 0, df, n + m - 2.0))
