"""docs/cli.md is what the commands say of themselves. HARNESS_UPDATE_DOCS=1 writes it anew."""

from __future__ import annotations

import os
from pathlib import Path

import click

from harness.cli import BUILTIN, cli
from harness.cli.status import GATE_MEANINGS, MEANINGS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"

INTRO = """# Command line

Generated from the commands' own help; a test compares the two.

| exit status | meaning |
|---|---|
{statuses}

Those of `harness compare` are answers, so that its mistakes have numbers of their own:

| exit status | of `harness compare` |
|---|---|
{answers}

A second Ctrl-C, or any signal that is not answered, ends the process by that signal; a shell shows
that as 128 and its number too. What leads to which: [robustness.md](robustness.md).
"""


def page() -> str:
    statuses, answers = (
        "\n".join(f"| {status} | {meaning} |" for status, meaning in meanings.items())
        for meanings in (MEANINGS, GATE_MEANINGS)
    )
    parts = [INTRO.format(statuses=statuses, answers=answers)]
    root = click.Context(cli, info_name="harness", terminal_width=90)
    for name in BUILTIN:
        command = cli.get_command(root, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=root, terminal_width=90)
        parts.append(f"## harness {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def test_the_page_is_in_step():
    if os.environ.get("HARNESS_UPDATE_DOCS") == "1":
        PAGE.write_text(page(), "utf-8")
    assert PAGE.read_text("utf-8") == page(), "run it again with HARNESS_UPDATE_DOCS=1"
