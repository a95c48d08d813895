"""no-steady-state: fired by series that move, silent on those that settle or cannot tell."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from harness.engine.summary import derive_summary
from harness.schema import ClosedLoad, OpenLoad, Summary, ValiditySpec
from tests.store import builders
from tests.store.builders import manifest

ONE = ClosedLoad(concurrency=1, requests=80)


def scattered(levels_ms, share=0.02, seed=7):
    levels = np.asarray(levels_ms, dtype=float)
    return levels * (1 + share * np.random.default_rng(seed).standard_normal(levels.size))


def calls(ttfts_ms, *, trial=0, iteration=0, tpot_ms=10.0):
    """One after another, as they were sent."""
    tpots = np.broadcast_to(tpot_ms, len(ttfts_ms))
    return [
        builders.call(
            trial=trial,
            iteration=iteration,
            ordinal=i,
            sent_ms=1000 + 400 * i,
            ttft_ms=t,
            tpot_ms=p,
        )
        for i, (t, p) in enumerate(zip(ttfts_ms, tpots, strict=True))
    ]


def caveats(*groups, load=ONE, **changes):
    """Of one arm, a group of calls for each iteration."""
    spec = builders.spec(load=load, arms={}, **changes)
    planned = manifest(("baseline",), state="finished", plan=(("baseline", "base", 0),), spec=spec)
    records = [record for group in groups for record in (*group, builders.iteration(group))]
    summary = derive_summary(planned, [*records, builders.trial()])
    assert msgspec.json.decode(msgspec.json.encode(summary), type=Summary) == summary
    return [c for c in summary.verdict.caveats if c.code == "no-steady-state"]


RAMP = scattered(np.linspace(100, 900, 80))
FLAT = scattered(np.full(80, 100.0), 0.2)


def test_a_series_at_rest_is_steady():
    assert caveats(calls(FLAT)) == []


def test_a_queue_that_grows():
    load = OpenLoad(rate_per_s=5.0, requests=80)
    (caveat,) = caveats(calls(RAMP), load=load)
    assert (caveat.severity, caveat.arm) == ("doubtful", "baseline")
    assert caveat.message.startswith("no steady state: ttft_from_due_ms still rises from 5")
    assert caveat.message.endswith("ms over calls 41 to 80")
    assert caveat.remedy.startswith("a lower --rate: 5 requests per second were offered, and 2.4")
    (drift,) = caveat.evidence["drifts"]
    assert (drift["metric"], drift["kind"], drift["n"]) == ("ttft_from_due_ms", "trend", 80)
    assert drift["change_share"] == pytest.approx(0.8, abs=0.15)
    assert drift["t"] > drift["t_bound"]
    assert drift["mser5_keeps_from"] > 40


def test_a_warm_up_that_does_not_end():
    falling = calls(RAMP[::-1])
    (caveat,) = caveats(falling)
    assert "ttft_ms still falls from" in caveat.message
    assert caveat.remedy == "--requests 160"  # 41 warm-up iterations of 2 requests are no advice
    slots = ClosedLoad(concurrency=8, requests=80)
    assert caveats(falling, load=slots)[0].remedy == "--warmup 11, or --requests 160"


def test_a_level_that_jumps():
    tpots = scattered(np.where(np.arange(80) < 60, 10.0, 14.0))
    (caveat,) = caveats(calls(FLAT, tpot_ms=tpots))
    assert "tpot_ms jumps from 10" in caveat.message
    assert "at call 6" in caveat.message
    assert caveat.remedy.startswith("find what changed at that point")


def test_what_is_over_in_the_first_half_is_the_business_of_warm_ups():
    warm = np.concatenate([RAMP[:30][::-1] + 300, FLAT[:50]])
    assert caveats(calls(warm)) == []


@pytest.mark.parametrize("n", [20, 39])
def test_too_few_calls_say_nothing(n):
    assert caveats(calls(RAMP[:n])) == []


def test_a_closed_loop_needs_several_rounds_of_its_queue():
    slots = ClosedLoad(concurrency=16, requests=80)
    assert caveats(calls(RAMP), load=slots) == []


def test_the_last_calls_of_a_closed_loop_run_beside_empty_slots():
    drained = scattered(np.where(np.arange(80) < 73, 100.0, 30.0), 0.01)
    slots = ClosedLoad(concurrency=8, requests=80)
    assert caveats(calls(drained), load=slots) == []


def test_small_changes_are_none():
    little = calls(scattered(np.linspace(100, 115, 80), 0.001))
    assert caveats(little) == []  # 7 % in the second half
    strict = ValiditySpec(drift_share_max=0.05)
    assert len(caveats(little, validity=strict)) == 1
    short = calls(scattered(np.linspace(0.2, 0.8, 80)))  # by less than half a millisecond
    assert caveats(short) == []


def test_iterations_of_a_launch_are_taken_together():
    groups = [calls(scattered(np.linspace(100, 900, 80), 0.15, i), iteration=i) for i in range(4)]
    (caveat,) = caveats(*groups)
    assert caveat.evidence["drifts"][0]["series"] == 4


def test_failed_calls_have_no_figure():
    failed = [replace(c, status="error") if i % 2 else c for i, c in enumerate(calls(RAMP))]
    assert caveats(failed)[0].evidence["drifts"][0]["n"] == 40
    assert caveats([replace(c, status="error") for c in calls(RAMP)]) == []


def test_workflows_are_judged_by_the_time_of_an_iteration():
    walls = scattered(np.linspace(100, 300, 60))
    groups = [
        [builders.call(iteration=i, ordinal=i, sent_ms=1000 * (i + 1), ttft_ms=wall - 41)]
        for i, wall in enumerate(walls)
    ]
    (caveat,) = caveats(*groups, load=None)
    assert "wall_ms still rises from" in caveat.message
    assert "over iterations 31 to 60" in caveat.message
    assert caveat.remedy.startswith("--warmup 20, or")
    assert caveats(*groups[:39], load=None) == []
