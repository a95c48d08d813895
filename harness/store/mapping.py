"""How a table is read: which of its columns name what, and which are figures. A small strict file.

    name: tr110
    arm: pair                             # a name for all rows, or {column: agent}
    cell: {num_gpu: gpu_layers}           # factor (a spec path where it is one) → column
    trial: [test_id, run]                 # rows alike in these are one launch
    metrics:
      speedup: {column: speedup, unit: x, better: higher}

A mistake is answered with its path; a column that is not there, with the nearest that is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct, field

from harness.errors import SpecError
from harness.strict import decode, nearest

__all__ = [
    "ColumnOf",
    "FailedIf",
    "FigureOf",
    "TableMapping",
    "check_columns",
    "mapping_from",
    "of_column",
    "read_mapping",
]


class _Strict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class ColumnOf(_Strict, frozen=True):
    """What differs from row to row, and so is told by a column."""

    column: str
    match: str | None = None
    """Regular expression; its first group (else all that matches) is taken of the text: names are
    often part of a path."""

    def of(self, fields: Mapping[str, str], place: str) -> str:
        """Raises SpecError where the text does not match."""
        text = fields[self.column].strip()
        if self.match is None:
            return text
        found = re.search(self.match, text)
        if found is None:
            raise SpecError(f"{text[:60]!r} in column {self.column} does not match", where=place)
        return (found[1] if found.re.groups else found[0]) or ""


class FigureOf(_Strict, frozen=True):
    """One metric."""

    column: str
    unit: str
    better: Literal["lower", "higher", "neither"] = "neither"
    scale: float = 1.0
    """The value is multiplied by it: from seconds to ms, from a share to %. Nothing else is."""
    minimum: float | None = None
    """What the figure cannot be below, and …"""
    maximum: float | None = None
    """… above, as physics or arithmetic has it. `harness audit` lists the rows beyond."""


class FailedIf(_Strict, frozen=True):
    """Rows of what failed: their figures count for nothing, and they are counted."""

    column: str
    ok: tuple[str, ...] = ("",)
    """What stands there if all went well."""


class TableMapping(_Strict, frozen=True):
    """The whole file."""

    name: str
    metrics: dict[str, FigureOf]
    """Names carry their unit, last: `ttft_ms`."""
    source: str = ""
    """Who published the table, where, under which licence."""
    model: str | None = None
    arm: str | ColumnOf = "default"
    baseline: str | None = None
    """The arm that the others are compared to. Default: that of the first row."""
    cell: dict[str, str | ColumnOf] = field(default_factory=dict)
    """Factor → column. Rows with equal factors are one cell, unless `cell_name` tells them
    apart."""
    cell_name: str | ColumnOf | None = None
    """Column that names the cell: two names with equal factors are duplicate cells."""
    trial: str | tuple[str, ...] = ()
    """Column(s): rows alike in arm, cell and these are iterations of one launch. None: each row is
    a launch of its own."""
    where: dict[str, str | tuple[str, ...]] = field(default_factory=dict)
    """Column → the text (or texts) that must stand there; other rows are left out."""
    failed: FailedIf | None = None
    missing: tuple[str, ...] = ("", "NA", "N/A", "NaN", "nan", "None", "null")
    """What stands for an unknown figure."""
    started: str | None = None
    """Column of ISO 8601 instants: the earliest is when the run started."""
    rows: str = ""
    """JSON only: dotted path of the list of rows."""

    def columns(self) -> list[tuple[str, str]]:
        """(path of the field, column) of every column that is named."""
        named = [(f"$.metrics.{name}.column", one.column) for name, one in self.metrics.items()]
        named += [(f"$.cell.{factor}", of_column(one).column) for factor, one in self.cell.items()]
        named += [(f"$.where.{column}", column) for column in self.where]
        named += [("$.trial", column) for column in self.trial_columns]
        for path, column in (
            ("$.arm.column", self.arm.column if isinstance(self.arm, ColumnOf) else None),
            ("$.cell_name", of_column(self.cell_name).column if self.cell_name else None),
            ("$.failed.column", self.failed.column if self.failed else None),
            ("$.started", self.started),
        ):
            if column is not None:
                named.append((path, column))
        return named

    @property
    def trial_columns(self) -> tuple[str, ...]:
        return (self.trial,) if isinstance(self.trial, str) else self.trial


def of_column(one: str | ColumnOf) -> ColumnOf:
    """The short form is a column's name."""
    return ColumnOf(column=one) if isinstance(one, str) else one


def read_mapping(path: Path) -> TableMapping:
    """From a .yaml, .json or .toml file. Raises SpecError."""
    from harness.engine.specfile import read_spec  # the same bounds as for a spec

    return mapping_from(read_spec(path))


def mapping_from(raw: dict[str, Any]) -> TableMapping:
    """Raises SpecError with the path of the mistake."""
    mapping = decode(raw, TableMapping)
    _check_patterns(mapping)
    if not mapping.metrics:
        raise SpecError("a table without figures is no result", where="$.metrics")
    for name, one in mapping.metrics.items():
        if not name.isprintable() or not name.strip():
            raise SpecError(f"{name!r} cannot name a metric", where="$.metrics")
        if one.scale == 0:
            raise SpecError("a scale of 0 leaves nothing", where=f"$.metrics.{name}.scale")
    return mapping


def _check_patterns(mapping: TableMapping) -> None:
    named = {"$.arm": mapping.arm, "$.cell_name": mapping.cell_name}
    named |= {f"$.cell.{factor}": one for factor, one in mapping.cell.items()}
    for path, one in named.items():
        if isinstance(one, ColumnOf) and one.match is not None:
            try:
                re.compile(one.match)
            except re.error as error:
                where = f"{path}.match"
                raise SpecError(f"no regular expression: {error}", where=where) from None


def check_columns(mapping: TableMapping, there: Iterable[str], where: str) -> None:
    """Raises SpecError for the first column that the table lacks."""
    known: Sequence[str] = list(there)
    for path, column in mapping.columns():
        if column not in known:
            guess = nearest(column, known)
            raise SpecError(
                f"{where} has no column {column!r}",
                where=path,
                remedy=guess or "one of: " + ", ".join(known[:20]),
            )
