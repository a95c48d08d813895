"""docs/measuring.md: its examples run, its tables are the registries', its codes are the rules'."""

from __future__ import annotations

import doctest
import io
import json
import re
from pathlib import Path

import msgspec
import pytest

from harness.engine.bands import shipped_bands
from harness.metrics import (
    CALL_METRICS,
    COLD_METRICS,
    CONCURRENCY_METRICS,
    ENERGY_METRICS,
    ITERATION_METRICS,
)
from harness.report import chunks, jsonl
from harness.schema import CallRecord, ChunkColumns, Instants, ValiditySpec

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "measuring.md").read_text("utf-8")
EXAMPLES = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.S))


def between(marker: str) -> str:
    found = re.search(rf"<!-- {marker} -->\n(.*?)<!-- end -->", PAGE, re.S)
    assert found, marker
    return found[1]


def test_the_examples_give_what_the_page_says():
    test = doctest.DocTestParser().get_doctest(EXAMPLES, {}, "measuring.md", None, 0)
    report: list[str] = []
    results = doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert results.attempted > 50
    assert not results.failed, "".join(report)


@pytest.mark.parametrize(
    "metric",
    [*CALL_METRICS, *ITERATION_METRICS, *ENERGY_METRICS, *COLD_METRICS, *CONCURRENCY_METRICS],
    ids=lambda m: m.name,
)
def test_every_metric_has_an_executed_example(metric):
    assert f'"{metric.name}"' in EXAMPLES or f"'{metric.name}'" in EXAMPLES


@pytest.mark.parametrize(
    ("marker", "metrics"),
    [
        ("call metrics", CALL_METRICS),
        ("iteration metrics", ITERATION_METRICS),
        ("energy metrics", ENERGY_METRICS),
        ("cold metrics", COLD_METRICS),
        ("concurrency metrics", CONCURRENCY_METRICS),
    ],
)
def test_the_tables_are_the_registries(marker, metrics):
    rows = [
        f"| `{m.name}` | {m.unit} | {m.better} | {m.provenance} | {m.definition} |" for m in metrics
    ]
    assert between(marker).splitlines()[2:] == rows


def test_the_shipped_bands_are_in_the_table():
    rows = [
        f"| `{name}` | {', '.join(f'`{one}`' for one in found.bands)} | {found.source.strip()} |"
        for name, found in shipped_bands().items()
    ]
    assert between("shipped bands").splitlines()[2:] == rows


def test_every_caveat_of_the_core_is_in_the_table_and_no_other():
    folders = (ROOT / "harness" / "engine", ROOT / "harness" / "store")
    sources = [source for folder in folders for source in folder.rglob("*.py")]
    raised = {
        code
        for source in sources
        for code in re.findall(r'Caveat\(\s*code="([a-z-]+)"', source.read_text("utf-8"))
    }
    documented = re.findall(r"^\| `([a-z-]+)` \| (?:note|doubtful|invalid)", PAGE, re.M)
    assert sorted(documented) == sorted(raised)


def test_the_bounds_of_the_rules_have_the_defaults_that_the_page_says():
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", between("validity bounds"), re.M)
    defaults = msgspec.structs.asdict(ValiditySpec())
    assert {name: float(value) for name, value in rows} == defaults
    assert [name for name, _ in rows] == list(defaults)


def test_the_caveats_of_plugins_that_the_page_names_exist():
    named = re.search(r"Plugins add caveats of their own \((.*?)\)", PAGE, re.S)
    raised = {
        code
        for source in (ROOT / "plugins").rglob("*.py")
        for code in re.findall(r'Caveat\(\s*code="([a-z-]+)"', source.read_text("utf-8"))
    }
    assert raised == set(re.findall(r"`([a-z]+-[a-z-]+)`", named[1]))


class OneCall:
    """A run with a single call of a single chunk, as far as exporters look."""

    def records(self):
        columns = ChunkColumns(
            count=1, arrival_ns=bytes(8), lag_ns=bytes(4), size=bytes(4), kind=b"\x03"
        )
        yield CallRecord(
            call_id="0000.m0.00000",
            arm="a",
            cell="",
            trial=0,
            iteration=0,
            phase="measured",
            status="ok",
            instants=Instants(due_ns=1),
            chunks=columns,
            content_chunks=1,
        )


@pytest.mark.parametrize(("marker", "exporter"), [("jsonl names", jsonl), ("chunks names", chunks)])
def test_exports_have_the_names_of_the_contract(marker, exporter):
    names = re.findall(r"`(\w+)`", between(marker))
    out = io.BytesIO()
    exporter.write(OneCall(), out)
    (line,) = out.getvalue().splitlines()
    assert set(names) <= set(json.loads(line))
    assert len(names) == {"jsonl names": 41, "chunks names": 6}[marker]
