"""cells.csv, calls.csv with axes, and Parquet: the same figures, with types."""

from __future__ import annotations

import csv
import io
import sys

import pytest

from harness.errors import MissingExtra
from harness.report import csv_calls, csv_cells, jsonl, parquet
from harness.report.aggregate import metric
from tests.report.hostile_runs import hostile_run
from tests.report.sweeps import cells, sweep_run
from tests.store import builders
from tests.store.builders import FakeRun, manifest


def rows(write, run) -> list[dict[str, str]]:
    out = io.BytesIO()
    write(run, out)
    return list(csv.DictReader(io.StringIO(out.getvalue().decode(), newline="")))


def table(write, run):
    import pyarrow.parquet as pq

    out = io.BytesIO()
    write(run, out)
    return pq.read_table(io.BytesIO(out.getvalue()))


def test_cells_are_tidy_and_every_figure_is_there():
    run = sweep_run(5)
    found = rows(csv_cells.write, run)
    known = [(arm, one) for arm in run.summary.arms for one in arm.metrics if one.n]
    assert len(found) == len(known)
    for row, (arm, one) in zip(found, known, strict=True):
        assert (row["arm"], row["cell"], row["metric"]) == (arm.arm, arm.cell, one.name)
        ctx = cells()[arm.cell]["backend.options.num_ctx"]
        assert int(row["axis.backend.options.num_ctx"]) == ctx
        for name in ("n", "mean", "median", "ci_low", "ci_high", "sd", "p95"):
            value = getattr(one, name)
            assert (float(row[name]) if row[name] else None) == value
        assert row["unit"] == one.unit and row["provenance"] == one.provenance
    assert metric(run.summary.arms[0], "ttft_ms") is not None


def test_calls_keep_their_columns_and_get_the_axes_behind_them():
    assert tuple(rows(csv_calls.write, builders.toy_run())[0]) == csv_calls.COLUMNS
    found = rows(csv_calls.write, sweep_run(2))
    axes = ("axis.backend.options.num_ctx", "axis.backend.options.num_gpu")
    assert tuple(found[0]) == (*csv_calls.COLUMNS, *axes)
    assert {(row[axes[0]], row[axes[1]]) for row in found} == {
        (str(a["backend.options.num_ctx"]), str(a["backend.options.num_gpu"]))
        for a in cells().values()
    }


def test_names_in_cells_are_no_formulas():
    text = io.BytesIO()
    csv_cells.write(hostile_run(), text)
    for row in csv.reader(io.StringIO(text.getvalue().decode(), newline="")):
        assert not any(cell.lstrip()[:1] in ("=", "+", "@") for cell in row)


def test_parquet_holds_what_csv_and_jsonl_say_with_types():
    pa = pytest.importorskip("pyarrow", reason="needs: pip install 'chimera-harness[parquet]'")
    import json

    run = sweep_run(2)
    found = table(parquet.write, run)
    said = rows(csv_calls.write, run)
    out = io.BytesIO()
    jsonl.write(run, out)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert found.column_names == list(said[0])
    assert found.num_rows == len(said) == len(lines) == 108
    types = {field.name: field.type for field in found.schema}
    assert types["ttft_ms"] == pa.float64() and types["sent_ns"] == pa.int64()
    assert types["trial"] == pa.int64() and types["arm"] == pa.string()
    assert types["axis.backend.options.num_ctx"] == pa.int64()
    for row, text, line in zip(found.to_pylist(), said, lines, strict=True):
        for name, value in row.items():
            if value is None:
                assert text[name] == ""
            else:
                assert type(value)(text[name]) == value
            if name in line and not isinstance(line[name], dict | list):
                assert line[name] == value
    assert found.schema.metadata[b"run_id"] == b"c0ffee12"


def test_iterations_too():
    pytest.importorskip("pyarrow", reason="needs: pip install 'chimera-harness[parquet]'")
    run = sweep_run(2)
    found = table(parquet.write_iterations, run).to_pylist()
    assert len(found) == 36
    first = found[0]
    assert (first["arm"], first["trial"], first["ok_calls"]) == ("baseline", 0, 3)
    assert first["axis.backend.options.num_ctx"] == 512
    assert first["wall_ms"] > 0 and first["span.ingest_ms"] == pytest.approx(5)
    assert first["mean.ttft_ms"] == pytest.approx(
        sum(c.instants.first_token_ns - c.instants.sent_ns for c in run.records()[:3]) / 3e6
    )


def test_a_run_without_calls_and_hostile_text_are_files_too():
    pytest.importorskip("pyarrow", reason="needs: pip install 'chimera-harness[parquet]'")
    empty = FakeRun(manifest(state="failed"), [])
    assert table(parquet.write, empty).num_rows == 0
    assert table(parquet.write_iterations, empty).num_rows == 0
    assert table(parquet.write, hostile_run()).num_rows == 60


def test_without_pyarrow_the_command_that_adds_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"pip install 'chimera-harness\[parquet\]'"):
        parquet.write(builders.toy_run(), io.BytesIO())
