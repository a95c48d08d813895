"""docs/robustness.md names tests that exist, and every test here that is worth a row has one."""

from __future__ import annotations

import re
from pathlib import Path

from harness.cli.status import MEANINGS

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs" / "robustness.md").read_text("utf-8")
ROWS = [
    line
    for line in PAGE.splitlines()
    if line.startswith("|") and not re.match(r"\| (event|exit)|\|-", line)
]


def found():
    return {
        name
        for path in HERE.glob("test_*.py")
        if path.name != Path(__file__).name
        for name in re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.M)
    }


def test_every_row_names_tests_that_exist():
    assert len(ROWS) > 30
    for row in ROWS:
        named = re.findall(r"`(test_\w+)`", row.rsplit("|", 2)[1])
        assert named, row
        assert set(named) <= found(), row


def test_every_status_that_a_row_gives_is_a_known_one():
    for section in PAGE.split("\n## ")[1:]:
        lines = section.splitlines()
        head = next((line for line in lines if line.startswith("| event")), None)
        if head is None:
            continue
        columns = [cell.strip() for cell in head.split("|")]
        if "exit status" not in columns:
            continue
        at = columns.index("exit status")
        for row in lines:
            if row.startswith("|") and not row.startswith(("| event", "|--")):
                cell = row.replace("\\|", "").split("|")[at]
                assert {int(n) for n in re.findall(r"\d+", cell)} <= set(MEANINGS), row
