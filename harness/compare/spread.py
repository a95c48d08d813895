"""Where the trials' own scatter understates the error of a mean: shares, and figures without any.

Five trials of which every request was good scatter by nothing; that the next would be so too does
not follow. A figure that is a share of yes-or-no answers (goodput, a bound of the SLO, right or
wrong) has at least the error that chance gives to so many independent ones, with one good and one
bad answer more than were counted, or all of them good would have none (Agresti & Caffo 2000). As
in the summary, whichever is larger counts. `python benchmarks/shares.py` prints what that does.

A count that is the same in every trial is that: tokens asked for, chunks made. A time or a rate
never is. If all trials of both sides have the very same figure, and the sides differ, then it was
copied, rounded, or not measured, and nothing is inferred from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from harness.compare.measured import Measured
from harness.metrics import CONCURRENCY_METRICS, ENERGY_METRICS, ITERATION_METRICS
from harness.metrics.concurrency import SIGNALS, SLOWDOWN
from harness.statistics import GROUPS_MIN

__all__ = ["NO_SPREAD", "answers_of", "chance_variance", "is_answer", "without_spread"]

OURS: Final = frozenset(
    one.name for of in (ITERATION_METRICS, ENERGY_METRICS, CONCURRENCY_METRICS) for one in of
) - {*SIGNALS}
"""Figures of many requests, none of which is an answer, though a share of them may be 0 or 1."""
TIMES: Final = ("ns", "us", "µs", "ms", "s")
ROUNDING: Final = 1e-12
"""Relative: figures that differ by less are the same in float64."""
NO_SPREAD: Final = (
    "all trials of a side have the very same figure, which times and rates never have (copied, "
    "rounded, or not measured?)"
)


def is_answer(of: Measured, name: str) -> bool:
    """Whether it is 0 or 1 in each iteration: right or wrong."""
    series = of.series.get(name)
    if series is None or series.of != "iteration":
        return False
    if name in OURS or name.startswith(("slo.", "span.", SLOWDOWN)):
        return False
    return bool(series.values) and {*series.values} <= {0.0, 1.0}


def answers_of(of: Measured, name: str) -> Mapping[int, int] | None:
    """Block → the yes-or-no answers that its trial's figure is a share of; None where it is no such
    share."""
    if name == "goodput_share" or (name.startswith("slo.") and name.endswith("_share")):
        return of.requests
    if is_answer(of, name):
        return {block: len(values) for block, values in of.by_block(name).items()}
    return None


def chance_variance(figures: Mapping[int, float], answers: Mapping[int, int] | None) -> float:
    """Least squared standard error of the mean of these trials' shares, by block; 0 where they are
    no shares."""
    counts = [answers[block] for block in figures if answers.get(block)] if answers else []
    if not counts or len(counts) < len(figures):
        return 0.0
    n = len(counts) ** 2 / sum(1 / count for count in counts)  # as many as equal trials would have
    share = (sum(figures.values()) / len(figures) * n + 1) / (n + 2)
    return max(0.0, share * (1 - share) / n)


def without_spread(unit: str, one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether the sides differ in a time or a rate that has no spread in either."""
    if unit not in TIMES and not unit.endswith("/s"):
        return False
    if min(len(one), len(other)) < GROUPS_MIN:
        return False
    bound = ROUNDING * max(abs(x) for side in (one, other) for x in side)
    flat = all(max(side) - min(side) <= bound for side in (one, other))
    return flat and abs(one[0] - other[0]) > bound
