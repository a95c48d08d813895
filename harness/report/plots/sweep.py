"""A sweep: a heatmap over two axes, or a family of lines along one.

What was not measured is hatched, never coloured: an empty cell is unknown, not low. An arm that
stayed out of the sweep is a line across every panel of the family.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from harness.report.figures import number
from harness.report.plots.arms import Shown, figure_of
from harness.report.plots.grid import Axis, Grid, grid_of
from harness.report.plots.layout import columns, left_out
from harness.report.plots.plot import Plot
from harness.report.plots.source import Key, Source, Unfit, key_of
from harness.report.plots.style import GREY, INK, Look, look, tidy
from harness.report.plots.words import drawable, fold, metric_label, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

__all__ = ["Line", "Map", "families", "heatmaps", "lines", "maps"]

MAPS_MAX: Final = 6
LINES_MAX: Final = 8
PANELS_MAX: Final = 6
COLOURS: Final = 32


class Map(Struct, frozen=True, kw_only=True):
    """One panel of a heatmap: `cells[row][column]`, None where nothing is known."""

    title: str
    rows: Axis
    columns: Axis
    cells: tuple[tuple[Shown | None, ...], ...]


class Line(Struct, frozen=True, kw_only=True):
    """One line of a family: figures along the axis, None where nothing is known."""

    label: str
    look: int
    figures: tuple[Shown | None, ...]


def _grid(source: Source) -> Grid:
    grid = grid_of(source.cell_values())
    if grid is None:
        raise Unfit("this run has no sweep, or only one cell of it is looked at")
    return grid


def _swept_arms(source: Source) -> list[str]:
    return list(dict.fromkeys(a.arm for a in source.arms if a.cell in source.cells))


def _aside(source: Source) -> list[Key]:
    """Arms that were not swept."""
    return [key_of(arm) for arm in source.arms if arm.cell not in source.cells]


def _names(source: Source) -> list[str]:
    names = source.names()
    if not names:
        raise Unfit("no arm has a value of the metric" if source.wanted else "nothing was measured")
    return names


def _figure(source: Source, arm: str, cell: str | None, name: str) -> Shown | None:
    key = Key(arm, cell or "")
    return figure_of(source, key, name) if key in source.by_key else None


# Heatmap. -----------------------------------------------------------------------------------------


def maps(source: Source, grid: Grid, name: str) -> list[Map]:
    """A panel for each arm, and for each combination of the levels of further axes. The two axes
    with the most levels are drawn, the longer one across."""
    order = sorted(range(len(grid.axes)), key=lambda i: -len(grid.axes[i].labels))
    across, down = order[0], order[1]
    others = [i for i in range(len(grid.axes)) if i not in (across, down)]
    found = []
    for arm in _swept_arms(source):
        for fixed in product(*(range(len(grid.axes[i].labels)) for i in others)):
            at = dict(zip(others, fixed, strict=True))
            rows = []
            for row in range(len(grid.axes[down].labels)):
                place = {**at, down: row}
                cells = (
                    grid.cell(tuple({**place, across: column}[i] for i in range(len(grid.axes))))
                    for column in range(len(grid.axes[across].labels))
                )
                rows.append(tuple(_figure(source, arm, cell, name) for cell in cells))
            said = [f"{grid.axes[i].name}={grid.axes[i].labels[k]}" for i, k in at.items()]
            title = ", ".join([*([arm] if len(_swept_arms(source)) > 1 else []), *said])
            found.append(
                Map(title=title, rows=grid.axes[down], columns=grid.axes[across], cells=tuple(rows))
            )
    return [one for one in found if any(cell for row in one.cells for cell in row)]


def heatmaps(source: Source) -> list[Plot]:
    """One for each metric."""
    grid = _grid(source)
    if len(grid.axes) < 2:
        raise Unfit(f"the sweep has one axis, {grid.axes[0].name}: `family` draws it")
    found = [(name, maps(source, grid, name)) for name in _names(source)]
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
        from harness.report.plots.words import tick

        bar.ax.yaxis.set_major_formatter(tick)
        bar.outline.set_visible(False)
        bar.set_label(label)

    counts = {cell.n for cell in cells if cell is not None}
    n_said = f"n = {min(counts):,}" if len(counts) == 1 else f"n = {min(counts)} to {max(counts)}"
    missing = sum(cell is None for cell in cells)
    aside = [
        f"{key.arm} (not swept): {number(one.mean)}"
        for key in _aside(source)
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
        caption=f"Mean of {label} in every cell of the sweep ({n_said} {kept_of(cells)}each), with "
        f"half the width of its 95 % interval where the data carry one. Hatched: unknown "
        f"({missing} of {len(cells)})." + "".join(f" {one}." for one in aside)
        + left_out(len(kept), len(every), "panels"),
        data=kept,
        size_in=(min(max(wide * across + 1.2, 8.4), 13.0), 1.0 + high * down),
        draw=draw,
        frame=source.frame(),
    )  # fmt: skip


def kept_of(cells: list[Shown | None]) -> str:
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


# Families of lines. -------------------------------------------------------------------------------


def lines(source: Source, grid: Grid, name: str, arm: str | None) -> tuple[Axis, list[Line]]:
    """Along the axis with the most levels that are numbers (else the most levels). With one axis a
    line per arm; with two, those of `arm`, a line per level of the other one."""
    order = sorted(
        range(len(grid.axes)),
        key=lambda i: (grid.axes[i].values is None, -len(grid.axes[i].labels)),
    )
    along, others = order[0], sorted(order[1:])
    axis = grid.axes[along]
    found: list[Line] = []
    arms = _swept_arms(source) if arm is None else [arm]
    for one in arms:
        for index, fixed in enumerate(product(*(range(len(grid.axes[i].labels)) for i in others))):
            at = dict(zip(others, fixed, strict=True))
            figures = []
            for level in range(len(axis.labels)):
                place = tuple({**at, along: level}[i] for i in range(len(grid.axes)))
                figures.append(_figure(source, one, grid.cell(place), name))
            said = [f"{grid.axes[i].name}={grid.axes[i].labels[k]}" for i, k in at.items()]
            label = ", ".join(said) or one
            look_at = index if others else source.rank[one]
            if any(figures):
                found.append(Line(label=label, look=look_at, figures=tuple(figures)))
    return axis, found


def families(source: Source) -> list[Plot]:
    """One axis: a panel for each metric, a line for each arm. Two: a figure for each metric, a
    panel for each arm, a line for each level of the second axis."""
    grid = _grid(source)
    names = _names(source)
    if len(grid.axes) == 1:
        found = {name: lines(source, grid, name, None) for name in names}
        panels = [(metric_label(n, source.metric(n).unit), n, *found[n]) for n in names]
        return [_family(source, "family", panels, "by arm")]
    plots = []
    for name in names:
        label = metric_label(name, source.metric(name).unit)
        per_arm = [(arm, *lines(source, grid, name, arm)) for arm in _swept_arms(source)]
        panels = [(arm, name, axis, one) for arm, axis, one in per_arm if one]
        if panels:
            plots.append(_family(source, f"family-{name}", panels, label))
    if not plots:
        raise Unfit("no cell of the sweep has a value yet")
    return plots


_End = tuple[float, str, str]
"""Where a line ends, what it is called, its colour."""
_PanelData = tuple[str, str, Axis, list[Line]]


def _family(source: Source, plot_name: str, every: list[_PanelData], what: str) -> Plot:
    kept = every[:PANELS_MAX]
    across = min(columns(len(kept)), 2)
    down = -(-len(kept) // across)
    per_metric = plot_name == "family"
    axis = kept[0][2]
    notes = [left_out(len(kept), len(every), "panels")]
    widest = max(len(one[3]) for one in kept)
    notes.append(left_out(min(widest, LINES_MAX), widest, "lines of a panel"))

    def draw(figure: SubFigure) -> None:
        grid: Any = figure.subplots(down, across, squeeze=False, sharey=not per_metric)
        flat = list(grid.flat)
        ends: list[tuple[Axes, list[_End]]] = []
        for axes, (title, name, along, found) in zip(flat, kept, strict=False):
            label = metric_label(name, source.metric(name).unit)
            ends.append((axes, _draw_lines(axes, along, found[:LINES_MAX], _refs(source, name))))
            axes.set_ylabel(label)
            axes.tick_params(labelleft=True)
            if not per_metric and len(kept) > 1:
                axes.set_title(fold(title, 40, 2), fontsize=8.5)
        for axes in flat[len(kept) :]:
            axes.set_visible(False)
        for axes, labels in ends:  # when the limits of shared axes are known
            _end_labels(axes, labels)

    known = [f for one in kept for line in one[3] for f in line.figures if f is not None]
    counts = sorted({figure.n for figure in known})
    n_said = f"n = {counts[0]:,}" + (f" to {counts[-1]:,}" if len(counts) > 1 else "")
    subject = "Figures" if per_metric else what.rpartition(",")[0] or what
    return Plot(
        name=plot_name,
        kind="family",
        title=f"{subject} along {axis.name}",
        subtitle=f"mean with its 95 % interval where there are trials enough; {n_said} per point",
        caption=f"Means along {axis.path} ({n_said} per point), with 95 % intervals where the "
        "data carry one; a point that was not measured is left out, and its line broken."
        + "".join(notes),
        data=kept,
        size_in=(min(5.6 * across + 0.6, 12.0), 1.0 + 2.75 * down),
        draw=draw,
        frame=source.frame(),
    )  # fmt: skip


def _refs(source: Source, name: str) -> list[tuple[str, int, Shown]]:
    found = [
        (key.arm, source.rank[key.arm], figure_of(source, key, name)) for key in _aside(source)
    ]
    return [(arm, rank, one) for arm, rank, one in found if one is not None]


def _draw_lines(
    axes: Axes, axis: Axis, found: list[Line], refs: list[tuple[str, int, Shown]]
) -> list[_End]:
    """Returns what is to be written behind the lines."""
    import numpy as np

    tidy(axes)
    x = np.arange(len(axis.labels), dtype=float) if axis.values is None else np.array(axis.values)
    if axis.values is not None and _is_geometric(axis.values):
        axes.set_xscale("log")
        tidy(axes)
    if len(axis.labels) <= 12:
        axes.set_xticks(x, [fold(label, 14, 2) for label in axis.labels])
        axes.minorticks_off()
    axes.set_xlabel(drawable(axis.name) + _log_said(axis))
    ends: list[_End] = []
    for line in found:
        style = look(line.look)
        _draw_line(axes, x, line.figures, style)
        at = max(i for i, one in enumerate(line.figures) if one is not None)
        mean = line.figures[at]
        if mean is not None and mean.mean is not None:
            ends.append((mean.mean, line.label, style.colour))
    for arm, rank, one in refs:
        style = look(rank)
        axes.axhline(one.mean or 0.0, color=style.colour, linestyle=style.dash, linewidth=1.2)
        if one.low is not None and one.high is not None:
            axes.axhspan(one.low, one.high, color=style.colour, alpha=0.12, linewidth=0)
        ends.append((one.mean or 0.0, f"{arm} (not swept)", style.colour))
    axes.margins(x=0.05, y=0.12)
    return ends


def _log_said(axis: Axis) -> str:
    return ", log scale" if axis.values is not None and _is_geometric(axis.values) else ""


def _is_geometric(values: tuple[float, ...]) -> bool:
    return len(values) > 2 and values[0] > 0 and values[-1] / values[0] >= 8


def _draw_line(axes: Axes, x: Any, figures: tuple[Shown | None, ...], style: Look) -> None:
    import numpy as np

    means = np.array([np.nan if f is None or f.mean is None else f.mean for f in figures])
    axes.plot(
        x, means, color=style.colour, linestyle=style.dash, marker=style.marker, markersize=5.5,
        linewidth=1.6, markeredgecolor="white", markeredgewidth=0.5,
    )  # fmt: skip
    for at, one in zip(x, figures, strict=True):
        if one is not None and one.low is not None and one.high is not None:
            axes.plot([at, at], [one.low, one.high], color=style.colour, linewidth=1.2)
            axes.plot([at, at], [one.low, one.high], "_", color=style.colour, markersize=6)


def _end_labels(axes: Axes, ends: list[_End]) -> None:
    """Behind the last point of each line, moved apart where they would lie on one another."""
    if not ends:
        return
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    wanted = [(y - low) / (high - low) for y, _, _ in ends]
    folded = [fold(label, 24, 2) for _, label, _ in ends]
    tall = 0.075 * max(label.count("\n") + 1 for label in folded)
    places = spread(wanted, tall, 0.02, 0.98)
    beside: Any = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "center"}
    for place, label, (_, _, colour) in zip(places, folded, ends, strict=True):
        axes.annotate(label, (1.0, place), xytext=(5, 0), fontsize=8, color=colour, **beside)
