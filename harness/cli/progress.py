"""Progress of a run: a live table on a terminal, a plain line per trial elsewhere (see live/)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from harness.cli.live.plain import PlainView
from harness.engine import Observer

__all__ = ["progress_for"]


@contextmanager
def progress_for(stream: TextIO) -> Iterator[Observer]:
    """An observer that writes to `stream`, which is not where results go."""
    if not stream.isatty():
        yield PlainView()
        return
    from harness.cli.live.terminal import LiveView

    live = LiveView(stream)
    try:
        live.start()
        yield live
    finally:
        live.stop()
