"""From values to trials: the unit that comparisons count.

Values of one launch share its process, its memory layout, its place on the GPU, the hour. Compared
value by value, two launches of the same code differ "significantly" most of the time (how often, is
printed by `benchmarks/comparisons.py`). So everything that compares arms takes either an arm as its
trials, each an array of values (`by_trial`), or one figure for each of them (`trial_figures`).
Arms that ran in blocks, one trial of each arm per block, are paired by `in_blocks`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Of", "by_trial", "finite", "in_blocks", "trial_figures"]

Of = Literal["mean", "median"]
T = TypeVar("T")


def by_trial(values: ArrayLike, trials: Sequence[Hashable]) -> dict[Hashable, NDArray[np.float64]]:
    """Values of shape (n,), one label each → label → its values, labels in order of appearance.

    ValueError if there are not n labels.
    """
    import numpy as np

    row = finite(values)
    if row.size != len(trials):
        raise ValueError(f"{row.size} values have {len(trials)} trial labels")
    places: dict[Hashable, list[int]] = {}
    for place, label in enumerate(trials):
        places.setdefault(label, []).append(place)
    return {label: row[np.array(where)] for label, where in places.items()}


def trial_figures(
    values: ArrayLike, trials: Sequence[Hashable], *, of: Of = "median"
) -> dict[Hashable, float]:
    """Label → the median or mean of that trial's values."""
    from harness._native import kernels

    found = by_trial(values, trials)
    if of == "median":
        return {label: kernels.median(row) for label, row in found.items()}
    return {label: kernels.mean_variance(row)[0] for label, row in found.items()}


def in_blocks(
    baseline: Mapping[Hashable, T], candidate: Mapping[Hashable, T]
) -> tuple[list[T], list[T]]:
    """What both arms have for the same block, in the baseline's order; the rest is left out."""
    both = [label for label in baseline if label in candidate]
    return [baseline[label] for label in both], [candidate[label] for label in both]


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
