"""Agents at once, in every report: whether it pays off, what says so, and each agent's figures
beside those it has alone. Plain text and numbers: who writes Markdown or HTML escapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from harness.compare.gain import Gain, gain_of
from harness.report.aggregate import label, metric
from harness.report.figures import UNKNOWN, number, short
from harness.schema import AgentSummary, ArmSummary, MetricSummary, Summary
from harness.text import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = [
    "FIGURES",
    "Said",
    "agent_rows",
    "agents_table",
    "details",
    "gains",
    "known_figures",
]

FIGURES: Final = {
    "agent_ms": ("time", "ms"),
    "ttft_ms": ("TTFT", "ms"),
    "e2e_ms": ("E2E", "ms"),
    "decode_rate_client_tok_s": ("decode", "tok/s"),
    "queue_residual_ms": ("queue residual", "ms"),
}
"""Metric of an agent → (heading, unit)."""
ROWS_MAX: Final = 24
NAME_MAX: Final = 14


class Said(Struct, frozen=True, kw_only=True):
    """Of one arm and cell."""

    label: str
    gain: Gain
    details: str


def gains(summary: Summary) -> Iterator[Said]:
    """Arms in which agents worked at once and alone."""
    for arm in summary.arms:
        found = gain_of(arm, summary.verdict.caveats)
        if found is not None:
            yield Said(label=label(arm, summary), gain=found, details=details(arm))


def details(arm: ArmSummary) -> str:
    """`slowdown 1.50 (collector), 1.97 (insight); Jain 0.981; contention in 5 of 5; load-balance
    ratio 1.75, which older reports call speed-up`. Means over pairs."""
    slower = [
        f"{_times(one.mean)} ({one_line(one.name.removeprefix('slowdown.'), 24)})"
        for one in arm.metrics
        if one.name.startswith("slowdown.") and one.n
    ]
    more = f", and {len(slower) - 4} more" if len(slower) > 4 else ""
    parts = [f"slowdown {', '.join(slower[:4])}{more}"] if slower else []
    if (fair := metric(arm, "jain")) and fair.n:
        parts.append(f"Jain {number(fair.mean, 3)}")
    if (held := metric(arm, "contention")) and held.n and held.mean is not None:
        parts.append(f"contention in {round(held.mean * held.n)} of {held.n}")
    if (queue := metric(arm, "queue_excess_ms")) and queue.n:
        parts.append(f"queue residual {_signed(queue.mean)} ms")
    if (ratio := metric(arm, "load_balance_ratio")) and ratio.n:
        parts.append(f"load-balance ratio {_times(ratio.mean)}, which older reports call speed-up")
    return "; ".join(parts)


def agent_rows(arm: ArmSummary) -> Iterator[tuple[str, str, dict[str, MetricSummary]]]:
    """(agent, `alone` or `together`, its figures by name)."""
    for agent in arm.agents:
        for side, ones in _sides(agent):
            yield agent.agent, side, {one.name: one for one in ones}


def _sides(agent: AgentSummary) -> Iterator[tuple[str, tuple[MetricSummary, ...]]]:
    if any(one.n for one in agent.alone):
        yield "alone", agent.alone
    yield "together", agent.together


def known_figures(summary: Summary) -> list[str]:
    """Those of FIGURES that any agent has."""
    known = {
        one.name
        for arm in summary.arms
        for agent in arm.agents
        for one in (*agent.together, *agent.alone)
        if one.n
    }
    return [name for name in FIGURES if name in known]


def agents_table(summary: Summary, console: Console, width: int) -> tuple[Table | None, int]:
    """For a terminal: medians, a row for each agent alone and together, as many figures as fit;
    and how many rows did not. None without agents."""
    from rich.measure import Measurement
    from rich.text import Text

    if not any(arm.agents for arm in summary.arms):
        return None, 0
    names, unlimited = known_figures(summary), console.options.update(width=10 * width)
    for count in range(len(names), 0, -1):
        rows = list(_rows(summary, names[:count]))
        table = _columns(summary, names[:count], rows)
        for row in rows[:ROWS_MAX]:
            table.add_row(*(Text(one_line(cell, 60)) for cell in row))
        if Measurement.get(console, unlimited, table).maximum <= width:
            break
    return table, max(len(rows) - ROWS_MAX, 0)


def _columns(summary: Summary, names: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, expand=False)
    named = ["arm", "agent"] if len(summary.arms) > 1 else ["agent"]
    for index, head in enumerate(named):
        longest = max((len(row[index]) for row in rows), default=1)
        chars = max(min(longest, NAME_MAX), len(head))
        table.add_column(head, overflow="fold", min_width=chars, max_width=chars)
    table.add_column("median", no_wrap=True)
    for name in names:
        head, unit = FIGURES[name]
        table.add_column(f"{head} {unit}".replace(" ", "\n"), justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    return table


def _rows(summary: Summary, names: Sequence[str]) -> Iterator[list[str]]:
    """Names of arms and agents stand in the first of their rows."""
    several = len(summary.arms) > 1
    for arm in summary.arms:
        place, told = [label(arm, summary)] if several else [], ""
        for agent, side, found in agent_rows(arm):
            figures = [short(found[name].median if name in found else None) for name in names]
            shown = agent if agent != told else ""
            yield [*place, shown, side, *figures, str(found["agent_ms"].n)]
            place, told = [""] if several else [], agent


def _times(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f}"


def _signed(value: float | None) -> str:
    return UNKNOWN if value is None else f"{'+' if value > 0 else ''}{number(value, 3)}"
