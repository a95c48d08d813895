"""Adaptive stopping: how many trials each place needs, from records alone."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.engine import spec_from
from harness.engine.checks import unknown_metric
from harness.engine.stopping import LOOK_FROM, LOOKS_NEEDED, StoppingRule, relative_width
from harness.engine.summary import derive_summary
from harness.schema import MetricValue, TrialRecord
from tests.store import builders

LEAST = LOOK_FROM + LOOKS_NEEDED - 1


def spec(cap=12, width=0.05, trials=1, arms=("a", "b"), **changes):
    return spec_from(
        {
            "backend": {"name": "scripted"},
            "scenario": {"name": "told"},
            "arms": {arm: {} for arm in arms},
            "trials": trials,
            "load": {"requests": 1},
            "stop": {"metric": "ttft_ms", "relative_width_max": width, "trials_max": cap},
            **changes,
        }
    )


def plan(places, cap=12):
    return [
        (arm, cell, block * len(places) + index)
        for block in range(cap)
        for index, (arm, cell) in enumerate(places)
    ]


def trial(entry, ttft_ms, status="ok"):
    arm, cell, number = entry
    made = []
    if ttft_ms is not None:
        call = builders.call(arm=arm, trial=number, ttft_ms=ttft_ms, cell=cell)
        made = [call, builders.iteration([call])]
    return [*made, builders.trial(arm, number, cell=cell, status=status)]


def feed(rule, entries, value):
    for entry in entries:
        for record in trial(entry, value(entry)):
            rule.see(record)


ONE_CELL = [("a", "base"), ("b", "base")]


def test_a_steady_cell_needs_the_looks_and_no_more():
    entries = plan(ONE_CELL)
    rule = StoppingRule(spec(), {}, entries)
    for block in range(LEAST):
        assert rule.needed("base") == min(12, block + 1)
        assert not rule.is_over("base")
        feed(rule, entries[2 * block : 2 * block + 2], lambda entry: 50 + entry[2] % 2)
    assert rule.needed("base") == LEAST
    assert rule.is_over("base")
    decision = rule.decision("base")
    assert (decision.decision, decision.trials) == ("reached", LEAST)
    assert set(decision.relative_widths) == {"a", "b"}
    assert rule.reason("base").startswith(f"after {LEAST} trials ttft_ms is known to ±0.00%")


def test_all_arms_of_a_cell_go_on_for_the_noisiest():
    rng = random.Random(5)
    entries = plan(ONE_CELL)
    rule = StoppingRule(spec(), {}, entries)
    feed(rule, entries, lambda e: 50.0 if e[0] == "a" else rng.uniform(20, 80))
    decision = rule.decision("base")
    assert (decision.decision, decision.trials) == ("cap", 12)
    assert decision.relative_widths["a"] == pytest.approx(0)
    assert decision.relative_widths["b"] > 0.05


def test_at_the_cap_one_look_does():
    entries = plan(ONE_CELL, cap=5)
    rule = StoppingRule(spec(cap=5), {}, entries)
    feed(rule, entries, lambda entry: 50.0)
    assert rule.decision("base").decision == "reached"


def test_an_arm_that_is_not_swept_runs_beside_every_cell():
    cells = {"n=1": {"backend.options.n": 1}, "n=2": {"backend.options.n": 2}}
    places = [("still", "base"), ("a", "n=1"), ("a", "n=2")]
    asked = spec(arms=("still", "a"))
    rule = StoppingRule(asked, cells, entries := plan(places))
    rng = random.Random(7)
    noisy = {entry[2]: rng.uniform(30, 70) for entry in entries}
    feed(rule, entries[: 3 * LEAST], lambda e: noisy[e[2]] if e[1] == "n=2" else 50.0)
    assert rule.needed("n=1") == LEAST
    assert rule.needed("n=2") == LEAST + 1
    assert rule.needed("base") == LEAST + 1
    assert rule.is_over("n=1")
    assert not rule.is_over("base")
    rest = [e for e in entries[3 * LEAST :] if e[1] != "n=1"]
    feed(rule, rest, lambda e: noisy[e[2]] if e[1] == "n=2" else 50.0)
    assert [(d.cell, d.trials, d.decision) for d in rule.decisions()] == [
        ("base", 12, "reached"),
        ("n=1", LEAST, "reached"),
        ("n=2", 12, "cap"),
    ]


def test_failed_trials_count_as_made_and_not_as_measured():
    entries = plan(ONE_CELL, cap=12)
    rule = StoppingRule(spec(), {}, entries)
    for entry in entries:
        if entry[0] == "a" or entry[2] % 4 == 1:
            records = trial(entry, 50.0 + entry[2] / 100)
        else:
            records = trial(entry, None, status="error")
        for record in records:
            rule.see(record)
    decision = rule.decision("base")
    assert decision.relative_widths["b"] is not None
    assert decision.decision == "reached"
    assert decision.trials > LEAST, "before, b had fewer than five trials with a figure"


def test_an_interrupted_trial_has_not_been_made():
    entries = plan(ONE_CELL)
    rule = StoppingRule(spec(), {}, entries)
    feed(rule, entries[:2], lambda entry: 50.0)
    for record in trial(entries[2], 50.0, status="cancelled"):
        rule.see(record)
    assert rule.needed("base") == 2


@pytest.mark.parametrize("order", ["forward", "arm by arm"])
def test_the_summary_decides_as_the_schedule_did(order):
    """In whatever order the records of different trials come."""
    rng = random.Random(3)
    entries = plan(ONE_CELL)
    values = {entry: 50 * rng.lognormvariate(0, 0.05) for entry in entries}
    groups = [trial(entry, values[entry]) for entry in entries]
    if order == "arm by arm":
        groups.sort(key=lambda group: group[0].arm)
    rule = StoppingRule(spec(), {}, entries)
    records = [record for group in groups for record in group]
    for record in records:
        rule.see(record)
    manifest = builders.manifest(("a", "b"), spec=spec(), plan=tuple(entries), state="finished")
    summary = derive_summary(manifest, records)
    assert summary.stopping == rule.decisions()
    assert summary.arms[0].trials == 12


def test_what_was_skipped_is_accounted_for():
    entries = plan(ONE_CELL)
    records = [r for e in entries[: 2 * LEAST] for r in trial(e, 50.0)]
    records += [
        TrialRecord(arm=a, cell=c, trial=n, status="skipped", start_ns=1, end_ns=1)
        for a, c, n in entries[2 * LEAST :]
    ]
    manifest = builders.manifest(("a", "b"), spec=spec(), plan=tuple(entries), state="finished")
    summary = derive_summary(manifest, records)
    assert [(arm.trials, arm.skipped) for arm in summary.arms] == [(LEAST, 12 - LEAST)] * 2
    codes = {caveat.code for caveat in summary.verdict.caveats}
    assert not codes & {"unbalanced", "incomplete", "config-not-effective", "failures"}
    interrupted = derive_summary(manifest, records, state="interrupted")
    (caveat,) = [c for c in interrupted.verdict.caveats if c.code == "incomplete"]
    assert caveat.evidence["trials_ended"] == len(entries)


def test_a_metric_that_no_trial_had_is_named_with_those_that_there_are():
    """What a workflow reports is known only when it ran; a typo goes on to the last trial."""
    asked = {"stop": {"metric": "right_shar", "trials_max": 5}, "load": None}
    entries = plan([("a", "base")], cap=5)
    records = []
    for arm, cell, number in entries:
        call = builders.call(arm=arm, trial=number, cell=cell)
        own = MetricValue(name="right_share", value=0.5 + number / 100, unit="share")
        records += [call, builders.iteration([call], metrics=(own,)), builders.trial(arm, number)]
    of = spec(cap=5, arms=("a",), **asked)
    manifest = builders.manifest(("a",), spec=of, plan=tuple(entries), state="finished")
    caveats = derive_summary(manifest, records).verdict.caveats
    (caveat,) = [one for one in caveats if one.code == "not-narrow"]
    assert caveat.message.startswith(
        "no trial had a figure right_shar, so all 5 trials were made; there are span.ingest_ms, "
        "right_share"
    )
    assert caveat.remedy == "--set stop.metric=right_share"
    of = spec(cap=5, arms=("a",), **(asked | {"stop": {"metric": "ttft_ms", "trials_max": 5}}))
    manifest = builders.manifest(("a",), spec=of, plan=tuple(entries), state="finished")
    caveats = derive_summary(manifest, records).verdict.caveats
    assert not [c for c in caveats if "no trial had" in c.message]


def test_a_metric_that_may_be_the_scenarios_own_is_no_mistake_yet():
    known = {"stop": {"metric": "wall_s"}, "load": None}
    assert unknown_metric(spec(**known)) == ("wall_s", "wall_ms")
    assert unknown_metric(spec()) is None
    far = {"stop": {"metric": "zzz"}, "load": None}
    assert unknown_metric(spec(**far)) == ("zzz", None)


def test_a_width_needs_five_trials_and_a_mean():
    assert relative_width([50.0] * 4) is None
    assert relative_width([50.0, 51.0, 49.0, 50.0, None, 50.0]) == pytest.approx(0.0176, abs=1e-4)
    assert relative_width([-1.0, 1.0, -1.0, 1.0, 0.0]) is None


def benchmark():
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "stopping.py"
    found = importlib.util.spec_from_file_location("stopping_benchmark", path)
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module
    found.loader.exec_module(module)
    return module


def test_the_benchmark_simulates_the_rule_that_is_used():
    stopping = benchmark()
    means = 50 * (1 + 0.05 * 1.3 * np.random.default_rng(2).standard_normal((20, 20)))
    running, half = stopping.widths(means)
    simulated = stopping.stops_at(half / abs(running), stopping.USED).tolist()
    entries = plan([("a", "base")], cap=20)
    for row, trials in zip(means, simulated, strict=True):
        rule = StoppingRule(spec(cap=20, arms=("a",)), {}, entries)
        feed(rule, entries, lambda entry, row=row: row[entry[2]])
        assert rule.decision("base").trials == trials


def test_intervals_of_stopped_runs_hold_the_mean_in_93_of_100():
    stopping = benchmark()
    for kind in ("normal", "launches differ"):
        found = stopping.simulate(kind, 2.0, 30, 4000, 11)
        assert found["used"] > 0.93 - 3 * (0.93 * 0.07 / 4000) ** 0.5
        assert found["used"] > found["from 5, one look"]
