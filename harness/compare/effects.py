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
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from harness.compare.measured import Measured, Unit
from harness.metrics import ITERATION_METRICS, Series
from harness.schema import Effect
from harness.statistics import (
    GROUPS_MIN,
    cliffs_delta,
    hodges_lehmann,
    mann_whitney,
    mcnemar,
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

__all__ = ["RESOLUTION", "Margin", "effect_of", "trial_values"]

LEVEL: Final = 0.95
RESOLUTION: Final = 0.05
"""Where no margin was stated: the share for which the number of further trials is reckoned."""
POWER: Final = 0.8
PERCENTAGES: Final = ("%", "share")
"""Units of what is read as a percentage; of `share`, reports make one."""
QUESTIONS_MIN: Final = 6
"""Of fewer, McNemar's p is above 0.05 even if the two disagree on every one: 2 · 0.5⁵."""
OURS: Final = frozenset(one.name for one in ITERATION_METRICS)
"""Figures of many requests, none of which is an answer, though a share of them may be 0 or 1."""

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
        p_mcnemar=_mcnemar(a, b, name),
    )
    if not min(found.n):
        return replace(found, more_trials=GROUPS_MIN - min(found.n))
    found = _described(found, one, other)
    if min(found.n) < 2:
        return replace(found, more_trials=GROUPS_MIN - min(found.n))
    return _inferred(found, _means(one), _means(other), margin)


def _means(trials: ByBlock) -> NDArray[np.float64]:
    import numpy as np

    return np.array([math.fsum(values) / len(values) for values in trials.values()])


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
    found: Effect, a: NDArray[np.float64], b: NDArray[np.float64], margin: Margin | None
) -> Effect:
    """From 2 trials a side: how many more; from 5: intervals and tests."""
    from harness.statistics.contrasts import difference_bounds, moments, ratio_bounds

    of = moments(a, b, paired=found.paired)
    found = replace(found, more_trials=_more(of, found, margin))
    if min(found.n) < GROUPS_MIN:
        return found
    tail = (1 - LEVEL) / 2
    low, high = (float(bound) for bound in difference_bounds(of, tail, tail))
    share_low, share_high = _shares(found, *(float(x) - 1 for x in ratio_bounds(of, tail, tail)))
    test, ranks = (paired_t, wilcoxon) if found.paired else (welch, mann_whitney)
    equal = margin and tost(
        a, b, margin=margin.value, relative=not margin.absolute, paired=found.paired
    )
    return replace(
        found,
        difference_low=low,
        difference_high=high,
        share=found.share if share_low is not None else None,
        share_low=share_low,
        share_high=share_high,
        p_welch=test(a, b).p_value,
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


# ---- right or wrong, question by question


def _mcnemar(a: Measured, b: Measured, name: str) -> float | None:
    """Of a figure of iterations that is 0 or 1, where both sides answered the same questions: the
    same first prompt. Several answers to one become one by majority; a tie is left out. None, and
    trials decide, where the questions are too few to show anything."""
    sides = [_answers(one, name) for one in (a, b)]
    if sides[0] is None or sides[1] is None:
        return None
    both = sorted(question for question in sides[0] if question in sides[1])
    if len(both) < QUESTIONS_MIN:
        return None
    return mcnemar([sides[0][q] for q in both], [sides[1][q] for q in both]).p_value


def _answers(of: Measured, name: str) -> dict[str, bool] | None:
    """Question → right; None where this is no such figure."""
    series = of.series[name]
    if series.of != "iteration" or name in OURS or name.startswith(("slo.", "span.")):
        return None
    if not series.values or not {*series.values} <= {0.0, 1.0}:
        return None
    given: dict[str, list[float]] = defaultdict(list)
    for unit, value in zip(_units(of, series), series.values, strict=True):
        question = of.prompts.first.get(unit)
        if question is not None:
            given[question].append(value)
    return _majority(given)


def _units(of: Measured, series: Series) -> list[Unit]:
    return [(of.blocks[trial], iteration) for trial, iteration in series.places]


def _majority(given: Mapping[str, Sequence[float]]) -> dict[str, bool]:
    shares = {question: sum(answers) / len(answers) for question, answers in given.items()}
    return {question: share > 0.5 for question, share in shares.items() if share != 0.5}
