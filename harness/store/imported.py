"""Makes a run of what somebody else measured, so that every command works on it.

A row becomes one iteration, of the arm, cell and trial that it names; its figures are metrics of
provenance `imported`, or `derived` from those. What the source does not tell stays unknown: there
are no calls, no stamps, no wall time, no environment of the machine that measured.

An importer (harness.protocols.Importer) makes ImportedRows of a file or a folder; `run_of` makes a
run of them. For a table and a mapping, `rows_of` is that importer, `import_table` the whole way.
rows.py has what a single row of a table says.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from harness import __version__
from harness.errors import SpecError
from harness.protocols import ImportedRow, ImportedRows
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
    Record,
    RunSpec,
    ScenarioSpec,
    TrialRecord,
)
from harness.store.mapping import TableMapping, check_columns
from harness.store.rows import LABEL_MAX, is_taken, row_of
from harness.store.writer import RunWriter
from harness.tables import Row, Table, read_csv, read_json_rows
from harness.text import one_line

__all__ = [
    "IMPORTED",
    "Imported",
    "import_table",
    "read_table",
    "rows_of",
    "run_of",
    "run_of_rows",
    "write_run",
]

IMPORTED: Final = "imported"
"""Name of the backend and of the scenario of an imported run, and `transport` of its trials."""
_UNKNOWN: Final = {"server": "imported: the source does not say"}

Launch = tuple[str, str, tuple[str, ...]]
"""(arm, cell, what tells this launch from others)"""


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the rows, not yet on disk."""

    manifest: Manifest
    records: tuple[Record, ...]
    left_out: int
    """Rows that were not taken."""


def import_table(
    path: Path, mapping: TableMapping, *, out: Path | None = None, root: Path | None = None
) -> Path:
    """Import a .csv or .json file, and return the run folder: `out`, or a new one below `root`
    (default: ./runs). Raises SpecError (the mapping), StoreError (the file, the folder)."""
    return write_run(run_of_rows(read_table(path, mapping), mapping), out, root)


def write_run(made: Imported, out: Path | None = None, root: Path | None = None) -> Path:
    """Onto disk, without reports. Raises StoreError."""
    from harness.engine.summary import derive_summary

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
    """Of a table. Raises SpecError with the line of a row that does not fit the mapping."""
    return run_of(rows_of(table, mapping))


def rows_of(table: Table, mapping: TableMapping) -> ImportedRows:
    """What a table says, by its mapping. Raises SpecError."""
    check_columns(mapping, table.columns, table.file)
    rows = [row for row in table.rows if is_taken(row, mapping)]
    if not rows:
        raise SpecError(
            f"not one of the {len(table.rows)} rows of {table.file} fits",
            where="$.where" if mapping.where else table.file,
        )
    used = {column for _, column in mapping.columns()}
    unused = [column for column in table.columns if column not in used]
    return ImportedRows(
        name=mapping.name,
        file=table.file,
        sha256=table.sha256,
        rows=tuple(row_of(row, mapping, at) for at, row in enumerate(rows)),
        of=len(table.rows),
        source=mapping.source,
        model=mapping.model,
        baseline=mapping.baseline,
        started=_started(rows, mapping),
        about={"mapping": msgspec.to_builtins(mapping)},
        remarks=(f"columns that are not used: {', '.join(unused) or 'none'}",),
    )


def run_of(found: ImportedRows) -> Imported:
    """The manifest and records of a run. Raises SpecError."""
    if not found.rows:
        raise SpecError("there is nothing in it that was measured", where=found.file)
    label = _Labels()
    keys = [(label(row.arm), label(row.cell, 4 * LABEL_MAX), row.launch) for row in found.rows]
    trials = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    by_trial: dict[Launch, list[ImportedRow]] = {key: [] for key in trials}
    for key, row in zip(keys, found.rows, strict=True):
        by_trial[key].append(row)
    arms = _arms([arm for arm, _, _ in trials], found.baseline)
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    spec = _spec(found, arms, by_trial)
    from harness.engine.specfile import digest

    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        run_id=secrets.token_hex(4),
        name=found.name,
        state="finished",
        spec=spec,
        spec_digest=digest(spec),
        plan=tuple((arm, cell, number) for (arm, cell, _), number in trials.items()),
        cells=_cells(zip(keys, found.rows, strict=True)),
        environment=Environment(harness_version=__version__, python="", platform=""),
        started=found.started or now,
        ended=found.started or now,
    )
    return Imported(
        manifest=manifest,
        records=tuple(_records(by_trial, trials, found)),
        left_out=found.of - len(found.rows),
    )


