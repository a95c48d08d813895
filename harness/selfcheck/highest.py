"""The search for the highest rate that is held."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from harness.selfcheck.found import Highest, Step

__all__ = ["search"]


def search(
    attempt: Callable[[float], tuple[str, ...]],
    rates: Iterable[float],
    *,
    known: Iterable[Step] = (),
    bisect: bool = False,
    ratio: float = 1.1,
) -> Highest:
    """Upwards through `rates` until one slips; then, with `bisect`, between the last that was held
    and that one until they are within `ratio` of each other.

    `attempt` says why a rate was not held (empty: it was). A slip is tried again once, as another
    program's turn is not our limit. `known` are tries made before, lower than all `rates`; if the
    last of them slipped, nothing above is tried.
    """
    steps = list(known)

    def held(per_s: float) -> bool:
        slipped = attempt(per_s) and attempt(per_s)
        steps.append(Step(per_s=per_s, held=not slipped, slipped=slipped))
        return not slipped

    low = max((step.per_s for step in steps if step.held), default=None)
    high = min((s.per_s for s in steps if not s.held and s.per_s > (low or 0.0)), default=None)
    for per_s in rates if high is None else ():
        if not held(per_s):
            high = per_s
            break
        low = per_s
    while bisect and low is not None and high is not None and high > ratio * low:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if held(middle) else (low, middle)
    return Highest(per_s=low, more=low is not None and high is None, steps=tuple(steps))
