"""What a timeline of several agents shows, as numbers: a lane per agent, at once and one by one.

Of each arm and cell the pair of the median speed-up; of those without a whole pair, the first
iteration, with what failed. agentline.py draws it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from harness.metrics.agents import agent_spans, agents_of
from harness.report.plots.source import Sample, Shot
from harness.report.plots.words import plural
from harness.schema import IterationRecord, Span

__all__ = ["LANES_MAX", "ROWS_MAX", "Block", "Lane", "Scene", "Side", "has_agents", "scene_of"]

LANES_MAX: Final = 16
CALLS_MAX: Final = 400
ROWS_MAX: Final = 8
"""Streams of one agent that are drawn under one another."""


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
