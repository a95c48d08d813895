"""`harness selfcheck`"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TextIO

import click

from harness.cli import load_host
from harness.cli.harmless import print_json
from harness.cli.signals import Signals
from harness.cli.terminal import console, say

SUFFIXES = (".png", ".svg")


@click.command("selfcheck", short_help="Measure how far our own figures can be off, here.")
@click.option(
    "--mode",
    type=click.Choice(["quick", "full"]),
    default="quick",
    show_default=True,
    help="About 10 s, or some minutes.",
)
@click.option("--full", is_flag=True, help="The same as --mode full.")
@click.option(
    "--streams",
    type=click.IntRange(1, 10_000),
    multiple=True,
    metavar="N",
    help="Only this number of streams; repeat for several. Highest rates are then not searched.",
)
@click.option("--json", "as_json", is_flag=True, help="Everything that was found, as JSON.")
@click.option(
    "--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw it: .png or .svg."
)
@click.option("--no-save", is_flag=True, help="Do not keep it for later runs.")
def command(
    mode: Literal["quick", "full"],
    full: bool,
    streams: tuple[int, ...],
    as_json: bool,
    plot: Path | None,
    no_save: bool,
) -> None:
    """Run the truth server in a process of its own, measure it as a run would, and report how far
    the stamps were from the instants at which it really sent: for this machine and this build.

    The figures are kept and go into every later run as its own uncertainty. Exit status 0 whenever
    the check could be made, also where a load was not held: it is a measurement, not a test.

    \b
    Examples:
      harness selfcheck                      ten seconds
      harness selfcheck --full --plot selfcheck.png
      harness selfcheck --streams 32 --json --no-save
    """
    from harness.errors import HarnessError, SpecError

    if not sys.platform.startswith("linux"):
        raise HarnessError(f"the self-check needs Linux, and this is {sys.platform}")
    if plot is not None and plot.suffix.lower() not in SUFFIXES:
        raise SpecError(
            f"{plot.name!r} is neither .png nor .svg", where="--plot", remedy="--plot selfcheck.png"
        )
    if plot is not None and not plot.parent.is_dir():
        raise SpecError("there is no such folder", where=str(plot.parent), remedy="make it first")
    from harness.selfcheck import check, plan_for

    with Signals(), _progress(sys.stderr) as progress:
        found = check(plan_for("full" if full else mode, streams), load_host(), progress)
    kept: Path | None = None
    trouble: HarnessError | None = None
    if not no_save:
        from harness.engine.uncertainty import save_selfcheck

        try:
            kept = save_selfcheck(found.selfcheck, found.machine.host_digest)
        except HarnessError as error:
            trouble = error
    if plot is not None:
        from harness.selfcheck.plot import draw

        draw(found, plot)
    if as_json:
        print_json(found, indent=2)
    else:
        from harness.selfcheck.table import render_check

        render_check(found, console())
        click.echo("")
        if kept:
            click.echo(f"kept for later runs: {kept}")
        if plot:
            click.echo(f"{plot}")
        click.echo(f"next: {_next(found.selfcheck.mode, kept)}")
    if trouble is not None:
        # Last, after what was measured has been shown: that is not lost.
        raise trouble


def _next(mode: str, kept: Path | None) -> str:
    if kept is None:
        return "harness selfcheck, without --no-save, to have it in every run"
    if mode == "quick":
        return "harness selfcheck --full --plot selfcheck.png"
    return "harness run load --concurrency 64 --requests 640"


@contextmanager
def _progress(stream: TextIO) -> Iterator[Callable[[str], None]]:
    """A live line on a terminal, a plain line for each load elsewhere."""
    if not stream.isatty():
        yield say
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(file=stream), transient=True) as progress:
        task = progress.add_task("self-check")
        yield lambda what: progress.update(task, description=what)
