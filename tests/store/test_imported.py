"""Tables become runs: what they say and nothing more; mistakes are named by their place."""

from __future__ import annotations

import io

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.engine.specfile import digest
from harness.engine.summary import derive_summary
from harness.errors import HarnessError, SpecError, StoreError
from harness.report import comparison, csv_calls, metrics_json
from harness.schema import IterationRecord, TrialRecord
from harness.store import load_run
from harness.store.imported import import_table, run_of_rows
from harness.store.mapping import mapping_from
from harness.tables import read_csv, read_json_rows

CSV = """\
agent,ctx,run,rate,ttft,when,error
base,,1,10.5,0.25,2026-01-02T10:00:00,
base,,1,11.5,0.35,2026-01-02T10:00:05,
base,,2,12.0,,2026-01-02T09:00:00,
new,512,1,20,0.1,2026-01-02T11:00:00,
new,512,2,0,0.1,2026-01-02T11:00:00,timeout
"""
MAPPING = {
    "name": "toy",
    "source": "nobody",
    "arm": {"column": "agent"},
    "cell": {"backend.options.num_ctx": "ctx"},
    "trial": "run",
    "started": "when",
    "failed": {"column": "error"},
    "metrics": {
        "rate_tok_s": {"column": "rate", "unit": "tok/s", "better": "higher"},
        "ttft_ms": {"column": "ttft", "unit": "ms", "better": "lower", "scale": 1000},
    },
}


def table(folder, text=CSV):
    path = folder / "toy.csv"
    path.write_text(text, "utf-8")
    return path


def mapped(**changes):
    return mapping_from({**MAPPING, **changes})


def test_rows_become_iterations_of_the_launches_they_name(tmp_path):
    made = run_of_rows(read_csv(table(tmp_path)), mapped())
    rows = [r for r in made.records if isinstance(r, IterationRecord)]
    assert [(r.arm, r.cell, r.trial, r.iteration) for r in rows] == [
        ("base", "base", 0, 0),
        ("base", "base", 0, 1),
        ("base", "base", 1, 0),
        ("new", "num_ctx=512", 2, 0),
        ("new", "num_ctx=512", 3, 0),
    ]
    assert made.manifest.cells == {"num_ctx=512": {"backend.options.num_ctx": 512}}
    assert made.manifest.started.startswith("2026-01-02T09:00:00")
    assert made.manifest.spec_digest == digest(made.manifest.spec)
    assert [r.status for r in rows] == ["ok"] * 4 + ["error"]
    assert rows[4].error.message == "timeout"
    assert all(m.provenance == "imported" for r in rows for m in r.metrics)
    assert [m.name for m in rows[2].metrics] == ["rate_tok_s"], "what is missing is not there"
    trials = [r for r in made.records if isinstance(r, TrialRecord)]
    assert len(trials) == len(made.manifest.plan) == 4


def test_only_what_the_table_has_becomes_a_figure(tmp_path):
    run = load_run(import_table(table(tmp_path), mapped(), out=tmp_path / "run"))
    assert run.summary.wall_s is None
    base, new = run.summary.arms
    assert [(m.name, m.provenance, m.n, m.missing) for m in base.metrics] == [
        ("rate_tok_s", "imported", 3, 0),
        ("imported.ttft_ms", "imported", 2, 1),
    ]
    assert base.metrics[1].mean == pytest.approx(300.0)
    assert (base.trials, base.iterations, base.calls, base.planned) == (2, 3, {}, 0)
    assert new.metrics[0].n == 1, "the failed row counts for nothing"
    codes = {c.code: c.severity for c in run.summary.verdict.caveats}
    assert codes == {"imported": "note", "failures": "doubtful"}


def test_no_rule_on_stamps_fires_on_a_long_table(tmp_path):
    rows = "".join(f"base,,1,{10 + i % 3},0.2,,\n" for i in range(200))
    path = table(tmp_path, CSV.splitlines()[0] + "\n" + rows)
    made = run_of_rows(read_csv(path), mapped(arm="all"))
    summary = derive_summary(made.manifest, made.records)
    assert [c.code for c in summary.verdict.caveats] == ["imported", "single-launch"]
    assert summary.verdict.state == "valid"
    assert made.manifest.started > "2026", "a table without instants is dated by its import"


