"""The instrument itself: how late this process read, which the kernel's stamps leave out, beside
the error of the stamps that the self-check of this machine found; and how late requests were sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from harness.report.figures import number
from harness.report.plots.distribution import Curve, ecdf
from harness.report.plots.layout import left_out, rows
from harness.report.plots.plot import Plot
from harness.report.plots.source import Key, Source, Unfit
from harness.report.plots.style import GREY, INK, ORANGE, look, tidy
from harness.report.plots.words import fold, plural, spread
from harness.schema import SelfCheckLoad

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

__all__ = ["Lags", "stamps"]

LINES_MAX: Final = 6
LEAST_US: Final = 0.1
"""Below this a lag is drawn at this: the axis is logarithmic."""


class Lags(Struct, frozen=True, kw_only=True):
    """What is drawn. Microseconds."""

    client: dict[Key, Curve]
    chunks: dict[Key, int]
    user_chunks: int
    send: dict[Key, Curve]
    """Open loops: sent − due."""
    sends: dict[Key, int]
    error_us: dict[str, float]
    """First-token stamp error of the self-check, by percentile."""
    error_of: str
    gap_us: float | None
    """Median between two chunks."""


def _lags(source: Source, keys: list[Key]) -> Lags:
    import numpy as np

    samples = {key: source.samples[key] for key in keys}
    client = {k: np.maximum(s.lags_us.astype("f8"), LEAST_US) for k, s in samples.items()}
    client = {key: lags for key, lags in client.items() if len(lags) > 1}
    open_loop = source.summary.load_mode == "open"
    send = {
        key: np.maximum(np.array(series.values) * 1e3, LEAST_US)
        for key, sample in samples.items()
        if open_loop
        and (series := sample.series.get("send_lag_ms")) is not None
        and len(series.values) > 1
    }
    gaps = [sample.gaps_ms for sample in samples.values() if len(sample.gaps_ms)]
    error, error_of = _error(source)
    return Lags(
        client={key: ecdf(lags) for key, lags in client.items()},
        chunks={key: len(lags) for key, lags in client.items()},
        user_chunks=sum(sample.user_chunks for sample in samples.values()),
        send={key: ecdf(lags) for key, lags in send.items()},
        sends={key: len(lags) for key, lags in send.items()},
        error_us=error,
        error_of=error_of,
        gap_us=float(np.median(np.concatenate(gaps))) * 1e3 if gaps else None,
    )


def _error(source: Source) -> tuple[dict[str, float], str]:
    """Of the self-check's load with the fewest streams that is no easier than this run."""
    check = source.run.manifest.environment.selfcheck
    if check is None or not check.loads:
        return {}, ""
    wanted = max((_streams(one.load) for one in source.samples.values()), default=1)
    loads = sorted((one for one in check.loads if one.rate_tok_s), key=lambda one: one.streams)
    loads = loads or sorted(check.loads, key=lambda one: one.streams)
    one: SelfCheckLoad = next((load for load in loads if load.streams >= wanted), loads[-1])
    found = {
        name: value / 1e3
        for name in ("p50", "p99", "max")
        if (value := getattr(one, f"first_token_{name}_ns")) is not None
    }
    return (
        found,
        f"self-check of {check.at[:10]} at {plural(one.streams, 'stream')}, n = {one.calls:,}",
    )


def _streams(load: Any) -> int:
    return getattr(load, "concurrency", None) or 1


