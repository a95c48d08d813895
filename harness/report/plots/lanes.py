"""Several agents on one axis of time: at once, and below it the same agents one after another.

A lane per agent: what it did without the model, how long each call waited for its first token (what
the server does not explain of it, hatched), and the stream. Where agents work at once and their
streams do not, one sees a server that serves one after another, whatever it was asked.

Of each arm and cell the pair of the median speed-up is drawn; of those without a whole pair, the
first iteration, with what failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from harness.metrics.agents import agent_spans, agents_of
from harness.report.figures import number
from harness.report.plots.layout import rows
from harness.report.plots.plot import Plot
from harness.report.plots.source import Key, Sample, Shot, Source
from harness.report.plots.style import BLUE, FAINT, GREY, INK, ORANGE, legend_below, tidy
from harness.report.plots.words import drawable, fold, plural
from harness.schema import IterationRecord, Span
from harness.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

__all__ = ["Block", "Lane", "Scene", "Side", "agent_timelines", "has_agents", "scene_of"]

PLOTS_MAX: Final = 4
LANES_MAX: Final = 16
CALLS_MAX: Final = 400
ROWS_MAX: Final = 8
"""Streams of one agent that are drawn under one another."""
LANE_IN: Final = 0.36
ROW_IN: Final = 0.13
WIDTH_IN: Final = 9.6
CHARS_PER_IN: Final = 14.0
"""Of the type in which stages are written into their bars."""
TINT: Final = "#BFDBEC"
"""BLUE on paper, a quarter of it: it must stay what it is over a lane's grey."""


class Block(Struct, frozen=True, kw_only=True):
    """A call. Seconds on the axis; None where there was no such instant."""

    row: int
    sent_s: float
    queued_s: float | None
    """Until then no field of the server explains the wait, if it came first."""
    first_s: float | None
    end_s: float
    status: str
    stage: str


class Lane(Struct, frozen=True, kw_only=True):
    """One agent."""

    agent: str
    start_s: float
    end_s: float
    blocks: tuple[Block, ...]
    others: tuple[tuple[str, float, float], ...]
    """(name, start, end) of phases in which no call was under way."""

    @property
    def rows(self) -> int:
        return min(max((block.row for block in self.blocks), default=0) + 1, ROWS_MAX)


class Side(Struct, frozen=True, kw_only=True):
    """All agents, at once or one after another."""

    lanes: tuple[Lane, ...]
    wall_s: float
    failed: str
    """Why it is not whole; empty if it is."""


class Scene(Struct, frozen=True, kw_only=True):
    """What is drawn of one arm and cell."""

    trial: int
    iteration: int
    pairs: int
    """Whole ones, of which this is the one in the middle; 0: it is none."""
    speedup: float | None
    together: Side
    alone: Side | None
    agents: int
    calls: int


def has_agents(sample: Sample) -> bool:
    return any(one.phase == "measured" and len(agents_of(one)) > 1 for one in sample.iterations)


