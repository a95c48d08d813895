"""Where the measured series would have the warm-up end."""

from __future__ import annotations

import random

from harness.engine.warmup import warmup_hints
from harness.schema import ClosedLoad, OpenLoad
from tests.store import builders
from tests.store.builders import MS

LOAD = ClosedLoad()


def calls(ttfts, **where):
    return [
        builders.call(ordinal=n, sent_ms=1000 + 300 * n, ttft_ms=ms, **where)
        for n, ms in enumerate(ttfts)
    ]


def settling(seed=0, n=60, first=10):
    rng = random.Random(seed)
    return [rng.gauss(150 if k < first else 50, 2) for k in range(n)]


def test_a_transient_at_the_beginning_is_found():
    ttft, tpot = warmup_hints(calls(settling()), [], LOAD)
    assert (ttft.metric, ttft.of, ttft.n, ttft.series) == ("ttft_ms", "calls", 60, 1)
    assert ttft.keep_from == 10
    assert ttft.mean > 60 > ttft.mean_kept > 48
    assert tpot.metric == "tpot_ms"


def test_order_is_that_of_sending():
    made = calls(settling())
    assert warmup_hints(made[::-1], [], LOAD) == warmup_hints(made, [], LOAD)


def test_iterations_are_averaged_by_position():
    made = [c for i in range(4) for c in calls(settling(seed=i), iteration=i)]
    short = calls(settling(n=30), iteration=9)
    ttft, _ = warmup_hints([*made, *short], [], LOAD)
    assert (ttft.series, ttft.n, ttft.keep_from) == (4, 60, 10)


def test_too_short_to_tell():
    ttft, _ = warmup_hints(calls(settling(n=12)), [], LOAD)
    assert (ttft.keep_from, ttft.mean_kept) == (None, None)
    ttft, _ = warmup_hints(calls(settling(first=35)), [], LOAD)
    assert ttft.keep_from is None, "a cut in the second half is none"


def test_an_open_loop_is_read_from_the_due_instant():
    ttft, _ = warmup_hints(calls(settling()), [], OpenLoad(rate_per_s=1))
    assert ttft.metric == "ttft_from_due_ms"


def test_of_a_workflow_it_is_the_iterations():
    made = [
        builders.iteration(calls([50]), iteration=n, start_ns=0, end_ns=round(ms) * MS)
        for n, ms in enumerate(settling())
    ]
    (wall,) = warmup_hints(calls(settling()), made, None)
    assert (wall.metric, wall.of, wall.keep_from) == ("wall_ms", "iterations", 10)


def test_nothing_measured_says_nothing():
    assert warmup_hints([], [], LOAD) == ()
    assert warmup_hints([], [], None) == ()
    failed = [builders.failed(ordinal=n) for n in range(40)]
    assert warmup_hints(failed, [], LOAD) == ()
