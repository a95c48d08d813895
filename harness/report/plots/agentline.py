"""Several agents on one axis of time: at once, and below it the same agents one after another.

A lane per agent: what it did without the model, how long each call waited for its first token (what
the server does not explain of it, hatched), and the stream. Where agents work at once and their
streams do not, one sees a server that serves one after another, whatever it was asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from harness.report.figures import number
from harness.report.plots.lanes import ROWS_MAX, Block, Lane, Scene, Side, has_agents, scene_of
from harness.report.plots.layout import rows
from harness.report.plots.plot import Plot
from harness.report.plots.source import Key, Source
from harness.report.plots.style import BLUE, FAINT, GREY, INK, ORANGE, legend_below, tidy
from harness.report.plots.words import drawable, fold, plural
from harness.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

__all__ = ["PLOTS_MAX", "agent_timelines"]

PLOTS_MAX: Final = 4
LANE_IN: Final = 0.36
ROW_IN: Final = 0.13
WIDTH_IN: Final = 9.6
CHARS_PER_IN: Final = 14.0
"""Of the type in which stages are written into their bars."""
WAIT: Final = 0.25
"""How much of BLUE a wait has. It is laid on paper (white; dark on a dark page), not on the lane's
own grey."""


def agent_timelines(source: Source) -> list[Plot]:
    """One figure for each arm and cell with several agents; the first PLOTS_MAX of them."""
    keys = [key for key in rows(source) if has_agents(source.samples[key])]
    found = [(key, scene) for key in keys if (scene := scene_of(source.samples[key]))]
    return [
        _plot(source, key, scene, number, len(found))
        for number, (key, scene) in enumerate(found[:PLOTS_MAX], 1)
    ]


def _plot(source: Source, key: Key, scene: Scene, number_: int, of: int) -> Plot:
    sides = [("together", scene.together)]
    if scene.alone is not None:
        sides.append(("one after another", scene.alone))
    deep = [sum(_deep(lane) for lane in side.lanes) for _, side in sides]

    def draw(figure: SubFigure) -> None:
        grid: Any = figure.subplots(
            len(sides), 1, squeeze=False, sharex=True, gridspec_kw={"height_ratios": deep}
        )
        end = max(side.wall_s for _, side in sides)
        for axes, (name, side) in zip(grid[:, 0], sides, strict=True):
            whole = scene.alone if side is scene.together and scene.speedup else None
            _draw(axes, name, side, end, whole)
        for axes in grid[:, 0]:
            axes.axvline(scene.together.wall_s * _unit(end)[0], color=INK, linewidth=0.9,
                         linestyle=(0, (4, 2)), zorder=1.5)  # fmt: skip
        grid[-1, 0].set_xlabel(f"time since the first agent started, {_unit(end)[1]}")
        _legend(figure, [lane for _, side in sides for lane in side.lanes])

    arm = f"{one_line(source.label(key), 60)}: " if len(source.arms) > 1 else ""
    gain = f"speed-up {number(scene.speedup, 3)}" if scene.speedup else "no speed-up is known"
    return Plot(
        name="timeline-agents" if number_ == 1 else f"timeline-agents-{number_}",
        kind="timeline",
        title=f"{arm}{scene.agents} agents together, and one after another: {gain}"
        if scene.alone is not None
        else f"{arm}{scene.agents} agents together (never one after another)",
        subtitle=f"trial {scene.trial}, iteration {scene.iteration}, {_which(scene)}; "
        f"n = {plural(scene.calls, 'call')}",
        caption=_caption(source, key, scene, of),
        data=scene,
        size_in=(WIDTH_IN, 1.75 + sum(deep) + 0.42 * len(sides)),
        draw=draw,
        frame=source.frame(),
    )


def _which(scene: Scene) -> str:
    if scene.pairs:
        return f"of {plural(scene.pairs, 'pair')} the one of the median speed-up"
    failed = scene.together.failed or (scene.alone.failed if scene.alone else "")
    return f"the first ({failed})" if failed else "the first"


def _caption(source: Source, key: Key, scene: Scene, of: int) -> str:
    end = max(scene.together.wall_s, scene.alone.wall_s if scene.alone else 0.0)
    walls = f"Together {_took(scene.together.wall_s, end)}"
    if scene.alone is not None:
        walls += f", one after another {_took(scene.alone.wall_s, end)}"
    hidden = scene.agents - len(scene.together.lanes)
    return (
        f"{source.label(key)}: what each of {scene.agents} agents did when, {_which(scene)}; "
        f"n = {plural(scene.calls, 'call')}. {walls}; what lies between two agents that work one "
        "after another is left out, as it is of the speed-up. The queue residual is TTFT less what "
        "the server says it did; it is drawn at the beginning of the wait."
        + (f" {hidden} more agents are not drawn." if hidden > 0 else "")
        + (f" The first {PLOTS_MAX} of {of} arms and cells are drawn." if of > PLOTS_MAX else "")
    )


def _deep(lane: Lane) -> float:
    return max(LANE_IN, ROW_IN * lane.rows)


def _unit(end_s: float) -> tuple[float, str]:
    """How many of it a second has, and what it is called."""
    return (1e3, "ms") if end_s < 1 else (1.0, "s")


def _took(seconds: float, end_s: float) -> str:
    times, unit = _unit(end_s)
    return f"{number(seconds * times, 3)} {unit}"


def _draw(axes: Axes, name: str, side: Side, end: float, alone: Side | None) -> None:
    tidy(axes, grid="x")
    times_s = _unit(end)[0]
    times = {lane.agent: lane.end_s - lane.start_s for lane in alone.lanes} if alone else {}
    for at, lane in enumerate(side.lanes):
        _draw_lane(axes, lane, at, end)
        took = lane.end_s - lane.start_s
        before = times.get(lane.agent)
        said = _took(took, end) + (f", {took / before:.2f}×" if before else "")
        axes.annotate(said, (lane.end_s * times_s, at), (5, 0), textcoords="offset points",
                      fontsize=7.5, color=GREY, va="center", zorder=6,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0})  # fmt: skip
    labels = [fold(lane.agent, 22, 2) for lane in side.lanes]
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(labels) - 0.45, -0.55)
    axes.set_xlim(0, end * times_s * 1.13)
    failed = f", {side.failed}" if side.failed else ""
    axes.set_title(f"{name}: {_took(side.wall_s, end)}{failed}", fontsize=9)
    axes.spines["left"].set_visible(False)


def _draw_lane(axes: Axes, lane: Lane, at: int, end: float) -> None:
    high, top, times = 0.74, at - 0.37, _unit(end)[0]
    axes.broken_barh([_bar(lane.start_s, lane.end_s, times)], (top, high), facecolor=FAINT,
                     alpha=0.38, zorder=2)  # fmt: skip
    for _, start, stop in lane.others:
        axes.broken_barh([_bar(start, stop, times)], (top, high), facecolor="white",
                         edgecolor=GREY, linewidth=0.5, hatch="....", zorder=3)  # fmt: skip
    row_high = high / lane.rows
    for block in lane.blocks:
        if block.row < ROWS_MAX:
            _draw_block(axes, block, (top + block.row * row_high, row_high), end)


def _bar(start_s: float, end_s: float, times: float) -> tuple[float, float]:
    return start_s * times, (end_s - start_s) * times


def _draw_block(axes: Axes, block: Block, place: tuple[float, float], end: float) -> None:
    times = _unit(end)[0]
    first = block.end_s if block.first_s is None else block.first_s
    wait = [_bar(block.sent_s, first, times)]
    axes.broken_barh(wait, place, facecolor="white", edgecolor=BLUE, linewidth=0.6, zorder=4)
    axes.broken_barh(wait, place, facecolor=BLUE, alpha=WAIT, zorder=4)
    if block.queued_s is not None and block.queued_s - block.sent_s > 0.004 * end:
        axes.broken_barh([_bar(block.sent_s, block.queued_s, times)], place, facecolor="white",
                         edgecolor=ORANGE, linewidth=0.6, hatch="//////", zorder=5)  # fmt: skip
    middle = place[0] + place[1] / 2
    if block.first_s is not None:
        axes.broken_barh([_bar(first, block.end_s, times)], place, facecolor=BLUE,
                         edgecolor="white", linewidth=0.5, zorder=5)  # fmt: skip
        shown = _stage(block, (block.end_s - first) / end) if place[1] > 0.3 else ""
        axes.text((first + block.end_s) / 2 * times, middle, shown, fontsize=7, color="white",
                  ha="center", va="center", zorder=6)  # fmt: skip
    if block.status != "ok":
        axes.plot(block.end_s * times, middle, "X", color=ORANGE, markersize=8,
                  markeredgecolor="white", markeredgewidth=0.8, zorder=7,
                  clip_on=False)  # fmt: skip


def _stage(block: Block, share: float) -> str:
    """As much of its name as a bar of that share of the axis has room for."""
    room = int(share / 1.13 * (WIDTH_IN - 2.2) * CHARS_PER_IN) - 1
    said = drawable(one_line(block.stage, 40))
    if room < min(len(said), 4):
        return ""
    return said if len(said) <= room else f"{said[: room - 1]}…"


def _legend(figure: SubFigure, lanes: Sequence[Lane]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    blocks = [block for lane in lanes for block in lane.blocks]
    handles: list[Any] = []
    others = list(dict.fromkeys(name for lane in lanes for name, _, _ in lane.others))
    if others:
        named = drawable(one_line(others[0], 20)) if len(others) == 1 else "without the model"
        handles.append(Patch(facecolor="white", edgecolor=GREY, hatch="....", label=named))
    handles.append(Patch(facecolor=BLUE, alpha=WAIT, label="sent → first token (TTFT)"))
    if any(block.queued_s is not None for block in blocks):
        handles.append(Patch(facecolor="white", edgecolor=ORANGE, hatch="//////",
                             label="in it: queue residual"))  # fmt: skip
    handles.append(Patch(facecolor=BLUE, edgecolor="white", label="stream"))
    handles.append(Line2D([], [], color=INK, linewidth=0.9, linestyle=(0, (4, 2)),
                          label="together: last end"))  # fmt: skip
    if any(block.status != "ok" for block in blocks):
        handles.append(Line2D([], [], linestyle="none", marker="X", color=ORANGE, markersize=8,
                              markeredgecolor="white", label="not ok"))  # fmt: skip
    legend_below(figure, handles)
