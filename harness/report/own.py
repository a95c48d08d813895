"""The figures of whole iterations, as a table for the terminal: of a run that makes no calls, where
they are all there is, and of what instruments saw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.report.aggregate import label, metric
from harness.report.figures import short
from harness.schema import MetricSummary, Summary
from harness.text import one_line

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

__all__ = ["makes_calls", "own_table"]

ROWS_MAX: Final = 30
SIDE_BY_SIDE_MAX: Final = 3
NAME_MAX: Final = 38
MIB: Final = 2**20
ARM_MAX: Final = 14


def makes_calls(summary: Summary) -> bool:
    return any(arm.calls for arm in summary.arms)


def own_table(summary: Summary) -> tuple[Table | None, int]:
    """The table, if there is anything to show, and how many rows did not fit. With calls, what
    instruments saw; without, the time of an iteration and everything else that was measured."""
    names = _names(summary)
    if not names:
        return None, 0
    few = len(summary.arms) <= SIDE_BY_SIDE_MAX
    table, rows = _side_by_side(summary, names) if few else _below(summary, names)
    for row in rows[:ROWS_MAX]:
        table.add_row(*map(_text, row))
    return table, max(0, len(rows) - ROWS_MAX)


def _side_by_side(summary: Summary, names: list[str]) -> tuple[Table, list[list[str]]]:
    """A row for each figure: the median of each arm, or of the only one with its range."""
    alone = len(summary.arms) == 1
    heads = ["median", "min", "max", "n"] if alone else [label(a, summary) for a in summary.arms]
    table = _table(["per iteration" if alone else "median per iteration"], [*heads, "unit"])
    rows = []
    for name in names:
        ones = [metric(arm, name) for arm in summary.arms]
        unit, scale = _unit([one for one in ones if one])
        if alone and ones[0]:
            cells = [*_range(ones[0], scale), str(ones[0].n)]
        else:
            cells = [_scaled(one.median if one else None, scale) for one in ones]
        rows.append([name, *cells, unit])
    return table, rows


def _below(summary: Summary, names: list[str]) -> tuple[Table, list[list[str]]]:
    """A row for each figure and arm."""
    table = _table(["per iteration", "arm"], ["median", "min", "max", "n", "unit"])
    rows = []
    for name in names:
        ones = [(arm, one) for arm in summary.arms if (one := metric(arm, name)) and one.n]
        unit, scale = _unit([one for _, one in ones])
        rows += [
            [name, label(arm, summary), *_range(one, scale), str(one.n), unit] for arm, one in ones
        ]
    return table, rows


def _table(texts: list[str], numbers: list[str]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, expand=False)
    for heading, width in zip(texts, (NAME_MAX, ARM_MAX), strict=False):
        table.add_column(_text(heading), overflow="fold", max_width=width)
    for heading in numbers[:-1]:
        table.add_column(_text(heading), justify="right", overflow="fold", max_width=ARM_MAX)
    table.add_column(_text(numbers[-1]), no_wrap=True)
    return table


def _range(one: MetricSummary, scale: float) -> list[str]:
    return [_scaled(value, scale) for value in (one.median, one.minimum, one.maximum)]


def _scaled(value: float | None, scale: float) -> str:
    return short(None if value is None else value / scale)


def _unit(ones: list[MetricSummary]) -> tuple[str, float]:
    """What to call it, and by what to divide: many bytes are MiB."""
    unit = ones[0].unit if ones else ""
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
    of_instrument = "." in one.name and not one.name.startswith(("span.", "scenario.", "slo."))
    return one.of == "iteration" and one.n > 0 and (of_instrument or not calls)
