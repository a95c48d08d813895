"""How far successive values resemble one another, and what that leaves of their number.

Latencies of successive calls share a queue and a cache, so a hundred of them may say no more than
ten independent ones. A first-order autoregression describes this well enough to be careful with:
with lag-1 correlation ρ the variance of a mean is (1 + ρ)/(1 − ρ) times what independence gives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = ["RHO_MAX", "lag1", "n_eff"]

RHO_MAX: Final = 0.98
"""Beyond this no series of usual length can tell ρ from 1; the variance factor is then 99."""


def lag1(residuals: NDArray[np.float64], parameters: int = 1) -> NDArray[np.float64]:
    """Lag-1 autocorrelation along the last axis of residuals of shape (…, n), between 0 and
    `RHO_MAX`; 0 where all residuals are 0.

    The plain estimate is too low, by (1 + 3ρ)/n after taking off a mean and by (2 + 4ρ)/n after a
    line or a step (Marriott & Pope 1954): `parameters` is how many were fitted, 1 or 2, and what is
    missing is added. Negative correlation is taken for none, which errs on the careful side.
    """
    import numpy as np

    n = residuals.shape[-1]
    power = np.square(residuals).sum(axis=-1)
    product = (residuals[..., 1:] * residuals[..., :-1]).sum(axis=-1)
    plain = np.divide(product, power, out=np.zeros_like(power), where=power > 0)
    corrected = plain + (parameters + (parameters + 2) * np.maximum(plain, 0.0)) / n
    return np.asarray(np.where(power > 0, np.clip(corrected, 0.0, RHO_MAX), 0.0))


def n_eff(values: ArrayLike) -> float:
    """How many independent values would fix the mean of these n (shape (n,)) as well:
    n (1 − ρ)/(1 + ρ). Between n / 99 and n; n itself for fewer than 4 values."""
    import numpy as np

    row = np.asarray(values, dtype=np.float64)
    if row.size < 4:
        return float(row.size)
    rho = float(lag1(row - row.mean()))
    return float(row.size * (1.0 - rho) / (1.0 + rho))
