"""docs/money.md: its file is a price file, and it says what is shipped."""

from __future__ import annotations

import re
from pathlib import Path

from harness.engine.plainyaml import read_yaml
from harness.money import shipped
from harness.money.table import price_file
from harness.schema import PriceRecord

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "money.md").read_text("utf-8")


def test_the_file_on_the_page_is_one():
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    (record,) = price_file(read_yaml(text), "the page")
    assert set(PriceRecord.__struct_fields__) == {
        name for name in PriceRecord.__struct_fields__ if f"{name}:" in text
    }
    assert record.model == "my-model"


def test_what_is_shipped_is_named_and_nothing_else():
    said = PAGE[PAGE.index("### What is shipped") : PAGE.index("Left out of that table")]
    named = set(re.findall(r"`(gpt-[\w.-]+)`", said))
    assert named == {record.model for record in shipped().prices}
    assert "14 February 2026" in " ".join(said.split())
    assert {record.date for record in shipped().prices} == {"2026-02-14"}
