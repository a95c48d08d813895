"""Which series share a panel, and what is left out where there are more than a page can hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from harness.report.plots.source import Key, Source, key_of

__all__ = ["Panel", "left_out", "panels", "rows"]

TOGETHER_MAX: Final = 6
"""Lines that can be told apart in one panel: as many as there are colours."""
PANELS_MAX: Final = 12
COLUMNS: Final = {1: 1, 2: 2, 3: 3, 4: 2}


class Panel(Struct, frozen=True, kw_only=True):
    """Series to be drawn over one another."""

    title: str
    keys: tuple[Key, ...]
    behind: tuple[Key, ...] = ()
    """Drawn faintly, to compare with: the arms that have panels of their own."""


def panels(source: Source, keys: Sequence[Key]) -> list[Panel]:
    """One for each cell, with its arms and those that were not swept; with too many arms for one
    panel, one for each arm, before all the others."""
    cells = list(dict.fromkeys(key.cell for key in keys))
    swept = [cell for cell in cells if cell in source.cells]
    if len(swept) > 1 or (swept and len(cells) > 1):
        aside = [key for key in keys if key.cell not in source.cells]
        return [
            Panel(title=cell, keys=tuple(aside + [key for key in keys if key.cell == cell]))
            for cell in swept
        ]
    if len(keys) <= TOGETHER_MAX:
        return [Panel(title="", keys=tuple(keys))]
    return [
        Panel(title=source.label(key), keys=(key,), behind=tuple(k for k in keys if k != key))
        for key in keys
    ]


def rows(source: Source, keys: Sequence[Key] | None = None) -> list[Key]:
    """Every arm and cell, arms of a cell beside one another."""
    found = [key_of(arm) for arm in source.arms] if keys is None else list(keys)
    order = {cell: index for index, cell in enumerate(source.cells)}
    return sorted(found, key=lambda key: (order.get(key.cell, -1), source.rank[key.arm]))


def left_out(shown: int, of: int, what: str) -> str:
    """A sentence for the caption, with a space before it; or nothing."""
    return "" if shown == of else f" The first {shown} of {of} {what} are drawn."


def columns(count: int) -> int:
    """Panels side by side."""
    return COLUMNS.get(count, 3)
