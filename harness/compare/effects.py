"""One metric of two sides: how large is the difference, between which bounds, and could it be
chance?

A trial counts once, with the mean of its values. Differences have Student's interval for the mean
over trials (Welch's; of blocks, that of the differences within them), shares of the baseline
Fieller's (harness.statistics.contrasts). In `benchmarks/comparisons.py` these cover 94 to 98 % at a
nominal 95 % for every kind of series and 5 or 10 trials; the bootstraps of effects.py cover between
87 and 100 there. And interval and test agree: a difference is significant exactly where its
interval leaves 0 out, which two methods side by side would not give.

Trials of one interleaved run are paired by their blocks: what both arms share in a block (the hour,
a busy neighbour) drops out. Below 5 trials a side nothing is inferred.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from harness.compare.measured import Measured
from harness.compare.questions import p_mcnemar
from harness.compare.spread import (
    NO_SPREAD,
    answers_of,
    chance_variance,
    without_spread,
)
from harness.compare.watermark import MADE_UP
from harness.schema import Effect
from harness.statistics import (
    GROUPS_MIN,
    cliffs_delta,
    hodges_lehmann,
    mann_whitney,
    paired_t,
    tost,
    trials_needed,
    welch,
    wilcoxon,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.statistics.contrasts import Moments

__all__ = ["RESOLUTION", "Margin", "effect_of", "missing_effect", "trial_values", "unranked"]

LEVEL: Final = 0.95
RESOLUTION: Final = 0.05
"""Where no margin was stated: the share for which the number of further trials is reckoned."""
POWER: Final = 0.8
PERCENTAGES: Final = ("%", "share")
"""Units of what is read as a percentage; of `share`, reports make one."""

ByBlock = dict[int, list[float]]


class Margin(Struct, frozen=True, kw_only=True):
    """What was stated before: a share of the baseline, or an amount in the metric's unit."""

    value: float
    absolute: bool = False


def trial_values(one: ByBlock, other: ByBlock, *, paired: bool) -> tuple[ByBlock, ByBlock]:
    """The blocks that count: those that both have, if they are paired."""
    if not paired:
        return one, other
    both = [block for block in one if block in other]
    return {b: one[b] for b in both}, {b: other[b] for b in both}


def effect_of(
    name: str, a: Measured, b: Measured, *, paired: bool, margin: Margin | None = None
) -> Effect:
    """Candidate `b` − baseline `a`, of a metric that both have. Its words are still to be found
    (words.py), once all p-values of the comparison are there."""
    series = b.series[name]
    one, other = trial_values(a.by_block(name), b.by_block(name), paired=paired)
    found = Effect(
        metric=name,
        unit=series.unit,
        better=series.better,
        words="not enough data",
        sentence="",
        n=(len(one), len(other)),
        values=(sum(map(len, one.values())), sum(map(len, other.values()))),
        paired=paired,
        level=LEVEL,
        margin=margin.value if margin else None,
        margin_absolute=bool(margin and margin.absolute),
        p_mcnemar=p_mcnemar(a, b, name),
    )
    if not min(found.n):
        return _without_values(found, a.by_block(name), b.by_block(name))
    found = _described(found, one, other)
    if min(found.n) < 2:
        return replace(found, more_trials=GROUPS_MIN - min(found.n))
    means = _figures(one), _figures(other)
    if without_spread(found.unit, *([*side.values()] for side in means)):
        return replace(found, because=NO_SPREAD)
    return _inferred(found, *means, margin, _floors(name, (a, b), means))


def _without_values(found: Effect, one: ByBlock, other: ByBlock) -> Effect:
    """If one side has the figure, it is the other that lacks it, though no block has both."""
    if bool(one) != bool(other):
        values = (sum(map(len, one.values())), sum(map(len, other.values())))
        found = replace(found, n=(len(one), len(other)), values=values)
    return replace(found, more_trials=GROUPS_MIN - min(found.n))


def unranked(effect: Effect) -> Effect:
    """Of figures that were not measured: both means stand there, and nothing is inferred."""
    return replace(
        effect,
        because=MADE_UP,
        p_welch=None,
        p_rank=None,
        p_mcnemar=None,
        p_equivalent=None,
        more_trials=None,
    )


def missing_effect(name: str, a: Measured, b: Measured, *, paired: bool) -> Effect:
    """Of a metric that one of the two, or both, do not have."""
    series = b.series.get(name) or a.series.get(name)
    counts = [[len(values) for values in side.by_block(name).values()] for side in (a, b)]
    who = "the candidate has" if name in a.series else "the baseline has"
    return Effect(
        metric=name,
        unit=series.unit if series else "",
        better=series.better if series else "neither",
        words="not enough data",
        sentence="",
        n=(len(counts[0]), len(counts[1])),
        values=(sum(counts[0]), sum(counts[1])),
        paired=paired,
        because=f"{who} no such figure" if series else "neither side has such a figure",
    )


