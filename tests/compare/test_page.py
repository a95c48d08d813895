"""docs/comparing.md: its example gives what it says, its statuses are the command's."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from harness.cli.status import GATE_MEANINGS
from tests.compare.conftest import call

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "comparing.md").read_text("utf-8")


def masked(text):
    """Figures and addresses as N, white space as a single space."""
    text = re.sub(r"http://\S+", "URL", text)
    text = re.sub(r"[+−-]?\d[\d.]*(e[+-]?\d+)?", "N", text)
    text = text.replace("< N", "N")
    text = re.sub(r"\(and N notes?: harness show\)", "", text)
    return re.sub(r"─+", "─", " ".join(text.split()))


def test_the_example_gives_what_the_page_shows(compared_runs):
    (block,) = re.findall(r"<!-- executed -->\n```text\n\$ (.*?)```", PAGE, re.S)
    command, _, shown = block.partition("\n")
    program, *words = shlex.split(command)
    assert program == "harness"
    done = call(*words, cwd=compared_runs)
    assert done.status == 1
    found = masked(done.out)
    lines = [masked(line) for line in shown.splitlines() if line.strip()]
    assert len(lines) > 10
    assert [line for line in lines if line not in found] == []


def test_the_statuses_are_those_of_the_command():
    rows = re.findall(r"^\| (\d+) \| ", PAGE, re.M)
    assert [int(row) for row in rows] == list(GATE_MEANINGS)
