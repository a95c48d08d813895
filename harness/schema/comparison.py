"""What two configurations differ in: conditions, effects, a verdict for each metric, and a gate.

Everything in it is derived from two sets of records; a difference is always candidate − baseline.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from msgspec import Struct

__all__ = ["Comparison", "Condition", "Effect", "GateResult", "Side", "Words"]

Words: TypeAlias = Literal[
    "better", "worse", "changed", "equivalent", "no difference shown", "not enough data"
]
"""`changed`: there is a difference, of a metric of which neither direction is better."""


class Side(Struct, frozen=True, kw_only=True):
    """One of the two: an arm and cell of a run."""

    run_id: str
    run: str
    """The run folder's name, or the run's name where it has no folder."""
    arm: str
    cell: str
    label: str
    """Short, and different from that of the other side."""
    trials: int
    calls: int
    started: str


class Condition(Struct, frozen=True, kw_only=True):
    """A recorded condition under which the two sides differ."""

    name: str
    """Dotted path into manifest, environment or effective configuration."""
    baseline: Any
    candidate: Any
    weight: Literal["forbids", "doubtful", "intended", "note"]
    """`forbids`: the figures are not of the same thing. `intended`: the spec says that the arms
    differ in this."""
    why: str


class Effect(Struct, frozen=True, kw_only=True):
    """One metric: how the candidate differs from the baseline. Shares are of the baseline's
    figure: 0.07 is 7 % more. What the data cannot carry is None."""

    metric: str
    unit: str
    better: Literal["lower", "higher", "neither"]
    words: Words
    sentence: str
    """The verdict in full: `faster by 7.0 % (95 % interval 4.1 to 9.8), 6 trials each`."""
    n: tuple[int, int]
    """Trials of the baseline and of the candidate: the unit of analysis."""
    values: tuple[int, int]
    """Values within them."""
    paired: bool
    baseline_mean: float | None = None
    candidate_mean: float | None = None
    baseline_median: float | None = None
    candidate_median: float | None = None
    difference: float | None = None
    """Of the means, in `unit`."""
    difference_low: float | None = None
    difference_high: float | None = None
    share: float | None = None
    """`difference` / the baseline's mean, with its interval."""
    share_low: float | None = None
    share_high: float | None = None
    level: float = 0.95
    p_welch: float | None = None
    """Of trial means; a paired t test where blocks pair."""
    p_rank: float | None = None
    """Mann–Whitney, or Wilcoxon's signed ranks where blocks pair."""
    p_holm: float | None = None
    """`p_welch`, corrected for the family of metrics that were tested together."""
    shift: float | None = None
    """Hodges–Lehmann, of trial means."""
    cliffs_delta: float | None = None
    p_mcnemar: float | None = None
    """Of a figure that is 0 or 1, where both sides answered the same questions; it then takes the
    place of `p_welch` in `p_holm`."""
    margin: float | None = None
    """Share within which the two count as equal, stated before (TOST) …"""
    margin_absolute: bool = False
    """… or an amount, in `unit`."""
    p_equivalent: float | None = None
    more_trials: int | None = None
    """How many more each side would need; None: enough, or it cannot be said."""
    because: str = ""
    """Of "not enough data" that no further trial would mend: why nothing is inferred."""


class GateResult(Struct, frozen=True, kw_only=True):
    """One gated metric. The worst of them decides the exit status."""

    metric: str
    margin: float
    """Largest loss that is allowed: a share, unless `absolute`."""
    absolute: bool
    statistic: Literal["mean", "median", "p95", "p99"] = "mean"
    """What each trial's values are taken together to."""
    status: Literal["no regression", "regression", "not enough data", "not comparable"]
    sentence: str
    loss: float | None = None
    loss_low: float | None = None
    """One-sided lower bound of the loss. Above 0, with `loss` at the margin or beyond, it is a
    regression (harness.statistics.gate)."""
    loss_high: float | None = None
    more_trials: int | None = None


class Comparison(Struct, frozen=True, kw_only=True):
    """Two sides, whole."""

    baseline: Side
    candidate: Side
    comparable: bool
    conditions: tuple[Condition, ...]
    """Every recorded condition that differs, the weightiest first."""
    effects: tuple[Effect, ...]
    gates: tuple[GateResult, ...] = ()
    simulated: bool = False
    made_up: tuple[str, ...] = ()
    """Metrics whose figures were not measured, on either side, although the servers were real:
    nothing is said of them."""
    random_weights: bool = False