def stamps(source: Source) -> list[Plot]:
    every = rows(source)
    found = _lags(source, every)
    if not found.client and not found.send:
        if found.user_chunks:
            raise Unfit(f"all {found.user_chunks:,} chunks were stamped in user space: how late "
                        "they were read is not known")  # fmt: skip
        raise Unfit("no stamps of chunks were kept, or no call has any")
    kept = [key for key in every if key in found.client or key in found.send][:LINES_MAX]

    def draw(figure: SubFigure) -> None:
        panels = [one for one in ((found.client, found.chunks, "chunk"),
                                  (found.send, found.sends, "request")) if one[0]]  # fmt: skip
        grid: Any = figure.subplots(1, len(panels), squeeze=False, sharey=True)
        for axes, (curves, counts, unit) in zip(grid[0], panels, strict=True):
            _draw(axes, source, kept, curves, counts, unit)
            if curves is found.client:
                axes.set_xlabel("client lag: read − stamped by the kernel, µs, log scale")
                _references(axes, found)
            else:
                axes.set_xlabel("send lag: sent − due, µs, log scale")
        grid[0, 0].set_ylabel("share at or below")

    total = sum(found.chunks.values())
    user = f" {found.user_chunks:,} chunks stamped in user space are left out." * bool(
        found.user_chunks
    )
    error = ""
    if found.error_us:
        said = ", ".join(f"{name} {number(v, 3)} µs" for name, v in found.error_us.items())
        error = f" Error of the stamps themselves, by the {found.error_of}: {said}."
    return [
        Plot(
            name="stamps",
            kind="stamps",
            title="The instrument: how late it read, and the error of its stamps",
            subtitle=f"n = {plural(total, 'chunk')}; the lag is not in figures taken from kernel "
            "stamps" + ("" if found.error_of else "; no self-check is kept"),
            caption="Cumulative share of chunks by the delay between the kernel's stamp and the "
            f"end of the read that brought it (n = {plural(total, 'chunk')}); it is in no figure "
            f"that rests on kernel stamps.{user}{error}"
            + (f" Right: how late requests were sent (n = {sum(found.sends.values()):,})." *
               bool(found.send)) + left_out(len(kept), len(found.client) or len(found.send),
                                            "arms and cells"),
            data=found,
            size_in=(8.8 if not (found.client and found.send) else 11.0, 4.5),
            draw=draw,
            frame=source.frame(),
        )
    ]  # fmt: skip


def _draw(
    axes: Axes, source: Source, kept: list[Key], curves: dict[Key, Curve],
    counts: dict[Key, int], unit: str,
) -> None:  # fmt: skip
    axes.set_xscale("log")
    tidy(axes)
    axes.set_ylim(0, 1.03)
    for key in kept:
        if key not in curves:
            continue
        curve, style = curves[key], look(source.rank[key.arm])
        line = {"color": style.colour, "linestyle": style.dash, "linewidth": 1.6}
        axes.step(curve.x, curve.share, where="post", **line)
        for name, at in curve.marks.items():
            axes.plot(at, {"p50": 0.5, "p95": 0.95, "p99": 0.99}[name], style.marker,
                      color=style.colour, markersize=5, markeredgecolor="white")  # fmt: skip
        tail = f", p99 {number(curve.marks['p99'], 3)} µs" if "p99" in curve.marks else ""
        said = f"{fold(source.label(key), 30, 2)}\nn = {plural(counts[key], unit)}{tail}"
        axes.plot([], [], marker=style.marker, markersize=5, label=said, **line)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2, handlelength=3.2)


def _references(axes: Axes, found: Lags) -> None:
    lines = [(f"stamp error {name}", value, ORANGE) for name, value in found.error_us.items()
             if value > 0]  # fmt: skip
    if found.gap_us:
        lines.append(("median gap between chunks", found.gap_us, INK))
    low, high = axes.get_xlim()
    ends = [value for _, value, _ in lines]
    axes.set_xlim(min([low, *(v / 2 for v in ends)]), max([high, *(v * 2 for v in ends)]))
    heights = spread([0.12 + 0.2 * i for i in range(len(lines))], 0.17, 0.06, 0.9)
    for (label, value, colour), height in zip(lines, heights, strict=True):
        axes.axvline(value, color=colour, linewidth=1, linestyle=(0, (4, 2)))
        right = value > (axes.get_xlim()[0] * axes.get_xlim()[1]) ** 0.5
        axes.annotate(f"{label}\n{number(value, 3)} µs", (value, height),
                      xycoords=("data", "axes fraction"), xytext=(-3 if right else 3, 0),
                      textcoords="offset points", ha="right" if right else "left", fontsize=7.5,
                      color=GREY if colour == INK else colour,
                      bbox={"facecolor": "white", "linewidth": 0, "alpha": 0.8})  # fmt: skip
