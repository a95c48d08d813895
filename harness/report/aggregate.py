"""What the reports of a run share: which figures come first, and the differences between arms.

Figures come from the summary, and what may be said of a difference from harness.compare; nothing
here was written beforehand about how a comparison ends. A difference is always candidate −
baseline. The baseline is the arm of that name, else the arm that the spec names first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal

from msgspec import Struct

from harness.schema import (
    ArmSummary,
    Comparison,
    Effect,
    MetricSummary,
    Summary,
)
from harness.statistics import GROUPS_MIN

__all__ = [
    "TRIALS_FOR_WORDS",
    "Delta",
    "Pair",
    "deltas",
    "durations",
    "headlines",
    "label",
    "metric",
]

TRIALS_FOR_WORDS: Final = GROUPS_MIN
"""Launches per arm below which a difference gets no words: there is then no interval, and without
repeated launches none that says anything of the next one."""


POINTS: Final = {"%": 1.0, "share": 100.0}
"""Unit → percentage points in one of it: of these, a difference in % could be read in two ways."""


def durations(summary: Summary) -> dict[str, str]:
    """The durations that a reader should see first, with what to call them. In an open loop they
    run from the due instant: from the instant of sending, a client that falls behind its schedule
    leaves out exactly the waits that it was to measure (coordinated omission)."""
    if summary.load_mode == "open":
        return {
            "ttft_from_due_ms": "TTFT from due",
            "tpot_ms": "TPOT",
            "e2e_from_due_ms": "E2E from due",
        }
    return {"ttft_ms": "TTFT", "tpot_ms": "TPOT", "e2e_ms": "E2E"}


def headlines(summary: Summary) -> tuple[str, ...]:
    """The metrics that get words beside their difference; of what makes no calls, its time and the
    figures of its own that have a better direction; of agents at once, the speed-up before all
    else. A report corrects for their number."""
    ones = [one for arm in summary.arms for one in arm.metrics if one.n]
    gain = ("speedup",) if any(one.name == "speedup" for one in ones) else ()
    first = (*gain, *durations(summary), "throughput_tok_s")
    if not ones or any(one.name in first for one in ones):
        return first
    own = (one.name for one in ones if one.of == "iteration" and one.better != "neither")
    return tuple(dict.fromkeys(own))


def label(arm: ArmSummary, summary: Summary) -> str:
    """The arm's name, with its cell where there is more than one."""
    return f"{arm.arm} / {arm.cell}" if len({a.cell for a in summary.arms}) > 1 else arm.arm


def metric(arm: ArmSummary, name: str) -> MetricSummary | None:
    return next((one for one in arm.metrics if one.name == name), None)


class Delta(Struct, frozen=True, kw_only=True):
    """One metric of two arms: candidate − baseline."""

    metric: str
    unit: str
    better: Literal["lower", "higher", "neither"]
    baseline_n: int
    candidate_n: int
    median: float | None
    """Difference of the medians, in `difference_unit`."""
    mean: float | None
    """The same of the means: where the two were compared, that of `effect`, with which words and
    interval agree."""
    mean_of: Literal["trials", "values"]
    """Each trial's mean once (`effect`), or all values together, as in the summary. They differ
    where trials have unequally many."""
    difference_unit: str
    """`unit`; percentage points where the metric is itself a percentage or a share."""
    median_percent: float | None
    """`median` relative to the baseline's median, in %. None for percentages and shares, and where
    the baseline is 0 or negative."""
    mean_percent: float | None
    favours: Literal["baseline", "candidate"] | None
    """By the sign of `mean` and what is better: which way it points, not whether it is real."""
    reading: str
    """What the data allow to say; empty for metrics that were not compared in words."""
    effect: Effect | None = None
    """What that rests on."""


class Pair(Struct, frozen=True, kw_only=True):
    """Two arms of the same cell."""

    baseline: ArmSummary
    candidate: ArmSummary
    deltas: tuple[Delta, ...]


def deltas(summary: Summary, comparisons: Iterable[Comparison] = ()) -> list[Pair]:
    """Every other arm against the baseline, cell by cell; metrics that both have a value of.

    comparisons   of the same run (harness.compare.compare_arms): without them there are no words
    """
    from harness.compare.sides import pair_keys

    arms = {(arm.arm, arm.cell): arm for arm in summary.arms}
    known = {(one.candidate.arm, one.candidate.cell): one for one in comparisons}
    return [
        Pair(
            baseline=arms[a],
            candidate=arms[b],
            deltas=tuple(_deltas(arms[a], arms[b], known.get(b))),
        )
        for a, b in pair_keys(list(arms))
    ]


def _deltas(
    baseline: ArmSummary, candidate: ArmSummary, comparison: Comparison | None
) -> Iterator[Delta]:
    effects = {one.metric: one for one in comparison.effects} if comparison else {}
    for one in baseline.metrics:
        other = metric(candidate, one.name)
        if other is None or one.mean is None or other.mean is None or one.unit != other.unit:
            continue
        points = POINTS.get(one.unit)
        effect = effects.get(one.name)
        mean, base = other.mean - one.mean, one.mean
        if effect is not None and effect.difference is not None:
            mean, base = effect.difference, effect.baseline_mean or 0.0
        median = _minus(other.median, one.median)
        yield Delta(
            metric=one.name,
            unit=one.unit,
            better=one.better,
            baseline_n=one.n,
            candidate_n=other.n,
            median=median if median is None or points is None else median * points,
            mean=mean if points is None else mean * points,
            mean_of="values" if effect is None or effect.difference is None else "trials",
            difference_unit=one.unit if points is None else "percentage points",
            median_percent=None if points else _percent_of(median, one.median),
            mean_percent=None if points else _percent_of(mean, base),
            favours=_favours(mean, one.better),
            reading=effect.sentence if effect else "",
            effect=effect,
        )


def _favours(
    difference: float, better: Literal["lower", "higher", "neither"]
) -> Literal["baseline", "candidate"] | None:
    if better == "neither" or difference == 0:
        return None
    return "candidate" if (difference > 0) == (better == "higher") else "baseline"


def _minus(candidate: float | None, baseline: float | None) -> float | None:
    return None if candidate is None or baseline is None else candidate - baseline


def _percent_of(difference: float | None, baseline: float | None) -> float | None:
    if difference is None or baseline is None or baseline <= 0:
        return None
    return difference / baseline * 100
