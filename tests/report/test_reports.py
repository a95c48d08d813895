"""metrics.json and the comparison report: figures that follow from records, and honest words."""

from __future__ import annotations

import io
import json
import re

import msgspec
import pytest

import harness.report
from harness.host import Host
from harness.report import comparison, metrics_json
from harness.report.aggregate import deltas
from harness.schema import ArmSpec, CallError, MetricValue
from tests.store import builders
from tests.store.builders import FakeRun, manifest


def markdown(run) -> str:
    out = io.BytesIO()
    comparison.write(run, out)
    return out.getvalue().decode()


def document(run) -> dict:
    out = io.BytesIO()
    metrics_json.write(run, out)
    return json.loads(out.getvalue())


def many_trials(shift_ms: float, trials: int = 5) -> FakeRun:
    """Launches that differ by a few ms, and arms that differ by `shift_ms`."""
    arms = ("baseline", "chimera")
    records, plan = [], []
    for number in range(2 * trials):
        arm = arms[number % 2]
        ttft = 50 + number // 2 + (shift_ms if arm == "chimera" else 0)
        calls = [
            builders.call(
                arm=arm,
                trial=number,
                ordinal=i,
                sent_ms=1000 * number + 200 * i,
                ttft_ms=ttft + i,
                tokens=6,
            )
            for i in range(4)
        ]
        records += [*calls, builders.iteration(calls), builders.trial(arm, number)]
        plan.append((arm, "base", number))
    return FakeRun(manifest(state="finished", plan=tuple(plan)), records)


def reading(run, name: str) -> str:
    (pair,) = deltas(run.summary)
    return next(delta.reading for delta in pair.deltas if delta.metric == name)


# ------------------------------------------------------------------------------------- metrics.json


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


# --------------------------------------------------------------------------------------- readings


def test_few_trials_get_no_words():
    assert reading(builders.toy_run(), "ttft_ms") == "not enough data for a verdict"
    assert reading(many_trials(100, trials=4), "ttft_ms") == "not enough data for a verdict"
    assert "not enough data for a verdict" in markdown(builders.toy_run())


def test_enough_trials_get_the_words_that_their_intervals_allow():
    overlap = "no difference shown: the intervals overlap"
    assert reading(many_trials(0), "ttft_ms") == overlap
    assert reading(many_trials(1), "ttft_ms") == overlap
    higher = "candidate higher: the intervals do not overlap"
    assert reading(many_trials(30), "ttft_ms") == higher
    assert reading(many_trials(-30), "ttft_ms") == higher.replace("higher", "lower")


def test_an_invalid_run_compares_nothing():
    run = many_trials(30)
    summary = msgspec.structs.replace(
        run.summary, verdict=msgspec.structs.replace(run.summary.verdict, state="invalid")
    )
    run.summary = summary
    assert reading(run, "ttft_ms") == "none: the run is invalid"


# ------------------------------------------------------------------------------ comparison report


def test_the_report_has_its_parts_in_order():
    text = markdown(builders.toy_run())
    assert re.findall(r"^##? .*$", text, re.MULTILINE) == [
        "# Comparison report: toy run",
        "## Verdict: valid",
        "## Aggregate performance",
        "## Every figure",
        "## Run by run",
        "## Configuration",
        "## How it was measured",
    ]
    assert (
        "| `ttft_ms` (lower is better) | 51.50 (mean 51.50, 50.25 … 52.75, n = 4) "
        "| 62.50 (mean 62.50, 61.25 … 63.75, n = 4) | +11 ms (+21.4 %) |"
    ) in text
    assert "| 1 | 0 | chimera | ok | 2 / 2 | 61.50 | 10 | 102.5 | 33.00 | 10 | 304 |" in text
    assert "Nothing: the arms had the same effective configuration." in text
    assert "| `context_length` | `512` |" in text
    assert "| Stamp source of the first token | kernel: 8 calls |" in text
    assert "Remedy: more requests, iterations or trials." in text


