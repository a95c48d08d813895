"""Figures as text and as Markdown. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.peers.figures import Figures, Goal
from benchmarks.peers.loads import FLAT_OUT, STREAMS_8, STREAMS_64, STREAMS_1000
from benchmarks.peers.tools import TITLES

__all__ = ["goal_lines", "markdown", "put_between", "text"]

LOADS = {load.name: load for load in (STREAMS_64, STREAMS_8, STREAMS_1000, FLAT_OUT)}

Cell = Callable[[Figures], str]


def number(value: float | None, unit: str = "") -> str:
    """Three figures, thousands apart; – is unknown."""
    if value is None:
        return "–"
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.2 or not size else 3
    return f"{value:,.{digits}f}{unit}"


def pair(one: float | None, other: float | None) -> str:
    return f"{number(one)} / {number(other)}"


def _when(said: str, figures: Figures) -> str:
    return "–" if figures.tool == "bare" else said


ROWS: list[tuple[str, Cell]] = [
    ("TTFT reported, p50 / p99, ms", lambda f: _when(pair(f.ttft_p50_ms, f.ttft_p99_ms), f)),
    ("TTFT true, p50 / p99, ms", lambda f: _when(pair(f.true_p50_ms, f.true_p99_ms), f)),
    ("first-token stamp error, p50 / p99, µs",
     lambda f: _when(pair(f.stamp_p50_us, f.stamp_p99_us), f)),
    ("n (requests)", lambda f: _when(f"{f.n:,}", f)),
    ("marginal CPU per chunk, µs", lambda f: number(f.cpu_us_per_chunk)),
    ("chunks per CPU-second", lambda f: number(1e6 / f.cpu_us_per_chunk)
     if f.cpu_us_per_chunk else "–"),
    ("start-up: command to first request, s", lambda f: _when(number(f.start_s), f)),
    ("whole command, s", lambda f: _when(number(f.wall_s), f)),
    ("peak memory of the tree, RSS / PSS, MB", lambda f: pair(f.rss_mb, f.pss_mb)),
    ("what it noticed itself", lambda f: _when("; ".join(f.noticed) or "nothing", f)),
    ("went wrong", lambda f: "; ".join(f.outcomes) or "–"),
]  # fmt: skip


def markdown(figures: Sequence[Figures], goals: Sequence[Goal], about: dict[str, Any]) -> str:
    """Conditions, a table for each load, ours against its goals, and what it takes to install."""
    parts = [_conditions(about)]
    for key in dict.fromkeys((f.load, f.cores) for f in figures):
        of_load = [f for f in figures if (f.load, f.cores) == key]
        parts.append(f"**{_title(*key)}**\n\n{_table(of_load)}")
    parts.append("**Ours against its goals, in this run**\n\n" + _goal_table(goals))
    parts.append("**To install**\n\n" + _installs(about["dependencies"]))
    return "\n\n".join(parts) + "\n"


def _title(name: str, cores: int) -> str:
    load = LOADS[name]
    return f"{load.title}, {cores} core{'s' if cores > 1 else ''} for the client"


def _table(figures: list[Figures]) -> str:
    lines = ["| | " + " | ".join(TITLES[f.tool] for f in figures) + " |"]
    lines.append("|---|" + "---|" * len(figures))
    for name, cell in ROWS:
        cells = [_safe(cell(f)) for f in figures]
        if any(said != "–" for said in cells):
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _safe(said: str) -> str:
    """A peer's message is anybody's text."""
    for mark in "\\`|<>[]*_#":
        said = said.replace(mark, " " if mark in "`|<>[]" else "\\" + mark)
    return said


def _goal_table(goals: Sequence[Goal]) -> str:
    lines = ["| goal | bound | reached | |", "|---|---|---|---|"]
    for goal in goals:
        sign = "≥" if goal.at_least else "≤"
        said = {True: "met", False: "**MISSED**", None: "no figure"}[goal.met]
        bound = f"{sign} {number(goal.bound)} {goal.unit}".rstrip()
        value = f"{number(goal.value)} {goal.unit}".rstrip()
        lines.append(f"| {_safe(goal.what)} | {bound} | {value} | {said} |")
    return "\n".join(lines)


def _conditions(about: dict[str, Any]) -> str:
    late = about["server_lateness_p99_us"]
    return (
        f"Measured {about['date']} in {about['minutes']:.0f} minutes ({about['rounds']}), "
        f"{about['cpu']}, {about['cores']} cores, {about['platform']}, Python {about['python']}; "
        f"load average before {about['load_average'][0]:.2f}, after {about['load_after'][0]:.2f}. "
        f"Server `harness sim` {about['harness']} (native, real-time priority "
        f"{'granted' if about['realtime'] else 'not granted'}) on core {about['server_core']}, "
        f"client on core {about['client_core']}; sends began late by {number(late)} µs at p99 in "
        "the worst run of a client that kept reading."
    )


def _installs(found: dict[str, dict[str, Any]]) -> str:
    lines = ["| | direct dependencies | distributions in all | on disk, MB |", "|---|---|---|---|"]
    for tool, one in found.items():
        size = number(one["disk_bytes"] / 1e6 if one.get("disk_bytes") else None)
        lines.append(f"| {TITLES[tool]} | {one['direct']} | {one['total']} | {size} |")
    return "\n".join(lines)


def goal_lines(goals: Sequence[Goal]) -> list[str]:
    found = []
    for goal in goals:
        said = {True: "met", False: "MISSED", None: "no figure"}[goal.met]
        sign = "≥" if goal.at_least else "≤"
        bound = f"{sign} {number(goal.bound)}"
        found.append(f"{said:9} {goal.what:66} {number(goal.value):>10} {bound:>11} {goal.unit}")
    return found


def text(figures: Sequence[Figures]) -> str:
    """For a terminal: a block for each load, a column for each tool."""
    parts = []
    for key in dict.fromkeys((f.load, f.cores) for f in figures):
        of_load = [f for f in figures if (f.load, f.cores) == key]
        lines = [_title(*key), " " * 40 + "".join(f"{TITLES[f.tool]:>22}" for f in of_load)]
        for name, cell in ROWS:
            cells = [cell(f) for f in of_load]
            if all(said == "–" for said in cells):
                continue
            if max(map(len, cells)) > 21:  # sentences
                lines.append(f"  {name}")
                for figures_of_tool, cell_of_tool in zip(of_load, cells, strict=True):
                    lines.append(f"      {TITLES[figures_of_tool.tool]}: {cell_of_tool}")
            else:
                lines.append(f"  {name:38}" + "".join(f"{c:>22}" for c in cells))
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def put_between(page: str, name: str, table: str) -> str:
    """`page`, with all between <!-- name --> and <!-- /name --> replaced. Raises ValueError."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found, rest = page.partition(start)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"the page has no {start} … {end}")
    return f"{before}{start}\n{table}{end}{after}"
