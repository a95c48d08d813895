"""docs/sim.md names everything there is to set, and everything that can go wrong."""

from __future__ import annotations

import re
from pathlib import Path

from harness.testing.sim import FAULTS, SimSpec
from harness.testing.sim.log import row_type
from harness.testing.sim.openai import TRAITS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sim.md").read_text("utf-8")


def test_every_field_of_the_spec():
    part = PAGE.partition("<!-- spec fields -->")[2].partition("<!-- /spec fields -->")[0]
    assert re.findall(r"^\| `(\w+)` \|", part, re.M) == list(SimSpec.__struct_fields__)


def test_every_fault():
    part = PAGE.partition("| fault | what happens |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in part.split("\n") if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(FAULTS)


def test_every_dialect():
    part = PAGE.partition("| `dialect` | first frame")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", part, re.M) == list(TRAITS)


def test_every_field_of_a_row():
    part = PAGE.partition("| field | type | |")[2].partition("\n\n")[0]
    named = [name for line in part.split("\n") for name in re.findall(r"`(\w+)`", line[:40])]
    assert named == list(row_type().names)
