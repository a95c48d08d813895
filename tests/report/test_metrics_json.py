"""metrics.json: figures that follow from records; and what is registered."""

from __future__ import annotations

import io

import pytest

import harness.report
from harness.host import Host
from harness.report import plots
from harness.report.aggregate import deltas
from harness.schema import MetricValue
from tests.report.rendering import document, markdown
from tests.store import builders
from tests.store.builders import FakeRun, manifest


def test_metrics_json_has_the_figures_of_the_records():
    found = document(builders.toy_run())
    assert found["run"]["run_id"] == "c0ffee12"
    assert found["verdict"]["state"] == "valid"
    baseline, chimera = found["arms"]
    assert (baseline["arm"], baseline["trials"], baseline["calls"]) == ("baseline", 2, {"ok": 4})
    ttft = baseline["aggregate_metrics"]["ttft_ms"]
    assert (ttft["n"], ttft["unit"], ttft["mean"], ttft["median"]) == (4, "ms", 51.5, 51.5)
    assert (ttft["p95"], ttft["needs"]["p95"]) == (None, 20)
    assert chimera["effective_configurations"][0]["context_length"] == 512
    assert len(chimera["effective_configurations"]) == 1


def test_metrics_json_lists_every_iteration():
    lines = document(builders.toy_run())["iterations"]
    assert [(x["arm"], x["trial"], x["phase"]) for x in lines[:3]] == [
        ("baseline", 0, "warmup"),
        ("baseline", 0, "measured"),
        ("chimera", 1, "warmup"),
    ]
    line = lines[1]
    assert (line["status"], line["planned_calls"], line["calls"]) == ("ok", 2, {"ok": 2})
    assert line["call_means"]["ttft_ms"] == 50.5
    assert line["figures"]["output_tokens"] == 10
    assert line["spans_ms"] == {"ingest": 5.0}


def test_a_difference_is_candidate_minus_baseline_and_says_so():
    (pair,) = document(builders.toy_run())["comparisons"]
    assert (pair["baseline"], pair["candidate"]) == ("baseline", "chimera")
    assert pair["sign"].startswith("differences are candidate - baseline: positive means that the")
    ttft = pair["metrics"]["ttft_ms"]
    assert ttft["median"] == 11.0
    assert ttft["median_percent"] == pytest.approx(100 * 11 / 51.5)
    assert ttft["favours"] == "baseline"
    rate = pair["metrics"]["throughput_tok_s"]
    assert rate["mean"] < 0
    assert rate["favours"] == "baseline"


def test_the_baseline_is_the_arm_of_that_name_else_the_first_in_the_spec():
    for arms, expected in ((("chimera", "baseline"), "baseline"), (("zeta", "alpha"), "zeta")):
        run = FakeRun(manifest(arms=arms, state="finished"), builders.records(arms))
        assert [pair.baseline.arm for pair in deltas(run.summary)] == [expected]


def test_a_difference_of_percentages_is_in_percentage_points():
    records = []
    for number, (arm, value) in enumerate((("baseline", 40.0), ("chimera", 42.5))):
        calls = [builders.call(arm=arm, trial=number)]
        own = (MetricValue(name="wrong_claims", value=value, unit="%"),)
        records += [*calls, builders.iteration(calls, metrics=own), builders.trial(arm, number)]
    run = FakeRun(manifest(state="finished"), records)
    delta = document(run)["comparisons"][0]["metrics"]["wrong_claims"]
    assert (delta["median"], delta["difference_unit"]) == (2.5, "percentage points")
    assert delta["median_percent"] is None
    assert "+2.500 percentage points |" in markdown(run)


def test_calls_of_an_unfinished_iteration_are_listed_as_such():
    records = builders.records()
    cut = FakeRun(manifest(state="interrupted"), records[:5])  # mid in the measured iteration
    line = document(cut)["iterations"][-1]
    assert (line["status"], line["planned_calls"], line["calls"]) == ("unfinished", None, {"ok": 2})


def test_calls_recorded_behind_their_iteration_are_counted_with_it():
    call, lost = builders.call(), builders.failed("not_sent", "scenario", ordinal=1)
    records = [call, builders.iteration([call], planned_calls=2, status="error"), lost]
    (line,) = document(FakeRun(manifest(), records))["iterations"]
    assert line["calls"] == {"ok": 1, "not_sent": 1}


def test_all_exporters_are_registered_by_the_hook(monkeypatch):
    monkeypatch.setattr(plots, "figures_for", lambda run, **more: [])  # drawing takes seconds
    host = Host()
    assert host.add("report", harness.report)
    assert {entry.name: entry.automatic for entry in host.exporters} == {
        "jsonl": None,
        "chunks": None,
        "csv": "calls.csv",
        "cells.csv": "cells.csv",
        "parquet": None,
        "parquet-iterations": None,
        "html": None,
        "metrics.json": "metrics.json",
        "multi_metrics.json": None,
        "comparison_report.md": "comparison_report.md",
        "scaling_comparison.csv": "scaling_comparison.csv",
        "scaling_comparison.json": "scaling_comparison.json",
    }
    run = builders.toy_run()
    for entry in host.exporters:
        out = io.BytesIO()
        entry.factory(run, out)
        assert out.getvalue(), entry.name


def test_registering_imports_no_heavy_package():
    import subprocess
    import sys

    check = (
        "import sys, harness.report; "
        "print([m for m in ('numpy', 'rich', 'scipy', 'harness.metrics') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
