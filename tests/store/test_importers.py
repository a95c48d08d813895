"""Importers are plugins: what one returns becomes a run, whoever wrote it; its mistakes are its
own."""

from __future__ import annotations

import re
import types

import pytest

from harness.compare.audit import audit_run
from harness.engine.summary import derive_summary
from harness.errors import SpecError, StoreError
from harness.host import Host
from harness.metrics import all_series
from harness.protocols import ImportedRow, ImportedRows, Stated, Suggests
from harness.schema import IterationRecord, MetricValue, TrialRecord
from harness.store.imported import run_of, write_run
from tests.published.tables import DATA, MAPPINGS, ROOT, importers, rows


def figure(name, value, provenance="imported", unit="ms"):
    return MetricValue(name=name, value=value, unit=unit, provenance=provenance, better="lower")


def row(number, *metrics, **more):
    return ImportedRow(launch=("1",), place=number, metrics=metrics, **more)


def found(*made, **more):
    return ImportedRows(name="n", file="f", sha256="0", rows=made, of=len(made), **more)


def test_the_plugin_of_the_page_imports_a_file(tmp_path):
    page = (ROOT / "docs" / "hooks.md").read_text("utf-8")
    section = page.partition("## harness_register_importers(")[2]
    module = types.ModuleType("page")
    exec(re.findall(r"```python\n(.*?)```", section, re.S)[0], vars(module))
    host = Host()
    assert host.add("page", module), host.plugins
    entry = host.importers.get("latencies")
    importer = entry.factory(entry.decode_options({"arm": "nginx"}, "$"))
    path = tmp_path / "l.txt"
    path.write_text("1.5\n-\n2.5\n")
    made = run_of(importer.read(path))
    records = [r for r in made.records if isinstance(r, IterationRecord)]
    assert [(r.arm, r.status) for r in records] == [
        ("nginx", "ok"), ("nginx", "error"), ("nginx", "ok"),
    ]  # fmt: skip
    (series,) = all_series([], records)
    assert series.values == [1.5, 2.5]
    path.write_text("fast\n")
    with pytest.raises(StoreError, match="line 1"):
        importer.read(path)
    with pytest.raises(SpecError, match="try: arm"):
        entry.decode_options({"amr": "x"}, "$")


def test_tables_are_importers_too():
    assert {entry.name for entry in importers()} >= {"csv", "json", "chimeraforge"}
    csv = importers().get("csv")
    assert isinstance(csv.factory(csv.decode_options({}, "$")), Suggests)


def test_an_importer_agrees_with_a_mapping_of_the_same_table():
    entry = importers().get("csv")
    mapping = {"map": str(MAPPINGS / "tr110.yaml")}
    path = DATA / "chimeraforge" / "tr110_python_dual_150runs.csv"
    by_map = entry.factory(entry.decode_options(mapping, "$")).read(path)
    same = ("legacy_speedup", "wall_s", "legacy_contention", "a_tokens")
    for one, other in zip(by_map.rows, rows("tr110").rows, strict=True):
        assert (one.arm, one.cell, one.launch) == (other.arm, other.cell, other.launch)
        theirs = {m.name: m.value for m in one.metrics}
        theirs["a_tokens"] = theirs["a_generated_tokens"]
        ours = {m.name: m.value for m in other.metrics}
        assert {n: theirs[n] for n in same} == {n: ours[n] for n in same}


def test_kinds_of_rows_do_not_miss_each_other_s_figures():
    made = run_of(
        found(
            row(1, figure("wall_s", 3.0, unit="s"), kind="run"),
            row(2, figure("ttft_ms", 1.0), figure("wait_ms", 0.5, "derived"), kind="call"),
            row(3, figure("ttft_ms", 2.0), kind="call"),
        )
    )
    records = [r for r in made.records if isinstance(r, IterationRecord)]
    series = {s.name: (s.values, s.missing, s.provenance) for s in all_series([], records)}
    assert series == {
        "wall_s": ([3.0], 0, "imported"),
        "imported.ttft_ms": ([1.0, 2.0], 0, "imported"),
        "wait_ms": ([0.5], 1, "derived"),
    }


def test_what_contradicts_itself_and_what_is_missing_is_kept_and_told(tmp_path):
    wrong = Stated(figure="mean", stated=3.0, found=2.0, place="f line 1")
    made = run_of(
        found(
            row("f line 1", figure("x_ms", 1.0), disagrees=(wrong,)),
            row("f line 2", figure("x_ms", 900.0)),
            gaps=("run 3 has no file",),
            bounds={"x_ms": (0, 100)},
        )
    )
    summary = derive_summary(made.manifest, made.records)
    said = {c.code: c for c in summary.verdict.caveats}
    assert summary.verdict.state == "doubtful"
    assert "f line 1: mean is 3, and its data give 2" in said["stated-differs"].message
    assert "run 3 has no file" in said["source-incomplete"].message
    audit = audit_run(write_run(made, tmp_path / "run"))
    codes = {one.code: one for one in audit.findings}
    assert set(codes) == {"stated-differs", "source-incomplete", "impossible-figure"}
    assert codes["impossible-figure"].evidence["rows"] == [["f line 2", 900.0]]


def test_differences_may_be_below_zero_and_durations_not(tmp_path):
    for name, is_clean in (("ttft_delta_ms", True), ("took_ms", False)):
        made = run_of(found(row(1, figure(name, -5.0)), row(2, figure(name, 5.0))))
        assert audit_run(write_run(made, tmp_path / name)).is_clean is is_clean


def test_options_of_a_launch_need_not_be_its_factors():
    made = run_of(
        found(
            ImportedRow(arm="base", cell="c", launch=("1",), place=1, metrics=(), options={}),
            ImportedRow(arm="new", cell="c", launch=("1",), place=2, metrics=(), factors={"n": 8}),
        )
    )
    trials = [r for r in made.records if isinstance(r, TrialRecord)]
    assert [t.effective.options for t in trials] == [{}, {"n": 8}]
    assert made.manifest.cells == {"c": {"n": 8}}


def test_nothing_is_no_run():
    with pytest.raises(SpecError, match="nothing in it"):
        run_of(found())
    with pytest.raises(SpecError, match="no row is of the arm 'x'"):
        run_of(found(row(1), baseline="x"))
