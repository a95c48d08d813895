"""What chance leaves open where trials scatter by less, and what is said of figures without any."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from harness.compare import gate_status, parse_gate, parse_margin
from harness.compare.measured import measured
from harness.compare.recommend import recommend
from harness.compare.spread import answers_of, chance_variance, without_spread
from harness.metrics import summarise
from harness.schema import CallRecord, IterationRecord, MetricValue
from harness.statistics.contrasts import at_least, difference_bounds, moments, t_of_contrast
from tests.compare.runs import compare_one, effect, place, run_of
from tests.store.builders import FakeRun

FAST, SLOW = 50.0, 500.0


def goodput_run(good, of=20, trials=5):
    """`good`: arm → how many of the requests of each of its trials are good."""
    made = run_of({arm: [FAST] * trials for arm in good}, calls=of, spread_ms=0.0)

    def slow(record):
        index = int(record.call_id.rpartition(".")[2])
        late = index >= good[record.arm]
        first = record.instants.sent_ns + int((SLOW if late else FAST) * 1e6)
        return replace(record, instants=replace(record.instants, first_token_ns=first))

    records = [slow(one) if isinstance(one, CallRecord) else one for one in made.records()]
    manifest = replace(made.manifest, spec=replace(made.manifest.spec, slo={"ttft_ms": 100.0}))
    return FakeRun(manifest, records, made.summary)


def both(run, *gates, metric="goodput_share", **asked):
    found = compare_one(
        place(run), place(run, "chimera"), metrics=(metric,), gates=tuple(map(parse_gate, gates)),
        **asked,
    )  # fmt: skip
    return effect(found, metric), found


@pytest.mark.parametrize("metric", ["goodput_share", "slo.ttft_ms_share"])
def test_shares_without_scatter_are_not_certain(metric):
    """20 of 20 good in every trial against 19 of 20: together, Fisher's p is 0.06."""
    run = goodput_run({"baseline": 20, "chimera": 19})
    found, _ = both(run, metric=metric)
    assert found.difference == pytest.approx(-0.05)
    assert found.words == "no difference shown"
    assert 0.05 < found.p_welch < 0.5
    assert found.difference_low < -0.05 < 0 < found.difference_high
    many = goodput_run({"baseline": 20, "chimera": 4})
    found, _ = both(many, metric=metric)
    assert found.words == "worse"
    assert found.p_welch > 0
    assert -1.0 <= found.difference_low < -0.8 < found.difference_high < 0


def test_all_good_on_both_sides_may_still_hide_a_loss():
    run = goodput_run({"baseline": 20, "chimera": 20})
    found, whole = both(run, "goodput_share=1pp", "goodput_share=10pp")
    assert (found.words, found.difference) == ("no difference shown", 0)
    assert found.difference_high == -found.difference_low > 0.01
    assert [one.status for one in whole.gates] == ["not enough data", "no regression"]
    assert whole.gates[0].more_trials > 0
    close, _ = both(run, margins=(parse_margin("goodput_share=1pp"),))
    assert close.words == "no difference shown"
    wide, _ = both(run, margins=(parse_margin("goodput_share=10pp"),))
    assert wide.words == "equivalent"


def test_the_requests_are_those_that_goodput_counts():
    run = goodput_run({"baseline": 20, "chimera": 19})
    data = measured(run, [("chimera", "base")])["chimera", "base"]
    assert data.requests == dict.fromkeys(range(5), 20) == answers_of(data, "goodput_share")
    assert answers_of(data, "ttft_ms") is None
    calls = [r for r in run.records() if isinstance(r, CallRecord) and r.arm == "chimera"]
    iterations = [r for r in run.records() if isinstance(r, IterationRecord) and r.arm == "chimera"]
    slo = {"ttft_ms": 100.0}
    summary = {one.name: one for one in summarise(calls, iterations, slo=slo)}["goodput_share"]
    half = 1.96 * chance_variance(dict.fromkeys(range(5), 0.95), data.requests) ** 0.5
    assert half == pytest.approx((summary.ci_high - summary.ci_low) / 2, rel=0.2)


