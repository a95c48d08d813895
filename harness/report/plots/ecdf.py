"""Cumulative shares (ECDF) of a latency, arms over one another, single trials behind them.
Percentiles are marked where n carries them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from harness.report.figures import number
from harness.report.plots.distribution import (
    QUANTILES,
    Curve,
    Quantity,
    caption_of,
    ecdf,
    is_wide,
    quantities,
    short_name,
)
from harness.report.plots.layout import PANELS_MAX, Panel, columns, left_out, panels, rows
from harness.report.plots.plot import Plot
from harness.report.plots.source import Key, Source, Unfit
from harness.report.plots.style import FAINT, GREY, legend_below, look, tidy
from harness.report.plots.words import fold, plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

__all__ = ["ecdfs"]

TRIALS_MAX: Final = 10
"""Single trials are drawn behind their arm up to so many."""


def ecdfs(source: Source) -> list[Plot]:
    """One for each latency."""
    found = [_ecdf_plot(source, one) for one in quantities(source) if one.found]
    if not found:
        raise Unfit("no arm has two values of a latency")
    return found


def _ecdf_plot(source: Source, of: Quantity) -> Plot:
    every = panels(source, rows(source, list(of.found)))
    kept = every[:PANELS_MAX]
    curves = {key: ecdf(one.values) for key, one in of.found.items()}
    wide = is_wide([one.values for one in of.found.values()])
    trials = {
        key: {t: ecdf(v) for t, v in one.trials.items() if len(v) > 1}
        for key, one in of.found.items()
        if 1 < len(one.trials) <= TRIALS_MAX
    }
    across = columns(len(kept))
    down = -(-len(kept) // across)
    size = (8.4, 4.4) if len(kept) == 1 else (10.4, 1.2 + 2.35 * down)

    def draw(figure: SubFigure) -> None:
        grid: Any = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        flat = list(grid.flat)
        for axes, panel in zip(flat, kept, strict=False):
            _draw_ecdf(axes, panel, source, of, curves, trials, wide, alone=len(kept) == 1)
        for axes in flat[len(kept) :]:
            axes.set_visible(False)
        if len(kept) > 1 and not kept[0].behind:
            _legend_below(figure, flat[0])
        for axes in grid[:, 0]:
            axes.set_ylabel("share at or below")
        for at in range(len(kept)):
            if at + across >= len(kept):
                flat[at].set_xlabel(of.label + (", log scale" if wide else ""))
                flat[at].tick_params(labelbottom=True)

    total = sum(len(one.values) for one in of.found.values())
    unit = next(iter(of.found.values())).unit
    behind = " Faint: each trial by itself." if any(trials.values()) else ""
    return Plot(
        name=f"{short_name(of.name)}-ecdf",
        kind="ecdf",
        title=f"{of.words}: how large a share of the {unit}s is at most so long",
        subtitle=f"n = {plural(total, unit)} in all; marked: p50, and p95, p99 where n is enough",
        caption=caption_of(source, of, "Cumulative share (ECDF)", behind)
        + left_out(len(kept), len(every), "panels"),
        data=curves,
        size_in=size,
        draw=draw,
        frame=source.frame(),
    )


def _draw_ecdf(
    axes: Axes, panel: Panel, source: Source, of: Quantity, curves: dict[Key, Curve],
    trials: dict[Key, dict[int, Curve]], wide: bool, *, alone: bool,
) -> None:  # fmt: skip
    if wide:
        axes.set_xscale("log")
    tidy(axes)
    axes.set_ylim(0, 1.03)
    for key in panel.behind[:30]:
        axes.step(curves[key].x, curves[key].share, where="post", color=FAINT, linewidth=0.7)
    for key in panel.keys:
        curve, style = curves[key], look(source.rank[key.arm])
        for one in trials.get(key, {}).values() if len(panel.keys) <= 3 else ():
            axes.step(one.x, one.share, where="post", color=style.colour, alpha=0.4, linewidth=0.7)
        said = f"{fold(source.label(key) if alone else key.arm)}"
        median = f", median {number(curve.marks['p50'])} ms" if "p50" in curve.marks else ""
        label = f"{said}\n{of.found[key].n_said}{median}" if alone else said
        x, share = [curve.x[0], *curve.x], [0.0, *curve.share]
        line = {"color": style.colour, "linestyle": style.dash, "linewidth": 1.7}
        axes.step(x, share, where="post", **line)
        for name, at in curve.marks.items():
            axes.plot(at, QUANTILES[name], style.marker, color=style.colour, markersize=5.5,
                      markeredgecolor="white", markeredgewidth=0.6, zorder=4)  # fmt: skip
        axes.plot([], [], marker=style.marker, markersize=5.5, label=label, **line)
    if panel.title:
        axes.set_title(fold(panel.title, 38, 2), fontsize=8.5)
        said = "n = " + ", ".join(f"{len(of.found[key].values):,}" for key in panel.keys)
        axes.text(0.98, 0.04, said, transform=axes.transAxes, ha="right", fontsize=7.5, color=GREY)
    if alone:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=3.4, labelspacing=1)


def _legend_below(figure: SubFigure, axes: Axes) -> None:
    handles, _ = axes.get_legend_handles_labels()
    for handle in handles:
        handle.set_label(str(handle.get_label()).replace("\n", " "))
    legend_below(figure, handles)