def test_every_command_can_show_it(tmp_path):
    run = load_run(import_table(table(tmp_path), mapped(), out=tmp_path / "run"))
    for exporter in (metrics_json, comparison, csv_calls):
        out = io.BytesIO()
        exporter.write(run, out)
        assert out.getvalue()
    again = derive_summary(run.manifest, run.records())
    assert msgspec.to_builtins(again) == msgspec.to_builtins(run.summary)


def test_json_rows_are_flattened(tmp_path):
    path = tmp_path / "r.json"
    path.write_text('{"data": {"rows": [{"a": {"b": 1.5}, "ok": true}, {"a": {"b": null}}]}}')
    found = read_json_rows(path, "data.rows")
    assert found.columns == ("a.b", "ok")
    assert [row.fields for row in found.rows] == [
        {"a.b": "1.5", "ok": "true"},
        {"a.b": "", "ok": ""},
    ]


def test_a_part_of_a_column_can_name_things(tmp_path):
    path = table(tmp_path, "path,x\nrun-fast/a=1,1\nrun-slow/a=1,2\n")
    mapping = mapping_from(
        {
            "name": "m",
            "arm": {"column": "path", "match": "^run-([^/]+)/"},
            "cell_name": {"column": "path", "match": "/(.+)$"},
            "metrics": {"x": {"column": "x", "unit": "1"}},
        }
    )
    made = run_of_rows(read_csv(path), mapping)
    assert made.manifest.plan == (("fast", "a=1", 0), ("slow", "a=1", 1))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"metrics": {}}, "$.metrics"),
        ({"metrcs": {}}, "try: metrics"),
        ({"trial": "runn"}, "try: run"),
        ({"metrics": {"x": {"column": "rte", "unit": "s"}}}, "$.metrics.x.column"),
        ({"metrics": {"x": {"column": "agent", "unit": "s"}}}, "'base' is no number"),
        ({"metrics": {"x": {"column": "rate", "unit": "s", "beter": "low"}}}, "try: better"),
        ({"metrics": {"x": {"column": "rate", "unit": "", "better": "low"}}}, "$.metrics.x.better"),
        ({"metrics": {"x": {"column": "rate", "unit": "s", "scale": 0}}}, "scale"),
        ({"where": {"agent": "nobody"}}, "not one of the 5 rows"),
        ({"where": {"agnt": "base"}}, "try: agent"),
        ({"baseline": "old"}, "one of: base, new"),
        ({"started": "agent"}, "no ISO 8601 instant"),
        ({"arm": {"column": "agent", "match": "("}}, "no regular expression"),
        ({"arm": {"column": "agent", "match": "x"}}, "does not match"),
        ({"cell_name": "agent", "cell": {"a": "run"}}, "has other factors"),
    ],
)  # fmt: skip
def test_mistakes_in_the_mapping_name_their_place(tmp_path, changes, says):
    with pytest.raises(SpecError) as raised:
        run_of_rows(read_csv(table(tmp_path)), mapped(**changes))
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "names the columns"),
        (b"a,a\n1,2\n", "two columns"),
        (b"a,b\n1\n", "line 2 has 1 fields"),
        (b"a,b\n1,2,3\n", "line 2 has 3 fields"),
        (b"a\n\xff\n", "byte 2 is not UTF-8"),
        (b'a\n"1\n', "line"),
    ],
)
def test_mistakes_in_the_table_name_their_line(tmp_path, content, says):
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=says):
        read_csv(path)
    with pytest.raises(StoreError):
        read_csv(tmp_path / "gone.csv")


@settings(max_examples=60)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_a_mistake(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("bytes")
    for name, read in (("x.csv", read_csv), ("x.json", read_json_rows)):
        path = folder / name
        path.write_bytes(content)
        try:
            found = read(path)
        except HarnessError:
            continue
        assert all(set(row.fields) == set(found.columns) for row in found.rows)


def test_hostile_names_stay_harmless(tmp_path):
    path = table(tmp_path, "agent,rate\n\x1b]0;owned\x07evil‮name,1\n")
    made = run_of_rows(
        read_csv(path),
        mapping_from(
            {
                "name": "m",
                "arm": {"column": "agent"},
                "metrics": {"x": {"column": "rate", "unit": "1"}},
            }
        ),
    )
    assert [arm for arm, _, _ in made.manifest.plan] == ["evilname"]