# ---- rows


def _records(
    by_trial: Mapping[Launch, Sequence[ImportedRow]],
    trials: Mapping[Launch, int],
    found: ImportedRows,
) -> Iterator[Record]:
    """Trial by trial, each closed by its own record, as a run writes them."""
    for (arm, cell, launch), rows in by_trial.items():
        number = trials[arm, cell, launch]
        for index, row in enumerate(rows):
            yield _iteration(row, arm=arm, cell=cell, trial=number, iteration=index)
        first = rows[0]
        yield TrialRecord(
            arm=arm,
            cell=cell,
            trial=number,
            status="ok",
            start_ns=0,
            end_ns=0,
            transport=IMPORTED,
            effective=Effective(
                model=first.model or found.model,
                options=first.factors if first.options is None else first.options,
                unknown=_UNKNOWN,
            ),
        )


def _iteration(row: ImportedRow, **place: Any) -> IterationRecord:
    data = dict(row.data)
    if row.kind:
        data["kind"] = row.kind
    if row.disagrees:
        data["disagrees"] = [msgspec.to_builtins(one) for one in row.disagrees]
    return IterationRecord(
        **place,
        phase="measured",
        status="error" if row.failed else "ok",
        start_ns=0,
        end_ns=0,
        planned_calls=0,
        metrics=row.metrics,
        data={"row": row.place} | data,
        imported=True,
        error=CallError(code=IMPORTED, message=one_line(row.failed, 300)) if row.failed else None,
    )


class _Labels:
    """Names fit for a table. Two that differ only where they are cut off stay two."""

    def __init__(self) -> None:
        self._taken: dict[str, str] = {}

    def __call__(self, name: str, longest: int = LABEL_MAX) -> str:
        short = one_line(name, longest) or "unnamed"
        if self._taken.setdefault(short, name) == name:
            return short
        mark = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8]
        return f"{one_line(name, longest - 10)} {mark}"


def _cells(rows: Iterable[tuple[Launch, ImportedRow]]) -> dict[str, dict[str, Any]]:
    """Cell → factor → level. A row that has no factors (a baseline beside a sweep) adds none to
    the cell that it stands in."""
    found: dict[str, dict[str, Any]] = {}
    for (_, cell, _), row in rows:
        if cell == "base" and not row.factors:
            continue
        known = found.setdefault(cell, {})
        if known and row.factors and known != row.factors:
            raise SpecError(
                f"row {row.place}: {cell!r} has other factors here than in the rows before",
                where="$.cell_name",
            )
        known.update(row.factors)
    return found


# ---- the run as a whole


def _arms(names: Iterable[str], baseline: str | None) -> tuple[str, ...]:
    found = list(dict.fromkeys(names))
    if baseline is None:
        return tuple(found)
    if baseline not in found:
        raise SpecError(
            f"no row is of the arm {baseline!r}",
            where="$.baseline",
            remedy="one of: " + ", ".join(found[:10]),
        )
    return (baseline, *(name for name in found if name != baseline))


def _spec(
    found: ImportedRows, arms: Sequence[str], by_trial: Mapping[Launch, Sequence[ImportedRow]]
) -> RunSpec:
    """What would have been asked for, as far as the source tells; and where it came from."""
    launches = Counter((arm, cell) for arm, cell, _ in by_trial)
    options: dict[str, Any] = {"file": found.file, "sha256": found.sha256, **found.about}
    if found.bounds:
        options["bounds"] = {name: list(bound) for name, bound in found.bounds.items()}
    if found.gaps:
        options["gaps"] = list(found.gaps)
    return RunSpec(
        backend=BackendSpec(name=IMPORTED, model=found.model),
        scenario=ScenarioSpec(name=IMPORTED, options=options),
        name=found.name,
        arms={name: ArmSpec() for name in arms},
        trials=max(launches.values()),
        iterations=IterationsSpec(warmup=0, measured=max(map(len, by_trial.values()))),
        notes=found.source,
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
