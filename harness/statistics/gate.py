"""Has it become worse? The decision behind `harness compare --gate METRIC=MARGIN`.

The margin δ, stated before, is the loss that one would act on, such as 5 % of the baseline. With W
the true loss (how much worse the candidate is; negative: better), estimated by w with bounds at one
trial per figure, independent or in blocks:

    regression        the lower bound is above 0, and w ≥ δ
    no regression     the upper bound is below δ
    not enough data   neither: there is no telling 0 from δ yet; so many more trials would

Two errors, each held at a level of its own, for one look at the data:

    false alarm    P(regression | W ≤ 0) ≤ alpha = 1 %. Low because a gate is asked at each change:
                   50 at 5 % would give an alarm without cause in 92 of 100 cases. Where the arms
                   are measured well (the bound is far less than δ) it is much rarer still, as then
                   w ≥ δ is what does not happen.
    missed loss    P(no regression | W ≥ δ) ≤ miss = 5 %: non-inferiority, not a failure to see a
                   difference, so that few or noisy trials never pass.

Between them, 0 < W < δ, either answer is right: there is a loss, and it is smaller than what one
would act on. With many trials the answer then is "no regression"; with few it is seldom
"regression", up to every second time as W nears δ. That w and not the lower bound must exceed δ is
a choice: the bound would need the data of a loss of 2 δ to show one of δ, and the loss is real
(above 0) in either case.

Who adds trials until an answer comes looks several times: `looks` divides both levels by the
number of looks that were planned (Bonferroni).

The bounds are Student's for the mean of trial figures: Welch's, or of blocks; relative ones are
Fieller's (contrasts.py). The mean over trials is the estimate, also where each figure is a median.
Both levels hold for skewed figures only because equally many of either arm cancel out; where the
numbers differ, the degrees of freedom are those of the fewer.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from harness.statistics.contrasts import (
    Moments,
    at_least,
    difference_bounds,
    moments,
    ratio_bounds,
)
from harness.statistics.intervals import GROUPS_MIN
from harness.statistics.power import trials_needed
from harness.statistics.trials import finite

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = ["GATE_ALPHA", "GATE_MISS", "GATE_POWER", "GateDecision", "Losses", "gate", "losses"]

GATE_ALPHA: Final = 0.01
GATE_MISS: Final = 0.05
GATE_POWER: Final = 0.8
"""Chance of an answer that the number of further trials is reckoned for."""

Verdict = Literal["regression", "no regression", "not enough data"]


class GateDecision(Struct, frozen=True, kw_only=True):
    """What was decided and from what. Losses are shares of the baseline if `relative`, else in the
    unit of the figures; positive is worse. None: not known."""

    verdict: Verdict
    margin: float
    relative: bool
    paired: bool
    n: tuple[int, int]
    """Trials of baseline and candidate."""
    alpha: float
    miss: float
    """The levels that were used: those asked for over `looks`."""
    baseline: float | None = None
    candidate: float | None = None
    """Means of the trial figures."""
    loss: float | None = None
    loss_low: float | None = None
    """Below it with probability `alpha` …"""
    loss_high: float | None = None
    """… and above this with probability `miss`."""
    more_trials: int | None = None
    """Of "not enough data": further trials per arm (or blocks) that would bring an answer in 4 of 5
    cases, if these showed the variance rightly; None if it cannot be reckoned."""
    because: str | None = None
    """Of "not enough data": why."""


class Losses(NamedTuple):
    """Estimate and bounds of the loss; shape of the figures without their last axis."""

    loss: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def gate(
    baseline: ArrayLike,
    candidate: ArrayLike,
    *,
    margin: float,
    better: Literal["lower", "higher"],
    relative: bool = True,
    paired: bool = False,
    alpha: float = GATE_ALPHA,
    miss: float = GATE_MISS,
    looks: int = 1,
    floors: tuple[float, float] | None = None,
) -> GateDecision:
    """Decide from one figure per trial, shapes (n,) and (m,).

    margin    > 0: the share of the baseline (relative), or the amount, that counts as a loss
    better    which direction of the metric is the better one
    paired    the i-th figures of both arms are of the same block; n = m then
    looks     how often the data will be looked at in all, this time included
    floors    least squared standard errors of the two means, where more is known of them than
              their scatter: that of chance, for shares

    Below 5 trials an arm there is no decision. ValueError for a margin, level or number of looks
    that is none, and for blocks that do not pair.
    """
    _check(margin, alpha, miss, looks)
    a, b = finite(baseline), finite(candidate)
    if paired and a.size != b.size:
        raise ValueError(f"{a.size} blocks of the baseline are paired with {b.size}")
    found = GateDecision(
        verdict="not enough data",
        margin=margin,
        relative=relative,
        paired=paired,
        n=(int(a.size), int(b.size)),
        alpha=alpha / looks,
        miss=miss / looks,
    )
    fewest = min(found.n)
    few = f"fewer than {GROUPS_MIN} trials an arm" if fewest < GROUPS_MIN else None
    if fewest < 2:
        return replace(found, because=few, more_trials=GROUPS_MIN - fewest)
    of = at_least(moments(a, b, paired=paired), floors)
    found = replace(found, baseline=float(of.baseline), candidate=float(of.candidate))
    loss, low, high = (
        float(figure)
        for figure in losses(
            of, better=better, relative=relative, alpha=found.alpha, miss=found.miss
        )
    )
    if math.isnan(low) or math.isnan(high):
        if few is not None:
            return replace(found, because=few, more_trials=GROUPS_MIN - fewest)
        return replace(found, because="the baseline is not clearly above 0, so it has no shares")
    found = replace(found, loss=loss, loss_low=low, loss_high=high)
    more = _more(of, found)
    if few is not None:
        more = None if more is None else max(GROUPS_MIN - fewest, more)
        return replace(found, because=few, more_trials=more)
    if low > 0 and loss >= margin:
        return replace(found, verdict="regression")
    if high < margin:
        return replace(found, verdict="no regression")
    because = "a loss of the margin is neither shown nor excluded"
    return replace(found, because=because, more_trials=more)


def losses(
    of: Moments, *, better: Literal["lower", "higher"], relative: bool, alpha: float, miss: float
) -> Losses:
    """The loss, its lower bound at `alpha` and its upper bound at `miss`; NaN where the baseline
    is not clearly above 0."""
    import numpy as np

    bounds = ratio_bounds if relative else difference_bounds
    with np.errstate(divide="ignore", invalid="ignore"):
        point = of.candidate / of.baseline - 1 if relative else of.candidate - of.baseline
    one = 1.0 if relative else 0.0
    if better == "lower":
        low, high = bounds(of, alpha, miss, careful=True)
        return Losses(point, low - one, high - one)
    low, high = bounds(of, miss, alpha, careful=True)
    return Losses(-point, one - high, one - low)


def _more(of: Moments, found: GateDecision) -> int | None:
    """Further trials per arm until an answer is likely.

    What must be told apart are a loss of 0 and one of δ, so first the number for a distance of δ.
    Where there are as many already, the truth seems to lie between, and the upper bound must come
    below δ from the observed loss; no nearer than δ / 4, because that loss is uncertain itself.
    """
    n, m = of.trials
    va, vb = float(of.var_baseline) * n, float(of.var_candidate) * m
    scale = float(of.baseline) if found.relative else 1.0
    sd = math.sqrt(max(0.0, va + vb - 2 * float(of.covariance) * n)) / scale
    both = va * va + vb * vb
    per_trial = (va + vb) ** 2 / both if both > 0 and not of.paired else 1.0
    loss, margin = found.loss or 0.0, found.margin
    shown = loss >= margin
    for distance in (margin, margin if shown else max(margin - max(loss, 0.0), margin / 4)):
        needed = trials_needed(
            distance,
            sd,
            alpha=found.alpha if shown else found.miss,
            power=GATE_POWER,
            df_per_trial=per_trial,
        )
        if needed is None or needed > min(n, m):
            return None if needed is None else needed - min(n, m)
    return 1


def _check(margin: float, alpha: float, miss: float, looks: int) -> None:
    if not (margin > 0 and math.isfinite(margin)):
        raise ValueError(f"a margin is a number above 0, not {margin}")
    for name, level in (("alpha", alpha), ("miss", miss)):
        if not 0.0 < level < 0.5:
            raise ValueError(f"{name} must lie between 0 and 0.5, not {level}")
    if looks < 1:
        raise ValueError(f"looks are 1 or more, not {looks}")
