"""`harness list`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from harness.cli import load_host
from harness.cli.harmless import print_json
from harness.cli.terminal import console
from harness.presets import find_presets

if TYPE_CHECKING:
    from harness.registry import Registry


@click.command("list", short_help="List backends, scenarios, exporters and plugins.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(as_json: bool) -> None:
    """List what the installed plugins offer, each with one line and the plugin it comes from."""
    host = load_host()
    kinds: dict[str, Registry[Any]] = {
        "backends": host.backends,
        "scenarios": host.scenarios,
        "exporters": host.exporters,
        "agents": host.agents,
        "instruments": host.instruments,
        "scorers": host.scorers,
        "executors": host.executors,
    }
    rows = {
        kind: [(entry.name, entry.summary, entry.plugin) for entry in registry]
        for kind, registry in kinds.items()
    }
    rows["presets"] = [(p.name, p.summary(), p.plugin) for p in find_presets(host.plugins)]
    broken = [plugin for plugin in host.plugins if plugin.status == "broken"]
    if as_json:
        plain = {
            kind: [{"name": n, "summary": s, "plugin": p} for n, s, p in entries]
            for kind, entries in rows.items()
        }
        print_json({**plain, "plugins": host.plugins})
        return
    from rich.table import Table
    from rich.text import Text

    out = console()
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for kind, entries in rows.items():
        if not entries:
            continue
        table.add_row(Text(kind, style="bold"))
        for name, summary, plugin in entries:
            table.add_row(Text(f"  {name}"), Text(summary), Text(plugin, style="dim"))
    out.print(table)
    if broken:
        out.print(Text(f"\n{len(broken)} broken: see `harness doctor`", style="yellow"))
