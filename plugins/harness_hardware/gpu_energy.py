"""Energy of one window, from a counter that steps: how much, and within which bound.

The counter shows E(u), the energy until its last step u, and we read it at t0 and t1, each up to
one step late. The true energy is therefore

    E(t1) - E(t0) = (shown at t1 - shown at t0) + (not yet shown at t1) - (not yet shown at t0)

and what was not yet shown comes with the next step. So the first step after t0 bounds the one
remainder, the first step after t1 the other, whatever the load did and whatever the period is; for
a steady load their sum is 2 x (update period x power). It is what the harness states. What the
sensor behind the counter does not see is in no bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median
from typing import Final

from msgspec import Struct

__all__ = [
    "Counted",
    "Look",
    "Period",
    "counted",
    "idle_mw",
    "integrated_mj",
    "period_of",
]

ROUNDING_MJ: Final = 2
"""The counter is in whole mJ: each of the two readings may lack one."""
CHANGES_MIN: Final = 4
"""Steps that a period is the median distance of."""
RESET: Final = "the energy counter began anew (was the driver loaded again?)"


class Look(Struct, frozen=True):
    """The counter at one time; None: it was not told."""

    at_ns: int
    energy_mj: int | None


class Counted(Struct, frozen=True, kw_only=True):
    """Of one device. None: unknown, and `reason` says why."""

    energy_mj: int | None = None
    bound_mj: int | None = None
    reason: str = ""


class Period(Struct, frozen=True, kw_only=True):
    """How often the counter steps."""

    median_ns: float
    longest_ns: float
    steps: int
    """That it was found from."""


def counted(begun: Look, within: Iterable[Look], ended: Look, after: Look) -> Counted:
    """`within`: looks while the window lasted, in order, unknown ones among them. `after`: the
    first look after the end at which the counter had moved, or one that is more than an update
    period later."""
    first, last = begun.energy_mj, ended.energy_mj
    if first is None or last is None or after.energy_mj is None:
        return Counted(reason="the counter did not answer")
    known = [one.energy_mj for one in within if one.energy_mj is not None]
    values = [first, *known, last, after.energy_mj]
    if any(late < early for early, late in pairwise(values)):
        return Counted(reason=RESET)
    moved = next((value for value in values if value > first), None)
    if moved is None or last == first:
        return Counted(reason="the energy counter did not move")
    bound_mj = (moved - first) + (after.energy_mj - last) + ROUNDING_MJ
    return Counted(energy_mj=last - first, bound_mj=bound_mj)


def period_of(looks: Sequence[Look]) -> Period | None:
    """By looks that are far closer than the steps. None with too few steps, or after a reset."""
    at_ns = _steps(looks)
    if len(at_ns) < CHANGES_MIN:
        return None
    gaps = [float(late - early) for early, late in pairwise(at_ns)]
    return Period(median_ns=median(gaps), longest_ns=max(gaps), steps=len(at_ns))


def idle_mw(looks: Sequence[Look]) -> float | None:
    """Mean power from the first step that was seen to the last: between two steps nothing is
    quantised but the instants."""
    at_ns = _steps(looks)
    if len(at_ns) < CHANGES_MIN:
        return None
    known = {one.at_ns: one.energy_mj for one in looks if one.energy_mj is not None}
    return (known[at_ns[-1]] - known[at_ns[0]]) * 1e9 / (at_ns[-1] - at_ns[0])


def integrated_mj(samples: Sequence[tuple[int, float]], start_ns: int, end_ns: int) -> float | None:
    """Power samples (ns, mW) by the trapezoidal rule. Before the first and after the last, their
    value; None without two of them."""
    if len(samples) < 2 or end_ns <= start_ns:
        return None
    points = [(start_ns, samples[0][1]), *samples, (end_ns, samples[-1][1])]
    total = 0.0
    for (early_ns, one), (late_ns, other) in pairwise(points):
        total += max(0, late_ns - early_ns) * (one + other) / 2
    return total / 1e9


def _steps(looks: Sequence[Look]) -> list[int]:
    """When it was seen to have moved. Empty after a reset."""
    known = [one for one in looks if one.energy_mj is not None]
    found = []
    for early, late in pairwise(known):
        assert early.energy_mj is not None and late.energy_mj is not None
        if late.energy_mj < early.energy_mj:
            return []
        if late.energy_mj > early.energy_mj:
            found.append(late.at_ns)
    return found
