"""Which trial is next: the plan's order, as far as rules of the spec do not cut it short.

A schedule sees every record, those of earlier sessions first, and decides from these alone: a run
that is killed and resumed takes the same decisions as one that was never disturbed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from harness.engine.plan import Plan, PlannedTrial
from harness.schema import Record, TrialRecord

__all__ = ["InOrder", "Schedule", "make_schedule"]


class Schedule(Protocol):
    """Asked by `run` whenever a place for a trial is free."""

    def see(self, record: Record) -> None:
        """A record was made, or was there when the run was resumed."""

    def next(self) -> PlannedTrial | None:
        """The trial to start now. None: none, until trials that are under way have ended; or, if
        there are none under way, the run is over."""

    def skipped(self) -> Iterable[tuple[PlannedTrial, str]]:
        """Trials that have become unnecessary since the last call, and why: each is recorded."""


class InOrder:
    """Every trial of the plan that has not ended yet."""

    def __init__(self, plan: Plan) -> None:
        self._left = {planned.trial: planned for planned in plan.trials}

    def see(self, record: Record) -> None:
        if isinstance(record, TrialRecord):
            self._left.pop(record.trial, None)

    def next(self) -> PlannedTrial | None:
        for number in self._left:
            return self._left.pop(number)
        return None

    def skipped(self) -> Iterable[tuple[PlannedTrial, str]]:
        return ()


def make_schedule(plan: Plan) -> Schedule:
    return InOrder(plan)
