"""Which trial is next: the plan's order, as far as rules of the spec do not cut it short.

A schedule sees every record, those of earlier sessions first, and decides from these alone: a run
that is killed and resumed takes the same decisions as one that was never disturbed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from harness.engine.gathering import Place, ranks
from harness.engine.plan import Plan, PlannedTrial
from harness.engine.search import SearchRule
from harness.engine.stopping import StoppingRule
from harness.schema import Record, RetryRecord, TrialRecord

__all__ = ["Adaptive", "InOrder", "Schedule", "Searching", "make_schedule"]


class Schedule(Protocol):
    """Asked by `run` whenever a place for a trial is free."""

    def see(self, record: Record | RetryRecord) -> None:
        """A record was made, or was there when the run was resumed. RetryRecord: what was seen of
        that trial is void; it begins anew."""

    def next(self) -> PlannedTrial | None:
        """The trial to start now. None: none, until trials that are under way have ended; or, if
        there are none under way, the run is over."""

    def skipped(self) -> Iterable[tuple[PlannedTrial, str]]:
        """Trials that have become unnecessary since the last call, and why: each is recorded."""


def make_schedule(plan: Plan) -> Schedule:
    if plan.spec.stop is not None:
        return Adaptive(plan)
    return InOrder(plan) if plan.spec.search is None else Searching(plan)


class InOrder:
    """Every trial of the plan that has not ended yet."""

    def __init__(self, plan: Plan) -> None:
        self._left = {planned.trial: planned for planned in plan.trials}

    def see(self, record: Record | RetryRecord) -> None:
        if isinstance(record, TrialRecord):
            self._left.pop(record.trial, None)

    def next(self) -> PlannedTrial | None:
        for number in self._left:
            return self._left.pop(number)
        return None

    def skipped(self) -> Iterable[tuple[PlannedTrial, str]]:
        return ()


class Adaptive:
    """In the plan's order, as far as `$.stop` lets each cell go for now (stopping.py)."""

    def __init__(self, plan: Plan) -> None:
        entries = [(one.arm.name, one.cell, one.trial) for one in plan.trials]
        self._rule = StoppingRule(plan.spec, plan.cells, entries)
        self._rank = ranks(entries)
        self._left = {planned.trial: planned for planned in plan.trials}
        self._changed = True

    def see(self, record: Record | RetryRecord) -> None:
        self._changed |= self._rule.see(record)
        if isinstance(record, TrialRecord):
            self._left.pop(record.trial, None)

    def next(self) -> PlannedTrial | None:
        needed: dict[str, int] = {}
        for number, planned in self._left.items():
            cell = planned.cell
            if cell not in needed:
                needed[cell] = self._rule.needed(cell)
            if self._rank[number] < needed[cell]:
                return self._left.pop(number)
        return None

    def skipped(self) -> Iterable[tuple[PlannedTrial, str]]:
        if not self._changed:
            return []
        self._changed = False
        cells = {planned.cell for planned in self._left.values()}
        done = {cell: self._rule.needed(cell) for cell in cells if self._rule.is_over(cell)}
        reasons = {cell: self._rule.reason(cell) for cell in done}
        gone = [
            planned
            for number, planned in self._left.items()
            if planned.cell in done and self._rank[number] >= done[planned.cell]
        ]
        for planned in gone:
            del self._left[planned.trial]
        return [(planned, f"stop: {reasons[planned.cell]}") for planned in gone]


class Searching:
    """One trial of each arm after the other, at the load where its search is (search.py). An arm
    that is not swept has the trials that `$.trials` gives it."""

    def __init__(self, plan: Plan) -> None:
        entries = [(one.arm.name, one.cell, one.trial) for one in plan.trials]
        self._rule = SearchRule(plan.spec, plan.cells, entries)
        self._cells = plan.cells
        self._trials = plan.spec.trials
        self._rank = ranks(entries)
        self._left = {planned.trial: planned for planned in plan.trials}
        self._begun: Counter[Place] = Counter()
        self._changed = True

    def see(self, record: Record | RetryRecord) -> None:
        self._changed |= self._rule.see(record)
        if isinstance(record, TrialRecord):
            planned = self._left.pop(record.trial, None)
            if planned is not None and record.status != "skipped":  # of an earlier session
                self._begun[record.arm, record.cell] += 1

    def next(self) -> PlannedTrial | None:
        """Of the arm that is furthest behind, so that arms take turns."""
        wanted = [planned for planned in self._left.values() if self._is_wanted(planned)]
        if not wanted:
            return None
        arms: Counter[str] = Counter()
        for (arm, _), begun in self._begun.items():
            arms[arm] += begun
        found = min(wanted, key=lambda planned: arms[planned.arm.name])
        self._begun[found.arm.name, found.cell] += 1
        return self._left.pop(found.trial)

    def _is_wanted(self, planned: PlannedTrial) -> bool:
        arm, cell, rank = planned.arm.name, planned.cell, self._rank[planned.trial]
        if cell not in self._cells:
            return rank < self._trials
        under_way = self._begun[arm, cell] > self._rule.trials(arm, cell)
        return not under_way and cell == self._rule.current(arm)

    def skipped(self) -> Iterable[tuple[PlannedTrial, str]]:
        if not self._changed:
            return []
        self._changed = False
        gone = [
            (planned, reason)
            for planned in self._left.values()
            if (reason := self._why_not(planned)) is not None
        ]
        for planned, _ in gone:
            del self._left[planned.trial]
        return gone

    def _why_not(self, planned: PlannedTrial) -> str | None:
        arm, cell = planned.arm.name, planned.cell
        if cell not in self._cells:
            enough = self._rank[planned.trial] >= self._trials
            return f"{self._trials} trials were asked for" if enough else None
        if self._rule.is_settled(arm, cell):
            return f"search: {self._rule.reason(arm, cell)}"
        return None
