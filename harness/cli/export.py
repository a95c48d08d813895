"""`harness export`"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.cli import load_host
from harness.cli.terminal import say

NOT_FOR_TERMINALS = (".html", ".parquet")


@click.command("export", short_help="Write a run in another format.")
@click.argument("run", metavar="RUN", default="latest")
@click.option("--format", "name", required=True, metavar="NAME", help="See `harness list`.")
@click.option("--salvage", is_flag=True, help="Read what is left of a damaged record log.")
@click.option("--out", type=click.Path(path_type=Path), help="File to write; default: stdout.")
def command(run: str, name: str, out: Path | None, salvage: bool) -> None:
    """Write RUN as one of the registered formats: html, parquet, csv, cells.csv, jsonl, …

    \b
    Examples:
      harness export latest --format html --out report.html
      harness export latest --format jsonl --out calls.jsonl
      harness export latest --format chunks | head
    """
    from harness.errors import SpecError, StoreError
    from harness.store import load_run

    entry = load_host().exporters.get(name, "--format")
    if out is None and entry.suffix in NOT_FOR_TERMINALS and sys.stdout.isatty():
        raise SpecError(
            f"{name} is not for a terminal",
            where="--format",
            remedy=f"--out report{entry.suffix}",
        )
    write = entry.factory
    loaded = load_run(run, salvage=salvage)
    for warning in loaded.warnings:
        say(f"warning: {warning}")
    if out is None:
        write(loaded, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    try:
        with out.open("wb") as stream:
            write(loaded, stream)
    except OSError as error:
        raise StoreError(error.strerror or str(error), where=str(out)) from None