def test_the_error_of_chance_is_a_floor_and_no_more():
    rng = np.random.default_rng(1)
    a, b = rng.normal(1, 0.1, 5), rng.normal(1, 0.1, 5)
    for paired in (False, True):
        of = moments(a, b, paired=paired)
        assert at_least(of, None) is at_least(of, (0.0, 0.0)) is of
        same = at_least(of, (1e-12, 1e-12))
        assert t_of_contrast(same) == t_of_contrast(of)
        alike = moments(a, a + 0.01, paired=paired)
        wide = at_least(alike, (1e-3, 2e-3))
        low, high = difference_bounds(wide, 0.025, 0.025)
        error = (high - low) / 2 / (2.776 if paired else 2.306)
        assert error**2 >= 3e-3 * 0.98
    assert chance_variance({0: 0.5, 1: 0.5}, {0: 10, 1: 10}) == pytest.approx(0.25 / 20)
    assert chance_variance({0: 1.0}, None) == chance_variance({0: 1.0}, {}) == 0.0


def test_a_recommendation_has_the_same_floor():
    run = goodput_run({"baseline": 20, "chimera": 19})
    found = recommend(run, ["goodput_share"])
    assert {one.status for one in found.options} == {"recommended"}
    level = found.options[0].levels["goodput_share"]
    assert (round(level.low, 3), level.high) == (0.964, 1.0)
    assert recommend(goodput_run({"baseline": 20, "chimera": 4}), ["goodput_share"]).tests == 1


# ---- no spread at all


def constant(unit, values=(5.0, 6.0), trials=5):
    def own(record):
        if not isinstance(record, IterationRecord):
            return record
        value = values[record.arm == "chimera"]
        metric = MetricValue(name="mine", value=value, unit=unit, better="lower")
        return replace(record, metrics=(metric,))

    return run_of({"baseline": [50.0] * trials, "chimera": [50.0] * trials}, change=own)


@pytest.mark.parametrize("unit", ["ms", "s", "tok/s"])
def test_a_time_without_spread_is_nothing_to_infer_from(unit):
    found, whole = both(constant(unit), "mine=5%", metric="mine")
    assert (found.words, found.p_welch, found.difference_low) == ("not enough data", None, None)
    assert found.sentence == (
        "not enough data: all trials of a side have the very same figure, which times and rates "
        f"never have (copied, rounded, or not measured?); 6 against 5 {unit}"
    )
    assert whole.gates[0].sentence.startswith("mine: not enough data: all trials of a side")
    assert gate_status([whole]) == 2


def test_a_count_without_spread_is_what_it_is():
    found, whole = both(constant("tok"), "mine=5%", metric="mine")
    assert (found.words, found.p_welch) == ("worse", 0.0)
    assert found.sentence.endswith("by 20.0 % (95 % interval 20.0 to 20.0), 5 blocks")
    assert whole.gates[0].status == "regression"


def test_the_same_time_on_both_sides_is_no_difference():
    found, whole = both(constant("ms", (5.0, 5.0)), "mine=5%", metric="mine")
    assert found.sentence == "no difference shown: the same in all of 5 blocks"
    assert whole.gates[0].status == "no regression"
    assert not without_spread("ms", [5.0] * 4, [6.0] * 4)
    assert not without_spread("ms", [5.0] * 5, [6.0, 6.0, 6.0, 6.0, 6.1])


# ---- the benchmark


def test_with_the_floor_the_gate_seldom_passes_a_loss_of_the_margin():
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "shares.py"
    found = importlib.util.spec_from_file_location("shares_benchmark", path)
    shares = importlib.util.module_from_spec(found)
    sys.modules[found.name] = shares
    found.loader.exec_module(shares)
    row = shares.simulate(5, 20, 0.998, paired=False, rounds=4000, seed=1)
    assert row["scatter: missed loss"] > 0.08
    assert row["used: missed loss"] < 0.05
    assert row["used: false alarm"] <= 0.01
