"""A line per trial, where there is no terminal: for a log, a pipe, a CI job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.cli.estimate import in_words
from harness.cli.live.board import Board
from harness.cli.terminal import say

if TYPE_CHECKING:
    from harness.engine.plan import Plan, PlannedTrial
    from harness.schema import CallRecord, IterationRecord, Record, RetryRecord, TrialRecord

__all__ = ["PlainView"]


class PlainView:
    """An engine's Observer."""

    def __init__(self, board: Board | None = None) -> None:
        self.board = board or Board()
        self._skipped: dict[str, int] = {}

    def run_started(self, plan: Plan) -> None:
        self.board.run_started(plan)

    def recorded_before(self, record: Record) -> None:
        self.board.recorded_before(record)

    def trial_started(self, planned: PlannedTrial, total: int) -> None:
        self._tell_skipped()
        self.board.trial_started(planned, total)

    def iteration_started(self, planned: PlannedTrial, phase: str, calls: int | None) -> None:
        self.board.iteration_started(planned, phase, calls)

    def call_finished(self, record: CallRecord) -> None:
        self.board.call_finished(record)

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
        seconds = (record.end_ns - record.start_ns) / 1e9
        cell = f" {record.cell}" if self.board.several_cells else ""
        ok, failed = (one.measured_ok, one.measured_failed) if one is not None else (0, 0)
        bad = f", {failed} not ok" if failed else ""
        # A function may make no calls: of a trial that went well, none is nothing to tell.
        calls = f" {ok} calls ok{bad}," if ok or failed or record.status != "ok" else ""
        say(
            f"trial {self.board.done}/{self.board.total} {record.arm}{cell}: {record.status},"
            f"{calls} {seconds:.1f} s{self._left()}"
        )

    def trial_retried(self, record: RetryRecord) -> None:
        self.board.trial_retried(record)

    def _left(self) -> str:
        left_s = self.board.left_s()
        if left_s is None or self.board.done >= self.board.total:
            return ""
        return f"; {in_words(left_s)} left{' at most' if self.board.open_end else ''}"

    def _tell_skipped(self) -> None:
        for reason, count in self._skipped.items():
            say(f"{count} trial{'' if count == 1 else 's'} skipped: {reason}")
        self._skipped.clear()
