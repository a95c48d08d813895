"""docs/selfcheck.md: its commands are the command's, its example is of the table as it is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from harness.cli.selfcheck import command
from harness.selfcheck.loads import GAP_MS, plan_for
from tests.selfcheck.builders import check
from tests.selfcheck.test_command import rendered

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "selfcheck.md").read_text("utf-8")
COMMANDS = re.findall(r"^harness selfcheck.*$", PAGE, re.M)
EXAMPLE = re.search(r"<!-- example -->(.*?)<!-- /example -->", PAGE, re.S)[1]


@pytest.mark.parametrize("line", COMMANDS)
def test_its_commands_can_be_given(line):
    words = shlex.split(line.split("   ")[0])[2:]
    assert command.make_context("selfcheck", words).params["mode"] is None


def test_there_are_commands():
    assert len(COMMANDS) >= 4


def test_its_example_has_the_tables_of_today():
    def heads(text):
        lines = [line.split() for line in text.splitlines()]
        return [
            lines[at - 2 : at] for at, words in enumerate(lines) if words and set(words[0]) == {"─"}
        ]

    assert len(heads(EXAMPLE)) == 2
    assert heads(EXAMPLE) == heads(rendered(check()))


def test_its_numbers_are_those_of_the_plan():
    assert GAP_MS == 10.0 and "every 10 ms" in PAGE
    streams = [load.streams for load in plan_for("quick").loads if load.rate_tok_s]
    rows = re.findall(r"^ (\d+) x 100 ", EXAMPLE, re.M)
    assert [int(row) for row in rows] == [*streams, *streams]
