"""Makes a run of a table that somebody else measured, so that every command works on it.

A row becomes one iteration, of the arm, cell and trial that its columns name; its figures are
metrics of provenance `imported`. What the table does not tell stays unknown: there are no calls,
no stamps, no wall time, no environment of the machine that measured. `import_table` is for files;
whoever has rows of another kind calls `run_of_rows`.
"""

from __future__ import annotations

import math
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from harness import __version__
from harness.errors import SpecError
from harness.schema import (
    SCHEMA_VERSION,
    ArmSpec,
    BackendSpec,
    CallError,
    Effective,
    Environment,
    IterationRecord,
    IterationsSpec,
    Manifest,
    MetricValue,
    Record,
    RunSpec,
    ScenarioSpec,
    TrialRecord,
)
from harness.store.mapping import ColumnOf, TableMapping, check_columns, of_column
from harness.store.tables import Row, Table, read_csv, read_json_rows
from harness.store.writer import RunWriter
from harness.text import one_line

__all__ = ["IMPORTED", "Imported", "import_table", "read_table", "run_of_rows"]

IMPORTED: Final = "imported"
"""Name of the backend and of the scenario of an imported run, and `transport` of its trials."""
LABEL_MAX: Final = 60
_TRUTH: Final = {"true": 1.0, "false": 0.0}
_UNKNOWN: Final = {"server": "imported: the table does not say"}

_Key = tuple[str, str, tuple[str, ...]]


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the rows, not yet on disk."""

    manifest: Manifest
    records: tuple[Record, ...]
    left_out: int
    """Rows that `where` did not take."""


def import_table(
    path: Path, mapping: TableMapping, *, out: Path | None = None, root: Path | None = None
) -> Path:
    """Import a .csv or .json file, and return the run folder: `out`, or a new one below `root`
    (default: ./runs). Raises SpecError (the mapping), StoreError (the file, the folder)."""
    from harness.engine.summary import derive_summary

    made = run_of_rows(read_table(path, mapping), mapping)
    with RunWriter.create(made.manifest, out, root) as writer:
        for record in made.records:
            writer.append(record)
        summary = derive_summary(made.manifest, made.records, state="finished")
        writer.finish("finished", summary, ended=made.manifest.ended or "")
        return writer.path


def read_table(path: Path, mapping: TableMapping) -> Table:
    """By the file's suffix. Raises StoreError."""
    if path.suffix.lower() == ".json":
        return read_json_rows(path, mapping.rows)
    return read_csv(path)


def run_of_rows(table: Table, mapping: TableMapping) -> Imported:
    """The manifest and records of a run. Raises SpecError with the line of a row that does not fit
    the mapping."""
    check_columns(mapping, table.columns, table.file)
    rows = [row for row in table.rows if _is_taken(row, mapping)]
    if not rows:
        raise SpecError(
            f"not one of the {len(table.rows)} rows of {table.file} fits",
            where="$.where" if mapping.where else table.file,
        )
    cells = _Cells(mapping)
    placed = [_placed(row, mapping, cells, at) for at, row in enumerate(rows)]
    trials = {key: n for n, key in enumerate(dict.fromkeys(one.key for one in placed))}
    records = tuple(_records(placed, trials, mapping))
    arms = _arms([arm for arm, _, _ in trials], mapping)
    started = _started(rows, mapping)
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    spec = _spec(table, mapping, arms, trials, records)
    from harness.engine.specfile import digest

    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        run_id=secrets.token_hex(4),
        name=mapping.name,
        state="finished",
        spec=spec,
        spec_digest=digest(spec),
        plan=tuple((arm, cell, number) for (arm, cell, _), number in trials.items()),
        cells=cells.values,
        environment=Environment(harness_version=__version__, python="", platform=""),
        started=started or now,
        ended=started or now,
    )
    return Imported(manifest=manifest, records=records, left_out=len(table.rows) - len(rows))


def _is_taken(row: Row, mapping: TableMapping) -> bool:
    return all(
        row.fields[column].strip() in ((texts,) if isinstance(texts, str) else texts)
        for column, texts in mapping.where.items()
    )


# ---- where a row belongs


class _Cells:
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


class _Placed(msgspec.Struct, frozen=True):
    """A row, and where it belongs."""

    key: _Key
    row: Row
    factors: dict[str, Any]


def _placed(row: Row, mapping: TableMapping, cells: _Cells, at: int) -> _Placed:
    arm = mapping.arm
    text = arm.of(row.fields, f"row {row.place}") if isinstance(arm, ColumnOf) else arm
    cell, factors = cells.place(row)
    launch = tuple(row.fields[column].strip() for column in mapping.trial_columns)
    return _Placed((_label(text), cell, launch or (f"#{at}",)), row, factors)


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


def _records(
    placed: Sequence[_Placed], trials: Mapping[_Key, int], mapping: TableMapping
) -> Iterator[Record]:
    """Trial by trial, each closed by its own record, as a run writes them."""
    by_trial: dict[_Key, list[_Placed]] = {key: [] for key in trials}
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


# ---- the run as a whole


def _arms(names: Iterable[str], mapping: TableMapping) -> tuple[str, ...]:
    found = list(dict.fromkeys(names))
    if mapping.baseline is None:
        return tuple(found)
    if mapping.baseline not in found:
        raise SpecError(
            f"no row is of the arm {mapping.baseline!r}",
            where="$.baseline",
            remedy="one of: " + ", ".join(found[:10]),
        )
    return (mapping.baseline, *(name for name in found if name != mapping.baseline))


def _spec(
    table: Table,
    mapping: TableMapping,
    arms: Sequence[str],
    trials: Iterable[_Key],
    records: Iterable[Record],
) -> RunSpec:
    """What would have been asked for, as far as the table tells; and where it came from."""
    launches = Counter((arm, cell) for arm, cell, _ in trials)
    rows = Counter(r.trial for r in records if isinstance(r, IterationRecord))
    return RunSpec(
        backend=BackendSpec(name=IMPORTED, model=mapping.model),
        scenario=ScenarioSpec(
            name=IMPORTED,
            options={
                "file": table.file,
                "sha256": table.sha256,
                "mapping": msgspec.to_builtins(mapping),
            },
        ),
        name=mapping.name,
        arms={name: ArmSpec() for name in arms},
        trials=max(launches.values()),
        iterations=IterationsSpec(warmup=0, measured=max(rows.values())),
        notes=mapping.source,
    )


def _started(rows: Iterable[Row], mapping: TableMapping) -> str | None:
    """The earliest instant that the table has; None where it has none."""
    if mapping.started is None:
        return None
    found = []
    for row in rows:
        text = row.fields[mapping.started].strip()
        if text in mapping.missing:
            continue
        try:
            found.append(_instant(text))
        except ValueError:
            raise SpecError(
                f"row {row.place}: {one_line(text, 40)!r} is no ISO 8601 instant", where="$.started"
            ) from None
    return min(found).isoformat(timespec="milliseconds") if found else None


def _instant(text: str) -> datetime:
    """Without a zone it is taken for UTC: order is all that is made of it. Digits beyond
    microseconds, which Rust writes, are cut."""
    import re

    text = re.sub(r"(\.\d{6})\d+", r"\1", text)
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
