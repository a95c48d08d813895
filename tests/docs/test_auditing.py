"""docs/auditing.md: every finding that the audit can make is in its table, and no other; the
mapping that it shows is one; its figures are those of the tests."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from harness.compare.audit.records import ODD
from harness.engine.plainyaml import read_yaml
from harness.statistics import STEP_ALPHA, runs_for_a_step
from harness.store.mapping import TableMapping, mapping_from
from tests.compare.test_audit import TAMPERED
from tests.published.cases import NOT_TOLD, cases

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "auditing.md").read_text("utf-8")


def test_every_finding_is_in_the_table():
    sources = [*(ROOT / "harness/compare/audit").glob("*.py"), ROOT / "harness/cli/audit.py"]
    made = {c for s in sources for c in re.findall(r'\bcode="([a-z-]+)"', s.read_text("utf-8"))}
    rows = re.findall(r"^\| (`[a-z`, -]+`) \| (?:wrong|doubtful|note)", PAGE, re.M)
    named = [code for row in rows for code in re.findall(r"`([a-z-]+)`", row)]
    assert sorted(named) == sorted(made | set(ODD))


def test_the_mapping_that_is_shown_is_one():
    (shown,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    mapping = mapping_from(read_yaml(shown))
    assert mapping.metrics["wall_ms"].scale == 1000
    unset = {"rows"}
    assert set(msgspec.to_builtins(mapping)) | unset == set(TableMapping.__struct_fields__)


def test_its_figures():
    printed = [case for case in cases() if case.published != NOT_TOLD]
    assert f"{len(printed)} printed figures" in PAGE
    assert f"in {len(TAMPERED)} ways" in PAGE
    assert f"takes {runs_for_a_step(STEP_ALPHA)} runs" in PAGE


def test_shipped_mappings_are_good():
    for path in (ROOT / "examples" / "import").glob("*.yaml"):
        assert mapping_from(read_yaml(path.read_text("utf-8"))).source
