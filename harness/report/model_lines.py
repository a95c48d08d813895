"""Which models passed, failed or were skipped, and why: what stands below the table of a run over
several models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Final

from harness.report.models import ModelRow
from harness.text import one_line

__all__ = ["model_lines"]

ORDER: Final = ("passed", "failed", "skipped", "not run")
STYLES: Final = {"passed": "green", "failed": "bold red", "skipped": "yellow", "not run": "dim"}
LABEL_MAX: Final = 36
ROWS_MAX: Final = 60
TOLD_MIN: Final = 24
"""Characters below which wrapping makes a column that nobody reads."""


def model_lines(rows: Sequence[ModelRow], width: int = 0) -> Iterator[tuple[str, str]]:
    """(line, style). First the counts, then a line for each; its words go on below each other where
    `width` characters do not hold them."""
    counts = Counter(row.outcome for row in rows)
    told = ", ".join(f"{counts[name]} {name}" for name in ORDER if counts[name])
    yield f"models: {told}", "bold"
    several = len({row.arm for row in rows}) > 1
    names = [
        one_line(f"{row.arm} {row.label}" if several else row.label, LABEL_MAX) for row in rows
    ]
    sizes = [row.size.words for row in rows]
    wide, size_wide = max(map(len, names), default=0), max(map(len, sizes), default=0)
    for row, name, size in list(zip(rows, names, sizes, strict=True))[:ROWS_MAX]:
        head = f"  {row.outcome:<8} {name:<{wide}}  {size:>{size_wide}}  "
        for line in _wrapped(head, _told(row), width):
            yield line.rstrip(), STYLES[row.outcome]
    if len(rows) > ROWS_MAX:
        yield f"  and {len(rows) - ROWS_MAX} more in reports/scaling_comparison.csv", "dim"
    if any(row.size.source == "declared" for row in rows):
        yield "  * parameters as the spec declares them; the server does not tell", "dim"


def _wrapped(head: str, told: str, width: int) -> list[str]:
    room = width - len(head) - 1
    if room < TOLD_MIN:
        return [head + told]
    first, *more = wrap(told, room, break_on_hyphens=False) or [""]
    return [head + first, *(" " * len(head) + line for line in more)]


def _told(row: ModelRow) -> str:
    ok, planned = row.trials.get("ok", 0), row.trials["planned"]
    calls = row.calls.get("ok", 0)
    counts = f"{ok}/{planned} launches" + (
        f", {calls} call{'s' * (calls != 1)} ok" if calls else ""
    )
    if row.outcome == "passed":
        return f"{counts}; {row.reason}" if row.reason else counts
    return row.reason
