"""Output whose reader may go away: a pipe into `head`, a terminal that was closed, a full disk.

A line of progress that nobody reads is no reason to end a run; and a result that was read as far as
the reader wanted is no error.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from typing import TYPE_CHECKING, Any

import click

from harness.cli.harmless import harmless

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "mute", "open_output", "say", "say_at_once", "show_cursor"]


class _Output(io.FileIO):
    """Standard output, which says that it is that when it cannot be written."""

    def write(self, content: Any, /) -> int:
        try:
            return super().write(content)
        except OSError as error:
            error.filename = "standard output"
            raise


def open_output() -> None:
    """Make standard output say what it is, and take any character: what its encoding lacks is
    written as `?`."""
    out = sys.stdout
    if not isinstance(out, io.TextIOWrapper):
        return  # there is none, or whoever calls us has put something else there
    raw = getattr(out.buffer, "raw", out.buffer)
    if type(raw) is not io.FileIO:
        out.reconfigure(errors="replace")
        return
    named: Any = _Output(raw.fileno(), "w", closefd=False)
    sys.stdout = io.TextIOWrapper(
        named if raw is out.buffer else io.BufferedWriter(named),  # python -u has no buffer
        encoding=out.encoding,
        errors="replace",
        line_buffering=out.line_buffering,
        write_through=out.write_through,
    )


def say(text: str) -> None:
    """One line on standard error, harmless, or nowhere if that is gone."""
    with contextlib.suppress(OSError, ValueError):
        click.echo(harmless(text), err=True)


def say_at_once(text: str) -> None:
    """The same, in a signal handler: past the stream, which may be in use."""
    with contextlib.suppress(OSError, ValueError):
        os.write(sys.stderr.fileno(), text.encode() + b"\n")


def show_cursor() -> None:
    """A live line hides it. May be called in a signal handler."""
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr.isatty():
            os.write(sys.stderr.fileno(), b"\x1b[?25h")


def mute() -> None:
    """Standard output goes nowhere from now on: Python would complain of what it still holds when
    it flushes at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def console() -> Console:
    """For results, on standard output. BrokenPipeError, as from print, when its reader is gone;
    rich's own would end the program with status 1. Its lines end where their words do."""
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise  # rich calls this while it handles the error

        def _render_buffer(self, buffer: Any) -> str:
            return re.sub(" +$", "", super()._render_buffer(buffer), flags=re.MULTILINE)

    return Plain(soft_wrap=False)
