"""Arms side by side: the mean of each with its interval, its median, and the means of its trials.

What an interval speaks of (further launches, or this one alone) is said; where there is none, the
trials are there to be seen, and the figure says how many it would take.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from harness.report.aggregate import metric
from harness.report.figures import number
from harness.report.plots.layout import left_out, rows
from harness.report.plots.plot import Plot
from harness.report.plots.source import Key, Source, Unfit
from harness.report.plots.style import GREY, INK, legend_below, look, tidy
from harness.report.plots.words import fold, metric_label, plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

__all__ = ["Shown", "arms", "figure_of", "intervals_of"]

ROWS_MAX: Final = 40
METRICS_MAX: Final = 4
DOTS_MAX: Final = 60
MARK: Final = "#909090"


class Shown(Struct, frozen=True, kw_only=True):
    """One metric of one arm and cell, as every plot of summaries draws it."""

    n: int
    of: str
    mean: float | None
    low: float | None
    high: float | None
    ci_of: str | None
    median: float | None
    p95: float | None
    trials: tuple[float, ...] = ()
    """Mean of each trial."""
    needs: int | None = None
    """Of `ci_of`, for an interval."""


def figure_of(source: Source, key: Key, name: str, *, with_trials: bool = False) -> Shown | None:
    """None where the arm lacks the metric, or every value of it."""
    found = metric(source.by_key[key], name)
    if found is None or not found.n:
        return None
    trials: tuple[float, ...] = ()
    series = source.samples[key].series.get(name) if with_trials else None
    if series is not None:
        trials = tuple(sum(v) / len(v) for v in series.by_trial().values())
    return Shown(
        n=found.n, of=found.of, mean=found.mean, low=found.ci_low, high=found.ci_high,
        ci_of=found.ci_of, median=found.median, p95=found.p95,
        trials=trials if len(trials) > 1 else (), needs=found.needs.get("ci"),
    )  # fmt: skip


def arms(source: Source) -> list[Plot]:
    names = source.names(METRICS_MAX)
    if not names:
        raise Unfit("no arm has a value of the metric" if source.wanted else "nothing was measured")
    every = rows(source)
    kept = every[:ROWS_MAX]
    data = {
        name: {key: figure_of(source, key, name, with_trials=True) for key in kept}
        for name in names
    }
    labels = [fold(source.label(key), 30, 3) for key in kept]
    deep = sum(max(label.count("\n") + 1, 2.2) for label in labels)

    def draw(figure: SubFigure) -> None:
        grid: Any = figure.subplots(1, len(names), sharey=True, squeeze=False)
        for axes, name in zip(grid[0], names, strict=True):
            _draw(axes, source, data[name], kept)
            axes.set_xlabel(metric_label(name, source.metric(name).unit))
            better = source.metric(name).better
            if better != "neither":
                axes.set_title(f"{better} is better", fontsize=8, fontweight="normal", color=GREY)
        grid[0, 0].set_yticks(range(len(kept)), labels)
        grid[0, 0].set_ylim(len(kept) - 0.5, -0.5)
        _legend(figure, data)

    return [
        Plot(
            name="arms",
            kind="arms",
            title="Arms side by side" if len(kept) > 1 else "Headline figures",
            subtitle=f"mean with its 95 % interval; {intervals_of(data)}; beside each: n",
            caption=_caption(source, names, data) + left_out(len(kept), len(every), "rows"),
            data=data,
            size_in=(min(3.6 + 2.1 * len(names), 11.0), 1.85 + max(0.2 * deep, 0.75)),
            draw=draw,
            frame=source.frame(),
        )
    ]


def _draw(axes: Axes, source: Source, found: dict[Key, Shown | None], keys: list[Key]) -> None:
    tidy(axes, grid="x")
    for row, key in enumerate(keys):
        one, style = found[key], look(source.rank[key.arm])
        if one is None or one.mean is None:
            axes.text(0.5, row, "unknown", transform=axes.get_yaxis_transform(), fontsize=8,
                      color=GREY, ha="center", va="center")  # fmt: skip
            continue
        dots = one.trials[:DOTS_MAX]
        axes.plot(dots, [row] * len(dots), "|", color=MARK, markersize=11, markeredgewidth=1.2)
        if one.low is not None and one.high is not None:
            axes.plot([one.low, one.high], [row, row], color=style.colour, linewidth=2.2,
                      solid_capstyle="butt")  # fmt: skip
            axes.plot([one.low, one.high], [row, row], "|", color=style.colour, markersize=8,
                      markeredgewidth=1.6)  # fmt: skip
        axes.plot(one.mean, row, style.marker, color=style.colour, markersize=6.5,
                  markeredgecolor="white", markeredgewidth=0.6, zorder=4)  # fmt: skip
        if one.median is not None:
            axes.plot(one.median, row, "d", markerfacecolor="white", markeredgecolor=INK,
                      markersize=4, markeredgewidth=0.8, zorder=5)  # fmt: skip
        axes.annotate(f"{number(one.mean)}  n={one.n:,}", (1.0, row),
                      xycoords=("axes fraction", "data"), xytext=(0, 7),
                      textcoords="offset points", ha="right", fontsize=7, color=GREY)  # fmt: skip
    axes.margins(x=0.12)
    axes.locator_params(axis="x", nbins=5)


def _legend(figure: SubFigure, data: dict[str, dict[Key, Shown | None]]) -> None:
    from matplotlib.lines import Line2D

    def mark(label: str, marker: str, face: str, edge: str, size: float) -> Line2D:
        return Line2D([], [], linestyle="none", marker=marker, markersize=size, label=label,
                      markerfacecolor=face, markeredgecolor=edge)  # fmt: skip

    every = [one for by_key in data.values() for one in by_key.values() if one is not None]
    handles = [mark("mean", "o", GREY, "none", 6.5), mark("median", "d", "white", INK, 4)]
    if any(one.low is not None for one in every):
        line = Line2D([], [], color=GREY, linewidth=2.2, label="95 % interval of the mean")
        handles.insert(1, line)
    if any(one.trials for one in every):
        handles.append(mark("mean of one trial", "|", MARK, MARK, 10))
    legend_below(figure, handles)


def intervals_of(data: Mapping[str, Mapping[Key, Shown | None]]) -> str:
    """What the intervals of a figure speak of, and what it would take where there are none."""
    every = [one for by_key in data.values() for one in by_key.values() if one is not None]
    units = {one.ci_of for one in every if one.low is not None}
    lacking = {f"{one.needs} {one.ci_of}" for one in every if one.low is None and one.needs}
    parts = []
    if units == {"trials"}:
        parts.append("over trials")
    elif units:
        parts.append("of this launch alone; another may differ by more")
    if lacking:
        parts.append(f"none below {' or '.join(sorted(lacking))}")
    return ", ".join(parts) or "no interval"


def _caption(source: Source, names: list[str], data: dict[str, dict[Key, Shown | None]]) -> str:
    said = ", ".join(metric_label(name, source.metric(name).unit) for name in names)
    first = data[names[0]]
    parts = [
        f"{source.label(key)}: n = {plural(one.n, one.of)}, {_interval(one)}"
        for key, one in list(first.items())[:12]
        if one is not None
    ]
    rest = "; …" if len(first) > 12 else ""
    return (
        f"Means with 95 % intervals, {intervals_of(data)}; medians as diamonds. {said}. "
        f"Of {names[0]}: {'; '.join(parts)}{rest}."
    )


def _interval(one: Shown) -> str:
    if one.low is None or one.high is None:
        return f"mean {number(one.mean)}, no interval"
    return f"mean {number(one.mean)} ({number(one.low)} to {number(one.high)})"
