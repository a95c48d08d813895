"""`harness agent` (also `harness agents`): check a program, list those there are, build our own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from harness_agents.build import build

if TYPE_CHECKING:
    from harness_agents.checking import Checked

__all__ = ["agent"]

_MARKS = {"kept": "ok", "broken": "BROKEN", "not reached": "-"}


@click.group("agent", short_help="Agents in any language: check, list, build.")
def agent() -> None:
    """Programs that do an agent's work (docs/agent-protocol.md).

    \b
    Examples:
      harness agent list
      harness agent check -- python my_agent.py
      harness agents build
    """


agent.add_command(build)


@agent.command("check", short_help="Does a program keep to the agent protocol?")
@click.argument("command", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=1),
    default=30.0,
    show_default=True,
    help="Seconds for each session.",
)
@click.pass_context
def check(ctx: click.Context, command: tuple[str, ...], as_json: bool, timeout_s: float) -> None:
    """Run COMMAND against a small server of ours, and judge it by every rule of the protocol.

    \b
    COMMAND is a program with its arguments, behind --, or the name of a registered agent.
    Examples:
      harness agent check -- ./my-agent --fast
      harness agent check -- node agent.mjs
      harness agent check python

    Exit status: 0 if every rule is kept, 1 if one is broken, 2 if there is no such program.
    """
    import asyncio

    from harness_agents.checking import check as examine

    words = _command(command)
    with _told() as began:
        found = asyncio.run(examine(words, timeout_s=timeout_s, began=began))
    if as_json:
        _print_json(command, found)
    else:
        _print_table(found)
    ctx.exit(0 if all(one.status == "kept" for one in found) else 1)


@agent.command("list", short_help="Which agents are registered, and which are there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_agents(as_json: bool) -> None:
    """List registered agents: what each is made of, or why it is not there.

    \b
    Examples:
      harness agent list
      harness agent list --json
    """
    import msgspec

    from harness import Host
    from harness.errors import HarnessError
    from harness.text import one_line

    rows: list[dict[str, Any]] = []
    for entry in Host.load().agents:
        row = {"name": entry.name, "summary": entry.summary, "plugin": entry.plugin}
        try:
            made = entry.factory()
            made.command()
            rows.append({**row, "there": True, "about": made.about()})
        except HarnessError as error:
            rows.append({**row, "there": False, "reason": str(error)})
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode())
        return
    width = max((len(str(row["name"])) for row in rows), default=0)
    for row in rows:
        mark = "there " if row["there"] else "absent"
        _hang(f"{row['name']:<{width}}  {mark}  ", one_line(str(row["summary"])))
        if not row["there"]:
            _hang(" " * (width + 10), one_line(str(row["reason"])))


def _command(words: tuple[str, ...]) -> list[str]:
    """A registered agent's, where the one word names one. Raises SpecError for a bare word that is
    neither that nor a program."""
    import shutil

    from harness import Host
    from harness.errors import SpecError
    from harness.text import one_line

    if len(words) != 1 or "/" in words[0]:
        return list(words)
    agents = Host.load().agents
    if words[0] not in agents and shutil.which(words[0]) is not None:
        return list(words)
    try:
        entry = agents.get(words[0])
    except SpecError as error:
        what = f"there is neither an agent nor a program {one_line(words[0], 60)!r}"
        raise SpecError(what, where="COMMAND", remedy=error.remedy) from None
    return entry.factory().command()


def _print_json(command: tuple[str, ...], found: list[Checked]) -> None:
    import msgspec

    told = {
        "protocol": 1,
        "command": list(command),
        "ok": all(one.status == "kept" for one in found),
        "rules": msgspec.to_builtins(found),
    }
    click.echo(msgspec.json.format(msgspec.json.encode(told), indent=2).decode())


def _print_table(found: list[Checked]) -> None:
    from collections import Counter

    width = max(len(one.rule) for one in found)
    for one in found:
        first, *others = _gathered(one.evidence) or ("",)
        _hang(f"{one.rule:<{width}}  {_MARKS[one.status]:<6}  ", first)
        for line in others:
            _hang(" " * (width + 10), line)
    counts = Counter[str](one.status for one in found)
    said = [f"{counts[status]} {status}" for status in _MARKS if counts[status]]
    click.echo(f"{len(found)} rules: {', '.join(said)}")


def _gathered(evidence: tuple[str, ...]) -> list[str]:
    """What several sessions found alike stands there once, with their names."""
    sessions: dict[str, list[str]] = {}
    for line in evidence:
        session, _, what = line.partition(": ")
        sessions.setdefault(what, []).append(session)
    return [f"{', '.join(dict.fromkeys(names))}: {what}" for what, names in sessions.items()]


def _hang(head: str, text: str) -> None:
    """Print `text` beside `head`, no wider than the terminal."""
    import shutil
    import textwrap

    wide = max(shutil.get_terminal_size().columns, len(head) + 20)
    wrapped = textwrap.wrap(
        text, wide, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False
    )
    for line in wrapped or [head]:
        click.echo(line.rstrip())


@contextmanager
def _told() -> Iterator[Callable[[str], None]]:
    """Somebody at a terminal sees which session it is: each may take as long as --timeout."""
    live = sys.stderr.isatty()

    def began(session: str) -> None:
        if live:
            click.echo(f"\r\x1b[2Ksession: {session}", nl=False, err=True)

    try:
        yield began
    finally:
        if live:
            click.echo("\r\x1b[2K", nl=False, err=True)
