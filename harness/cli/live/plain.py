"""A line per trial, where there is no terminal: for a log, a pipe, a CI job. A trial that takes
long has lines of its own, so that nobody takes it for one that hangs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.cli.estimate import in_words
from harness.cli.live.board import Board
from harness.cli.terminal import say
from harness.text import one_line

if TYPE_CHECKING:
    from harness.engine.plan import Plan, PlannedTrial
    from harness.schema import CallRecord, IterationRecord, Record, RetryRecord, TrialRecord

__all__ = ["PlainView"]

SILENT_S: Final = 10.0
"""After so long, where a trial stands is said at the next thing that happens."""


class PlainView:
    """An engine's Observer."""

    def __init__(self, board: Board | None = None) -> None:
        self.board = board or Board()
        self._skipped: dict[str, int] = {}
        self._began = False
        self._said_s = self.board.clock_s()

    def run_started(self, plan: Plan) -> None:
        self.board.run_started(plan)

    def recorded_before(self, record: Record) -> None:
        self.board.recorded_before(record)

    def trial_started(self, planned: PlannedTrial, total: int) -> None:
        self._tell_skipped()
        self.board.trial_started(planned, total)
        if not self._began:  # a model may load for minutes, and nothing happens meanwhile
            who = self._who(planned.arm.name, planned.cell, self.board.done + 1)
            say(f"{who}: opening the backend")
            self._began, self._said_s = True, self.board.clock_s()

    def iteration_started(self, planned: PlannedTrial, phase: str, calls: int | None) -> None:
        self.board.iteration_started(planned, phase, calls)
        self._tell_standing(planned.trial)

    def call_finished(self, record: CallRecord) -> None:
        self.board.call_finished(record)
        self._tell_standing(record.trial)

    def iteration_finished(self, record: IterationRecord) -> None:
        self.board.iteration_finished(record)

    def trial_finished(self, record: TrialRecord) -> None:
        one = self.board.running.get(record.trial)
        self.board.trial_finished(record)
        if record.status == "skipped":  # a search may skip hundreds: said once, together
            reason = record.error.message if record.error is not None else "not needed"
            self._skipped[reason] = self._skipped.get(reason, 0) + 1
            if self.board.done == self.board.total:
                self._tell_skipped()
            return
        self._tell_skipped()
        self._said_s = self.board.clock_s()
        seconds = (record.end_ns - record.start_ns) / 1e9
        ok, failed = (one.measured_ok, one.measured_failed) if one is not None else (0, 0)
        bad = f", {failed} not ok" if failed else ""
        # A function may make no calls: of a trial that went well, none is nothing to tell.
        noun = "call" if ok == 1 else "calls"
        calls = f" {ok} {noun} ok{bad}," if ok or failed or record.status != "ok" else ""
        say(
            f"{self._who(record.arm, record.cell, self.board.done)}: {record.status},"
            f"{calls} {seconds:.1f} s{self._left()}"
        )

    def trial_retried(self, record: RetryRecord) -> None:
        self.board.trial_retried(record)
        reason = one_line(record.reason, 200)
        say(f"trial number {record.trial}: its place was lost, and it begins anew: {reason}")

    def _who(self, arm: str, cell: str, number: int) -> str:
        cell = f" {cell}" if self.board.several_cells else ""
        return f"trial {number}/{self.board.total} {arm}{cell}"

    def _tell_standing(self, trial: int) -> None:
        """How far the trial is, if nothing was said for a while."""
        one, now_s = self.board.running.get(trial), self.board.clock_s()
        if one is None or now_s - self._said_s < SILENT_S:
            return
        self._said_s = now_s
        of = "" if one.calls is None else f" of {one.calls}"
        who = self._who(one.planned.arm.name, one.planned.cell, self.board.done + 1)
        say(f"{who}: {one.phase}, {one.ok + one.failed}{of} calls, {now_s - one.since_s:.0f} s")

    def _left(self) -> str:
        left_s = self.board.left_s()
        if left_s is None or self.board.done >= self.board.total:
            return ""
        return f"; {in_words(left_s)} left{' at most' if self.board.open_end else ''}"

    def _tell_skipped(self) -> None:
        for reason, count in self._skipped.items():
            say(f"{count} trial{'' if count == 1 else 's'} skipped: {reason}")
        self._skipped.clear()
