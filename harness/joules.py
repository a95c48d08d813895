"""How long a window must be for an energy counter to tell its joules. Public: for instruments.

A counter steps: the first and the last step of a window are known to belong to it in part alone.
Where the window is short beside a step, or beside what the sensors behind it take to follow, they
are too great a part of the whole, and there are no joules rather than doubtful ones.
"""

from __future__ import annotations

from typing import Final

__all__ = ["UPDATES_MIN", "WINDOW_MIN_S", "why_too_short"]

WINDOW_MIN_S: Final = 2.0
UPDATES_MIN: Final = 20


def why_too_short(window_s: float, period_s: float | None) -> str:
    """Empty where the window is long enough. `period_s`: between two updates of the counter; None:
    it was not seen to step."""
    needed_s = max(WINDOW_MIN_S, UPDATES_MIN * (period_s or 0.0))
    if window_s < needed_s:
        why = f"a window of {window_s:.3g} s is too short for joules: it takes {needed_s:.3g} s"
        if not period_s:
            return why
        each = f"one each {period_s * 1e3:.3g} ms"
        return (
            f"{why} ({WINDOW_MIN_S:g} s, and {UPDATES_MIN} updates of the energy counter, {each})"
        )
    if period_s is None:
        return "the update period of the energy counter is not known: it stood still at the start"
    return ""
