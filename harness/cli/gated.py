"""A command whose exit statuses are answers: 0, 1, 2 and 3 say how a comparison ended.

What is a mistake or a bug elsewhere (2 and 1) would then pass for "not enough data" and for a
regression. Here they are 64 and 70, as sysexits.h has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from harness.cli.status import GATE_BUG, GATE_MISTAKE
from harness.errors import HarnessError

__all__ = ["GatedCommand"]


class GatedCommand(click.Command):
    """Its mistakes end with 64, its bugs with 70."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        with _own_statuses():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with _own_statuses():
            return super().invoke(ctx)


@contextmanager
def _own_statuses() -> Iterator[None]:
    try:
        yield
    except (click.exceptions.Exit, click.exceptions.Abort, BrokenPipeError):
        raise
    except (click.ClickException, HarnessError, OSError) as error:
        vars(error)["exit_code"] = GATE_MISTAKE  # of this error, not of its class
        raise
    except Exception as error:
        native = isinstance(error, ImportError) and (error.name or "").startswith("harness._native")
        vars(error)["exit_code"] = GATE_MISTAKE if native else GATE_BUG
        raise