def _figures(trials: ByBlock) -> dict[int, float]:
    return {block: math.fsum(values) / len(values) for block, values in trials.items()}


def _means(trials: ByBlock) -> NDArray[np.float64]:
    import numpy as np

    return np.array([*_figures(trials).values()])


def _floors(
    name: str, sides: tuple[Measured, Measured], means: tuple[dict[int, float], ...]
) -> tuple[float, float] | None:
    """What chance alone gives to the two means; None where they are no shares."""
    answers = [answers_of(side, name) for side in sides]
    if None in answers:
        return None
    low, high = (chance_variance(*of) for of in zip(means, answers, strict=True))
    return low, high


def _described(found: Effect, one: ByBlock, other: ByBlock) -> Effect:
    import numpy as np

    a, b = _means(one), _means(other)
    base, difference = float(a.mean()), float(b.mean() - a.mean())
    return replace(
        found,
        baseline_mean=base,
        candidate_mean=float(b.mean()),
        baseline_median=float(np.median(np.concatenate([*map(np.asarray, one.values())]))),
        candidate_median=float(np.median(np.concatenate([*map(np.asarray, other.values())]))),
        difference=difference,
        # A share of a percentage would be taken for percentage points.
        share=difference / base if base > 0 and found.unit not in PERCENTAGES else None,
        shift=hodges_lehmann(a, b, paired=found.paired).point,
        cliffs_delta=cliffs_delta(a, b),
    )


def _inferred(
    found: Effect,
    one: dict[int, float],
    other: dict[int, float],
    margin: Margin | None,
    floors: tuple[float, float] | None,
) -> Effect:
    """From 2 trials a side: how many more; from 5: intervals and tests."""
    import numpy as np

    from harness.statistics.contrasts import at_least, difference_bounds, moments, ratio_bounds

    a, b = np.array([*one.values()]), np.array([*other.values()])
    of = at_least(moments(a, b, paired=found.paired), floors)
    found = replace(found, more_trials=_more(of, found, margin))
    if min(found.n) < GROUPS_MIN:
        return found
    tail = (1 - LEVEL) / 2
    low, high = (float(bound) for bound in difference_bounds(of, tail, tail))
    if floors is not None:  # no two shares differ by more
        low, high = max(low, -1.0), min(high, 1.0)
    share_low, share_high = _shares(found, *(float(x) - 1 for x in ratio_bounds(of, tail, tail)))
    test, ranks = (paired_t, wilcoxon) if found.paired else (welch, mann_whitney)
    equal = margin and tost(
        a,
        b,
        margin=margin.value,
        relative=not margin.absolute,
        paired=found.paired,
        floors=floors,
    )
    return replace(
        found,
        difference_low=low,
        difference_high=high,
        share=found.share if share_low is not None else None,
        share_low=share_low,
        share_high=share_high,
        p_welch=test(a, b, floors=floors).p_value,
        p_rank=ranks(a, b).p_value,
        p_equivalent=equal.p_value if equal else None,
    )


def _more(of: Moments, found: Effect, margin: Margin | None) -> int | None:
    """Further trials a side until a difference of the margin (or 5 %) would be seen in 4 of 5
    cases, if the scatter stays as it is; at least up to 5. Not from the difference that was
    observed: that would ask for ever more trials of arms that do not differ."""
    n, m = of.trials
    lacking = max(0, GROUPS_MIN - min(n, m))
    distance = margin.value if margin else RESOLUTION
    if not (margin and margin.absolute):
        distance *= abs(float(of.baseline))
    va, vb = float(of.var_baseline) * n, float(of.var_candidate) * m
    sd = math.sqrt(max(0.0, va + vb - 2 * float(of.covariance) * n))
    both = va * va + vb * vb
    if distance <= 0:
        return lacking or None
    needed = trials_needed(
        distance,
        sd,
        alpha=(1 - LEVEL) / 2,
        power=POWER,
        df_per_trial=(va + vb) ** 2 / both if both > 0 and not found.paired else 1.0,
    )
    if needed is None:
        return lacking or None
    return max(lacking, needed - min(n, m)) or None


def _shares(found: Effect, low: float, high: float) -> tuple[float | None, float | None]:
    """Both bounds, or neither."""
    known = found.share is not None and math.isfinite(low) and math.isfinite(high)
    return (low, high) if known else (None, None)
