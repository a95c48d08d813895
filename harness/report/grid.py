"""A sweep's cells as a grid: which axes there are, and where on them a cell lies.

Tables of a sweep have a row per arm and cell, and the axes as columns: a name such as
`num_ctx=512,num_gpu=80` can be neither sorted nor filtered by.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from harness.report.figures import UNKNOWN, number
from harness.schema import Summary

__all__ = ["MANY", "Axis", "axes", "axis_columns", "is_many", "level", "value"]

Cells = Mapping[str, Mapping[str, Any]]

MANY: Final = 4
"""Arms and cells beyond which tables have a row for each, rather than a column: a page is not
wider."""


class Axis(Struct, frozen=True):
    """One axis of a sweep."""

    path: str
    """Dotted, into the spec."""
    head: str
    """The last parts of the path that tell it from the others."""


def axes(cells: Cells) -> tuple[Axis, ...]:
    """In the order of the spec. Empty: nothing is swept."""
    paths = list(dict.fromkeys(path for values in cells.values() for path in values))
    return tuple(Axis(path, _head(path, paths)) for path in paths)


def level(cells: Cells, cell: str, axis: Axis) -> str:
    """What the level of this cell is called; a dash where the cell lies outside of the sweep."""
    if axis.path not in cells.get(cell, {}):
        return UNKNOWN
    heads = [re.escape(one.head) for one in axes(cells)]
    named = re.fullmatch(",".join(f"{head}=(.*)" for head in heads), cell, re.DOTALL)
    if named:  # labels are the spec's own words for values that may be whole mappings
        return named[1 + [one.path for one in axes(cells)].index(axis.path)]
    return _text(cells[cell][axis.path])


def value(cells: Cells, cell: str, axis: Axis) -> Any:
    """The level's value where it is a number, text or truth value; otherwise its name. None: the
    cell lies outside of the sweep."""
    found = cells.get(cell, {}).get(axis.path)
    return found if found is None or isinstance(found, int | float | str) else _text(found)


def axis_columns(cells: Cells) -> dict[str, Axis]:
    """Column name → axis, for tables that are read by programs: the whole path, so that it neither
    changes with the other axes nor meets another column."""
    return {f"axis.{axis.path}": axis for axis in axes(cells)}


def is_many(summary: Summary) -> bool:
    return bool(summary.cells) or len(summary.arms) > MANY


def _head(path: str, paths: list[str]) -> str:
    parts = path.split(".")
    for count in range(1, len(parts) + 1):
        head = ".".join(parts[-count:])
        if sum(f".{other}".endswith(f".{head}") for other in paths) == 1:
            break
    return head


def _text(found: Any) -> str:
    if isinstance(found, str):
        return found
    if isinstance(found, float):
        return number(found)
    return msgspec.json.encode(found).decode()
