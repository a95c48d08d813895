"""What is known of a run under way: an engine's Observer that keeps, and shows nothing.

Everything here is a handful of numbers for each arm and cell. The records of the trials under way
are kept until they end (estimates.py), and no longer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct, field

from harness.cli.live.doubts import Doubts
from harness.cli.live.estimates import CLOSED, OPEN, Estimate, Gathered, estimate
from harness.schema import (
    CallRecord,
    IterationRecord,
    OpenLoad,
    RetryRecord,
    TrialRecord,
    ValiditySpec,
)

if TYPE_CHECKING:
    from harness.engine.plan import Plan, PlannedTrial
    from harness.schema import Record

__all__ = ["Board", "Row", "Running"]

Key = tuple[str, str]


class Row(Struct):
    """One arm and cell."""

    arm: str
    cell: str
    planned: int = 0
    done: int = 0
    failed: int = 0
    """Of those done: trials that ended in an error."""
    skipped: int = 0
    running: int = 0
    seconds: list[float] = field(default_factory=list)
    """Wall time of each trial that ended in this session."""
    figures: dict[str, list[float]] = field(default_factory=dict)
    """Metric → mean of each trial."""
    touched: int = 0
    """The higher, the more recently something happened to it."""

    @property
    def left(self) -> int:
        return max(self.planned - self.done - self.skipped - self.running, 0)

    def estimates(self) -> dict[str, Estimate]:
        return {name: estimate(values) for name, values in self.figures.items()}


class Running(Struct):
    """A trial under way."""

    planned: PlannedTrial
    since_s: float
    phase: str = "opening the backend"
    calls: int | None = None
    """That the iteration is going to make."""
    ok: int = 0
    failed: int = 0
    measured_ok: int = 0
    """Over the whole trial, as the result counts them."""
    measured_failed: int = 0
    gathered: Gathered = field(default_factory=Gathered)


class Board:
    """An engine's Observer. Not for several threads: a view takes what it shows from `lines`."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.clock_s = clock_s
        self.began_s = clock_s()
        self.name = ""
        self.total = 0
        self.places = 1
        self.open_end = False
        """A rule decides how many trials there will be: the plan is the most there can be."""
        self.several_cells = False
        self.columns: dict[str, str] = dict(CLOSED)
        self.rows: dict[Key, Row] = {}
        self.running: dict[int, Running] = {}
        self.doubts = Doubts(ValiditySpec())
        self.reasons: dict[str, int] = {}
        """Why trials were skipped → how many."""
        self._before: dict[int, Gathered] = {}
        self._turn = 0

    # An Observer. ---------------------------------------------------------------------------------

    def run_started(self, plan: Plan) -> None:
        spec = plan.spec
        self.name = spec.name or spec.scenario.name
        self.total = len(plan.trials)
        self.places = spec.placement.parallel
        self.open_end = spec.stop is not None or spec.search is not None
        self.doubts = Doubts(spec.validity)
        if any(isinstance(arm.load, OpenLoad) for arm in plan.arms):
            self.columns = dict(OPEN)
        order = {cell: index for index, cell in enumerate(plan.cells)}
        for arm in sorted(plan.arms, key=lambda one: order.get(one.cell, -1)):
            self._row(arm.name, arm.cell)
        for planned in plan.trials:
            self._row(planned.arm.name, planned.cell).planned += 1
        self.several_cells = len({row.cell for row in self.rows.values()}) > 1

    def recorded_before(self, record: Record) -> None:
        if isinstance(record, TrialRecord):
            gathered = self._before.pop(record.trial, Gathered())
            self._count(record, gathered)
        elif record.phase == "measured":
            gathered = self._before.setdefault(record.trial, Gathered())
            if isinstance(record, CallRecord):
                gathered.add(record)
            else:
                gathered.iterations.append(record)

    def trial_started(self, planned: PlannedTrial, total: int) -> None:
        self.total = total
        self.running[planned.trial] = Running(planned=planned, since_s=self.clock_s())
        self._touch(planned.arm.name, planned.cell).running += 1

    def iteration_started(self, planned: PlannedTrial, phase: str, calls: int | None) -> None:
        one = self.running.get(planned.trial)
        if one is not None:
            one.phase, one.calls = phase, calls
            one.ok = one.failed = 0  # of what is shown beside them

    def call_finished(self, record: CallRecord) -> None:
        one = self.running.get(record.trial)
        if one is None:
            return
        ok = record.status == "ok"
        one.ok += ok
        one.failed += not ok
        if record.phase != "measured":
            return
        one.measured_ok += ok
        one.measured_failed += not ok
        if not ok:
            self.doubts.failed(record)
        one.gathered.add(record)

    def iteration_finished(self, record: IterationRecord) -> None:
        one = self.running.get(record.trial)
        if one is not None and record.phase == "measured":
            one.gathered.iterations.append(record)

    def trial_finished(self, record: TrialRecord) -> None:
        one = self.running.pop(record.trial, None)
        row = self._touch(record.arm, record.cell)
        if one is not None:
            row.running -= 1
            if record.status == "ok":
                row.seconds.append(self.clock_s() - one.since_s)
        self._count(record, one.gathered if one is not None else Gathered())
        load = one.planned.arm.load if one is not None else None
        gathered = one.gathered if one is not None else Gathered()
        self.doubts.trial(record, gathered.calls, gathered.iterations, load)

    def trial_retried(self, record: RetryRecord) -> None:
        """It begins anew, and all that is known of it goes."""
        one = self.running.get(record.trial)
        if one is None:
            return
        self.running[record.trial] = Running(planned=one.planned, since_s=self.clock_s())
        self._touch(one.planned.arm.name, one.planned.cell)
        self.doubts.retried(record, one.planned.arm.name)

    # What follows from it. ------------------------------------------------------------------------

    @property
    def done(self) -> int:
        """Trials that have ended, or were not needed."""
        return sum(row.done + row.skipped for row in self.rows.values())

    def left_s(self) -> float | None:
        """Time left, by the mean time of a trial of each cell (of its arm, of all, where it has
        none yet), over as many places as there are. None: no trial has ended yet."""
        every = [second for row in self.rows.values() for second in row.seconds]
        if not every:
            return None
        total = 0.0
        for row in self.rows.values():
            seconds = row.seconds or self._of_arm(row.arm) or every
            mean = sum(seconds) / len(seconds)
            total += row.left * mean
            under_way = [
                one for one in self.running.values()
                if (one.planned.arm.name, one.planned.cell) == (row.arm, row.cell)
            ]  # fmt: skip
            total += sum(max(mean - (self.clock_s() - one.since_s), 0.0) for one in under_way)
        return total / max(self.places, 1)

    def _of_arm(self, arm: str) -> list[float]:
        return [s for row in self.rows.values() if row.arm == arm for s in row.seconds]

    def _count(self, record: TrialRecord, gathered: Gathered) -> None:
        row = self._row(record.arm, record.cell)
        if record.status == "skipped":
            row.skipped += 1
            reason = record.error.message if record.error is not None else "not needed"
            self.reasons[reason] = self.reasons.get(reason, 0) + 1
            return
        row.done += 1
        row.failed += record.status == "error"
        for name, value in gathered.figures(tuple(self.columns)).items():
            row.figures.setdefault(name, []).append(value)

    def _touch(self, arm: str, cell: str) -> Row:
        self._turn += 1
        row = self._row(arm, cell)
        row.touched = self._turn
        return row

    def _row(self, arm: str, cell: str) -> Row:
        return self.rows.setdefault((arm, cell), Row(arm=arm, cell=cell))
