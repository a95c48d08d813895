"""`harness import`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import load_host

if TYPE_CHECKING:
    from harness.protocols import ImportedRows
    from harness.store.imported import Imported

PATH = click.Path(path_type=Path)

EXAMPLES = """
\b
Examples:
  harness import csv results.csv --suggest > map.yaml    a mapping to begin with
  harness import csv results.csv --map map.yaml --dry-run
  harness import csv results.csv --map map.yaml --out imported/results
  harness import json results.json --map map.yaml
  harness import chimeraforge runs/tr110 --dry-run       a folder of metrics.json files
"""


class _ImportCommand(click.Command):
    """Lists the importers that are installed below its own help."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        with formatter.section("Importers (FORM)"):
            formatter.write_dl([(entry.name, entry.summary) for entry in load_host().importers])


@click.command(
    "import",
    cls=_ImportCommand,
    short_help="Make a run of results that others measured.",
    epilog=EXAMPLES,
)
@click.argument("form", metavar="FORM")
@click.argument("path", metavar="PATH", type=PATH)
@click.option(
    "--map", "mapping", metavar="FILE", type=PATH, help="Of a table: which column is what."
)
@click.option("-o", "options", metavar="KEY=VALUE", multiple=True, help="Option of the importer.")
@click.option("--out", type=PATH, help="Run folder; default: a new one below ./runs.")
@click.option("--suggest", is_flag=True, help="Print a mapping for this table, to be edited.")
@click.option("--dry-run", is_flag=True, help="Say what would become of it.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary alone, as JSON.")
def command(
    form: str,
    path: Path,
    mapping: Path | None,
    options: tuple[str, ...],
    out: Path | None,
    suggest: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Make an ordinary run folder of PATH, results that somebody else measured, so that `show`,
    `audit`, `compare`, `recommend`, `history` and every export work on it. FORM says what PATH is;
    the forms csv and json take any table, with a mapping of its columns to arm, cell, trial and
    figures. docs/auditing.md describes it.

    Figures are marked `imported`, and what follows from them `derived`. What the source does not
    tell stays unknown.
    """
    from harness.errors import SpecError
    from harness.protocols import Suggests
    from harness.store.imported import run_of

    entry = load_host().importers.get(form, "FORM")
    given = _options(options)
    if mapping is not None:
        given["map"] = str(mapping)
    importer = entry.factory(entry.decode_options(given, "$.options"))
    if suggest:
        if not isinstance(importer, Suggests):
            raise SpecError(f"{form} needs no mapping", where="--suggest", remedy="leave it out")
        click.echo(importer.suggest(path))
        return 0
    found = importer.read(path)
    made = run_of(found)
    if dry_run:
        _tell(found, made)
        return 0
    return _write(made, out, as_json)


def _options(pairs: tuple[str, ...]) -> dict[str, object]:
    from harness.cli.request import split_pair

    return dict(split_pair(pair, "-o") for pair in pairs)


def _write(made: Imported, out: Path | None, as_json: bool) -> int:
    from harness.cli.conduct import finish
    from harness.cli.shown import show
    from harness.cli.status import DONE, INVALID
    from harness.engine import Outcome
    from harness.store.writer import RunWriter

    with RunWriter.create(made.manifest, out) as writer:
        for record in made.records:
            writer.append(record)
        run = finish(writer, Outcome(manifest=made.manifest), load_host())
    show(run, as_json)
    return INVALID if run.summary.verdict.state == "invalid" else DONE


def _tell(found: ImportedRows, made: Imported) -> None:
    from collections import Counter

    from harness.schema import IterationRecord
    from harness.text import one_line

    rows = [record for record in made.records if isinstance(record, IterationRecord)]
    cells = {(row.arm, row.cell) for row in rows}
    arms = list(made.manifest.spec.arms)
    failed = sum(row.status != "ok" for row in rows)
    lines = [
        f"{len(rows)} of {found.of} rows ({failed} failed), as iterations",
        f"arms: {', '.join(arms)} (the first is the baseline)",
        f"arms x cells: {len(cells)}, trials: {len(made.manifest.plan)}",
    ]
    known = Counter((metric.name, metric.provenance) for row in rows for metric in row.metrics)
    for (name, provenance), count in known.items():
        mark = "" if provenance == "imported" else f" ({provenance})"
        lines.append(f"metric {name}: {count} values{mark}")
    wrong = [one for row in found.rows for one in row.disagrees]
    lines += [f"missing: {gap}" for gap in found.gaps]
    lines += [
        f"{one.place}: {one.figure} is {one.stated:.9g}, its own data give {one.found:.9g}"
        for one in wrong
    ]
    lines += found.remarks
    for line in lines:
        click.echo(one_line(line, 1000))
