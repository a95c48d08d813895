"""The figures of whole iterations, as a table for the terminal: of a run that makes no calls, where
they are all there is, and of what instruments saw."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from harness.report.aggregate import label
from harness.report.figures import UNKNOWN, short
from harness.schema import ArmSummary, MetricSummary, Summary
from harness.text import one_line

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["makes_calls", "own_table"]

ROWS_MAX: Final = 24
NAME_MAX: Final = 34
ARM_MAX: Final = 14


def makes_calls(summary: Summary) -> bool:
    return any(arm.calls for arm in summary.arms)


def own_table(summary: Summary) -> tuple[Table | None, int]:
    """The table, if there is anything to show, and how many rows did not fit. With calls, what
    instruments saw; without, the time of an iteration and everything else that was measured."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = list(_rows(summary))
    if not rows:
        return None, 0
    many = len(summary.arms) > 1
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, expand=False)
    table.add_column("per iteration", overflow="fold", max_width=NAME_MAX)
    if many:
        table.add_column("arm", overflow="fold", max_width=ARM_MAX)
    for heading in ("median", "min", "max", "n"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    for arm, one in rows[:ROWS_MAX]:
        cells = [short(one.median), short(one.minimum), short(one.maximum), str(one.n)]
        names = [one_line(one.name, 60), *([label(arm, summary)] if many else [])]
        unit = UNKNOWN if not one.unit else {"1": ""}.get(one.unit, one.unit)
        table.add_row(*(Text(x) for x in (*names, *cells, one_line(unit, 12))))
    return table, max(0, len(rows) - ROWS_MAX)


def _rows(summary: Summary) -> Iterator[tuple[ArmSummary, MetricSummary]]:
    """Figure by figure, its arms together."""
    calls = makes_calls(summary)
    names = dict.fromkeys(
        one.name for arm in summary.arms for one in arm.metrics if _belongs(one, calls)
    )
    for name in names:
        for arm in summary.arms:
            yield from ((arm, one) for one in arm.metrics if one.name == name and one.n)


def _belongs(one: MetricSummary, calls: bool) -> bool:
    of_instrument = "." in one.name and not one.name.startswith(("span.", "scenario."))
    return one.of == "iteration" and one.n > 0 and (of_instrument or not calls)
