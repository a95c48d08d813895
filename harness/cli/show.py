"""`harness show`"""

from __future__ import annotations

import click


@click.command("show", short_help="Show the result of a run.")
@click.argument("run", metavar="RUN", default="latest")
@click.option("--json", "as_json", is_flag=True, help="Print the summary alone, as JSON.")
@click.option("--salvage", is_flag=True, help="Read what is left of a damaged record log.")
def command(run: str, as_json: bool, salvage: bool) -> None:
    """Show the result of RUN: a run folder, a prefix of its name, or `latest` below ./runs.

    \b
    Examples:
      harness show latest
      harness show runs/load-20261120T101500Z-1a2b3c4d --json
    """
    from harness.cli.shown import show
    from harness.cli.terminal import say
    from harness.store import load_run

    loaded = load_run(run, salvage=salvage)
    for warning in loaded.warnings:
        say(f"warning: {warning}")
    show(loaded, as_json)
