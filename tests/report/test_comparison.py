"""The comparison report: its parts, honest words, and hostile text that stays text."""

from __future__ import annotations

import re

import msgspec
import pytest

from harness.compare import compare_arms
from harness.report.aggregate import deltas
from harness.report.figures import signed
from harness.schema import ArmSpec, CallError, CallRecord, IterationRecord, MetricValue, OpenLoad
from tests.report.rendering import document, many_trials, markdown, reading
from tests.store import builders
from tests.store.builders import FakeRun, manifest


def test_few_trials_get_no_words():
    few = "not enough data: 3 more trials each"
    assert reading(builders.toy_run(), "ttft_ms").startswith(few)
    assert reading(many_trials(100, trials=4), "ttft_ms").startswith(
        "not enough data: 1 more trial"
    )
    assert few in markdown(builders.toy_run())


def test_enough_trials_get_the_words_that_the_data_allow():
    assert reading(many_trials(0), "ttft_ms") == "no difference shown: the same in all of 5 blocks"
    slower = reading(many_trials(30), "ttft_ms")
    assert re.fullmatch(r"slower by 56\.1 % \(95 % interval [\d.]+ to [\d.]+\), 5 blocks", slower)
    assert reading(many_trials(-30), "ttft_ms").startswith("faster by 56.1 % (95 % interval")
    text = markdown(many_trials(30))
    assert "`ttft_ms` | +30 ms (+56.1 %) | baseline | slower by 56.1 % (95 % interval" in text
    assert "4 tests were made, and their p-values corrected for that number (Holm)." in text


def test_one_figure_stands_beside_its_sentence():
    """Trials of unequally many calls: the mean of all values is not the mean of trials."""
    run = many_trials(30)
    made = [one for one in run.records() if isinstance(one, CallRecord)]
    left_out = {one.call_id for one in made if one.trial == 8 and one.call_id[-1] != "0"}
    records = [
        msgspec.structs.replace(one, planned_calls=1)
        if isinstance(one, IterationRecord) and one.trial == 8
        else one
        for one in run.records()
        if getattr(one, "call_id", None) not in left_out
    ]
    run = FakeRun(run.manifest, records)
    (pair,) = deltas(run.summary, compare_arms(run))
    by_name = {delta.metric: delta for delta in pair.deltas}
    ttft, pooled = by_name["ttft_ms"], by_name["ttfa_ms"]
    assert (ttft.mean_of, pooled.mean_of) == ("trials", "values")
    assert ttft.mean == ttft.effect.difference != pytest.approx(pooled.mean, abs=0.1)
    assert ttft.mean_percent == pytest.approx(100 * ttft.effect.share)
    share = re.search(r"by ([\d.]+) %", ttft.reading).group(1)
    (row,) = re.findall(r"\| `ttft_ms` \| (\+30.*?)\n", markdown(run))
    assert row.startswith(f"+{signed(ttft.mean)[1:]} ms (+{signed(ttft.mean_percent, 3)[1:]} %) |")
    assert f"| baseline | slower by {share} % (95 % interval" in row
    assert "Δ of the means over trials" in markdown(run)


def test_shares_differ_by_percentage_points():
    records, plan = [], []
    for number in range(10):
        arm = ("baseline", "chimera")[number % 2]
        calls = [builders.call(arm=arm, trial=number, sent_ms=1000.0 * number)]
        own = MetricValue(name="right", value=0.5 + 0.25 * (number % 2), unit="share")
        records += [*calls, builders.iteration(calls, metrics=(own,)), builders.trial(arm, number)]
        plan.append((arm, "base", number))
    run = FakeRun(manifest(state="finished", plan=tuple(plan)), records)
    (pair,) = deltas(run.summary)
    (delta,) = [one for one in pair.deltas if one.metric == "right"]
    assert (delta.mean, delta.median, delta.difference_unit) == (25, 25, "percentage points")
    assert (delta.mean_percent, delta.median_percent) == (None, None)
    assert "| +25 percentage points |" in markdown(run)


def test_an_invalid_run_compares_nothing():
    run = many_trials(30)
    summary = msgspec.structs.replace(
        run.summary, verdict=msgspec.structs.replace(run.summary.verdict, state="invalid")
    )
    run.summary = summary
    assert reading(run, "ttft_ms") == ""
    assert "Nothing is said of differences: summary.verdict: figures of an invalid" in markdown(run)
    assert document(run)["comparisons"][0]["metrics"]["ttft_ms"]["mean"] == 30.0


def test_an_open_loop_s_report_begins_with_the_due_instant():
    run = many_trials(30)
    spec = msgspec.structs.replace(run.manifest.spec, load=OpenLoad(rate_per_s=5.0))
    run = FakeRun(msgspec.structs.replace(run.manifest, spec=spec), run.records())
    text = markdown(run)
    names = re.findall(r"^\| `(\w+)`", text.partition("## Aggregate")[2], re.M)
    assert names[:2] == ["ttft_from_due_ms", "tpot_ms"]
    assert "An open loop: latencies from the due instant come first" in text
    assert "| ok / planned | TTFT from due | TPOT | E2E from due |" in text
    (pair,) = deltas(run.summary, compare_arms(run))
    words = [delta.metric for delta in pair.deltas if delta.reading]
    assert sorted(words) == ["e2e_from_due_ms", "throughput_tok_s", "tpot_ms", "ttft_from_due_ms"]
    assert document(run)["run"]["load_mode"] == "open"


def test_the_report_says_what_its_intervals_were_drawn_from():
    over_trials = markdown(many_trials(0))
    assert "bootstrap over trials: trials are drawn with replacement, then values" in over_trials
    assert "within this launch" not in over_trials
    calls = [builders.call(ordinal=i, sent_ms=200 * i, ttft_ms=50 + i) for i in range(20)]
    records = [*calls, builders.iteration(calls), builders.trial()]
    plan = (("baseline", "base", 0),)
    one = markdown(FakeRun(manifest(("baseline",), state="finished", plan=plan), records))
    assert "over calls: calls of the one iteration are drawn; another launch may differ" in one
    assert re.search(r"`ttft_ms` .* 59.50, [\d.]+ … [\d.]+ within this launch, n = 20", one)
    assert "Means of fewer than 5 iterations have none." in one
    ttft = document(many_trials(0))["arms"][0]["aggregate_metrics"]["ttft_ms"]
    assert ttft["ci_of"] == "trials"


def test_many_values_of_one_launch_get_no_words():
    run = many_trials(30, trials=1)
    assert reading(run, "ttft_ms") == (
        "not enough data: 4 more trials each (4 values of one launch say nothing of the next)"
    )


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
        "| `ttft_ms` (lower is better) | 51.50 (mean 51.50, — (needs 5 trials), n = 4) "
        "| 62.50 (mean 62.50, — (needs 5 trials), n = 4) | +11 ms (+21.4 %) |"
    ) in text
    assert "| 1 | 0 | chimera | ok | 2 / 2 | 61.50 | 10 | 102.5 | 33.00 | 10 | 304 |" in text
    assert "Nothing: the arms had the same effective configuration." in text
    assert "| `context_length` | `512` |" in text
    assert "| Stamp source of the first token | kernel: 8 calls |" in text
    assert "Remedy: --runs 10." in text
    assert "Means of fewer than 5 trials have none. SD is spread" in text


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
