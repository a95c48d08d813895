"""What Ctrl-C, SIGTERM and SIGHUP do while a run is conducted.

The first asks the run to stop with what it has. From then on each has its default meaning again, so
that a second one ends the process at once, also inside native code, which a handler in Python would
have to wait for. Nothing is lost by that: records are on disk as they come, child servers see their
parent go, and the live progress line was taken down when the first one came.

Handlers of `signal.signal` rather than of the event loop: the same ones serve while plugins are
loaded, while the loop runs, and while the summary is computed and reports are written.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final, Self

from harness.cli.status import after_signal

__all__ = ["Signals", "StoppedError"]

log = logging.getLogger("harness.cli")

# No SIGHUP on Windows.
STOPPING: Final = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class StoppedError(KeyboardInterrupt):
    """A signal came while there was nothing yet to be kept. A KeyboardInterrupt, so that no
    `except Exception` on the way takes it for a failure of its own."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = after_signal(number)


class Signals:
    """A context: the signals are ours within it."""

    def __init__(self) -> None:
        self.number: int | None = None
        """The first signal that came."""
        self._answer: Callable[[], object] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in STOPPING:
            before = signal.getsignal(number)
            if number == getattr(signal, "SIGHUP", None) and before == signal.SIG_IGN:
                continue  # nohup: to be left alone is what was asked for
            try:
                signal.signal(number, self._first)
            except ValueError:  # not in the main thread: whoever called us answers signals
                log.debug("signal %s keeps its handler", number)
                continue
            self._before[number] = before
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.number is None:
            for number, before in self._before.items():
                signal.signal(number, before)

    def answer_with(self, answer: Callable[[], object] | None) -> None:
        """What the first signal does from now on; before this is called, and after None, it raises
        StoppedError.
        `answer` runs between any two instructions of the main thread, so it must be short."""
        self._answer = answer

    @property
    def status(self) -> int | None:
        """The exit status of a run that was asked to stop; None for one that was not."""
        return None if self.number is None else after_signal(self.number)

    def _first(self, number: int, frame: FrameType | None) -> None:
        for ours in self._before:
            signal.signal(ours, signal.SIG_DFL)
        self.number = number
        if self._answer is None:
            raise StoppedError(number)
        self._answer()
