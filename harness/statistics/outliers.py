"""Outliers: flagged by their distance from the median, in units that outliers cannot inflate.

Nothing is dropped here or anywhere: a report shows its figures with and without the flagged values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = ["THRESHOLD", "flag_outliers", "scaled_deviations"]

THRESHOLD: Final = 3.5
"""Scaled deviations beyond which a value is flagged (Iglewicz & Hoaglin 1993)."""

_MAD_TO_SD: Final = 1.4826022185056018
"""1 / Φ⁻¹(3/4): makes the MAD of a normal sample estimate its standard deviation."""
_MEAN_AD_TO_SD: Final = 1.2533141373155001
"""√(π/2): the same for the mean absolute deviation."""


def scaled_deviations(values: ArrayLike) -> NDArray[np.float64]:
    """(x − median) / (1.4826 MAD), shape (n,).

    Where more than half of the values are equal the MAD is 0 and says nothing; the mean absolute
    deviation takes its place (Iglewicz & Hoaglin again). All values equal: all deviations are 0.
    """
    import numpy as np

    from harness._native import kernels

    row = np.asarray(values, dtype=np.float64)
    if row.size == 0:
        return np.zeros(0)
    distance = row - kernels.median(row)
    scale = kernels.mad(row) * _MAD_TO_SD
    if scale == 0.0:
        scale = kernels.mean_variance(np.abs(distance))[0] * _MEAN_AD_TO_SD
    return distance / scale if scale > 0.0 else np.zeros(row.size)


def flag_outliers(values: ArrayLike, *, threshold: float = THRESHOLD) -> NDArray[np.bool_]:
    """Whether each value lies more than `threshold` scaled deviations from the median."""
    import numpy as np

    flags: NDArray[np.bool_] = np.abs(scaled_deviations(values)) > threshold
    return flags
