"""docs/plots.md: every kind is on it, its pictures are there and small, its commands are ours."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from harness.cli.plot import FORMATS, command
from harness.report.plots import FORMATS as DRAWN
from harness.report.plots import KINDS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "plots.md").read_text("utf-8")
PICTURES = re.findall(r"!\[([\w-]+)\]\((plots/[\w-]+\.png)\)", PAGE)


def test_every_kind_has_its_words_and_its_picture():
    assert {kind for kind, _ in PICTURES} == set(KINDS)
    assert all(f"`{kind}`" in PAGE for kind in KINDS)
    assert FORMATS == DRAWN


def test_the_pictures_are_small():
    sizes = [(DOCS / path).stat().st_size for _, path in PICTURES]
    assert sum(sizes) < 1_500_000
    assert all((DOCS / path).read_bytes().startswith(b"\x89PNG") for _, path in PICTURES)


@pytest.mark.parametrize("line", re.findall(r"^harness plot.*$", PAGE, re.M))
def test_its_commands_can_be_given(line):
    words = shlex.split(line.split("  #")[0])[2:]
    given = command.make_context("plot", words).params
    assert given["run"] == "latest" and set(given["kinds"]) <= set(KINDS)
