"""To which session of a run a trial belongs.

A run that was taken up again was recorded by several processes, perhaps with a reboot in between:
instants of one session say nothing about those of another. Trials never straddle two, because one
that was cut short runs again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.schema import SessionRecord

__all__ = ["session_of"]


def session_of(sessions: Sequence[SessionRecord]) -> Callable[[int], int]:
    """trial → 0 for what was recorded when the run was started, n for its n-th resumption: the last
    that found the trial not standing."""
    standing = [frozenset(session.stands) for session in sessions]

    def of(trial: int) -> int:
        for number in range(len(standing), 0, -1):
            if trial not in standing[number - 1]:
                return number
        return 0

    return of
