"""`harness list`: everything that is registered, or one thing with its options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from harness.cli import load_host
from harness.cli.harmless import print_json
from harness.cli.terminal import console, say
from harness.errors import SpecError
from harness.presets import find_presets
from harness.strict import nearest

if TYPE_CHECKING:
    from harness.registry import Entry, Registry

ABREAST_MIN: Final = 110
"""Columns of a terminal, from which on an option's words have room beside its type and default."""


@click.command("list", short_help="List backends, scenarios, exporters and plugins.")
@click.argument("what", metavar="[NAME|FILE.py|MODULE:FUNCTION]", required=False)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(what: str | None, as_json: bool) -> None:
    """List what the installed plugins offer, each with one line and the plugin it comes from.

    With a NAME: what that is, and every option it takes, with type and default. With a Python file:
    the functions in it that are marked as benchmarks. The file is run for that.

    \b
    Examples:
      harness list
      harness list psutil
      harness list bench.py
      harness list bench.py:parse
    """
    host = load_host()
    kinds: dict[str, Registry[Any]] = {
        "backends": host.backends,
        "scenarios": host.scenarios,
        "exporters": host.exporters,
        "importers": host.importers,
        "agents": host.agents,
        "instruments": host.instruments,
        "scorers": host.scorers,
        "executors": host.executors,
    }
    if what is not None:
        _one(what, kinds, as_json)
        return
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
    _print(rows)
    if broken:
        from rich.text import Text

        console().print(Text(f"\n{len(broken)} broken: see `harness doctor`", style="yellow"))


def _one(what: str, kinds: dict[str, Registry[Any]], as_json: bool) -> None:
    """What is called `what`, of whatever kind, or stands in the file of that name."""
    from harness.references import is_reference, listed

    if what.endswith(".py"):
        marked = [(one.name, one.summary, what) for one in listed(what)]
        if not marked:
            say(f"no function in it is marked as a benchmark; harness run {what}:FUNCTION runs any")
        if as_json:
            print_json([{"name": n, "summary": s, "plugin": p} for n, s, p in marked])
        else:
            _print({"scenarios": marked} if marked else {})
        return
    if is_reference(what):
        found = [("scenarios", kinds["scenarios"].get(what))]
    else:
        found = [(kind, registry.get(what)) for kind, registry in kinds.items() if what in registry]
    if not found:
        known = [entry.name for registry in kinds.values() for entry in registry]
        raise SpecError(
            f"nothing is called {what!r}", remedy=nearest(what, known) or "harness list"
        )
    described = [_described(kind, entry) for kind, entry in found]
    if as_json:
        print_json(described)
        return
    for one in described:
        _print_one(one)


def _described(kind: str, entry: Entry[Any]) -> dict[str, Any]:
    from harness.cli.details import options_of

    return {
        "kind": kind.removesuffix("s"),
        "name": entry.name,
        "summary": entry.summary,
        "plugin": entry.plugin,
        "options": options_of(entry),
    }


def _print_one(one: dict[str, Any]) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    out = console()
    out.print(Text(f"{one['kind']} {one['name']}", style="bold"), Text(f"({one['plugin']})"))
    if one["summary"]:
        out.print(Text(one["summary"]))
    if not one["options"]:
        out.print(Text("takes no options"))
        return
    if out.width < ABREAST_MIN:
        for option in one["options"]:
            default = f", default {option.default}" if option.default else ""
            out.print(Text.assemble((option.name, "bold"), f"  {option.type}{default}"))
            out.print(Padding(Text(option.doc), (0, 0, 0, 4)))
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("option", "type", "default", ""):
        table.add_column(head, header_style="bold", overflow="fold")
    for option in one["options"]:
        table.add_row(*(Text(x) for x in (option.name, option.type, option.default, option.doc)))
    out.print(table)


def _print(rows: dict[str, list[tuple[str, str, str]]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for kind, entries in rows.items():
        if not entries:
            continue
        table.add_row(Text(kind, style="bold"))
        for name, summary, plugin in entries:
            table.add_row(Text(f"  {name}"), Text(summary), Text(plugin, style="dim"))
    console().print(table)