def test_every_table_is_rectangular():
    rows: list[int] = []
    for line in [*markdown(builders.toy_run()).splitlines(), ""]:
        if line.startswith("|"):
            rows.append(len(re.findall(r"(?<!\\)\|", line)))
        elif rows:
            assert len(set(rows)) == 1
            rows = []


def test_one_arm_is_reported_and_compared_with_nothing():
    run = FakeRun(manifest(arms=("only",), state="finished"), builders.records(("only",)))
    text = markdown(run)
    assert "| Metric | only |" in text
    assert "Δ" not in text
    assert document(run)["comparisons"] == []


def test_a_run_without_calls_is_reported_without_figures():
    run = FakeRun(manifest(state="failed", error="no server"), [])
    text = markdown(run)
    assert "## Verdict: invalid" in text
    assert "| Error | no server |" in text
    assert "No figure was measured." in text
    assert "unknown: no trial of this arm ended" in text


def test_the_configuration_shows_first_what_the_arms_differ_in():
    effective = msgspec.structs.replace(builders.trial().effective, size_vram_bytes=0)
    found = {
        0: effective,
        1: msgspec.structs.replace(effective, context_length=4096, options={"num_ctx": 4096}),
        2: msgspec.structs.replace(effective, unknown={"layers_on_gpu": "not told"}),
        3: msgspec.structs.replace(effective, context_length=8192, options={"num_ctx": 4096}),
    }
    records = [
        msgspec.structs.replace(r, effective=found[r.trial]) if hasattr(r, "effective") else r
        for r in builders.records()
    ]
    differ, _, alike = markdown(FakeRun(manifest(state="finished"), records)).partition(
        "### What they have in common"
    )
    assert "| `options.num_ctx` | `512` | `4096` |" in differ
    assert "| `context_length` | `512` | `4096` (trial 1); `8192` (trial 3) |" in differ
    assert "| `layers_on_gpu` | — (trial 0); unknown: not told (trial 2) | — |" in differ
    assert '| `server_version` | `"1.2"` |' in alike
    assert "| `size_vram_bytes` | `0` |" in alike


def test_a_simulation_is_marked_at_the_top():
    simulated = msgspec.structs.replace(builders.trial().effective, simulated=True)
    records = [
        msgspec.structs.replace(record, effective=simulated)
        if hasattr(record, "effective")
        else record
        for record in builders.records()
    ]
    run = FakeRun(manifest(state="finished"), records)
    assert "> **SIMULATED.**" in markdown(run).split("##")[0]
    assert document(run)["arms"][0]["aggregate_metrics"]["ttft_ms"]["provenance"] == "simulated"


def test_hostile_text_stays_text():
    evil = "<script>alert(1)</script> | [x](http://e) ` \x1b[31m \u202e"
    arms = {"baseline": ArmSpec(notes=evil), evil: ArmSpec()}
    names = tuple(arms)
    records = builders.records(names)
    error = CallError(code="scenario", message=evil)
    records[3] = msgspec.structs.replace(records[3], error=error, status="error")
    effective = msgspec.structs.replace(
        builders.trial().effective, model=evil, options={evil: evil}, unknown={evil: evil}
    )
    records = [
        msgspec.structs.replace(r, effective=effective) if hasattr(r, "effective") else r
        for r in records
    ]
    base = manifest(arms=names, state="finished", name=evil)
    spec = msgspec.structs.replace(base.spec, arms=arms)
    text = markdown(FakeRun(msgspec.structs.replace(base, spec=spec), records))
    outside_code = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text)
    assert "<script" not in outside_code
    assert not re.search(r"(?<!\\)\]\(", outside_code)
    assert "\x1b" not in text
    assert "\u202e" not in text


# ------------------------------------------------------------------------------------ registration


def test_all_exporters_are_registered_by_the_hook():
    host = Host()
    assert host.add("report", harness.report)
    assert {entry.name: entry.automatic for entry in host.exporters} == {
        "jsonl": None,
        "chunks": None,
        "csv": "calls.csv",
        "metrics.json": "metrics.json",
        "comparison_report.md": "comparison_report.md",
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
