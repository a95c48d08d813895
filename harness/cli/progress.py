"""Progress of a run: a live line on a terminal, a plain line per trial elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

from harness.cli.terminal import say
from harness.engine import Observer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from harness.engine.plan import PlannedTrial
    from harness.schema import CallRecord, TrialRecord

__all__ = ["progress_for"]


@contextmanager
def progress_for(stream: TextIO) -> Iterator[Observer]:
    """An observer that writes to `stream`, which is not where results go."""
    if not stream.isatty():
        yield _Plain()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
    )
    live = _Live(Progress(*columns, console=Console(file=stream), transient=True))
    try:
        live.start()
        yield live
    finally:
        live.stop()


class _Counts:
    """What both kinds show."""

    def __init__(self) -> None:
        self.ok = 0
        self.failed = 0

    def count(self, record: CallRecord) -> None:
        if record.status == "ok":
            self.ok += 1
        else:
            self.failed += 1

    @property
    def note(self) -> str:
        return f"{self.failed} not ok" if self.failed else ""


class _Live(_Counts):
    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress
        self._trials: TaskID | None = None
        self._calls: TaskID | None = None

    def start(self) -> None:
        with suppress(OSError):
            self._progress.start()

    def stop(self) -> None:
        """Erase the line and show the cursor again, for good; where the terminal is gone (SIGHUP),
        there is nothing to tidy. May be called again."""
        with suppress(OSError):
            self._progress.stop()

    def trial_started(self, planned: PlannedTrial, total: int) -> None:
        if self._trials is None:
            self._trials = self._progress.add_task("trials", total=total, note="")
        self._progress.update(self._trials, completed=planned.trial, note=planned.arm.name)

    def iteration_started(self, planned: PlannedTrial, phase: str, calls: int | None) -> None:
        if self._calls is not None:
            self._progress.remove_task(self._calls)
        self.ok = self.failed = 0  # of what the bar beside them counts
        name = f"{planned.arm.name} {phase}"
        self._calls = self._progress.add_task(name, total=calls, note=self.note)

    def call_finished(self, record: CallRecord) -> None:
        self.count(record)
        if self._calls is not None:
            self._progress.update(self._calls, advance=1, note=self.note)

    def trial_finished(self, record: TrialRecord) -> None:
        if self._trials is not None:
            self._progress.update(self._trials, completed=record.trial + 1)


class _Plain(_Counts):
    def __init__(self) -> None:
        super().__init__()
        self._total = 0

    def trial_started(self, planned: PlannedTrial, total: int) -> None:
        self._total = total
        self.ok = self.failed = 0

    def iteration_started(self, planned: PlannedTrial, phase: str, calls: int | None) -> None: ...

    def call_finished(self, record: CallRecord) -> None:
        if record.phase == "measured":  # as the result counts them
            self.count(record)

    def trial_finished(self, record: TrialRecord) -> None:
        seconds = (record.end_ns - record.start_ns) / 1e9
        text = f"trial {record.trial + 1}/{self._total} {record.arm}: {record.status}"
        detail = f", {self.note}" if self.note else ""
        say(f"{text}, {self.ok} calls ok{detail}, {seconds:.1f} s")
