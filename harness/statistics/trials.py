"""The unit that comparisons count: one figure per trial.

Values of one launch share its process, its memory layout, its place on the GPU, the hour. Compared
value by value, two launches of the same code differ "significantly" most of the time (how often, is
printed by `benchmarks/comparisons.py`). So everything that compares arms takes one figure for each
of their trials: the mean or the median of its values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = ["check_level", "finite"]


def finite(values: ArrayLike) -> NDArray[np.float64]:
    """As float64 of shape (n,); ValueError for another shape, a NaN or an infinity."""
    import numpy as np

    row = np.asarray(values, dtype=np.float64)
    if row.ndim != 1:
        raise ValueError(f"values have shape {row.shape}, not (n,)")
    if not np.isfinite(row).all():
        place = int(np.argmin(np.isfinite(row)))
        raise ValueError(f"value {place} is {row[place]}")
    return row


def check_level(level: float) -> None:
    """ValueError for a level that is none."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
