"""Latency in the order of time: what a warm-up left behind, what drifts, what stands out.

Trials run in processes of their own, perhaps hours apart: time is counted within each, and they
are laid end to end. Outliers are marked by scaled deviations from the arm's median (MAD); they are
in every figure all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from harness.report.figures import number
from harness.report.plots.layout import left_out, rows
from harness.report.plots.plot import Plot
from harness.report.plots.source import Key, Sample, Shot, Source, Unfit
from harness.report.plots.style import GREY, INK, ORANGE, legend_below, look, tidy
from harness.report.plots.words import fold, metric_label, plural, spread
from harness.statistics import flag_outliers
from harness.statistics.outliers import THRESHOLD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

__all__ = ["Track", "over_time", "track"]

PANELS_MAX: Final = 10
POINTS_MAX: Final = 2000
"""In all panels together; outliers come on top, at most as many again."""
OUTLIERS_NEED: Final = 10
WIDE: Final = 8.0


class Track(Struct, frozen=True, kw_only=True):
    """The calls of one arm and cell in time. Arrays of shape (n,), one entry per call with a value;
    of many, every k-th, and all outliers."""

    t_s: Any
    value_ms: Any
    phase: Any
    """0 cold, 1 warm-up, 2 measured."""
    outlier: Any
    n: int
    """Calls with a value, drawn or not: measured, `ok` ones."""
    outliers: int
    failed_s: Any
    breaks_s: tuple[float, ...]
    """Where a trial ends and the next one begins."""
    trials: tuple[tuple[int, float], ...]
    """(trial, where its part begins)."""
    median_ms: float | None


_PHASES: Final = {"cold": 0, "warmup": 1, "measured": 2}


def track(shots: Sequence[Shot], most: int) -> Track:
    """Pure: the calls as they are drawn."""
    import numpy as np

    shots = [shot for shot in shots if shot.phase in _PHASES]
    offsets, breaks = _laid_out(shots)
    good = [s for s in shots if s.status == "ok" and s.duration_ms is not None]
    t_s = np.array([_at_s(shot, offsets) for shot in good])
    value = np.array([shot.duration_ms or 0.0 for shot in good], dtype=np.float64)
    phase = np.array([_PHASES[shot.phase] for shot in good], dtype=np.int8)
    measured = phase == 2
    outlier = np.zeros(len(good), dtype=bool)
    if measured.sum() >= OUTLIERS_NEED:
        outlier[measured] = flag_outliers(value[measured])
    kept = _kept(outlier, most)
    failed = [s for s in shots if s.status not in ("ok", "not_sent") and s.phase == "measured"]
    return Track(
        t_s=t_s[kept], value_ms=value[kept], phase=phase[kept], outlier=outlier[kept],
        n=int(measured.sum()), outliers=int(outlier.sum()),
        failed_s=np.array([_at_s(shot, offsets) for shot in failed[:most]]),
        breaks_s=tuple(breaks), trials=tuple((t, at) for t, (at, _) in offsets.items()),
        median_ms=float(np.median(value[measured])) if measured.any() else None,
    )  # fmt: skip


def _laid_out(shots: Sequence[Shot]) -> tuple[dict[int, tuple[float, int]], list[float]]:
    """Trial → (where it begins on the axis in s, its first due instant), and the ends of all but
    the last."""
    spans: dict[int, list[int]] = {}
    for shot in shots:
        at = shot.instants
        end = at.closed_ns or at.end_ns or at.sent_ns or at.due_ns
        first, last = spans.get(shot.trial, [at.due_ns, end])
        spans[shot.trial] = [min(first, at.due_ns), max(last, end)]
    offsets: dict[int, tuple[float, int]] = {}
    breaks: list[float] = []
    begin = 0.0
    for trial, (first, last) in spans.items():
        offsets[trial] = (begin, first)
        begin += (last - first) / 1e9
        breaks.append(begin)
    return offsets, breaks[:-1]


def _at_s(shot: Shot, offsets: dict[int, tuple[float, int]]) -> float:
    begin, first_ns = offsets[shot.trial]
    at = shot.instants
    return begin + ((at.sent_ns if at.sent_ns is not None else at.due_ns) - first_ns) / 1e9


def _kept(outlier: Any, most: int) -> Any:
    import numpy as np

    plain, odd = np.flatnonzero(~outlier), np.flatnonzero(outlier)
    if plain.size > most:
        plain = plain[np.linspace(0, plain.size - 1, most).round().astype(np.int64)]
    if odd.size > most:
        odd = odd[np.linspace(0, odd.size - 1, most).round().astype(np.int64)]
    return np.sort(np.concatenate((plain, odd)))


def over_time(source: Source) -> list[Plot]:
    with_calls = {key: one for key, one in source.samples.items() if _usable(one)}
    if not with_calls:
        raise Unfit("no call has a latency")
    every = rows(source, list(with_calls))
    kept = every[:PANELS_MAX]
    tracks = {key: track(with_calls[key].shots, POINTS_MAX // len(kept)) for key in kept}
    unit = "ms"
    label = metric_label(source.first, unit)

    def draw(figure: SubFigure) -> None:
        grid: Any = figure.subplots(len(kept), 1, squeeze=False)
        low, high, wide = _limits(tracks)
        for axes, key in zip(grid[:, 0], kept, strict=True):
            if wide:
                axes.set_yscale("log")
            axes.set_ylim(low, high)
            _draw(axes, tracks[key], source, key)
            axes.set_ylabel(label.replace(", ", ",\n") if len(kept) > 1 else label)
        grid[-1, 0].set_xlabel("time in the trials of the arm, laid end to end, s")
        _legend(figure, tracks)

    drawn = sum(len(one.t_s) for one in tracks.values())
    calls = sum(len(with_calls[key].shots) for key in kept)
    thinned = f" {drawn:,} of {calls:,} calls are drawn, all outliers among them." * (
        drawn < sum(sum(s.duration_ms is not None and s.status == "ok" for s in
                        with_calls[key].shots) for key in kept)
    )  # fmt: skip
    parts = [
        f"{source.label(key)}: n = {plural(one.n, 'measured call')}, "
        f"{plural(one.outliers, 'outlier')}" for key, one in tracks.items()
    ]  # fmt: skip
    return [
        Plot(
            name="latency-over-time",
            kind="over-time",
            title=f"{label.partition(',')[0]} over time",
            subtitle=f"n = {plural(sum(one.n for one in tracks.values()), 'measured call')}; "
            f"outliers: more than {THRESHOLD:g} scaled deviations (MAD) from the arm's median",
            caption=f"{label} of every call by the instant at which it was sent, warm-up calls "
            f"hollow, trials parted by lines. {'; '.join(parts)}. Outliers are marked where an arm "
            f"has {OUTLIERS_NEED} calls or more, and are in all figures.{thinned}"
            + left_out(len(kept), len(every), "arms and cells"),
            data=tracks,
            size_in=(9.6, 1.3 + (2.9 if len(kept) == 1 else 1.45 * len(kept)) + 0.3),
            draw=draw,
            frame=source.frame(),
        )
    ]


def _usable(sample: Sample) -> bool:
    return any(shot.duration_ms is not None and shot.status == "ok" for shot in sample.shots)


def _limits(tracks: dict[Key, Track]) -> tuple[float, float, bool]:
    """The same for every panel."""
    import numpy as np

    values = np.concatenate([one.value_ms for one in tracks.values()])
    low, high, middle = float(values.min()), float(values.max()), float(np.median(values))
    if low > 0 and (high / middle > WIDE or middle / low > WIDE):
        return low / 1.5, high * 2.2, True
    return 0.0, high * 1.22 or 1.0, False


def _draw(axes: Axes, one: Track, source: Source, key: Key) -> None:
    style = look(source.rank[key.arm])
    tidy(axes)
    for at in one.breaks_s:
        axes.axvline(at, color=INK, linewidth=0.8)
    if one.median_ms is not None:
        axes.axhline(one.median_ms, color=style.colour, linewidth=0.9, linestyle=(0, (4, 2)))
    size = 3.4 if len(one.t_s) < 400 else 2.2
    for phase, face, edge in ((0, INK, INK), (1, "none", GREY), (2, style.colour, "none")):
        chosen = (one.phase == phase) & ~one.outlier
        axes.plot(
            one.t_s[chosen], one.value_ms[chosen], linestyle="none", markersize=size,
            marker="*" if phase == 0 else style.marker, markerfacecolor=face, markeredgecolor=edge,
            markeredgewidth=0.7, alpha=1.0 if phase < 2 else 0.75,
        )  # fmt: skip
    axes.plot(
        one.t_s[one.outlier], one.value_ms[one.outlier], linestyle="none", marker=style.marker,
        markersize=size + 2.6, markerfacecolor="none", markeredgecolor=ORANGE if
        style.colour != ORANGE else INK, markeredgewidth=1.1,
    )  # fmt: skip
    if len(one.failed_s):
        axes.plot(one.failed_s, [0.03] * len(one.failed_s), "x", color=INK, markersize=4,
                  transform=axes.get_xaxis_transform())  # fmt: skip
    ends = [*one.breaks_s, float(max([*one.t_s, *one.failed_s, *one.breaks_s]) or 1.0)]
    axes.set_xlim(-0.015 * ends[-1], ends[-1] * 1.015)
    if 1 < len(one.trials) <= 12:
        places = spread([at for _, at in one.trials], ends[-1] * 0.055, 0, ends[-1])
        for (trial, _), at in zip(one.trials, places, strict=True):
            axes.annotate(f"trial {trial}" if len(one.trials) < 7 else f"{trial}", (at, 1.0),
                          xycoords=("data", "axes fraction"), xytext=(2, -8),
                          textcoords="offset points", fontsize=7, color=GREY)  # fmt: skip
    median = "" if one.median_ms is None else f"\nmedian {number(one.median_ms)} ms"
    odd = f"\n{plural(one.outliers, 'outlier')}" if one.outliers else ""
    bad = f"\n{len(one.failed_s):,} not ok" if len(one.failed_s) else ""
    axes.text(
        1.012, 0.5, f"{fold(source.label(key), 22)}\nn = {plural(one.n, 'call')}{median}{odd}{bad}",
        transform=axes.transAxes, va="center", fontsize=8,
    )  # fmt: skip


def _legend(figure: SubFigure, tracks: dict[Key, Track]) -> None:
    from matplotlib.lines import Line2D

    def mark(label: str, marker: str, face: str, edge: str, size: float = 5) -> Line2D:
        return Line2D([], [], linestyle="none", marker=marker, markersize=size, label=label,
                      markerfacecolor=face, markeredgecolor=edge)  # fmt: skip

    handles = [mark("measured", "o", GREY, "none")]
    if any((one.phase == 1).any() for one in tracks.values()):
        handles.append(mark("warm-up", "o", "none", GREY))
    if any((one.phase == 0).any() for one in tracks.values()):
        handles.append(mark("cold start", "*", INK, INK, 7))
    if any(one.outliers for one in tracks.values()):
        handles.append(mark("outlier", "o", "none", ORANGE, 7))
    if any(len(one.failed_s) for one in tracks.values()):
        handles.append(mark("not ok", "x", INK, INK))
    handles.append(Line2D([], [], color=GREY, linewidth=1, linestyle=(0, (4, 2)), label="median"))
    if any(one.breaks_s for one in tracks.values()):
        handles.append(Line2D([], [], color=INK, linewidth=0.9, label="next trial"))
    legend_below(figure, handles)
