"""Forest plot: each effect as a share of the baseline, with its interval and its verdict.

A metric whose trials are too few for an interval has its row, and in it how many more it would
take: a row that is missing would be read as "no effect".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from harness.report.figures import number
from harness.report.plots.layout import left_out
from harness.report.plots.plot import Plot
from harness.report.plots.source import Source, Unfit
from harness.report.plots.style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, legend_below, tidy
from harness.report.plots.words import drawable, fold, metric_label, plural
from harness.schema import Comparison, Effect
from harness.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

__all__ = ["Row", "effects", "rows_of"]

ROWS_MAX: Final = 36
TOGETHER_MAX: Final = 3
"""Comparisons that have a figure each; of more, each metric has one."""
METRICS_MAX: Final = 4

MARKS: Final = {
    "better": (GREEN, "o", GREEN),
    "worse": (ORANGE, "s", ORANGE),
    "changed": (PURPLE, "^", PURPLE),
    "equivalent": (BLUE, "D", BLUE),
    "no difference shown": (GREY, "o", "white"),
    "not enough data": (GREY, "x", GREY),
}


class Row(Struct, frozen=True, kw_only=True):
    """One effect as it is drawn. Percent of the baseline's figure; None is not drawn."""

    label: str
    share_percent: float | None
    low_percent: float | None
    high_percent: float | None
    words: str
    said: str
    """At the right: the figure, or what is missing."""
    margin_percent: float | None


def rows_of(labelled: list[tuple[str, Effect]]) -> list[Row]:
    """Pure: effects as rows, in the order given."""
    return [
        Row(
            label=label, share_percent=_percent(one.share), low_percent=_percent(one.share_low),
            high_percent=_percent(one.share_high), words=one.words, said=_said(one),
            margin_percent=_percent(one.margin),
        )
        for label, one in labelled
    ]  # fmt: skip


def _percent(share: float | None) -> float | None:
    return None if share is None else share * 100


def _said(one: Effect) -> str:
    n = f"n = {one.n[0]}, {one.n[1]}"
    if one.share is None:
        return f"{one.words}; {n}"
    if one.share_low is None or one.share_high is None:
        more = f": {plural(one.more_trials, 'more trial')}" if one.more_trials else ""
        return f"{_signed(one.share)} %, no interval{more}; {n}"
    return f"{_signed(one.share)} % ({_signed(one.share_low)} to {_signed(one.share_high)}); {n}"


def _signed(share: float) -> str:
    """In percent, with one decimal; with three of them where that would show nothing."""
    text = f"{share * 100:+.1f}" if abs(share) >= 5e-4 or not share else f"{share * 100:+.3f}"
    return text.replace("-", "−")


def effects(source: Source) -> list[Plot]:
    if not source.comparisons:
        raise Unfit("no comparison is at hand: it has one arm, or none was made")
    if len(source.comparisons) <= TOGETHER_MAX:
        pairs = enumerate(source.comparisons)
        plots = [_per_comparison(source, one, index) for index, one in pairs]
    else:
        plots = _per_metric(source)
    found = [plot for plot in plots if plot is not None]
    if not found:
        raise Unfit("no metric has an effect" if not source.wanted else "no effect of that metric")
    return found


def _wanted(source: Source, one: Effect) -> bool:
    return not source.wanted or one.metric in source.wanted


def _per_comparison(source: Source, one: Comparison, index: int) -> Plot | None:
    labelled = [(metric_label(e.metric, e.unit), e) for e in one.effects if _wanted(source, e)]
    labelled = [(f"{label}{_direction(e)}", e) for label, e in labelled]
    title = f"{one.candidate.label} against {one.baseline.label}"
    note = "" if one.comparable else " NOT COMPARABLE: see the conditions."
    name = "effects" if len(source.comparisons) == 1 else f"effects-{index + 1}"
    return _forest(source, name, title, labelled, note, [one])


def _per_metric(source: Source) -> list[Plot | None]:
    every = [e.metric for one in source.comparisons for e in one.effects if _wanted(source, e)]
    heads = [name for name in source.names() if name in every] or list(dict.fromkeys(every))
    plots = []
    for name in heads[:METRICS_MAX]:
        labelled = [
            (_pair(one), effect)
            for one in source.comparisons
            for effect in one.effects
            if effect.metric == name
        ]
        effect = labelled[0][1]
        title = f"{metric_label(name, effect.unit).rpartition(',')[0]}{_direction(effect)}: effects"
        note = " Some pairs are not comparable: see their conditions." * any(
            not one.comparable for one in source.comparisons
        )
        plots.append(
            _forest(source, f"effects-{name}", title, labelled, note, list(source.comparisons))
        )
    return plots