def scene_of(sample: Sample) -> Scene | None:
    """The pair of the median speed-up, or what comes nearest to one; None without agents."""
    series = sample.series.get("speedup")
    ranked = sorted(zip(series.values, series.places, strict=True)) if series else []
    shown = [one for one in sample.iterations if one.phase == "measured" and agents_of(one)]
    if ranked:
        speedup, place = ranked[(len(ranked) - 1) // 2]
        shown = [one for one in shown if (one.trial, one.iteration) == place]
    if not shown:
        return None
    first = shown[0]
    solo = next(
        (one for one in sample.iterations if one.phase == "solo" and _place(one) == _place(first)),
        None,
    )
    together = _side(first, sample.shots, one_by_one=False)
    alone = _side(solo, sample.shots, one_by_one=True) if solo and agents_of(solo) else None
    return Scene(
        trial=first.trial,
        iteration=first.iteration,
        pairs=len(ranked),
        speedup=speedup if ranked else None,
        together=together,
        alone=alone,
        agents=len(agents_of(first)),
        calls=sum(len(lane.blocks) for side in (together, alone) if side for lane in side.lanes),
    )


def _place(record: IterationRecord) -> tuple[int, int]:
    return record.trial, record.iteration


def _side(record: IterationRecord, shots: Iterable[Shot], *, one_by_one: bool) -> Side:
    mine = [
        shot
        for shot in shots
        if (shot.trial, shot.iteration, shot.phase) == (*_place(record), record.phase)
        and shot.status != "not_sent"
    ]
    windows = _windows(record)
    zero = min(start for start, _ in windows.values())
    lanes: list[Lane] = []
    at = 0.0
    for agent in sorted(windows, key=lambda name: windows[name][0]) if one_by_one else windows:
        start, end = windows[agent]
        # What lies between two agents is no work of either (`solo_wall_ms`).
        begin = at if one_by_one else (start - zero) / 1e9
        calls = [shot for shot in mine if shot.agent == agent][:CALLS_MAX]
        lanes.append(_lane(agent, record, calls, start - round(begin * 1e9)))
        at = begin + (end - start) / 1e9
    order = {name: index for index, name in enumerate(agents_of(record))}
    lanes.sort(key=lambda lane: order[lane.agent])
    return Side(
        lanes=tuple(lanes[:LANES_MAX]),
        wall_s=at if one_by_one else max(lane.end_s for lane in lanes),
        failed=_failed(record, mine),
    )


def _windows(record: IterationRecord) -> dict[str, tuple[int, int]]:
    """Also of what is not whole: an agent that worked twice has all of it."""
    found = agent_spans(record)
    if found is not None:
        return found
    made: dict[str, tuple[int, int]] = {}
    for span in record.spans:
        if span.agent and span.agent in agents_of(record):
            start, end = made.get(span.agent, (span.start_ns, span.end_ns))
            made[span.agent] = (min(start, span.start_ns), max(end, span.end_ns))
    return made


def _lane(agent: str, record: IterationRecord, calls: Sequence[Shot], zero_ns: int) -> Lane:
    from harness.report.plots.timeline import slots

    def s(at_ns: int) -> float:
        return (at_ns - zero_ns) / 1e9

    known = sorted((start, end, shot) for shot in calls if (times := _times(shot))
                   for start, end in [times])  # fmt: skip
    places = slots([(float(start), float(end)) for start, end, _ in known])
    blocks = [
        Block(
            row=row,
            sent_s=s(start),
            queued_s=_queued_s(shot, s(start)),
            first_s=None if (at := shot.instants.first_token_ns) is None else s(at),
            end_s=s(end),
            status=shot.status,
            stage=shot.stage,
        )
        for row, (start, end, shot) in zip(places, known, strict=True)
    ]
    start_ns, end_ns = _windows(record)[agent]
    phases = [one for one in record.spans if one.agent == agent and one.name != "agent"]
    return Lane(
        agent=agent,
        start_s=s(start_ns),
        end_s=s(end_ns),
        blocks=tuple(blocks),
        others=tuple(
            (one.name, s(one.start_ns), s(one.end_ns))
            for one in phases
            if _under_way(one, known) < 0.5
        ),
    )


def _under_way(phase: Span, known: Sequence[tuple[int, int, Shot]]) -> float:
    """For what share of it, at most, a call was. Its bounds may be a little off: they are read by
    the agent itself, before it sends and after it has received."""
    length = max(phase.end_ns - phase.start_ns, 1)
    common = (min(end, phase.end_ns) - max(start, phase.start_ns) for start, end, _ in known)
    return sum(part for part in common if part > 0) / length


def _times(shot: Shot) -> tuple[int, int] | None:
    at = shot.instants
    start = at.due_ns if at.sent_ns is None else at.sent_ns
    end = at.closed_ns if at.end_ns is None else at.end_ns
    return None if end is None or end < start else (start, end)


def _queued_s(shot: Shot, start_s: float) -> float | None:
    residual, first = shot.residual_ms, shot.instants.first_token_ns
    if residual is None or residual <= 0 or first is None or shot.instants.sent_ns is None:
        return None
    return start_s + min(residual / 1e3, (first - shot.instants.sent_ns) / 1e9)


def _failed(record: IterationRecord, calls: Sequence[Shot]) -> str:
    bad = sum(shot.status != "ok" for shot in calls)
    if bad:
        return f"{plural(bad, 'call')} not ok"
    return "" if record.status == "ok" else f"ended as {record.status}"


# ---- drawn


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
            axes.axvline(scene.together.wall_s, color=INK, linewidth=0.9, linestyle=(0, (4, 2)),
                         zorder=1.5)  # fmt: skip
        grid[-1, 0].set_xlabel("time since the first agent started, s")
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
    walls = f"Together {number(scene.together.wall_s, 3)} s"
    if scene.alone is not None:
        walls += f", one after another {number(scene.alone.wall_s, 3)} s"
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


def _draw(axes: Axes, name: str, side: Side, end: float, alone: Side | None) -> None:
    tidy(axes, grid="x")
    times = {lane.agent: lane.end_s - lane.start_s for lane in alone.lanes} if alone else {}
    for at, lane in enumerate(side.lanes):
        _draw_lane(axes, lane, at, end)
        took = lane.end_s - lane.start_s
        before = times.get(lane.agent)
        said = f"{number(took, 3)} s" + (f", {took / before:.2f}×" if before else "")
        axes.annotate(said, (lane.end_s, at), (5, 0), textcoords="offset points", fontsize=7.5,
                      color=GREY, va="center", zorder=6,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0})  # fmt: skip
    labels = [fold(lane.agent, 22, 2) for lane in side.lanes]
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(labels) - 0.45, -0.55)
    axes.set_xlim(0, end * 1.13)
    failed = f", {side.failed}" if side.failed else ""
    axes.set_title(f"{name}: {number(side.wall_s, 3)} s{failed}", fontsize=9)
    axes.spines["left"].set_visible(False)


