"""The axes of a sweep, found again from its cells: what heatmaps and families are drawn over.

An axis with one level is none. A grid with holes, such as a zip or a random sample, is one axis
whose levels are the cells themselves, unless most of it is there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

__all__ = ["Axis", "Grid", "grid_of"]

FILLED_MIN: Final = 0.5
"""Share of the grid's points that must be cells."""


class Axis(Struct, frozen=True, kw_only=True):
    """One axis and its levels, numbers in ascending order."""

    path: str
    name: str
    """The end of the path, as in the cells' names."""
    labels: tuple[str, ...]
    values: tuple[float, ...] | None
    """None where a level is no number."""


class Grid(Struct, frozen=True, kw_only=True):
    """`places[cell]` has the index of its level on each axis."""

    axes: tuple[Axis, ...]
    places: dict[str, tuple[int, ...]]

    def cell(self, place: tuple[int, ...]) -> str | None:
        """The first cell there."""
        return next((cell for cell, at in self.places.items() if at == place), None)


def grid_of(cells: Mapping[str, Mapping[str, Any]]) -> Grid | None:
    """None without cells, or where they do not differ."""
    paths = list(dict.fromkeys(path for values in cells.values() for path in values))
    labels = {cell: _labels(cell, list(values), values) for cell, values in cells.items()}
    axes: list[Axis] = []
    for path in paths:
        found = {labels[cell].get(path, "—"): cells[cell].get(path) for cell in cells}
        if len(found) > 1:
            axes.append(_axis(path, found))
    if not axes:
        return None
    places = {
        cell: tuple(axis.labels.index(labels[cell].get(axis.path, "—")) for axis in axes)
        for cell in cells
    }
    size = 1
    for axis in axes:
        size *= len(axis.labels)
    if len(axes) > 1 and len(set(places.values())) < FILLED_MIN * size:
        return _one_axis(cells)
    return Grid(axes=tuple(axes), places=places)


def _axis(path: str, found: Mapping[str, Any]) -> Axis:
    name = path.rpartition(".")[2]
    if all(_is_number(value) for value in found.values()):
        order = sorted(found, key=lambda label: float(found[label]))
        values = tuple(float(found[label]) for label in order)
        return Axis(path=path, name=name, labels=tuple(order), values=values)
    return Axis(path=path, name=name, labels=tuple(found), values=None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _one_axis(cells: Mapping[str, Any]) -> Grid:
    names = tuple(cells)
    axis = Axis(path="cell", name="cell", labels=names, values=None)
    return Grid(axes=(axis,), places={cell: (index,) for index, cell in enumerate(names)})


def _labels(cell: str, paths: list[str], values: Mapping[str, Any]) -> dict[str, str]:
    """Path → what the cell's name calls its level; the value where the name does not tell."""
    found = re.fullmatch(",".join(f"(?:{_ends(path)})=(.*?)" for path in paths), _bare(cell))
    if found is not None:
        return dict(zip(paths, found.groups(), strict=True))
    return {path: _said(values[path]) for path in paths}


def _bare(cell: str) -> str:
    """Without the number of a duplicate."""
    return re.sub(r" \(\d+\)\Z", "", cell)


def _ends(path: str) -> str:
    parts = path.split(".")
    return "|".join(re.escape(".".join(parts[-n:])) for n in range(1, len(parts) + 1))


def _said(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
