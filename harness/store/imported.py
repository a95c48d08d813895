"""Makes a run of a table that somebody else measured, so that every command works on it.

A row becomes one iteration, of the arm, cell and trial that its columns name; its figures are
metrics of provenance `imported`. What the table does not tell stays unknown: there are no calls,
no stamps, no wall time, no environment of the machine that measured. `import_table` is for files;
whoever has rows of another kind calls `run_of_rows`. rows.py has what a single row says.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from harness import __version__
from harness.errors import SpecError
from harness.schema import (
    SCHEMA_VERSION,
    ArmSpec,
    BackendSpec,
    Environment,
    IterationRecord,
    IterationsSpec,
    Manifest,
    Record,
    RunSpec,
    ScenarioSpec,
)
from harness.store.mapping import TableMapping, check_columns
from harness.store.rows import IMPORTED, Cells, Launch, is_taken, placed_row, records_of
from harness.store.tables import Row, Table, read_csv, read_json_rows
from harness.store.writer import RunWriter
from harness.text import one_line

__all__ = ["IMPORTED", "Imported", "import_table", "read_table", "run_of_rows"]


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
    rows = [row for row in table.rows if is_taken(row, mapping)]
    if not rows:
        raise SpecError(
            f"not one of the {len(table.rows)} rows of {table.file} fits",
            where="$.where" if mapping.where else table.file,
        )
    cells = Cells(mapping)
    placed = [placed_row(row, mapping, cells, at) for at, row in enumerate(rows)]
    trials = {key: n for n, key in enumerate(dict.fromkeys(one.key for one in placed))}
    records = tuple(records_of(placed, trials, mapping))
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
    trials: Iterable[Launch],
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
