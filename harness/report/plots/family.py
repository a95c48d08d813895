"""Lines along one axis of a sweep: a line for each arm, or for each level of a second axis.

A point that was not measured breaks its line. An arm that stayed out of the sweep is a line across
every panel.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from harness.report.plots.arms import Shown, figure_of
from harness.report.plots.grid import Axis, Grid
from harness.report.plots.layout import columns, left_out
from harness.report.plots.plot import Plot
from harness.report.plots.source import Source, Unfit
from harness.report.plots.style import Look, look, tidy
from harness.report.plots.sweep import (
    figure_at,
    metrics_of,
    not_swept,
    swept_arms,
    swept_grid,
)
from harness.report.plots.words import drawable, fold, metric_label, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

__all__ = ["Line", "families", "lines"]

LINES_MAX: Final = 8
PANELS_MAX: Final = 6


class Line(Struct, frozen=True, kw_only=True):
    """One line of a family: figures along the axis, None where nothing is known."""

    label: str
    look: int
    figures: tuple[Shown | None, ...]


_End = tuple[float, str, str]
"""Where a line ends, what it is called, its colour."""
_PanelData = tuple[str, str, Axis, list[Line]]


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
    arms = swept_arms(source) if arm is None else [arm]
    for one in arms:
        for index, fixed in enumerate(product(*(range(len(grid.axes[i].labels)) for i in others))):
            at = dict(zip(others, fixed, strict=True))
            figures = []
            for level in range(len(axis.labels)):
                place = tuple({**at, along: level}[i] for i in range(len(grid.axes)))
                figures.append(figure_at(source, one, grid.cell(place), name))
            said = [f"{grid.axes[i].name}={grid.axes[i].labels[k]}" for i, k in at.items()]
            label = ", ".join(said) or one
            look_at = index if others else source.rank[one]
            if any(figures):
                found.append(Line(label=label, look=look_at, figures=tuple(figures)))
    return axis, found


def families(source: Source) -> list[Plot]:
    """One axis: a panel for each metric, a line for each arm. Two: a figure for each metric, a
    panel for each arm, a line for each level of the second axis."""
    grid = swept_grid(source)
    names = metrics_of(source)
    if len(grid.axes) == 1:
        found = {name: lines(source, grid, name, None) for name in names}
        panels = [(metric_label(n, source.metric(n).unit), n, *found[n]) for n in names]
        return [_family(source, "family", panels, "by arm")]
    plots = []
    for name in names:
        label = metric_label(name, source.metric(name).unit)
        per_arm = [(arm, *lines(source, grid, name, arm)) for arm in swept_arms(source)]
        panels = [(arm, name, axis, one) for arm, axis, one in per_arm if one]
        if panels:
            plots.append(_family(source, f"family-{name}", panels, label))
    if not plots:
        raise Unfit("no cell of the sweep has a value yet")
    return plots


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
        (key.arm, source.rank[key.arm], figure_of(source, key, name)) for key in not_swept(source)
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
