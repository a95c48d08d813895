"""What a row of a table says, and of which arm, cell and trial (imported.py)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from harness.errors import SpecError
from harness.schema import (
    CallError,
    Effective,
    IterationRecord,
    MetricValue,
    Record,
    TrialRecord,
)
from harness.store.mapping import ColumnOf, TableMapping, of_column
from harness.store.tables import Row
from harness.text import one_line

__all__ = ["IMPORTED", "Cells", "Launch", "Placed", "is_taken", "placed_row", "records_of"]

IMPORTED: Final = "imported"
"""Name of the backend and of the scenario of an imported run, and `transport` of its trials."""
LABEL_MAX: Final = 60
_TRUTH: Final = {"true": 1.0, "false": 0.0}
_UNKNOWN: Final = {"server": "imported: the table does not say"}

Launch = tuple[str, str, tuple[str, ...]]
"""(arm, cell, what tells this launch from others)"""


def is_taken(row: Row, mapping: TableMapping) -> bool:
    return all(
        row.fields[column].strip() in ((texts,) if isinstance(texts, str) else texts)
        for column, texts in mapping.where.items()
    )


# ---- where a row belongs


class Cells:
    """Names cells by what their factors are, as a sweep would."""

    def __init__(self, mapping: TableMapping) -> None:
        self._mapping = mapping
        self.values: dict[str, dict[str, Any]] = {}
        """Cell → factor → level. A row that has no factors (a baseline beside a sweep) adds none
        to the cell that it is named with."""

    def place(self, row: Row) -> tuple[str, dict[str, Any]]:
        """(cell, factors of this row)"""
        mapping = self._mapping
        factors = {
            factor: _scalar(text)
            for factor, one in mapping.cell.items()
            if (text := of_column(one).of(row.fields, f"row {row.place}")) not in mapping.missing
        }
        if mapping.cell_name is not None:
            named = of_column(mapping.cell_name)
            label = _label(named.of(row.fields, f"row {row.place}"))
        elif factors:
            parts = (f"{factor.rpartition('.')[2]}={value}" for factor, value in factors.items())
            label = one_line(",".join(parts), 4 * LABEL_MAX)
        else:
            return "base", factors
        known = self.values.setdefault(label, {})
        if known and factors and known != factors:
            raise SpecError(
                f"row {row.place}: {label!r} has other factors here than in the rows before",
                where="$.cell_name" if mapping.cell_name else "$.cell",
            )
        known.update(factors)
        return label, factors


class Placed(msgspec.Struct, frozen=True):
    """A row, and where it belongs."""

    key: Launch
    row: Row
    factors: dict[str, Any]


def placed_row(row: Row, mapping: TableMapping, cells: Cells, at: int) -> Placed:
    arm = mapping.arm
    text = arm.of(row.fields, f"row {row.place}") if isinstance(arm, ColumnOf) else arm
    cell, factors = cells.place(row)
    launch = tuple(row.fields[column].strip() for column in mapping.trial_columns)
    return Placed((_label(text), cell, launch or (f"#{at}",)), row, factors)


def _label(text: str) -> str:
    return one_line(text, LABEL_MAX) or "unnamed"


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


# ---- what a row says


def records_of(
    placed: Sequence[Placed], trials: Mapping[Launch, int], mapping: TableMapping
) -> Iterator[Record]:
    """Trial by trial, each closed by its own record, as a run writes them."""
    by_trial: dict[Launch, list[Placed]] = {key: [] for key in trials}
    for one in placed:
        by_trial[one.key].append(one)
    for (arm, cell, launch), rows in by_trial.items():
        number = trials[arm, cell, launch]
        for index, one in enumerate(rows):
            yield _iteration(one.row, mapping, arm=arm, cell=cell, trial=number, iteration=index)
        options = rows[0].factors
        yield TrialRecord(
            arm=arm,
            cell=cell,
            trial=number,
            status="ok",
            start_ns=0,
            end_ns=0,
            transport=IMPORTED,
            effective=Effective(model=mapping.model, options=options, unknown=_UNKNOWN),
        )


def _iteration(row: Row, mapping: TableMapping, **place: Any) -> IterationRecord:
    error = _error(row, mapping)
    return IterationRecord(
        **place,
        phase="measured",
        status="error" if error else "ok",
        start_ns=0,
        end_ns=0,
        planned_calls=0,
        metrics=tuple(_metrics(row, mapping)),
        data={"row": row.place},
        imported=True,
        error=error,
    )


def _error(row: Row, mapping: TableMapping) -> CallError | None:
    failed = mapping.failed
    if failed is None or (text := row.fields[failed.column].strip()) in failed.ok:
        return None
    return CallError(code="imported", message=one_line(text, 300))


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