def _draw_lane(axes: Axes, lane: Lane, at: int, end: float) -> None:
    high, top = 0.74, at - 0.37
    axes.broken_barh([(lane.start_s, lane.end_s - lane.start_s)], (top, high), facecolor=FAINT,
                     alpha=0.38, zorder=2)  # fmt: skip
    for _, start, stop in lane.others:
        axes.broken_barh([(start, stop - start)], (top, high), facecolor="white", edgecolor=GREY,
                         linewidth=0.5, hatch="....", zorder=3)  # fmt: skip
    row_high = high / lane.rows
    for block in lane.blocks:
        if block.row >= ROWS_MAX:
            continue
        _draw_block(axes, block, (top + block.row * row_high, row_high), end)


def _draw_block(axes: Axes, block: Block, place: tuple[float, float], end: float) -> None:
    first = block.end_s if block.first_s is None else block.first_s
    edge: Any = {"edgecolor": BLUE, "linewidth": 0.6}
    axes.broken_barh([(block.sent_s, first - block.sent_s)], place, facecolor=TINT, zorder=4,
                     **edge)  # fmt: skip
    if block.queued_s is not None and block.queued_s - block.sent_s > 0.004 * end:
        axes.broken_barh([(block.sent_s, block.queued_s - block.sent_s)], place, facecolor="white",
                         edgecolor=ORANGE, linewidth=0.6, hatch="//////", zorder=5)  # fmt: skip
    middle = place[0] + place[1] / 2
    if block.first_s is not None:
        length = block.end_s - first
        axes.broken_barh([(first, length)], place, facecolor=BLUE, edgecolor="white",
                         linewidth=0.5, zorder=5)  # fmt: skip
        room = int(length / (end * 1.13) * (WIDTH_IN - 2.2) * CHARS_PER_IN) - 1
        said = drawable(one_line(block.stage, 40))
        if said and place[1] > 0.3 and room >= min(len(said), 4):
            shown = said if len(said) <= room else f"{said[: room - 1]}…"
            axes.text(first + length / 2, middle, shown, fontsize=7, color="white", ha="center",
                      va="center", zorder=6)  # fmt: skip
    if block.status != "ok":
        axes.plot(block.end_s, middle, "X", color=ORANGE, markersize=8, markeredgecolor="white",
                  markeredgewidth=0.8, zorder=7, clip_on=False)  # fmt: skip


def _legend(figure: SubFigure, lanes: Sequence[Lane]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    blocks = [block for lane in lanes for block in lane.blocks]
    handles: list[Any] = []
    others = list(dict.fromkeys(name for lane in lanes for name, _, _ in lane.others))
    if others:
        named = drawable(one_line(others[0], 20)) if len(others) == 1 else "without the model"
        handles.append(Patch(facecolor="white", edgecolor=GREY, hatch="....", label=named))
    handles.append(Patch(facecolor=TINT, edgecolor=BLUE, label="sent → first token (TTFT)"))
    if any(block.queued_s is not None for block in blocks):
        handles.append(Patch(facecolor="white", edgecolor=ORANGE, hatch="//////",
                             label="of it queue residual"))  # fmt: skip
    handles.append(Patch(facecolor=BLUE, edgecolor="white", label="stream"))
    handles.append(Line2D([], [], color=INK, linewidth=0.9, linestyle=(0, (4, 2)),
                          label="together: last end"))  # fmt: skip
    if any(block.status != "ok" for block in blocks):
        handles.append(Line2D([], [], linestyle="none", marker="X", color=ORANGE, markersize=8,
                              markeredgecolor="white", label="not ok"))  # fmt: skip
    legend_below(figure, handles)
