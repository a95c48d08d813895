"""`harness import`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from harness.store.imported import Imported
    from harness.store.mapping import TableMapping
    from harness.store.tables import Table

PATH = click.Path(path_type=Path)

EXAMPLES = """
\b
Examples:
  harness import csv results.csv --suggest > map.yaml    a mapping to begin with
  harness import csv results.csv --map map.yaml --dry-run
  harness import csv results.csv --map map.yaml --out imported/results
  harness import json results.json --map map.yaml
"""


@click.command("import", short_help="Make a run of a table of results.", epilog=EXAMPLES)
@click.argument("form", metavar="csv|json", type=click.Choice(["csv", "json"]))
@click.argument("file", metavar="FILE", type=PATH)
@click.option("--map", "mapping", metavar="FILE", type=PATH, help="Which column is what.")
@click.option("--out", type=PATH, help="Run folder; default: a new one below ./runs.")
@click.option("--suggest", is_flag=True, help="Print a mapping for this table, to be edited.")
@click.option("--dry-run", is_flag=True, help="Say what would become of the rows.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary alone, as JSON.")
def command(
    form: str,
    file: Path,
    mapping: Path | None,
    out: Path | None,
    suggest: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Make an ordinary run folder of FILE, a table of somebody's results, so that `show`, `audit`,
    `compare`, `recommend`, `history` and every export work on it. The mapping says which columns
    name arm, cell, trial, and which are figures; docs/auditing.md describes it.

    Figures are marked `imported`. What the table does not tell stays unknown.
    """
    from harness.errors import SpecError
    from harness.store.imported import run_of_rows
    from harness.store.mapping import read_mapping
    from harness.store.tables import read_csv, read_json_rows

    asked = read_mapping(mapping) if mapping is not None else None
    table = read_json_rows(file, asked.rows if asked else "") if form == "json" else read_csv(file)
    if suggest:
        click.echo(_suggestion(table))
        return 0
    if asked is None:
        raise SpecError(
            "which column is what?",
            where="--map",
            remedy=f"harness import {form} {file} --suggest > map.yaml, then edit that",
        )
    made = run_of_rows(table, asked)
    if dry_run:
        _tell(made, table)
        return 0
    return _write(made, out, as_json)


def _write(made: Imported, out: Path | None, as_json: bool) -> int:
    from harness.cli import load_host
    from harness.cli.conduct import finish, show
    from harness.cli.status import DONE, INVALID
    from harness.engine import Outcome
    from harness.store import load_run
    from harness.store.writer import RunWriter

    with RunWriter.create(made.manifest, out) as writer:
        for record in made.records:
            writer.append(record)
        summary = finish(writer, Outcome(manifest=made.manifest), load_host())
        path = writer.path
    show(summary, made.manifest, path, as_json, lambda: load_run(path).records())
    return INVALID if summary.verdict.state == "invalid" else DONE


def _tell(made: Imported, table: Table) -> None:
    from harness.schema import IterationRecord

    rows = [record for record in made.records if isinstance(record, IterationRecord)]
    cells = {(row.arm, row.cell) for row in rows}
    arms = list(made.manifest.spec.arms)
    failed = sum(row.status != "ok" for row in rows)
    names = dict.fromkeys(metric.name for row in rows for metric in row.metrics)
    click.echo(f"{len(rows)} of {len(table.rows)} rows ({failed} failed), as iterations")
    click.echo(f"arms: {', '.join(arms)} (the first is the baseline)")
    click.echo(f"arms x cells: {len(cells)}, trials: {len(made.manifest.plan)}")
    for name in names:
        known = sum(any(metric.name == name for metric in row.metrics) for row in rows)
        click.echo(f"metric {name}: {known} values")
    used = {column for _, column in _mapping(made).columns()}
    unused = [column for column in table.columns if column not in used]
    click.echo(f"columns that are not used: {', '.join(unused) or 'none'}")


def _mapping(made: Imported) -> TableMapping:
    from harness.store.mapping import mapping_from

    return mapping_from(made.manifest.spec.scenario.options["mapping"])


def _suggestion(table: Table) -> str:
    """A draft: columns of numbers as metrics, of few texts as factors. Units are for a person."""
    numbers = [name for name in table.columns if _numeric(table, name)]
    texts = [name for name in table.columns if name not in numbers]
    few = [name for name in texts if 1 < len({r.fields[name] for r in table.rows}) <= 20]
    lines = [
        f"# A draft for {table.file}: {len(table.rows)} rows. Edit it: units, what is better,",
        "# which numbers are factors or names and not figures.",
        f"name: {Path(table.file).stem}",
        "source: who measured this, where it was published, under which licence",
        "# arm: {column: agent}        # or a name for all rows",
        "# trial: run                  # column(s): rows alike are one launch",
    ]
    if few:
        lines += ["cell:", *(f"  {_quoted(name)}: {_quoted(name)}" for name in few)]
    lines.append("metrics:")
    for name in numbers:
        unit, better = _guess(name)
        lines.append(
            f"  {_quoted(name)}: {{column: {_quoted(name)}, unit: {_quoted(unit)}, "
            f"better: {better}}}"
        )
    return "\n".join(lines)


def _numeric(table: Table, name: str) -> bool:
    found = [text for row in table.rows if (text := row.fields[name].strip())]
    try:
        return bool(found) and all(map(_finite, found))
    except ValueError:
        return False


def _finite(text: str) -> bool:
    import math

    return math.isfinite(float(text))


def _quoted(text: str) -> str:
    import json

    return text if text.isidentifier() else json.dumps(text)


def _guess(name: str) -> tuple[str, str]:
    low = name.lower()
    for end, unit, better in (
        ("tok_s", "tok/s", "higher"),
        ("tokens_s", "tok/s", "higher"),
        ("per_s", "1/s", "higher"),
        ("_ms", "ms", "lower"),
        ("_us", "us", "lower"),
        ("_s", "s", "lower"),
        ("_seconds", "s", "lower"),
        ("_time", "s", "lower"),
        ("_bytes", "B", "lower"),
        ("_percent", "%", "neither"),
        ("tokens", "tok", "neither"),
    ):
        if low.endswith(end):
            return unit, better
    return "?", "neither"
