"""`harness new`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.cli import load_host

KINDS = ["scenario", "backend", "plugin"]


@click.command("new", short_help="Begin a scenario, a backend or a plugin of your own.")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("name")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path),
    default=".",
    help="Where its folder is made; default: here.",
)
def command(kind: Any, name: str, folder: Path) -> None:
    """Write a small package that works: with its entry point, its tests and a README.

    \b
    Examples:
      harness new scenario my-bench          asks a model one question an iteration
      harness new backend my-server          speaks to a server, and brings a stub of one
      harness new plugin my-tools            a function as a benchmark, an instrument, an exporter
    """
    from harness.cli.scaffold import scaffold

    files = scaffold(kind, name, folder, load_host())
    top = files[-1].parent
    for path in files:
        click.echo(str(path))
    click.echo(f"next: pip install -e {top} && pytest {top}, then {top / 'README.md'}")
