"""How models are drawn: marker, colour and name of each, axes, legend, and who is left out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from harness.report.plots.modelpoints import PARAMETERS, Models, Spot
from harness.report.plots.plot import FOOT_IN, HEAD_IN
from harness.report.plots.source import Source
from harness.report.plots.style import GREY, INK, look, tidy
from harness.report.plots.words import drawable, fold, metric_label, shown
from harness.sizes import size_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

__all__ = ["draw", "legend", "name_axes", "with_footnote"]

NAMED_MAX: Final = 30
COLOURS_MAX: Final = 6
WIDE: Final = 25.0
AREA_MAX: Final = 1100.0
"""Of the largest bubble, in square points."""
NOTE_IN: Final = 0.32
_MARKERS: Final = {"local": "s", "api": "o", None: "D"}
_WHERE: Final = {"local": "runs here", "api": "API", None: "where it runs is not told"}


def with_footnote(whole: SubFigure, missing: str, size_in: tuple[float, float]) -> SubFigure:
    """What lies above the line that names who is left out."""
    if not missing:
        return whole
    height = size_in[1] - HEAD_IN - FOOT_IN
    parts: Any = whole.subfigures(
        2, 1, height_ratios=[height - NOTE_IN, NOTE_IN], hspace=0, facecolor="none"
    )
    lines = fold(f"Left out: {missing}", int(size_in[0] * 15), 2)
    parts[1].text(0.12 / size_in[0], 0.5, lines, fontsize=7.5, color=GREY, va="center")
    above: SubFigure = parts[0]
    return above


def draw(axes: Axes, points: Sequence[Spot], models: Models, panel_in: tuple[float, float]) -> None:
    _scale(axes, points)
    tidy(axes)
    largest = max((one.area or 0.0 for one in points), default=0.0)
    floor = axes.get_ylim()[0]
    for one in points:
        colour = _colour(models, one.model.family)
        marker = _MARKERS[one.model.location]
        if one.area is not None:
            axes.scatter(one.x, one.y, s=_points(one, largest), marker=marker, color=colour,
                         alpha=0.35, edgecolors=colour, linewidths=1, zorder=2)  # fmt: skip
        if one.shown.low is not None and one.shown.high is not None:
            axes.plot([one.x] * 2, [max(one.shown.low, floor), one.shown.high], color=colour,
                      linewidth=1.4, marker="_", markersize=6, zorder=3)  # fmt: skip
        axes.plot(one.x, one.y, marker, color=colour, markersize=3 if one.area is not None else 7,
                  markeredgecolor="white", markeredgewidth=0.6, zorder=4)  # fmt: skip
    if len(points) <= NAMED_MAX:
        _write_names(axes, points, panel_in)


def _scale(axes: Axes, points: Sequence[Spot]) -> None:
    """Logarithmic along x; upwards from 0, or logarithmic where values lie far apart."""
    from matplotlib.ticker import LogLocator, NullLocator

    xs = [one.x for one in points]
    axes.set_xscale("log")
    low, high = min(xs), max(xs)
    room = max((high / low) ** 0.1, 1.3)
    axes.set_xlim(low / room, high * room**2.2)
    wide = high / low > 200
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=12))
    axes.xaxis.set_minor_locator(NullLocator())
    ys = [one.y for one in points]
    tops = [one.shown.high if one.shown.high is not None else one.y for one in points]
    if min(ys) > 0 and max(ys) / min(ys) > WIDE:
        axes.set_yscale("log")
        bottom = min(one.shown.low or one.y for one in points if (one.shown.low or one.y) > 0)
        axes.set_ylim(max(bottom, min(ys) / 10) / 1.6, max(tops) * 2)
        wide = max(ys) / min(ys) > 2000
        subs = (1.0,) if wide else (1.0, 2.0, 5.0)
        axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        lows = [one.shown.low if one.shown.low is not None else one.y for one in points]
        top = max(*tops, 0.0)
        bottom = min(lows) * 1.1 if min(ys) < 0 else 0.0
        axes.set_ylim(bottom, top + 0.16 * (top - bottom) if top > bottom else bottom + 1.0)


def name_axes(axes: Axes, source: Source, x: str, name: str) -> None:
    log = ", log scale" if axes.get_yscale() == "log" else ""
    axes.set_ylabel(metric_label(name, source.metric(name).unit) + log)
    if x == PARAMETERS:
        axes.xaxis.set_major_formatter(lambda value, _: size_words(round(value)))
        axes.set_xlabel("parameters, log scale")
    else:
        axes.set_xlabel(metric_label(x, source.metric(x).unit) + ", log scale")
    better = source.metric(name).better
    if better != "neither":
        axes.set_title(f"{better} is better", fontsize=8, fontweight="normal", color=GREY)


def _points(one: Spot, largest: float) -> float:
    """Square points of its marker. matplotlib's `s` is the square around it: a circle of the same
    area, and a diamond, need a larger one."""
    share = (one.area or 0.0) / largest if largest else 0.0
    return AREA_MAX * share * {"s": 1.0, "o": 4 / math.pi, "D": 1.0}[_MARKERS[one.model.location]]


def _write_names(axes: Axes, points: Sequence[Spot], panel_in: tuple[float, float]) -> None:
    """Beside each point its name and n, where the least of it lies over others."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    is_log = axes.get_yscale() == "log"
    width, height = panel_in[0] * 72, panel_in[1] * 72
    places = []
    for one in points:
        up = math.log(one.y / bottom, top / bottom) if is_log else (one.y - bottom) / (top - bottom)
        places.append((math.log(one.x / left, right / left) * width, up * height))
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in places]
    for one, (x, y) in sorted(zip(points, places, strict=True), key=lambda it: -it[1][1]):
        text = f"{fold(one.model.name, 24, 1)}  n={one.shown.n:,}"
        long = 3.9 * len(text)
        best = None
        for dx, dy in ((7, 3), (7, -9), (-7 - long, 3), (-7 - long, -9), (7, 14), (7, -20),
                       (-long / 2, 9), (-long / 2, -16)):  # fmt: skip
            box = (x + dx, y + dy, x + dx + long, y + dy + 8)
            cost = sum(_overlap(box, other) for other in taken)
            cost += 20 * (max(0.0, -box[0]) + max(0.0, box[2] - width) + max(0.0, -box[1]))
            if best is None or cost < best[0]:
                best = (cost, dx, dy, box)
        assert best is not None
        taken.append(best[3])
        axes.annotate(text, (one.x, one.y), xytext=best[1:3], textcoords="offset points",
                      fontsize=7, color=INK, ha="left", va="bottom", zorder=5)  # fmt: skip


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    return wide * high if wide > 0 and high > 0 else 0.0


