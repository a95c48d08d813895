"""`harness plot`"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from harness.report.plots import Choice, Plot
    from harness.schema import Comparison
    from harness.store import Run

FORMATS: Final = ("png", "svg", "pdf")
OTHERS: Final = (".jpg", ".jpeg", ".gif", ".webp", ".eps", ".html")
FOLDER: Final = "plots"


@click.command("plot", short_help="Draw the figures that a run is fit for.")
@click.argument("run", metavar="RUN", default="latest")
@click.option("--kind", "kinds", metavar="NAME", multiple=True, help="Only these; see --list.")
@click.option("--metric", "metrics", metavar="NAME", multiple=True, help="In place of headlines.")
@click.option("--arm", "arms", metavar="NAME", multiple=True, help="Only these arms.")
@click.option("--cell", "cells", metavar="NAME", multiple=True, help="Only these cells.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder, or a file for one figure.")
@click.option("--format", "suffix", type=click.Choice(FORMATS), help="Default: png.")
@click.option("--list", "as_list", is_flag=True, help="Say what fits and what does not.")
@click.option("--salvage", is_flag=True, help="Read what is left of a damaged record log.")
def command(
    run: str,
    kinds: tuple[str, ...],
    metrics: tuple[str, ...],
    arms: tuple[str, ...],
    cells: tuple[str, ...],
    out: Path | None,
    suffix: str | None,
    as_list: bool,
    salvage: bool,
) -> None:
    """Draw RUN into RUN/reports/plots, and print the path of each figure.

    Without --kind, everything that the run is fit for. A figure says its n, has its intervals, and
    bears SIMULATED where no model was measured.

    \b
    Examples:
      harness plot latest
      harness plot latest --list
      harness plot latest --kind ecdf --kind over-time --arm chimera --format svg
      harness plot latest --kind heatmap --metric tpot_ms --out heatmap.pdf
    """
    from harness.cli.terminal import say
    from harness.store import load_run

    loaded = load_run(run, salvage=salvage)
    for warning in loaded.warnings:
        say(f"warning: {warning}")
    choice = _chosen(loaded, kinds, metrics, arms, cells, salvage=salvage)
    if as_list:
        _tell(choice, kinds)
        return
    _refuse(choice, kinds, loaded)
    for plot, path in _paths(choice.plots, loaded, out, suffix):
        plot.save(path)
        click.echo(str(path))


def _chosen(
    loaded: Run,
    kinds: Sequence[str],
    metrics: Sequence[str],
    arms: Sequence[str],
    cells: Sequence[str],
    *,
    salvage: bool,
) -> Choice:
    from harness.report.plots import choose

    compared = not kinds or "effects" in kinds
    return choose(
        loaded,
        comparisons=_comparisons(loaded, metrics, salvage=salvage) if compared else (),
        kinds=kinds,
        metrics=metrics,
        arms=arms,
        cells=cells,
    )


def _comparisons(loaded: Run, metrics: Sequence[str], *, salvage: bool) -> tuple[Comparison, ...]:
    """Every arm against the baseline, cell by cell; none, where there is one arm."""
    from harness.cli.compare import find_pairs
    from harness.compare import Asked, compare

    if len({(one.arm, one.cell) for one in loaded.summary.arms}) < 2:
        return ()
    pairs = find_pairs(str(loaded.path), None, salvage=salvage).pairs
    return compare(pairs, Asked(metrics=tuple(metrics)))


def _tell(choice: Choice, kinds: Sequence[str]) -> None:
    from harness.cli.harmless import harmless
    from harness.report.plots import KINDS

    for name in kinds or KINDS:
        click.echo(f"{name}: {KINDS[name].shows}")
        if name in choice.refused:
            click.echo(harmless(f"  no: {choice.refused[name]}"))
        for plot in (one for one in choice.plots if one.kind == name):
            click.echo(harmless(f"  {plot.name}: {plot.title}; {plot.subtitle}"))


def _refuse(choice: Choice, kinds: Sequence[str], loaded: Run) -> None:
    """What was asked for by name and cannot be had ends the command before anything is written."""
    from harness.errors import SpecError

    for name in kinds:
        if name in choice.refused:
            raise SpecError(
                f"{name}: {choice.refused[name]}",
                where="--kind",
                remedy=f"harness plot {loaded.path.name} --list",
            )
    if not choice.plots:
        raise SpecError(
            "this run is fit for no figure",
            where=str(loaded.path),
            remedy=f"harness plot {loaded.path.name} --list",
        )


def _paths(
    plots: list[Plot], loaded: Run, out: Path | None, suffix: str | None
) -> list[tuple[Plot, Path]]:
    """Where each goes. `out` names a file if it ends as one does, and then takes one figure."""
    from harness.errors import SpecError, StoreError

    if out is not None and out.suffix.lower() in OTHERS and not out.is_dir():
        raise SpecError(
            f"no figure is written as {out.suffix}",
            where="--out",
            remedy=f"{out.stem}.png, .svg or .pdf",
        )
    if out is not None and out.suffix.lower().removeprefix(".") in FORMATS and not out.is_dir():
        if suffix is not None and out.suffix.lower() != f".{suffix}":
            raise SpecError(
                f"{out.name!r} is no .{suffix} file", where="--out", remedy="one of both"
            )
        if len(plots) > 1:
            names = ", ".join(plot.name for plot in plots[:6])
            raise SpecError(
                f"one file cannot take {len(plots)} figures ({names})",
                where="--out",
                remedy="--out FOLDER, or --kind and --metric",
            )
        return [(plots[0], out)]
    folder = loaded.path / "reports" / FOLDER if out is None else out
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot make the folder: {(error.strerror or str(error)).lower()}",
            where=str(folder),
            remedy="--out FOLDER",
        ) from None
    return [(plot, folder / f"{_safe(plot.name)}.{suffix or 'png'}") for plot in plots]


def _safe(name: str) -> str:
    """A metric's name may be a scenario's own."""
    from harness.store.folder import safe_name

    return safe_name(name, fallback="figure")
