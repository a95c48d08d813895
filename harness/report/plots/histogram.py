"""Histograms of a latency: one row per arm and cell, the same bins for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from harness.report.figures import number
from harness.report.plots.distribution import (
    Bars,
    Quantity,
    Values,
    bars,
    caption_of,
    quantities,
    short_name,
)
from harness.report.plots.layout import left_out, rows
from harness.report.plots.plot import Plot
from harness.report.plots.source import Source, Unfit
from harness.report.plots.style import INK, look, tidy
from harness.report.plots.words import drawable, fold, plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

__all__ = ["histograms"]

ROWS_MAX: Final = 12


def histograms(source: Source) -> list[Plot]:
    """One for each latency."""
    found = [_histogram_plot(source, one) for one in quantities(source) if one.found]
    if not found:
        raise Unfit("no arm has two values of a latency")
    return found


def _histogram_plot(source: Source, of: Quantity) -> Plot:
    keys = rows(source, list(of.found))
    kept = keys[:ROWS_MAX]
    found = bars([of.found[key].values for key in kept])

    def draw(figure: SubFigure) -> None:
        grid: Any = figure.subplots(len(kept), 1, sharex=True, squeeze=False)
        for axes, key, counts, beyond in zip(
            grid.flat, kept, found.counts, found.beyond, strict=True
        ):
            _draw_bars(axes, source, of.found[key], found, counts, beyond)
        grid[-1, 0].set_xlabel(of.label + (", log scale" if found.log else ""))

    total = sum(len(one.values) for one in of.found.values())
    unit = next(iter(of.found.values())).unit
    return Plot(
        name=f"{short_name(of.name)}-histogram",
        kind="histogram",
        title=f"{of.words}: histogram",
        subtitle=f"n = {plural(total, unit)} in all; {unit}s per bin, the same bins for every row; "
        "line: median",
        caption=caption_of(source, of, "Histogram", "") + left_out(len(kept), len(keys), "rows"),
        data=dict(zip(kept, found.counts, strict=True)) | {"edges": found.edges},
        size_in=(8.4, 1.45 + max(1.05 * len(kept), 2.2)),
        draw=draw,
        frame=source.frame(),
    )


def _draw_bars(
    axes: Axes, source: Source, one: Values, found: Bars, counts: Any, beyond: int
) -> None:
    import numpy as np

    style = look(source.rank[one.key.arm])
    if found.log:
        axes.set_xscale("log")
    tidy(axes)
    axes.stairs(counts, found.edges, fill=True, facecolor=style.colour, alpha=0.28)
    axes.stairs(counts, found.edges, color=style.colour, linewidth=1.1, hatch=style.hatch)
    median = float(np.median(one.values))
    if median <= found.edges[-1]:
        axes.axvline(median, color=INK, linewidth=1.2)
    axes.margins(y=0.12)
    axes.locator_params(axis="y", nbins=3, integer=True)
    more = f"\n{beyond:,} beyond the axis" if beyond else ""
    label = f"{fold(source.label(one.key))}\n{one.n_said}\nmedian {number(median)} ms{more}"
    axes.text(1.015, 0.5, drawable(label), transform=axes.transAxes, va="center", fontsize=8)
