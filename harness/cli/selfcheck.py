"""`harness selfcheck`"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

import click

from harness.cli import load_host
from harness.cli.harmless import print_json
from harness.cli.signals import Signals, StoppedError
from harness.cli.terminal import console, say
from harness.errors import HarnessError, SpecError
from harness.text import one_line

if TYPE_CHECKING:
    from harness.selfcheck import Check

SUFFIXES = (".png", ".svg")


@click.command("selfcheck", short_help="Measure how far our own figures can be off, here.")
@click.option(
    "--mode",
    type=click.Choice(["quick", "full"]),
    help="About 15 s, which is the default, or two minutes.",
)
@click.option("--full", is_flag=True, help="The same as --mode full.")
@click.option(
    "--streams",
    type=click.IntRange(1, 10_000),
    multiple=True,
    metavar="N",
    help="Only this number of streams; repeat for several. Highest rates are then not searched, "
    "and nothing is kept.",
)
@click.option("--json", "as_json", is_flag=True, help="Everything that was found, as JSON.")
@click.option(
    "--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw it: .png or .svg."
)
@click.option("--no-save", is_flag=True, help="Do not keep it for later runs.")
def command(
    mode: Literal["quick", "full"] | None,
    full: bool,
    streams: tuple[int, ...],
    as_json: bool,
    plot: Path | None,
    no_save: bool,
) -> None:
    """Run the truth server in a process of its own, measure it as a run would, and report how far
    the stamps were from the instants at which it really sent: for this machine and this build.

    The figures are kept and go into every later run as its own uncertainty; a quick check does not
    replace a full one of the same build. Exit status 0 whenever the check could be made, also where
    a load was not held: it is a measurement, not a test.

    \b
    Examples:
      harness selfcheck
      harness selfcheck --full --plot selfcheck.png
      harness selfcheck --streams 32 --json
    """
    if not sys.platform.startswith("linux"):
        raise HarnessError(f"the self-check needs Linux, and this is {sys.platform}")
    if full and mode == "quick":
        raise SpecError("--full and --mode quick are at odds", remedy="one of the two")
    if plot is not None and plot.suffix.lower() not in SUFFIXES:
        raise SpecError(
            f"{plot.name!r} is neither .png nor .svg", where="--plot", remedy="--plot selfcheck.png"
        )
    if plot is not None and not plot.parent.is_dir():
        raise SpecError("there is no such folder", where=str(plot.parent), remedy="make it first")
    if plot is not None:
        _writable(plot)
    from harness.selfcheck import check, plan_for

    with Signals() as signals, _progress(sys.stderr) as progress:
        plan = plan_for("full" if full else mode or "quick", streams)
        try:
            found = check(plan, load_host(), progress, signals.answer_with)
        except KeyboardInterrupt:
            if signals.number is None:
                raise
            raise StoppedError(signals.number) from None
    trouble: list[HarnessError] = []
    kept, said = (None, "") if no_save else _keep(found, streams, trouble)
    if as_json:
        print_json(found, indent=2)
    else:
        from harness.selfcheck.table import render_check

        render_check(found, console())
        click.echo("")
    # After what was measured has been shown: that is not lost, whatever becomes of the rest.
    drawn = False
    if plot is not None:
        from harness.selfcheck.plot import draw

        try:
            draw(found, plot)
            drawn = True
        except HarnessError as error:
            trouble.append(error)
    if not as_json:
        if said:
            click.echo(said)
        if drawn:
            click.echo(f"{plot}")
        if not trouble:
            click.echo(f"next: {_next(found.selfcheck.mode, kept, streams, no_save, plot)}")
    for other in trouble[1:]:
        say(f"error: {one_line(str(other), 1000)}")
    if trouble:
        raise trouble[0]


def _writable(plot: Path) -> None:
    """Known before anything is measured. Raises SpecError."""
    there = plot.exists()
    try:
        with plot.open("ab"):
            pass
        if not there:
            plot.unlink()
    except OSError as error:
        raise SpecError(
            f"cannot write: {(error.strerror or str(error)).lower()}",
            where=str(plot),
            remedy="--plot another/file.png",
        ) from None


def _keep(
    found: Check, streams: tuple[int, ...], trouble: list[HarnessError]
) -> tuple[Path | None, str]:
    """(where it is kept, what is to be said of that)"""
    from harness.engine.uncertainty import better_selfcheck, save_selfcheck

    if streams:
        return None, "not kept for later runs: with --streams it is a part of a check"
    host_digest = found.machine.host_digest
    if better := better_selfcheck(found.selfcheck, host_digest):
        return None, f"not kept: the full check of {better.at[:10]} with this build stays"
    try:
        kept = save_selfcheck(found.selfcheck, host_digest)
    except HarnessError as error:
        trouble.append(error)
        return None, ""
    return kept, f"kept for later runs: {kept}"


def _next(
    mode: str, kept: Path | None, streams: tuple[int, ...], no_save: bool, plot: Path | None
) -> str:
    if streams or (no_save and mode == "quick"):
        return "harness selfcheck, to have it in every run"
    if no_save:
        return "harness selfcheck --full, to have it in every run"
    if mode == "quick" and kept is not None:
        return "harness selfcheck --full" + ("" if plot else " --plot selfcheck.png")
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
