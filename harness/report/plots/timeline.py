"""Which calls ran at the same time: one row per slot, a bar per call, its wait for the first token
lighter than the stream that follows. Of one iteration per arm and cell, the first measured one.
Where several agents worked at once, they have lanes of their own instead (lanes.py, agentline.py).
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from harness.report.plots.agentline import agent_timelines
from harness.report.plots.lanes import has_agents
from harness.report.plots.layout import rows
from harness.report.plots.plot import Plot
from harness.report.plots.source import Key, Sample, Shot, Source, Unfit
from harness.report.plots.style import GREY, INK, ORANGE, legend_below, look, tidy
from harness.report.plots.words import drawable, fold, plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

__all__ = ["Bar", "bars_of", "slots", "timeline"]

CALLS_MAX: Final = 160
SLOTS_MAX: Final = 64
PANELS_MAX: Final = 4
STAGES_MAX: Final = 12
"""Bars up to which the stage is written into them."""


class Bar(Struct, frozen=True, kw_only=True):
    """A call. Seconds since the first one was due; None where there was no such instant."""

    slot: int
    due_s: float
    sent_s: float | None
    first_s: float | None
    end_s: float
    status: str
    stage: str


def slots(spans: Sequence[tuple[float, float]]) -> list[int]:
    """For each span, in ascending order of start, the lowest row that is free by then."""
    free: list[int] = []
    busy: list[tuple[float, int]] = []
    found = []
    for start, end in spans:
        while busy and busy[0][0] <= start:
            heapq.heappush(free, heapq.heappop(busy)[1])
        slot = heapq.heappop(free) if free else len(busy)
        heapq.heappush(busy, (end, slot))
        found.append(slot)
    return found


def bars_of(shots: Sequence[Shot]) -> list[Bar]:
    """The first CALLS_MAX calls of one iteration, by the instant at which they began."""
    sent = [shot for shot in shots if shot.status != "not_sent" and _end_ns(shot) is not None]
    sent = sorted(sent, key=_start_ns)[:CALLS_MAX]
    if not sent:
        return []
    zero = min(shot.instants.due_ns for shot in sent)

    def s(at_ns: int | None) -> float | None:
        return None if at_ns is None else (at_ns - zero) / 1e9

    places = slots([(_start_ns(shot), _end_ns(shot) or 0) for shot in sent])
    return [
        Bar(
            slot=slot, due_s=(shot.instants.due_ns - zero) / 1e9, sent_s=s(shot.instants.sent_ns),
            first_s=s(shot.instants.first_token_ns), end_s=s(_end_ns(shot)) or 0.0,
            status=shot.status, stage=shot.stage,
        )
        for shot, slot in zip(sent, places, strict=True)
    ]  # fmt: skip


def _start_ns(shot: Shot) -> int:
    at = shot.instants
    return at.sent_ns if at.sent_ns is not None else at.due_ns


def _end_ns(shot: Shot) -> int | None:
    at = shot.instants
    return at.end_ns if at.end_ns is not None else at.closed_ns


def _first_iteration(sample: Sample) -> tuple[int, list[Shot]] | None:
    measured = [shot for shot in sample.shots if shot.phase == "measured"]
    for trial, iteration in dict.fromkeys((shot.trial, shot.iteration) for shot in measured):
        found = [s for s in measured if (s.trial, s.iteration) == (trial, iteration)]
        if len([s for s in found if s.status != "not_sent"]) > 1:
            return trial, found
    return None


def timeline(source: Source) -> list[Plot]:
    lanes = agent_timelines(source)
    others = [key for key in rows(source) if not has_agents(source.samples[key])]
    return lanes + (_by_slot(source, others) if others or not lanes else [])


def _by_slot(source: Source, every: list[Key]) -> list[Plot]:
    found: dict[Key, tuple[int, list[Bar], int]] = {}
    for key in every:
        chosen = _first_iteration(source.samples[key])
        if chosen is not None and (made := bars_of(chosen[1])):
            found[key] = (chosen[0], made, len(chosen[1]))
    if not found:
        raise Unfit("no measured iteration has two calls")
    # Those with the most at once, in their order.
    most = sorted(found, key=lambda key: -max(bar.slot for bar in found[key][1]))[:PANELS_MAX]
    kept = {key: found[key] for key in found if key in most}
    tall = [min(max(bar.slot for bar in bars) + 1, SLOTS_MAX) for _, bars, _ in kept.values()]

    def draw(figure: SubFigure) -> None:
        grid: Any = figure.subplots(
            len(kept), 1, squeeze=False, sharex=True,
            gridspec_kw={"height_ratios": [max(n, 4) for n in tall]},
        )  # fmt: skip
        for axes, (key, (trial, bars, _)) in zip(grid[:, 0], kept.items(), strict=True):
            _draw(axes, source, key, trial, bars)
        grid[-1, 0].set_xlabel("time since the first call was due, s")
        _legend(figure, [bar for _, bars, _ in kept.values() for bar in bars])

    parts = [
        f"{source.label(key)}: n = {len(bars)} of {plural(of, 'call')} of trial {trial}, at most "
        f"{max(bar.slot for bar in bars) + 1} at once" for key, (trial, bars, of) in kept.items()
    ]  # fmt: skip
    drawn = sum(len(bars) for _, bars, _ in kept.values())
    return [
        Plot(
            name="timeline",
            kind="timeline",
            title="Concurrent calls",
            subtitle=f"n = {plural(drawn, 'call')}, the first of the first measured iteration with "
            "two calls or more; a row is a slot",
            caption="Calls of one iteration by slot: light from sending to the first token (TTFT), "
            f"full to the end of the stream. {'; '.join(parts)}."
            + f" Of {len(found)} arms and cells, those with the most at once."
            * (len(kept) < len(found)),
            data={key: bars for key, (_, bars, _) in kept.items()},
            size_in=(9.6, 1.6 + sum(max(0.145 * n, 0.9) for n in tall) + 0.25 * len(tall)),
            draw=draw,
            frame=source.frame(),
        )
    ]


def _draw(axes: Axes, source: Source, key: Key, trial: int, bars: list[Bar]) -> None:
    style = look(source.rank[key.arm])
    tidy(axes, grid="x")
    for bar in bars:
        if bar.slot >= SLOTS_MAX:
            continue
        start = bar.due_s if bar.sent_s is None else bar.sent_s
        if start - bar.due_s > 0.002 * bars[-1].end_s:
            axes.plot([bar.due_s, start], [bar.slot, bar.slot], color=GREY, linewidth=0.7, zorder=1)
        first = bar.end_s if bar.first_s is None else bar.first_s
        edge: Any = {"edgecolor": style.colour, "linewidth": 0.6}
        axes.broken_barh([(start, first - start)], (bar.slot - 0.38, 0.76), facecolor="white",
                         zorder=2, **edge)  # fmt: skip
        axes.broken_barh([(start, first - start)], (bar.slot - 0.38, 0.76), zorder=3,
                         facecolor=style.colour, alpha=0.25)  # fmt: skip
        if bar.first_s is not None:
            axes.broken_barh([(first, bar.end_s - first)], (bar.slot - 0.38, 0.76),
                             facecolor=style.colour, zorder=3, **edge)  # fmt: skip
        if bar.status != "ok":
            axes.plot(bar.end_s, bar.slot, "x", color=INK if style.colour == ORANGE else ORANGE,
                      markersize=5, markeredgewidth=1.5, zorder=5)  # fmt: skip
        if bar.stage and len(bars) <= STAGES_MAX:
            axes.text(start, bar.slot + 0.55, drawable(fold(bar.stage, 16, 1)), fontsize=7,
                      color=GREY, va="center")  # fmt: skip
    most = min(max(bar.slot for bar in bars) + 1, SLOTS_MAX)
    axes.set_ylim(most - 0.2, -0.8)
    shown = range(0, most, max(most // 8, 1))
    axes.set_yticks(shown, [str(slot + 1) for slot in shown])
    axes.set_ylabel("slot")
    said = fold(source.label(key), 60, 2)
    axes.set_title(f"{said} (trial {trial}, n = {plural(len(bars), 'call')})", fontsize=8.5)
    axes.set_xlim(left=-0.005 * max(bar.end_s for bar in bars))


def _legend(figure: SubFigure, bars: list[Bar]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Patch(facecolor=GREY, alpha=0.3, edgecolor=GREY, label="sent → first token (TTFT)"),
        Patch(facecolor=GREY, label="first token → end"),
    ]
    if any(bar.sent_s is not None and bar.sent_s - bar.due_s > 0.001 for bar in bars):
        handles.append(Line2D([], [], color=GREY, linewidth=0.8, label="due → sent"))
    if any(bar.status != "ok" for bar in bars):
        handles.append(Line2D([], [], linestyle="none", marker="x", color=ORANGE, label="not ok"))
    legend_below(figure, handles)
