"""Did a factor of a sweep have an effect at all, whatever the others were?

Cells that agree in every other factor are a stratum. If the factor does nothing, its levels are
mere labels there, and trials may be shuffled among the cells of a stratum. The statistic is the
range of the level means (each relative to its stratum's mean, so that the other factors drop out);
its p-value is the share of shuffles with a range as large. Strata in which the factor has one level
say nothing and are left out.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Factor", "factors"]

SHUFFLES: Final = 1999
VALUES_MIN: Final = 6
"""Trials in all; of fewer, no order is rare enough to be shown."""


class Factor(Struct, frozen=True, kw_only=True):
    """One axis of a sweep, and what it does to a metric."""

    name: str
    levels: dict[str, float]
    """Level → mean of the metric over the strata that have it."""
    n: int
    """Trials that tell."""
    spread_share: float | None
    """(highest − lowest level mean) / mean of all."""
    p_value: float | None
    """None: too few trials, or nothing else to compare within."""
    p_holm: float | None = None
    """Corrected for all factors."""


Key = tuple[str, str]


def factors(
    cells: Mapping[Key, Mapping[str, Any]],
    figures: Mapping[Key, Sequence[float]],
    *,
    seed: int = 0,
) -> tuple[Factor, ...]:
    """Every factor that has several levels.

    cells    (arm, cell) → factor → level; what lacks a factor is no part of its comparison
    figures  (arm, cell) → one figure per trial
    """
    from msgspec.structs import replace

    from harness.statistics import holm

    names = dict.fromkeys(name for values in cells.values() for name in values)
    found = [one for name in names if (one := _factor(name, cells, figures, seed)) is not None]
    adjusted = holm([one.p_value for one in found])
    return tuple(replace(one, p_holm=p) for one, p in zip(found, adjusted, strict=True))


def _factor(
    name: str,
    cells: Mapping[Key, Mapping[str, Any]],
    figures: Mapping[Key, Sequence[float]],
    seed: int,
) -> Factor | None:
    import numpy as np

    strata: dict[bytes, list[tuple[str, float]]] = defaultdict(list)
    for key, values in cells.items():
        if name in values:
            rest = {other: level for other, level in values.items() if other != name}
            stratum = msgspec.json.encode([key[0], rest], order="sorted")
            level = _label(values[name])
            strata[stratum] += [(level, float(x)) for x in figures.get(key, ())]
    telling = [rows for rows in strata.values() if len({level for level, _ in rows}) > 1]
    if not telling:
        return None
    levels = list(dict.fromkeys(level for rows in telling for level, _ in rows))
    codes = np.array([levels.index(level) for rows in telling for level, _ in rows])
    stratum_of = np.array([at for at, rows in enumerate(telling) for _ in rows])
    values_of = np.array([value for rows in telling for _, value in rows])
    means = {level: float(values_of[codes == at].mean()) for at, level in enumerate(levels)}
    whole = float(values_of.mean())
    spread = _ranges(_centred(values_of, stratum_of)[np.newaxis], codes, len(levels))[0]
    enough = len(values_of) >= VALUES_MIN
    return Factor(
        name=name,
        levels=means,
        n=len(values_of),
        spread_share=float(spread / whole) if whole > 0 else None,
        p_value=_p_value(values_of, stratum_of, codes, len(levels), seed) if enough else None,
    )


def _label(level: Any) -> str:
    """Settings went through 32 bits in some programs: 0.6000000238418579 is 0.6."""
    return f"{level:.6g}" if isinstance(level, float) else str(level)


def _centred(values: NDArray[np.float64], strata: NDArray[np.int64]) -> NDArray[np.float64]:
    import numpy as np

    sums = np.bincount(strata, weights=values)
    return np.asarray(values - (sums / np.bincount(strata))[strata])


def _ranges(
    rows: NDArray[np.float64], codes: NDArray[np.int64], levels: int
) -> NDArray[np.float64]:
    """Range of the level means of each row."""
    import numpy as np

    means = np.stack([rows[:, codes == level].mean(axis=1) for level in range(levels)])
    return np.asarray(means.max(axis=0) - means.min(axis=0))


def _p_value(
    values: NDArray[np.float64],
    strata: NDArray[np.int64],
    codes: NDArray[np.int64],
    levels: int,
    seed: int,
) -> float:
    import numpy as np

    rng = np.random.default_rng(seed % 2**64)
    centred = _centred(values, strata)
    shuffled = np.broadcast_to(centred, (SHUFFLES, len(centred))).copy()
    for stratum in range(int(strata.max()) + 1):
        mine = np.flatnonzero(strata == stratum)
        shuffled[:, mine] = rng.permuted(shuffled[:, mine], axis=1)
    best = float(_ranges(centred[np.newaxis], codes, levels)[0])
    others = _ranges(shuffled, codes, levels)
    slack = best * 1e-9 + math.ulp(float(np.abs(values).max())) * len(values)
    return float((1 + np.count_nonzero(others >= best - slack)) / (SHUFFLES + 1))
