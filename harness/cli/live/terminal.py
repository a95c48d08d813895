"""The board on a terminal, redrawn in place.

Two clocks. The table is made when a trial or an iteration has begun or ended, by the thread that
measures, and then stays as it is. The lines above it (what is under way, time left) are made four
times a second by rich's thread, from a few numbers. So a redraw while calls are measured costs a
small, constant time, and none of it where trials run in processes of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TextIO

from harness.cli.live.board import Board
from harness.cli.live.lines import Line, now_lines, progress_line, table_lines

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.live import Live
    from rich.text import Text

    from harness.engine.plan import Plan, PlannedTrial
    from harness.schema import CallRecord, IterationRecord, Record, RetryRecord, TrialRecord

__all__ = ["LiveView"]

PER_SECOND: Final = 4
BAR: Final = 40


class LiveView:
    """An engine's Observer. `start` it and `stop` it, the latter as often as you like."""

    def __init__(self, stream: TextIO, board: Board | None = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self.board = board or Board()
        self._console = Console(file=stream)
        self._above: tuple[Line, ...] = ()
        self._table: tuple[Line, ...] = ()
        self._size = (0, 0)
        self._live: Live = Live(
            self, console=self._console, transient=True, refresh_per_second=PER_SECOND,
            vertical_overflow="crop",
        )  # fmt: skip

    def start(self) -> None:
        with suppress(OSError):
            self._live.start()

    def stop(self) -> None:
        """Erase the lines and show the cursor again, for good; where the terminal is gone (SIGHUP),
        there is nothing to tidy. May be called again."""
        with suppress(OSError):
            self._live.stop()

    # Drawing, in rich's thread. -------------------------------------------------------------------

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        from rich.text import Text

        width, height = options.max_width, console.size.height
        if (width, height) != self._size:  # at first, and where the window was resized
            self._make_table()
        board = self.board
        with suppress(RuntimeError):  # a trial began or ended just now: those of before will do
            self._above = (progress_line(board, width), *now_lines(board, width))
        for place, line in enumerate((*self._above, *self._table)):
            yield Text(line.text, style=line.style, no_wrap=True)
            if place == 0 and board.total:
                yield _bar(board, width)

    def _make_table(self) -> None:
        width, height = self._console.size
        self._size = (width, height)
        above = 2 + min(max(self.board.places, 1), 5) + 1
        with suppress(RuntimeError):
            self._table = tuple(table_lines(self.board, width, height - above))

    # An Observer, in the thread that measures. ----------------------------------------------------

    def run_started(self, plan: Plan) -> None:
        self.board.run_started(plan)
        self._make_table()

    def recorded_before(self, record: Record) -> None:
        self.board.recorded_before(record)

    def trial_started(self, planned: PlannedTrial, total: int) -> None:
        self.board.trial_started(planned, total)
        self._make_table()

    def iteration_started(self, planned: PlannedTrial, phase: str, calls: int | None) -> None:
        self.board.iteration_started(planned, phase, calls)

    def call_finished(self, record: CallRecord) -> None:
        self.board.call_finished(record)

    def iteration_finished(self, record: IterationRecord) -> None:
        self.board.iteration_finished(record)

    def trial_finished(self, record: TrialRecord) -> None:
        self.board.trial_finished(record)
        self._make_table()

    def trial_retried(self, record: RetryRecord) -> None:
        self.board.trial_retried(record)
        self._make_table()


def _bar(board: Board, width: int) -> Text:
    from rich.text import Text

    room = min(BAR, max(width - 2, 1))
    full = round(room * board.done / board.total)
    return Text("━" * full, style="green", no_wrap=True) + Text("━" * (room - full), style="dim")
