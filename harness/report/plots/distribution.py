"""How a latency is distributed: its cumulative shares (ECDF) and its histogram, arm by arm.

Both of TTFT, and of the gaps between tokens where every one of them is known to be one; otherwise
of the gaps between chunks, and called so. Percentiles are marked where n carries them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from harness.metrics import CALL_METRICS
from harness.report.figures import number
from harness.report.plots.layout import PANELS_MAX, Panel, columns, left_out, panels, rows
from harness.report.plots.plot import Plot
from harness.report.plots.source import Key, Sample, Source, Unfit
from harness.report.plots.style import FAINT, GREY, INK, legend_below, look, tidy
from harness.report.plots.words import counted, drawable, fold, metric_label, plural
from harness.statistics import NEEDED

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure
    from numpy.typing import NDArray

__all__ = ["Bars", "Curve", "bars", "ecdf", "ecdfs", "histograms"]

STEPS_MAX: Final = 400
TAIL_STEPS: Final = 60
WIDE: Final = 25.0
"""Largest value / median from which on an axis is logarithmic."""
TRIALS_MAX: Final = 10
"""Single trials are drawn behind their arm up to so many."""
BINS_MAX: Final = 48
ROWS_MAX: Final = 12
QUANTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


class Values(Struct, frozen=True, kw_only=True):
    """One latency of one arm and cell."""

    key: Key
    values: Any
    """float64, in the order of the records."""
    trials: dict[int, Any]
    calls: int
    unit: str
    """Of n: `calls`, `gaps`."""

    @property
    def n_said(self) -> str:
        said = counted(len(self.values), self.unit, len(self.trials) or 1)
        return said if self.unit == "call" else f"n = {plural(len(self.values), self.unit)}"


class Curve(Struct, frozen=True, kw_only=True):
    """An ECDF as it is drawn: at `x` it rises to `share`."""

    x: Any
    share: Any
    marks: dict[str, float]
    """Percentile → where it is; only those that n carries."""


class Bars(Struct, frozen=True, kw_only=True):
    """Histograms of several samples over the same bins."""

    edges: Any
    counts: tuple[Any, ...]
    beyond: tuple[int, ...]
    """Values of each above the last edge."""
    log: bool


# Data. --------------------------------------------------------------------------------------------


def ecdf(values: NDArray[np.float64]) -> Curve:
    """Shares of (n,) values at or below each. Of many, every k-th step and all of both tails."""
    import numpy as np

    from harness._native import kernels

    x = np.sort(np.asarray(values, dtype=np.float64))
    share = np.arange(1, x.size + 1) / x.size
    given = {name: q for name, q in QUANTILES.items() if x.size >= NEEDED.get(name, 2)}
    found = kernels.quantiles(x, np.array(list(given.values()))) if given else np.zeros(0)
    kept = _kept(x.size)
    return Curve(x=x[kept], share=share[kept], marks=dict(zip(given, found.tolist(), strict=True)))


def _kept(n: int) -> NDArray[np.int64]:
    import numpy as np

    if n <= STEPS_MAX:
        return np.arange(n)
    middle = np.linspace(0, n - 1, STEPS_MAX - 2 * TAIL_STEPS).round().astype(np.int64)
    ends = np.concatenate((np.arange(TAIL_STEPS), np.arange(n - TAIL_STEPS, n)))
    return np.unique(np.concatenate((middle, ends)))


def is_wide(parts: Sequence[NDArray[np.float64]]) -> bool:
    """Whether only a logarithmic axis shows body and tail together."""
    import numpy as np

    both = np.concatenate([np.asarray(part) for part in parts])
    if both.size == 0 or both.min() <= 0:
        return False
    return bool(both.max() / np.median(both) > WIDE or np.median(both) / both.min() > WIDE)


def bars(parts: Sequence[NDArray[np.float64]]) -> Bars:
    """Bins of Freedman and Diaconis for all of them together, of equal width (logarithmic: of equal
    ratio), up to where 0.5 % of the values lie beyond, which are counted apart."""
    import numpy as np

    both = np.sort(np.concatenate([np.asarray(part, dtype=np.float64) for part in parts]))
    log = is_wide(parts)
    scaled = np.log(both) if log else both
    low, high = scaled[0], scaled[-1]
    cut = scaled[min(int(0.995 * scaled.size), scaled.size - 1)]
    capped = scaled.size >= 200 and not log and high - low > 1.5 * (cut - low)
    high = cut if capped else high
    quarter, three = np.quantile(scaled, [0.25, 0.75])
    width = 2 * (three - quarter) / scaled.size ** (1 / 3)
    count = int(np.clip(np.ceil((high - low) / width) if width > 0 else 1, 1, BINS_MAX))
    if high <= low:  # all of them equal
        pad = max(abs(low), 1.0) * 0.05
        low, high, count = low - pad, high + pad, 3
    edges = np.linspace(low, high, count + 1)
    edges = np.exp(edges) if log else edges
    # The ends are the extremes themselves: no rounding may put a value outside.
    edges[0] = min(edges[0], both[0])
    edges[-1] = edges[-1] if capped else max(edges[-1], both[-1])
    counts = tuple(np.histogram(part, bins=edges)[0] for part in parts)
    beyond = tuple(int((np.asarray(part) > edges[-1]).sum()) for part in parts)
    return Bars(edges=edges, counts=counts, beyond=beyond, log=log)


class _Quantity(Struct, frozen=True, kw_only=True):
    """What is distributed."""

    name: str
    label: str
    words: str
    note: str
    found: dict[Key, Values]


def _of_calls(source: Source, name: str) -> _Quantity:
    import numpy as np

    found = {}
    for key, sample in source.samples.items():
        series = sample.series[name]
        if len(series.values) > 1:
            by_trial = {t: np.array(v) for t, v in series.by_trial().items()}
            values = np.array(series.values)
            found[key] = Values(
                key=key, values=values, trials=by_trial, calls=len(values), unit="call"
            )
    unit = source.metric(name).unit
    label = metric_label(name, unit)
    return _Quantity(
        name=name, label=label, words=label.rpartition(",")[0] or label, note="", found=found
    )


def _of_gaps(source: Source) -> _Quantity:
    samples = {k: s for k, s in source.samples.items() if len(s.gaps_ms) > 1}
    unknown = {k: s for k, s in samples.items() if s.itl_unknown}
    found = {
        key: Values(
            key=key, values=sample.gaps_ms.astype("f8"), trials={},
            calls=sample.calls_with_gaps, unit="gap",
        )
        for key, sample in samples.items()
    }  # fmt: skip
    if not unknown:
        return _Quantity(
            name="itl", label="inter-token latency (ITL), ms", words="ITL",
            note=" Each content chunk is known to hold one token.", found=found,
        )  # fmt: skip
    return _Quantity(
        name="inter_chunk", label="inter-chunk latency, ms", words="Inter-chunk latency",
        note=f" Gaps between chunks, and not between tokens: {_why(unknown)}.", found=found,
    )  # fmt: skip


def _why(unknown: dict[Key, Sample]) -> str:
    reasons: dict[str, int] = {}
    for sample in unknown.values():
        for reason, count in sample.itl_unknown.items():
            reasons[reason] = reasons.get(reason, 0) + count
    worst = max(reasons, key=lambda reason: reasons[reason])
    return f"of {plural(sum(reasons.values()), 'call')} that is not known (such as: {worst})"


def _quantities(source: Source) -> Iterator[_Quantity]:
    ours = {metric.name for metric in CALL_METRICS}
    wanted = [name for name in source.wanted if name in ours] if source.wanted else [source.first]
    for name in wanted:
        yield _of_calls(source, name)
    if not source.wanted:
        yield _of_gaps(source)


def _short(name: str) -> str:
    return {"ttft_ms": "ttft", "ttft_from_due_ms": "ttft"}.get(name, name)


# ECDF. --------------------------------------------------------------------------------------------


def ecdfs(source: Source) -> list[Plot]:
    """One for each latency."""
    found = [_ecdf_plot(source, one) for one in _quantities(source) if one.found]
    if not found:
        raise Unfit("no arm has two values of a latency")
    return found


def _ecdf_plot(source: Source, of: _Quantity) -> Plot:
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
        name=f"{_short(of.name)}-ecdf",
        kind="ecdf",
        title=f"{of.words}: how large a share of the {unit}s is at most so long",
        subtitle=f"n = {plural(total, unit)} in all; marked: p50, and p95, p99 where n is enough",
        caption=_caption(source, of, "Cumulative share (ECDF)", behind)
        + left_out(len(kept), len(every), "panels"),
        data=curves,
        size_in=size,
        draw=draw,
        frame=source.frame(),
    )


def _draw_ecdf(
    axes: Axes, panel: Panel, source: Source, of: _Quantity, curves: dict[Key, Curve],
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


# Histogram. ---------------------------------------------------------------------------------------


def histograms(source: Source) -> list[Plot]:
    """One for each latency."""
    found = [_histogram_plot(source, one) for one in _quantities(source) if one.found]
    if not found:
        raise Unfit("no arm has two values of a latency")
    return found


def _histogram_plot(source: Source, of: _Quantity) -> Plot:
    keys = rows(source, list(of.found))
    kept = keys[:ROWS_MAX]
    found = bars([of.found[key].values for key in kept])

    def draw(figure: SubFigure) -> None:
        grid: Any = figure.subplots(len(kept), 1, sharex=True, squeeze=False)
        for axes, key, counts, beyond in zip(
            grid.flat, kept, found.counts, found.beyond, strict=True
        ):
            _draw_bars(axes, source, of.found[key], found, counts, beyond)
        grid[-1, 0].set_xlabel(of.label + (", log scale" if found.log else ""))

    total = sum(len(one.values) for one in of.found.values())
    unit = next(iter(of.found.values())).unit
    return Plot(
        name=f"{_short(of.name)}-histogram",
        kind="histogram",
        title=f"{of.words}: histogram",
        subtitle=f"n = {plural(total, unit)} in all; {unit}s per bin, the same bins for every row; "
        "line: median",
        caption=_caption(source, of, "Histogram", "") + left_out(len(kept), len(keys), "rows"),
        data=dict(zip(kept, found.counts, strict=True)) | {"edges": found.edges},
        size_in=(8.4, 1.45 + max(1.05 * len(kept), 2.2)),
        draw=draw,
        frame=source.frame(),
    )


def _draw_bars(
    axes: Axes, source: Source, one: Values, found: Bars, counts: Any, beyond: int
) -> None:
    import numpy as np

    style = look(source.rank[one.key.arm])
    if found.log:
        axes.set_xscale("log")
    tidy(axes)
    axes.stairs(counts, found.edges, fill=True, facecolor=style.colour, alpha=0.28)
    axes.stairs(counts, found.edges, color=style.colour, linewidth=1.1, hatch=style.hatch)
    median = float(np.median(one.values))
    if median <= found.edges[-1]:
        axes.axvline(median, color=INK, linewidth=1.2)
    axes.margins(y=0.12)
    axes.locator_params(axis="y", nbins=3, integer=True)
    more = f"\n{beyond:,} beyond the axis" if beyond else ""
    label = f"{fold(source.label(one.key))}\n{one.n_said}\nmedian {number(median)} ms{more}"
    axes.text(1.015, 0.5, drawable(label), transform=axes.transAxes, va="center", fontsize=8)


def _caption(source: Source, of: _Quantity, what: str, more: str) -> str:
    parts = [
        f"{source.label(key)}: n = {plural(len(one.values), one.unit)}"
        + (f" of {plural(one.calls, 'call')}" if one.unit == "gap" else "")
        for key, one in list(of.found.items())[:PANELS_MAX]
    ]
    rest = ", …" if len(of.found) > PANELS_MAX else ""
    return (
        f"{what} of {of.words} in ms, over measured calls that are ok. {'; '.join(parts)}{rest}."
        f"{more}{of.note}"
    )