def _pair(one: Comparison) -> str:
    same = one.candidate.cell == one.baseline.cell
    return f"{one.candidate.arm}, {one.candidate.cell}" if same else one.candidate.label


def _direction(effect: Effect) -> str:
    return "" if effect.better == "neither" else f" ({effect.better} is better)"


def _forest(
    source: Source, name: str, title: str, labelled: list[tuple[str, Effect]], note: str,
    comparisons: list[Comparison],
) -> Plot | None:  # fmt: skip
    if not labelled:
        return None
    # What carries no interval goes below: it is read last.
    labelled = sorted(labelled, key=lambda pair: pair[1].share_low is None)
    kept = rows_of(labelled[:ROWS_MAX])
    levels = {effect.level for _, effect in labelled}
    level = f"{number(100 * max(levels))} %"
    deep = sum(max(fold(row.label, 34, 3).count("\n") + 1, 1.35) for row in kept)

    def draw(figure: SubFigure) -> None:
        axes = figure.subplots()
        _draw(axes, kept)
        _legend(figure, kept)

    spoken = "; ".join(one_line(effect.sentence, 200) for _, effect in labelled[:6])
    return Plot(
        name=name,
        kind="effects",
        title=title,
        subtitle=f"{note.strip()} change of the mean in % of the baseline, candidate − baseline, "
        f"{level} interval; n: trials of each".strip(),
        caption=f"Effects as shares of the baseline's mean with {level} intervals; n counts "
        f"trials, the unit of analysis. {drawable(spoken)}.{note}"
        + left_out(len(kept), len(labelled), "effects"),
        data=kept,
        size_in=(9.8, 1.7 + 0.205 * deep),
        draw=draw,
        frame=source.frame(simulated=source.simulated or any(one.simulated for one in comparisons)),
    )


def _draw(axes: Axes, rows: list[Row]) -> None:
    tidy(axes, grid="x")
    axes.axvline(0, color=INK, linewidth=1)
    drawn = ((row.share_percent, row.low_percent, row.high_percent) for row in rows)
    sizes = sorted(abs(value) for row in drawn for value in row if value is not None) or [1.0]
    span = sizes[-1] or 1.0
    linear = span <= 20 * max(sizes[len(sizes) // 2], 0.5)
    if not linear:
        axes.set_xscale("symlog", linthresh=10)
        tidy(axes, grid="x")
    for at, row in enumerate(rows):
        colour, marker, face = MARKS.get(row.words, MARKS["not enough data"])
        if row.margin_percent:
            axes.plot([-row.margin_percent, row.margin_percent], [at, at], color=BLUE, alpha=0.15,
                      linewidth=9, solid_capstyle="butt", zorder=0)  # fmt: skip
        if row.low_percent is not None and row.high_percent is not None:
            axes.plot([row.low_percent, row.high_percent], [at, at], color=colour, linewidth=1.8)
            axes.plot([row.low_percent, row.high_percent], [at, at], "|", color=colour,
                      markersize=7, markeredgewidth=1.4)  # fmt: skip
        if row.share_percent is not None:
            axes.plot(row.share_percent, at, marker, color=colour, markerfacecolor=face,
                      markersize=6.5, zorder=4)  # fmt: skip
        beside: Any = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        said = fold(row.said, 46, 2)
        axes.annotate(said, (1.0, at), xytext=(8, 0), va="center", fontsize=8, **beside)
    axes.set_yticks(range(len(rows)), [fold(row.label, 34, 3) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(-1.12 * span, 1.12 * span)
    axes.set_xlabel("change, % of the baseline" + ("" if linear else ", linear to ±10, then log"))


def _legend(figure: SubFigure, rows: list[Row]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    used = {row.words for row in rows}
    handles: list[Line2D | Patch] = [
        Line2D([], [], linestyle="none", marker=marker, color=colour, markerfacecolor=face,
               markersize=6.5, label=words)
        for words, (colour, marker, face) in MARKS.items() if words in used
    ]  # fmt: skip
    if any(row.margin_percent for row in rows):
        handles.append(Patch(facecolor=BLUE, alpha=0.15, label="counts as equal"))
    legend_below(figure, handles)
