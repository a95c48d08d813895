"""What a search for the highest load found: each load it tried, with the share of requests that met
the SLO, its interval, and the bound that decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from harness.report.figures import number
from harness.report.plots.plot import Plot
from harness.report.plots.source import Source, Unfit
from harness.report.plots.style import GREEN, GREY, INK, ORANGE, legend_below, tidy
from harness.report.plots.words import fold, plural
from harness.schema import Probe, SearchResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

__all__ = ["probes", "searches"]

MARKS: Final = {
    "meets": (GREEN, "o", GREEN),
    "fails": (ORANGE, "s", ORANGE),
    "undecided": (GREY, "D", "white"),
    "invalid": (GREY, "x", GREY),
}
PANELS_MAX: Final = 6


def probes(result: SearchResult) -> list[tuple[Probe, float | None]]:
    """Ascending by load, each with its share of good requests; None where none was made."""
    ordered = sorted(result.probes, key=lambda probe: probe.load)
    return [(one, one.good / one.requests if one.requests else None) for one in ordered]


def searches(source: Source) -> list[Plot]:
    shown = {one.arm for one in source.arms}
    found = [one for one in source.summary.search if one.probes and one.arm in shown]
    if not found:
        raise Unfit("this run made no search for the highest load")
    kept = found[:PANELS_MAX]
    unit = "requests/s" if kept[0].path.endswith("rate_per_s") else "requests in flight"

    def draw(figure: SubFigure) -> None:
        grid: Any = figure.subplots(len(kept), 1, squeeze=False, sharex=True)
        for axes, one in zip(grid[:, 0], kept, strict=True):
            _draw(axes, one, titled=len(source.rank) > 1)
        grid[-1, 0].set_xlabel(f"load, {unit}, log scale")
        _legend(figure, kept)

    total = sum(probe.requests for one in kept for probe in one.probes)
    slo = source.run.manifest.spec.slo or {}
    bounds = ", ".join(f"{name} {number(bound)}" for name, bound in slo.items())
    ends = "; ".join(f"{one.arm}: {_found(one, unit)}" for one in kept)
    return [
        Plot(
            name="search",
            kind="search",
            title="The highest load that meets the SLO",
            subtitle=f"share of requests that meet {bounds or 'the SLO'}, 95 % over all looks; "
            f"n = {plural(total, 'request')}",
            caption=f"Each load that was tried: share of requests that met the SLO ({bounds}), "
            f"with its interval (Clopper–Pearson, 95 % over all looks at a load) and n. {ends}.",
            data={one.arm: probes(one) for one in kept},
            size_in=(8.8, 1.5 + 2.9 * len(kept)),
            draw=draw,
            frame=source.frame(),
        )
    ]


def _found(one: SearchResult, unit: str) -> str:
    if one.highest is None:
        return "no load was shown to meet it"
    above = "" if one.next_higher is None else f"; {number(one.next_higher)} was not shown to"
    return f"{number(one.highest)} {unit} meet it{above}"


def _draw(axes: Axes, one: SearchResult, *, titled: bool) -> None:
    axes.set_xscale("log")
    tidy(axes)
    loads = [probe.load for probe in one.probes]
    axes.set_xlim(min(loads) / 1.25, max(loads) * 1.25)
    least = 100 * one.share_min
    axes.axhspan(least, 101, color=GREEN, alpha=0.08, linewidth=0)
    axes.axhline(least, color=GREEN, linewidth=1.1, linestyle=(0, (6, 2)))
    if one.highest is not None:
        axes.axvline(one.highest, color=INK, linewidth=1)
        axes.annotate(f"highest: {number(one.highest)}", (one.highest, 0.03),
                      xycoords=("data", "axes fraction"), xytext=(-4, 0), ha="right",
                      textcoords="offset points", fontsize=8)  # fmt: skip
    lowest = least
    few = len(one.probes) <= 14
    for probe, share in probes(one):
        colour, marker, face = MARKS[probe.decision]
        if probe.share_low is not None and probe.share_high is not None:
            axes.plot([probe.load] * 2, [100 * probe.share_low, 100 * probe.share_high],
                      color=colour, linewidth=1.6)  # fmt: skip
            lowest = min(lowest, 100 * probe.share_low)
        if share is not None:
            axes.plot(probe.load, 100 * share, marker, color=colour, markerfacecolor=face,
                      markersize=6.5, zorder=4)  # fmt: skip
            lowest = min(lowest, 100 * share)
        if few:
            n = f"n={probe.requests:,}" if share is not None else f"{probe.decision}\n(no share)"
            above: Any = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
            axes.annotate(
                n, (probe.load, 1.0), xytext=(0, 2), fontsize=6.8, color=GREY, ha="center", **above
            )
    axes.set_ylim(max(-2.0, lowest - 0.06 * (101 - lowest)), 101)
    ticks = sorted(set(loads))
    if len(ticks) <= 10:
        axes.set_xticks(ticks, [number(load, 3) for load in ticks])
        axes.minorticks_off()
        axes.tick_params(axis="x", rotation=0 if len(ticks) <= 6 else 35)
    axes.set_ylabel("requests that meet it, %")
    if titled:
        axes.set_title(fold(one.arm, 60, 1), fontsize=8.5, pad=14)


def _legend(figure: SubFigure, kept: list[SearchResult]) -> None:
    from matplotlib.lines import Line2D

    used = {probe.decision for one in kept for probe, share in probes(one) if share is not None}
    handles = [
        Line2D([], [], linestyle="none", marker=marker, color=colour, markerfacecolor=face,
               markersize=6.5, label=decision)
        for decision, (colour, marker, face) in MARKS.items() if decision in used
    ]  # fmt: skip
    handles.append(Line2D([], [], color=GREEN, linestyle=(0, (6, 2)),
                          label=f"at least {number(100 * kept[0].share_min)} % must"))  # fmt: skip
    legend_below(figure, handles)
