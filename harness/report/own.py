"""The figures of whole iterations, as a table for the terminal: of a run that makes no calls, where
they are all there is, and of what instruments saw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from harness.compare.watermark import made_up
from harness.report.aggregate import label, metric
from harness.report.columns import LEVEL_MAX, LEVEL_MIN, WIDTH, Marks, axis_column
from harness.report.energy import energy_unit, is_energy
from harness.report.figures import short
from harness.report.grid import axes, level
from harness.schema import ArmSummary, MetricSummary, Summary
from harness.text import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

__all__ = ["MARK", "makes_calls", "own_table"]

MARK: Final = "†"
"""Behind the name of a figure that was not measured, beside others that were."""

ROWS_MAX: Final = 30
SIDE_BY_SIDE_MAX: Final = 3
MIB: Final = 2**20
ARM_MAX: Final = 14
CELL_MAX: Final = 30


class Layout(Struct, frozen=True):
    """How wide a metric's name may get, how many of the figures stand beside it, and how wide a
    level of an axis may get; `by_name`: a cell is one column, however many axes there are."""

    name_max: int
    figures: int
    level_max: int = LEVEL_MIN
    by_name: bool = False


LAYOUTS: Final = (
    Layout(38, 4, LEVEL_MAX),
    Layout(26, 4, LEVEL_MAX),
    Layout(26, 4),
    Layout(26, 2, LEVEL_MAX),
    Layout(26, 2),
    Layout(20, 1),
    Layout(26, 1, by_name=True),
    Layout(20, 1, by_name=True),
)
"""Tried in this order until one fits."""
FIGURES: Final = ("median", "n", "min", "max")


def makes_calls(summary: Summary) -> bool:
    return any(arm.calls for arm in summary.arms)


def own_table(
    summary: Summary, console: Console, width: int, marks: Marks
) -> tuple[Table | None, int]:
    """The table, if there is anything to show, and how many rows did not fit. With calls, what
    instruments saw; without, the time of an iteration and everything else that was measured."""
    from rich.measure import Measurement

    names = _names(summary)
    if not names:
        return None, 0
    few = len(summary.arms) <= SIDE_BY_SIDE_MAX and not summary.cells
    unlimited = console.options.update(width=10 * WIDTH)
    for layout in LAYOUTS:
        made = _side_by_side if few else _below
        table, rows = made(summary, names, layout, marks)
        for row in rows[:ROWS_MAX]:
            table.add_row(*map(_text, row))
        if Measurement.get(console, unlimited, table).maximum <= width:
            break
    return table, max(0, len(rows) - ROWS_MAX)


def _side_by_side(
    summary: Summary, names: list[str], layout: Layout, marks: Marks
) -> tuple[Table, list[list[str]]]:
    """A row for each figure: the median of each arm, or of the only one with its range."""
    alone = len(summary.arms) == 1
    heads = list(FIGURES[: layout.figures])
    if not alone:
        heads = [label(arm, summary) for arm in summary.arms]
    table = _table("per iteration" if alone else "median per iteration", layout)
    _figures(table, heads)
    rows = []
    for name in names:
        ones = [metric(arm, name) for arm in summary.arms]
        unit, scale = _unit([one for one in ones if one])
        if alone and ones[0]:
            cells = _range(ones[0], scale)[: layout.figures]
        else:
            found = zip(summary.arms, ones, strict=True)
            cells = [_median(arm, one, scale, marks) for arm, one in found]
        rows.append([_named(name, summary), *cells, unit])
    return table, rows


def _below(
    summary: Summary, names: list[str], layout: Layout, marks: Marks
) -> tuple[Table, list[list[str]]]:
    """A row for each figure, arm and cell, with the axes of the sweep as columns; the name of a
    figure stands in the first of its rows."""
    places = [list(_place(arm, summary, layout.by_name)) for arm in summary.arms]
    table = _table("per iteration", layout)
    if _several(summary):
        table.add_column("arm", overflow="fold", max_width=ARM_MAX)
    if layout.by_name and summary.cells:
        table.add_column("cell", overflow="fold", max_width=CELL_MAX)
    for index, axis in enumerate(() if layout.by_name else axes(summary.cells), _several(summary)):
        axis_column(table, axis.head, [place[index] for place in places], layout.level_max)
    _figures(table, FIGURES[: layout.figures])
    rows = []
    for name in names:
        ones = [
            (place, arm, metric(arm, name)) for place, arm in zip(places, summary.arms, strict=True)
        ]
        unit, scale = _unit([one for _, _, one in ones if one])
        told = _named(name, summary)
        for place, arm, one in ones:
            if one is None or not one.n:
                continue
            cells = [_median(arm, one, scale, marks), *_range(one, scale)[1:]]
            rows.append([told, *place, *cells[: layout.figures], unit])
            told = ""
    return table, rows


def _several(summary: Summary) -> bool:
    """Whether the arm has to be named: where nothing is swept, it is all there is."""
    return not summary.cells or len({arm.arm for arm in summary.arms}) > 1


def _place(arm: ArmSummary, summary: Summary, by_name: bool) -> Iterator[str]:
    if not summary.cells:
        yield label(arm, summary)
        return
    if _several(summary):
        yield arm.arm
    if by_name:
        yield arm.cell or "—"
        return
    yield from (level(summary.cells, arm.cell, axis) for axis in axes(summary.cells))


def _table(heading: str, layout: Layout) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, expand=False)
    table.add_column(heading, overflow="fold", max_width=layout.name_max)
    return table


def _figures(table: Table, heads: Sequence[str]) -> None:
    for heading in heads:
        table.add_column(_text(heading), justify="right", overflow="fold", max_width=ARM_MAX)
    table.add_column("unit", no_wrap=True)


def _median(arm: ArmSummary, one: MetricSummary | None, scale: float, marks: Marks) -> str:
    figure = _scaled(one.median if one else None, scale)
    if one is None or not marks:
        return figure
    return figure + marks.get((arm.arm, arm.cell, one.name), " ")


def _named(name: str, summary: Summary) -> str:
    return f"{name} {MARK}" if name in made_up(summary) else name


def _range(one: MetricSummary, scale: float) -> list[str]:
    """As FIGURES."""
    ends = [_scaled(value, scale) for value in (one.minimum, one.maximum)]
    return [_scaled(one.median, scale), str(one.n), *ends]


def _scaled(value: float | None, scale: float) -> str:
    return short(None if value is None else value / scale)


def _unit(ones: list[MetricSummary]) -> tuple[str, float]:
    """What to call it, and by what to divide: many bytes are MiB."""
    unit = ones[0].unit if ones else ""
    if unit.startswith("J"):
        return energy_unit(unit, [one.maximum for one in ones])
    if unit == "B" and max((abs(one.maximum or 0) for one in ones), default=0) >= MIB:
        return "MiB", MIB
    return "" if unit == "1" else one_line(unit, 12), 1


def _text(content: str) -> Text:
    from rich.text import Text

    return Text(one_line(content, 60))


def _names(summary: Summary) -> list[str]:
    calls = makes_calls(summary)
    found = (one.name for arm in summary.arms for one in arm.metrics if _belongs(one, calls))
    return list(dict.fromkeys(found))


def _belongs(one: MetricSummary, calls: bool) -> bool:
    derived = ("span.", "scenario.", "slo.", "slowdown.")
    of_instrument = "." in one.name and not one.name.startswith(derived)
    of_instrument = of_instrument or one.name.startswith(("gpu_energy_", "cpu_energy_"))
    shown = of_instrument or is_energy(one.name) or not calls
    return one.of == "iteration" and one.n > 0 and shown
