"""Output whose reader may go away: a pipe into `head`, a terminal that was closed.

A line of progress that nobody reads is no reason to end a run; and a result that was read as far as
the reader wanted is no error.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

import click

from harness.cli.harmless import harmless

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "mute", "say", "say_at_once", "show_cursor"]


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
    rich's own would end the program with status 1."""
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise  # rich calls this while it handles the error

    return Plain(soft_wrap=False)
