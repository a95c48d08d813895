"""Numeric kernels. Inputs are float64 arrays of shape (n,); strided and read-only ones are taken,
another dtype is refused rather than rounded. ValueError for n = 0 and for a NaN or infinity, with
its index. None reorders its argument. The GIL is released while they run.

A result that float64 cannot hold is inf (a variance of values beyond 1e154, the MAD of values at
both ends of the range); intermediate results do not overflow.
"""

import numpy as np
from numpy.typing import NDArray

def mean_variance(values: NDArray[np.float64]) -> tuple[float, float]:
    """(mean, sample variance with n − 1). Compensated sum, then a second pass over the deviations.

    The mean is exact to a rounding or two and lies within the values (a constant has itself as
    mean, and variance 0). The variance is nan for n = 1, and 0 where squared deviations underflow.
    """

def quantiles(values: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear interpolation at h = (n − 1) q (numpy's default, R type 7): numpy's to the bit.

    `q` has shape (k,), any order, each in [0, 1], else ValueError; the result has shape (k,).
    """

def median(values: NDArray[np.float64]) -> float:
    """The quantile at 0.5."""

def mad(values: NDArray[np.float64]) -> float:
    """Median absolute deviation from the median, unscaled."""

def bootstrap_means(
    values: NDArray[np.float64],
    offsets: NDArray[np.int64],
    resamples: int,
    seed: int,
) -> NDArray[np.float64]:
    """Hierarchical bootstrap of the mean: shape (resamples,).

    Group g is values[offsets[g]:offsets[g + 1]]; offsets has shape (groups + 1,), starts at 0, ends
    at n, and no group is empty, else ValueError. Each resample draws groups with replacement, then
    values with replacement within each drawn group (as many as it has), and takes the mean over all
    drawn values. With one group this is the ordinary bootstrap.

    0 ≤ seed < 2⁶⁴ and resamples ≥ 1, else ValueError. Repeatable from `seed` to the bit on every
    platform (xoshiro256** seeded by splitmix64, bounded draws by Lemire's method).
    """
