"""A sweep over two axes as coloured cells, with the figures written in them.

What was not measured is hatched, never coloured: an empty cell is unknown, not low.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from harness.report.figures import number
from harness.report.plots.arms import Shown, figure_of
from harness.report.plots.grid import Axis, Grid
from harness.report.plots.layout import left_out
from harness.report.plots.plot import Plot
from harness.report.plots.source import Source, Unfit
from harness.report.plots.style import GREY, INK
from harness.report.plots.sweep import (
    figure_at,
    metrics_of,
    not_swept,
    swept_arms,
    swept_grid,
)
from harness.report.plots.words import drawable, fold, metric_label, tick

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

__all__ = ["Map", "heatmaps", "maps"]

MAPS_MAX: Final = 6
COLOURS: Final = 32


class Map(Struct, frozen=True, kw_only=True):
    """One panel of a heatmap: `cells[row][column]`, None where nothing is known."""

    title: str
    rows: Axis
    columns: Axis
    cells: tuple[tuple[Shown | None, ...], ...]


def maps(source: Source, grid: Grid, name: str) -> list[Map]:
    """A panel for each arm, and for each combination of the levels of further axes. The two axes
    with the most levels are drawn, the longer one across."""
    order = sorted(range(len(grid.axes)), key=lambda i: -len(grid.axes[i].labels))
    across, down = order[0], order[1]
    others = [i for i in range(len(grid.axes)) if i not in (across, down)]
    found = []
    for arm in swept_arms(source):
        for fixed in product(*(range(len(grid.axes[i].labels)) for i in others)):
            at = dict(zip(others, fixed, strict=True))
            rows = []
            for row in range(len(grid.axes[down].labels)):
                place = {**at, down: row}
                cells = (
                    grid.cell(tuple({**place, across: column}[i] for i in range(len(grid.axes))))
                    for column in range(len(grid.axes[across].labels))
                )
                rows.append(tuple(figure_at(source, arm, cell, name) for cell in cells))
            said = [f"{grid.axes[i].name}={grid.axes[i].labels[k]}" for i, k in at.items()]
            title = ", ".join([*([arm] if len(swept_arms(source)) > 1 else []), *said])
            found.append(
                Map(title=title, rows=grid.axes[down], columns=grid.axes[across], cells=tuple(rows))
            )
    return [one for one in found if any(cell for row in one.cells for cell in row)]


def heatmaps(source: Source) -> list[Plot]:
    """One for each metric."""
    grid = swept_grid(source)
    if len(grid.axes) < 2:
        raise Unfit(f"the sweep has one axis, {grid.axes[0].name}: `family` draws it")
    found = [(name, maps(source, grid, name)) for name in metrics_of(source)]
    plots = [_heatmap(source, name, every) for name, every in found if every]
    if not plots:
        raise Unfit("no cell of the sweep has a value yet")
    return plots


def _heatmap(source: Source, name: str, every: list[Map]) -> Plot:
    import numpy as np

    kept = every[:MAPS_MAX]
    cells = [cell for one in kept for row in one.cells for cell in row]
    known = [cell.mean for cell in cells if cell is not None and cell.mean is not None]
    label = metric_label(name, source.metric(name).unit)
    across = min(len(kept), 3 if len(kept[0].columns.labels) <= 5 else 2)
    down = -(-len(kept) // across)
    wide = max(2.0, 0.66 * len(kept[0].columns.labels)) + 1.0
    high = max(1.1, 0.46 * len(kept[0].rows.labels)) + 0.75

    def draw(figure: SubFigure) -> None:
        grid: Any = figure.subplots(down, across, squeeze=False)
        flat = list(grid.flat)
        image: Any = None
        for axes, one in zip(flat, kept, strict=False):
            image = _draw_map(axes, one, float(np.min(known)), float(np.max(known)))
        for axes in flat[len(kept) :]:
            axes.set_visible(False)
        bar = figure.colorbar(image, ax=flat, shrink=0.85, pad=0.015, aspect=26)
        bar.ax.yaxis.set_major_formatter(tick)
        bar.outline.set_visible(False)
        bar.set_label(label)

    counts = {cell.n for cell in cells if cell is not None}
    n_said = f"n = {min(counts):,}" if len(counts) == 1 else f"n = {min(counts)} to {max(counts)}"
    missing = sum(cell is None for cell in cells)
    aside = [
        f"{key.arm} (not swept): {number(one.mean)}"
        for key in not_swept(source)
        if (one := figure_of(source, key, name)) is not None
    ]
    better = source.metric(name).better
    direction = "" if better == "neither" else f", {better} is better"
    return Plot(
        name=f"heatmap-{name}",
        kind="heatmap",
        title=f"{label.rpartition(',')[0] or label} over the sweep",
        subtitle=f"mean per cell, {n_said} each{direction}; ± half the 95 % interval, "
        "where there are trials enough" + (f"; {'; '.join(aside)}" if aside else ""),
        caption=f"Mean of {label} in every cell of the sweep ({n_said} {_units_of(cells)}each), "
        f"with half the width of its 95 % interval where the data carry one. Hatched: unknown "
        f"({missing} of {len(cells)})." + "".join(f" {one}." for one in aside)
        + left_out(len(kept), len(every), "panels"),
        data=kept,
        size_in=(min(max(wide * across + 1.2, 8.4), 13.0), 1.0 + high * down),
        draw=draw,
        frame=source.frame(),
    )  # fmt: skip


def _units_of(cells: list[Shown | None]) -> str:
    units = {cell.of for cell in cells if cell is not None}
    return f"{units.pop()}s " if len(units) == 1 else ""


def _draw_map(axes: Axes, one: Map, low: float, high: float) -> Any:
    import matplotlib as mpl
    import numpy as np

    values = np.array(
        [[np.nan if c is None or c.mean is None else c.mean for c in row] for row in one.cells]
    )
    if high <= low:
        low, high = low - 0.5, high + 0.5
    # Squares as paths, and few colours: an image within an SVG would blur.
    image = axes.pcolormesh(
        np.arange(values.shape[1] + 1) - 0.5,
        np.arange(values.shape[0] + 1) - 0.5,
        np.ma.masked_invalid(values),
        cmap=mpl.colormaps["cividis"].resampled(COLOURS),
        vmin=low,
        vmax=high,
        edgecolors="white",
        linewidth=1.0,
    )
    axes.set_ylim(values.shape[0] - 0.5, -0.5)
    size = 7.5 if len(one.columns.labels) <= 8 else 6.0
    for row, cells in enumerate(one.cells):
        for column, cell in enumerate(cells):
            if cell is None or cell.mean is None:
                _hatched(axes, row, column)
                continue
            dark = (cell.mean - low) / (high - low) < 0.55
            half = None if cell.low is None or cell.high is None else (cell.high - cell.low) / 2
            text = number(cell.mean, 3) + ("" if half is None else f"\n±{number(half, 2)}")
            axes.text(column, row, text, ha="center", va="center", fontsize=size,
                      color="white" if dark else INK)  # fmt: skip
    axes.set_xticks(range(len(one.columns.labels)), [fold(t, 12, 2) for t in one.columns.labels])
    axes.set_yticks(range(len(one.rows.labels)), [fold(t, 14, 2) for t in one.rows.labels])
    axes.set_xlabel(drawable(one.columns.name))
    axes.set_ylabel(drawable(one.rows.name))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    if one.title:
        axes.set_title(fold(one.title, 34, 3), fontsize=8.5)
    return image


def _hatched(axes: Axes, row: int, column: int) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor="white", edgecolor=GREY,
                  hatch="////", linewidth=0)
    )  # fmt: skip
    axes.text(column, row, "—", ha="center", va="center", fontsize=8, color=INK,
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
