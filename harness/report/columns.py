"""The columns of the terminal's table, and which of them fit.

Columns go, not digits: first names are folded, then the p95 go, then what E2E nearly says as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import Struct

from harness.report.aggregate import durations, label, metric
from harness.report.figures import short
from harness.report.grid import axes, level
from harness.schema import ArmSummary, Comparison, Summary
from harness.text import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

__all__ = [
    "LEVEL_MAX",
    "LEVEL_MIN",
    "ROWS_MAX",
    "WIDTH",
    "Layout",
    "Marks",
    "axis_column",
    "fitting",
    "marks_of",
    "text",
]

WIDTH: Final = 80
_ARM_MIN: Final = 8
_ARM_MAX: Final = 14
LEVEL_MIN: Final = 10
LEVEL_MAX: Final = 20
"""Characters of an axis' level in one line; longer ones are folded."""
_HEAD_MAX: Final = 12
"""Of an axis' name; longer ones are folded between their words."""
ROWS_MAX: Final = 60
"""Of a sweep; the files have all of them."""

Marks: TypeAlias = Mapping[tuple[str, str, str], str]
"""(arm, cell, metric) → the sign behind its figure."""


class Layout(Struct, frozen=True):
    """Which columns there are, and how wide that of the arm may get."""

    arm_max: int = _ARM_MAX
    tails: bool = True
    """p95 beside each median."""
    rest: bool = True
    """TPOT, tok/s and n."""
    level_max: int = LEVEL_MIN


LAYOUTS: Final = (
    Layout(level_max=LEVEL_MAX),
    Layout(),
    Layout(_ARM_MIN),
    Layout(_ARM_MAX, tails=False, level_max=LEVEL_MAX),
    Layout(_ARM_MAX, tails=False),
    Layout(_ARM_MIN, tails=False),
    Layout(_ARM_MIN, tails=False, rest=False),
)
"""Tried in this order until one fits."""


def marks_of(comparisons: Iterable[Comparison]) -> Marks:
    signs = {"better": "✓", "worse": "✗"}
    return {
        (one.candidate.arm, one.candidate.cell, effect.metric): signs[effect.words]
        for one in comparisons
        for effect in one.effects
        if effect.words in signs
    }


def fitting(summary: Summary, console: Console, width: int, marks: Marks) -> tuple[Layout, Table]:
    """The first layout that fits; the smallest, if none does."""
    from rich.measure import Measurement

    for layout in LAYOUTS:
        table = _table(summary, layout, marks)
        unlimited = console.options.update(width=10 * WIDTH)
        if Measurement.get(console, unlimited, table).maximum <= width:
            break
    return layout, table


def _table(summary: Summary, layout: Layout, marks: Marks) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, expand=False)
    arms = summary.arms[:ROWS_MAX]
    places = [_place(arm, summary) for arm in arms]
    longest = max((text(one[0]).cell_len for one in places), default=3)
    chars = min(longest, layout.arm_max)
    table.add_column("arm", overflow="fold", min_width=chars, max_width=chars)
    for index, axis in enumerate(axes(summary.cells), 1):
        axis_column(table, axis.head, [one[index] for one in places], layout.level_max)
    table.add_column("ok", justify="right", no_wrap=True)
    for heading in _columns(summary, layout).values():
        quantity, _, since = heading.partition(" ")
        above = f"{quantity} ms\n{since}\n" if since else f"{quantity} ms\n"
        table.add_column(f"{above}median", justify="right", no_wrap=True)
        if layout.tails:
            table.add_column("\n" * above.count("\n") + "p95", justify="right", no_wrap=True)
    if layout.rest:
        table.add_column("\ntok/s", justify="right", no_wrap=True)
        table.add_column("\nn", justify="right", no_wrap=True)
    for place, arm in zip(places, arms, strict=True):
        table.add_row(*map(text, (*place, *_cells(arm, summary, layout, marks))))
    return table


def axis_column(table: Table, head: str, levels: Iterable[str], level_max: int) -> None:
    """A column for an axis of the sweep: as wide as its levels and its name, up to bounds."""
    from rich.text import Text

    words = [head]
    if len(head) > _HEAD_MAX:
        words = [word for word in re.split(r"(?<=[._-])", head) if word]
    lines = [""]
    for word in words:
        fits = len(lines[-1]) + len(word) <= _HEAD_MAX
        lines = [*lines[:-1], lines[-1] + word] if fits else [*lines, word]
    longest = max((text(name).cell_len for name in levels), default=1)
    widest = max(text(line).cell_len for line in lines)
    chars = max(min(longest, level_max), min(widest, _HEAD_MAX))
    heading = Text("\n").join(map(text, filter(None, lines)))
    table.add_column(heading, overflow="fold", min_width=chars, max_width=chars)


def _place(arm: ArmSummary, summary: Summary) -> list[str]:
    """The arm's name, then its levels; cells without axes are named with the arm."""
    swept = axes(summary.cells)
    if not swept:
        return [label(arm, summary)]
    return [arm.arm, *(level(summary.cells, arm.cell, axis) for axis in swept)]


def _columns(summary: Summary, layout: Layout) -> dict[str, str]:
    """Metric → heading; each gives a median and, where there is room, a p95."""
    shown = durations(summary)
    return shown if layout.rest else {k: v for k, v in shown.items() if k != "tpot_ms"}


def _cells(arm: ArmSummary, summary: Summary, layout: Layout, marks: Marks) -> Iterator[str]:
    def marked(name: str, figure: str) -> str:
        return figure + marks.get((arm.arm, arm.cell, name), " " * bool(marks))

    ok, planned = arm.calls.get("ok", 0), max(arm.planned, sum(arm.calls.values()))
    yield str(ok) if ok == planned else f"{ok}/{planned}"
    for name in _columns(summary, layout):
        one = metric(arm, name)
        yield marked(name, short(one.median if one else None))
        if layout.tails:
            yield short(one.p95 if one else None)
    if layout.rest:
        rate = metric(arm, "throughput_tok_s")
        yield marked("throughput_tok_s", short(rate.median if rate else None))
        first = metric(arm, "ttft_ms")
        yield str(first.n if first else 0)


def text(content: str, style: str = "") -> Text:
    """One line, harmless; a space at either end is kept, for parts of a line."""
    from rich.text import Text

    before = " " if content.startswith(" ") else ""
    behind = " " if content.endswith(" ") else ""
    return Text(f"{before}{one_line(content, 400)}{behind}", style=style)
