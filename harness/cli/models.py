"""`harness models`"""

from __future__ import annotations

import click

from harness.cli import load_host
from harness.cli.background import run_async
from harness.cli.harmless import print_json
from harness.cli.terminal import console


class _Models(click.Group):
    """With what plugins put below it: they find it among the commands of the group that they are
    given (harness_add_commands)."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._added())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self._added().get(cmd_name)

    def _added(self) -> dict[str, click.Command]:
        below = click.Group("models")
        load_host().add_commands(click.Group("plugins", commands={"models": below}))
        return dict(below.commands)


@click.group(
    "models",
    cls=_Models,
    invoke_without_command=True,
    short_help="List the models that a server offers.",
)
@click.option("--backend", default="llamacpp", show_default=True, metavar="NAME")
@click.option("--url", multiple=True, metavar="URL", help="Endpoint; default: the backend's own.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_context
def command(ctx: click.Context, backend: str, url: tuple[str, ...], as_json: bool) -> None:
    """List the models that a backend's server offers; or make one.

    \b
    Examples:
      harness models --backend ollama
      harness models --backend openai --url http://127.0.0.1:8080
      harness models --backend hf          what this disk has for transformers
      harness models tiny-hf               a model with random weights
    """
    if ctx.invoked_subcommand is not None:
        return
    from harness.errors import BackendError
    from harness.protocols import BackendConfig, ListsModels
    from harness.schema import TimeoutsSpec

    entry = load_host().backends.get(backend, "--backend")
    options = entry.decode_options({}, "$.backend.options")
    config = BackendConfig(model=None, urls=url, options=options, timeouts=TimeoutsSpec(), seed=0)
    made = entry.factory(config)
    if not isinstance(made, ListsModels):
        raise BackendError("cannot list its models", where=backend)
    found = sorted(run_async(made.models()), key=lambda model: model.name)
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo("no models", err=True)
        return
    from rich.filesize import decimal
    from rich.table import Table
    from rich.text import Text

    from harness.report.sanitise import one_line

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("model")
    table.add_column("size", justify="right")
    table.add_column("digest")
    for model in found:
        size = decimal(model.size_bytes) if model.size_bytes is not None else "—"
        digest = (model.digest or "—").removeprefix("sha256:")[:12]
        table.add_row(Text(one_line(model.name)), size, Text(one_line(digest)))
    console().print(table)
