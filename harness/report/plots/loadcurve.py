"""Throughput against latency: what a server gives, and what that costs, as the load rises.

A point is one load; along a line the load rises. Where the specification states an SLO, the region
that meets it is shaded, so that the last point within it can be seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec import Struct

from harness.report.aggregate import durations
from harness.report.figures import number
from harness.report.plots.arms import Shown, figure_of
from harness.report.plots.layout import columns
from harness.report.plots.plot import Plot
from harness.report.plots.source import Key, Source, Unfit, key_of
from harness.report.plots.style import GREEN, legend_below, look, tidy
from harness.report.plots.words import fold, metric_label, plural
from harness.schema import ClosedLoad, OpenLoad

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

__all__ = ["Ladder", "ladders", "load_curves"]

LINES_MAX: Final = 8
LABELS_MAX: Final = 12
WIDE: Final = 25.0


class Ladder(Struct, frozen=True, kw_only=True):
    """The loads of one arm (and of one combination of what else is swept), ascending."""

    label: str
    look: int
    loads: tuple[float, ...]
    keys: tuple[Key, ...]


def ladders(source: Source) -> tuple[str, list[Ladder]]:
    """What the load is counted in, and a ladder for everything with two loads or more."""
    from harness.engine.cells import load_of

    manifest = source.run.manifest
    found: dict[tuple[str, tuple[tuple[str, str], ...]], list[tuple[float, Key]]] = {}
    units = set()
    for key in map(key_of, source.arms):
        load = load_of(manifest.spec, key.arm, key.cell, manifest.cells)
        if load is None:
            continue
        value = load.rate_per_s if isinstance(load, OpenLoad) else load.concurrency
        units.add("in flight" if isinstance(load, ClosedLoad) else "requests/s offered")
        cell = manifest.cells.get(key.cell, {})
        rest = tuple((p, str(v)) for p, v in cell.items() if not p.startswith("load"))
        found.setdefault((key.arm, rest), []).append((float(value), key))
    several = {at: sorted(steps) for at, steps in found.items() if len({v for v, _ in steps}) > 1}
    if not several:
        raise Unfit("its cells and arms do not vary the load (sweep load.concurrency or "
                    "load.rate_per_s)")  # fmt: skip
    if len(units) > 1:
        raise Unfit("some of its arms are closed loops and others open ones")
    made = []
    for index, ((arm, rest), steps) in enumerate(several.items()):
        said = [f"{path.rpartition('.')[2]}={value}" for path, value in rest]
        made.append(
            Ladder(
                label=", ".join([arm, *said]), look=index if rest else source.rank[arm],
                loads=tuple(value for value, _ in steps), keys=tuple(key for _, key in steps),
            )
        )  # fmt: skip
    return units.pop(), made


def load_curves(source: Source) -> list[Plot]:
    unit, every = ladders(source)
    kept = every[:LINES_MAX]
    throughput = _throughput(source)
    names = [name for name in _latencies(source) if _has(source, kept, name)]
    if throughput is None or not names:
        raise Unfit("no cell has both a throughput and a latency yet")
    data = {
        name: {
            ladder.label: [
                (load, figure_of(source, key, throughput), figure_of(source, key, name))
                for load, key in zip(ladder.loads, ladder.keys, strict=True)
            ]
            for ladder in kept
        }
        for name in names
    }
    across = columns(len(names))
    down = -(-len(names) // across)
    slo = source.run.manifest.spec.slo or {}

    def draw(figure: SubFigure) -> None:
        grid: Any = figure.subplots(down, across, squeeze=False)
        flat = list(grid.flat)
        for axes, name in zip(flat, names, strict=False):
            _draw(axes, data[name], kept, slo.get(name))
            axes.set_ylabel(metric_label(name, source.metric(name).unit) + _scale(axes))
            axes.set_xlabel(metric_label(throughput, source.metric(throughput).unit))
        for axes in flat[len(names) :]:
            axes.set_visible(False)
        legend_below(figure, flat[0].get_legend_handles_labels()[0])

    known = [f for by in data[names[0]].values() for _, _, f in by if f is not None]
    n_said = f"n = {plural(sum(one.n for one in known), 'call')} in {plural(len(known), 'point')}"
    slo_said = ", ".join(f"{name} ≤ {number(bound)}" for name, bound in slo.items())
    more = f" The first {len(kept)} of {len(every)} lines are drawn." * (len(kept) < len(every))
    return [
        Plot(
            name="load-curve",
            kind="load-curve",
            title="Throughput against latency",
            subtitle=f"numbers at the points: {unit}; mean with 95 % intervals, dashed: p95; "
            + (f"shaded: SLO {slo_said}; " if slo else "") + n_said,
            caption=f"Each point is one load ({unit}, written beside it): mean latency over mean "
            f"throughput, with 95 % intervals in both directions where the data carry them; open "
            f"markers: p95, where n carries it. {n_said}."
            + (f" Shaded: what meets the SLO ({slo_said})." if slo else "") + more,
            data=data,
            size_in=(min(5.2 * across + 0.4, 12.0) if across > 1 else 7.6, 1.1 + 3.3 * down),
            draw=draw,
            frame=source.frame(),
        )
    ]  # fmt: skip


def _throughput(source: Source) -> str | None:
    """Tokens, where they are known; else requests."""
    known = {one.name for arm in source.arms for one in arm.metrics if one.n}
    wanted = ("held_throughput_tok_s", "throughput_tok_s", "requests_per_s")
    # The held window exists only where the load was held: all cells have it, or none is shown.
    for name in wanted:
        if name in known and all(
            any(one.name == name and one.n for one in arm.metrics) for arm in source.arms
        ):
            return name
    return next((name for name in wanted if name in known), None)


def _latencies(source: Source) -> list[str]:
    slo = [n for n in source.run.manifest.spec.slo or {} if n.endswith("_ms")]
    return list(dict.fromkeys([*(source.wanted or slo), *([] if source.wanted else
                               durations(source.summary))]))[:4]  # fmt: skip


def _has(source: Source, kept: list[Ladder], name: str) -> bool:
    return any(figure_of(source, key, name) for ladder in kept for key in ladder.keys)


def _scale(axes: Axes) -> str:
    return ", log scale" if axes.get_yscale() == "log" else ""


_Point = tuple[float, Shown | None, Shown | None]


class _Known(NamedTuple):
    """A point that can be drawn."""

    load: float
    x: float
    y: float
    throughput: Shown
    latency: Shown


def _known(points: list[_Point]) -> Iterator[_Known]:
    for load, x, y in points:
        if x is not None and y is not None and x.mean is not None and y.mean is not None:
            yield _Known(load, x.mean, y.mean, x, y)


def _intervals(axes: Axes, one: _Known, colour: str) -> None:
    for shown, across in ((one.throughput, True), (one.latency, False)):
        if shown.low is None or shown.high is None:
            continue
        ends, at = [shown.low, shown.high], [one.y if across else one.x] * 2
        axes.plot(*((ends, at) if across else (at, ends)), color=colour, linewidth=1)


def _draw(
    axes: Axes, data: dict[str, list[_Point]], kept: list[Ladder], bound: float | None
) -> None:
    points = [list(_known(data[ladder.label])) for ladder in kept]
    values = [v for line in points for one in line for v in (one.y, one.latency.p95) if v]
    if values and min(values) > 0 and max(values) / min(values) > WIDE:
        axes.set_yscale("log")
    tidy(axes)
    for ladder, line in zip(kept, points, strict=True):
        style = look(ladder.look)
        axes.plot(
            [one.x for one in line], [one.y for one in line], color=style.colour,
            linestyle=style.dash, marker=style.marker, markersize=6, linewidth=1.7,
            markeredgecolor="white", markeredgewidth=0.5, label=fold(ladder.label, 40, 1), zorder=3,
        )  # fmt: skip
        tails = [(one.x, one.latency.p95) for one in line if one.latency.p95 is not None]
        if tails:
            axes.plot(*zip(*tails, strict=True), color=style.colour, linestyle=(0, (2, 2)),
                      marker=style.marker, markersize=4.5, linewidth=0.9,
                      markerfacecolor="white", zorder=2)  # fmt: skip
        for one in line:
            _intervals(axes, one, style.colour)
            if len(line) <= LABELS_MAX:
                axes.annotate(number(one.load), (one.x, one.y), xytext=(4, -9), fontsize=7.5,
                              textcoords="offset points", color=style.colour)  # fmt: skip
    axes.margins(0.08)
    if axes.get_yscale() != "log":
        axes.set_ylim(0, 1.12 * max(values, default=1.0))
    if bound is not None:
        top = axes.get_ylim()[1]
        axes.axhspan(axes.get_ylim()[0], bound, color=GREEN, alpha=0.09, linewidth=0, zorder=0)
        axes.axhline(bound, color=GREEN, linewidth=1.1, linestyle=(0, (6, 2)))
        axes.set_ylim(top=max(top, bound * 1.1))
        axes.annotate(f"SLO {number(bound)}", (0.01, bound),
                      xycoords=("axes fraction", "data"), xytext=(0, 3),
                      textcoords="offset points", fontsize=8, color=GREEN)  # fmt: skip
