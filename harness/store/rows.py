"""What a row of a table says, and of which arm, cell and launch it is (imported.py)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from harness.errors import SpecError
from harness.protocols import ImportedRow
from harness.schema import MetricValue
from harness.store.mapping import ColumnOf, TableMapping, of_column
from harness.tables import Row
from harness.text import one_line

__all__ = ["LABEL_MAX", "is_taken", "row_of"]

LABEL_MAX: Final = 60
_TRUTH: Final = {"true": 1.0, "false": 0.0}


def is_taken(row: Row, mapping: TableMapping) -> bool:
    return all(
        row.fields[column].strip() in ((texts,) if isinstance(texts, str) else texts)
        for column, texts in mapping.where.items()
    )


def row_of(row: Row, mapping: TableMapping, at: int) -> ImportedRow:
    """`at`: its place among those that are taken. Raises SpecError where it does not fit."""
    arm = mapping.arm
    cell, factors = _cell(row, mapping)
    launch = tuple(row.fields[column].strip() for column in mapping.trial_columns)
    return ImportedRow(
        arm=arm.of(row.fields, f"row {row.place}") if isinstance(arm, ColumnOf) else arm,
        cell=cell,
        launch=launch or (f"#{at}",),
        place=row.place,
        metrics=tuple(_metrics(row, mapping)),
        factors=factors,
        failed=_failed(row, mapping),
    )


# ---- where it belongs


def _cell(row: Row, mapping: TableMapping) -> tuple[str, dict[str, Any]]:
    """Its name, by what its factors are, as a sweep would name it; and those."""
    factors = {
        factor: _scalar(text)
        for factor, one in mapping.cell.items()
        if (text := of_column(one).of(row.fields, f"row {row.place}")) not in mapping.missing
    }
    if mapping.cell_name is not None:
        return of_column(mapping.cell_name).of(row.fields, f"row {row.place}"), factors
    parts = (f"{factor.rpartition('.')[2]}={value}" for factor, value in factors.items())
    return one_line(",".join(parts), 4 * LABEL_MAX) or "base", factors


def _scalar(text: str) -> Any:
    """A factor's level: a number where it is one, so that 1.0 and 1 are the same."""
    if text.lower() in _TRUTH:
        return text.lower() == "true"
    try:
        number = float(text)
    except ValueError:
        return one_line(text, LABEL_MAX)
    if not math.isfinite(number):
        return text
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


# ---- what it says


def _failed(row: Row, mapping: TableMapping) -> str:
    failed = mapping.failed
    if failed is None or (text := row.fields[failed.column].strip()) in failed.ok:
        return ""
    return text or "failed"


def _metrics(row: Row, mapping: TableMapping) -> Iterator[MetricValue]:
    for name, one in mapping.metrics.items():
        text = row.fields[one.column].strip()
        if text in mapping.missing:
            continue
        yield MetricValue(
            name=name,
            value=_number(text, f"row {row.place}, column {one.column}", name) * one.scale,
            unit=one.unit,
            provenance="imported",
            better=one.better,
        )


def _number(text: str, place: str, name: str) -> float:
    if text.lower() in _TRUTH:
        return _TRUTH[text.lower()]
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or "_" in text:
        raise SpecError(
            f"{place}: {one_line(text, 40)!r} is no number",
            where=f"$.metrics.{name}",
            remedy="`missing` lists what stands for an unknown figure",
        )
    return number
