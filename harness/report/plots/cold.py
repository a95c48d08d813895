"""Cold starts beside warm calls: never averaged together, and drawn apart.

A cold start is the time to the first token after the model was confirmed gone, or from the
restart of the backend: `cold_start_ms`. Every one of them is a point; the TTFT of the warm calls of
the same arm is a box from p05 to p95, where n carries those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from harness.report.figures import number
from harness.report.plots.layout import left_out, rows
from harness.report.plots.plot import Plot
from harness.report.plots.source import Sample, Source, Unfit
from harness.report.plots.style import GREY, INK, legend_below, look, tidy
from harness.report.plots.words import fold, metric_label, plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

__all__ = ["Pair", "cold_warm", "pair"]

ROWS_MAX: Final = 24
BOX_NEEDS: Final = 20
WIDE: Final = 8.0


class Pair(Struct, frozen=True, kw_only=True):
    """Cold starts, and the TTFT of all warm calls. Milliseconds."""

    cold: tuple[float, ...]
    warm: tuple[float, ...]


def pair(sample: Sample) -> Pair:
    """Of cold starts that were confirmed, and of measured calls that are ok."""
    cold = sample.series.get("cold_start_ms")
    warm = [
        shot.duration_ms
        for shot in sample.shots
        if shot.phase == "measured" and shot.status == "ok" and shot.duration_ms is not None
    ]
    return Pair(cold=tuple(cold.values if cold is not None else ()), warm=tuple(warm))


def cold_warm(source: Source) -> list[Plot]:
    found = {key: pair(sample) for key, sample in source.samples.items()}
    found = {key: one for key, one in found.items() if one.cold and one.warm}
    if not found:
        raise Unfit("this run has no cold starts (iterations.cold) with warm calls beside them")
    every = rows(source, list(found))
    kept = every[:ROWS_MAX]
    label = metric_label(source.first, "ms")
    values = [v for key in kept for v in (*found[key].cold, *found[key].warm)]
    wide = min(values) > 0 and max(values) / min(values) > WIDE

    def draw(figure: SubFigure) -> None:
        axes = figure.subplots()
        if wide:
            axes.set_xscale("log")
        tidy(axes, grid="x")
        for row, key in enumerate(kept):
            _draw(axes, row, found[key], look(source.rank[key.arm]).colour)
        axes.set_yticks(range(len(kept)), [fold(source.label(key), 30, 2) for key in kept])
        axes.set_ylim(len(kept) - 0.5, -0.5)
        axes.margins(x=0.06)
        axes.set_xlabel(label + (", log scale" if wide else ""))
        _legend(figure)

    n_cold = sum(len(found[key].cold) for key in kept)
    n_warm = sum(len(found[key].warm) for key in kept)
    parts = [
        f"{source.label(key)}: {plural(len(one.cold), 'cold start')}, median "
        f"{number(_median(one.cold))} ms; {plural(len(one.warm), 'warm call')}, median "
        f"{number(_median(one.warm))} ms" for key, one in found.items()
    ]  # fmt: skip
    return [
        Plot(
            name="cold-warm",
            kind="cold-warm",
            title=f"Cold starts beside warm calls: {label.rpartition(',')[0]}",
            subtitle=f"n = {plural(n_cold, 'cold start')}, {plural(n_warm, 'warm call')}; "
            f"box: p05 to p95 of the warm ones, where there are {BOX_NEEDS}",
            caption="Every cold start, to its first token (from the restart of the backend, or "
            f"from the request that makes the server load the model), beside {label} of all warm "
            f"(measured) calls. {'; '.join(parts)}."
            + left_out(len(kept), len(every), "arms and cells"),
            data=found,
            size_in=(8.8, 1.7 + 0.62 * len(kept)),
            draw=draw,
            frame=source.frame(),
        )
    ]


def _median(values: tuple[float, ...]) -> float:
    import numpy as np

    return float(np.median(values))


def _draw(axes: Axes, row: int, one: Pair, colour: str) -> None:
    import numpy as np

    warm_at, cold_at = row + 0.17, row - 0.17
    if len(one.warm) >= BOX_NEEDS:
        low, high = np.quantile(one.warm, [0.05, 0.95])
        axes.plot([low, high], [warm_at] * 2, color=colour, alpha=0.3, linewidth=9,
                  solid_capstyle="butt")  # fmt: skip
    else:
        axes.plot(one.warm, [warm_at] * len(one.warm), "|", color=colour, markersize=8)
    axes.plot(_median(one.warm), warm_at, "o", color=colour, markersize=6, markeredgecolor="white")
    axes.plot(one.cold[:400], [cold_at] * len(one.cold[:400]), "*", markerfacecolor="none",
              markeredgecolor=INK, markersize=8, markeredgewidth=0.8)  # fmt: skip
    axes.plot(_median(one.cold), cold_at, "|", color=INK, markersize=14, markeredgewidth=1.6)
    axes.annotate(f"n = {len(one.cold):,} cold, {len(one.warm):,} warm", (1.0, row),
                  xycoords=("axes fraction", "data"), xytext=(6, 0), va="center",
                  textcoords="offset points", fontsize=7.5, color=GREY)  # fmt: skip


def _legend(figure: SubFigure) -> None:
    from matplotlib.lines import Line2D

    def mark(label: str, marker: str, face: str, edge: str, size: float) -> Line2D:
        return Line2D([], [], linestyle="none", marker=marker, markersize=size, label=label,
                      markerfacecolor=face, markeredgecolor=edge)  # fmt: skip

    handles: list[Any] = [
        mark("cold start", "*", "none", INK, 8),
        mark("their median", "|", INK, INK, 12),
        mark("median of the warm calls", "o", GREY, "white", 6),
        Line2D([], [], color=GREY, alpha=0.4, linewidth=8, label="warm, p05 to p95"),
    ]
    legend_below(figure, handles)