def _colour(models: Models, family: str) -> str:
    place = models.families.index(family)
    return look(place).colour if place < COLOURS_MAX else GREY


def legend(
    source: Source, data: Mapping[str, Sequence[Spot]], models: Models, area: str | None
) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    drawn = [one.model for points in data.values() for one in points]
    families = [family for family in models.families if any(m.family == family for m in drawn)]
    told = {(_colour(models, family), fold(family, 20, 1)) for family in families}
    handles: list[Any] = [
        Patch(facecolor=colour, label=label)
        for colour, label in sorted(told, key=lambda one: one[1])
        if colour != GREY
    ]
    if any(colour == GREY for colour, _ in told):
        handles.append(Patch(facecolor=GREY, label="other families"))
    for location in ("local", "api", None):
        if any(model.location == location for model in drawn):
            handles.append(
                Line2D([], [], linestyle="none", marker=_MARKERS[location], color=INK,
                       markersize=6, label=_WHERE[location])
            )  # fmt: skip
    if any(model.name.endswith("*") for model in drawn):
        handles.append(Line2D([], [], linestyle="none", label="* size as declared"))
    if area is not None:
        largest = max((one.area or 0.0 for points in data.values() for one in points), default=0.0)
        said = f"largest: {shown(largest, source.metric(area).unit)}"
        handles.append(Line2D([], [], linestyle="none", label=drawable(said)))
    return handles
