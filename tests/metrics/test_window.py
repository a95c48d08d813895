"""Spans of time: throughput, held windows, and the figures of an iteration."""

from __future__ import annotations

import heapq
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.metrics import (
    ITERATION_METRICS,
    IterationView,
    held_window_ns,
    requests_per_s,
    span_ns,
    throughput_tok_s,
)
from harness.schema import (
    ClosedLoad,
    Instants,
    OpenLoad,
)
from tests.metrics.records import (
    MS,
    call,
    iteration,
    plain,
)


def test_throughput_is_tokens_over_wall_time_and_not_a_sum_of_rates():
    calls = [plain(0, 1000), plain(0, 500), plain(500, 1000)]
    assert span_ns(calls) == (0, 1000 * MS)
    assert throughput_tok_s(calls) == 30.0
    assert requests_per_s(calls) == 3.0


def test_failed_calls_lengthen_the_span_and_add_no_tokens():
    calls = [plain(0, 1000), plain(0, 2000, status="timeout")]
    assert throughput_tok_s(calls) == 5.0
    assert requests_per_s(calls) == 0.5


def test_throughput_is_unknown_where_a_count_is():
    assert throughput_tok_s([plain(0, 1000), plain(0, 1000, tokens=None)]) is None
    assert throughput_tok_s([plain(0, 1000, status="error")]) is None
    assert throughput_tok_s([]) is None
    assert requests_per_s([]) is None
    assert throughput_tok_s([plain(0, 0)]) is None


def test_closed_loop_is_held_until_a_slot_stays_empty():
    #           slot 1: 0–400, 400–900;  slot 2: 0–600, 600–1000.  Nothing follows the call that
    #           ends at 900, so the load was two until then.
    calls = [plain(0, 400), plain(0, 600), plain(400, 900), plain(600, 1000)]
    assert held_window_ns(calls, ClosedLoad(concurrency=2, requests=4)) == (0, 900 * MS)
    # Of the last call's tokens three quarters came in the window: 10 + 10 + 10 + 7.5.
    assert throughput_tok_s(calls, (0, 900 * MS)) == pytest.approx(37.5 / 0.9)
    assert requests_per_s(calls, (0, 900 * MS)) == pytest.approx(3 / 0.9)


def test_a_load_that_was_never_reached_was_not_held():
    calls = [plain(0, 400), plain(0, 600)]
    assert held_window_ns(calls, ClosedLoad(concurrency=3)) is None
    assert held_window_ns([], ClosedLoad(concurrency=1)) is None
    assert held_window_ns([], OpenLoad(rate_per_s=1.0)) is None
    assert held_window_ns([plain(0, 400)], OpenLoad(rate_per_s=1.0)) is None


def test_calls_that_were_not_sent_took_no_slot():
    idle = call(status="not_sent", instants=Instants(due_ns=0, closed_ns=2000 * MS))
    calls = [plain(0, 400), plain(0, 600), idle]
    assert held_window_ns(calls, ClosedLoad(concurrency=2)) == (0, 400 * MS)


def test_open_loop_is_held_from_the_first_due_to_the_last():
    calls = [plain(0, 400), plain(100, 600), plain(200, 900)]
    assert held_window_ns(calls, OpenLoad(rate_per_s=10.0)) == (0, 200 * MS)


def test_tokens_in_a_window_go_by_the_chunks_that_arrived_in_it():
    #   content at 150, 170, 190, 215
    assert throughput_tok_s([call()], (0, 180 * MS)) == pytest.approx(2 / 0.18)
    assert throughput_tok_s([call()], (0, 100 * MS)) == 0.0
    assert throughput_tok_s([call()], (300 * MS, 400 * MS)) == 0.0


@given(st.integers(1, 6), st.lists(st.integers(1, 1000), min_size=1, max_size=40))
def test_held_window_equals_a_walk_over_the_slots(concurrency, durations):
    """A closed loop played through with a heap of slots, each noting when it stays empty."""
    slots = [0] * concurrency
    heapq.heapify(slots)
    calls = []
    for duration in durations:
        start = heapq.heappop(slots)
        calls.append(plain(start, start + duration))
        heapq.heappush(slots, start + duration)
    random.Random(0).shuffle(calls)
    window = held_window_ns(calls, ClosedLoad(concurrency=concurrency))
    if len(durations) < concurrency:
        assert window is None
    else:
        assert window == (0, min(slots) * MS)


@given(
    st.lists(
        st.tuples(st.integers(0, 1000), st.integers(1, 1000), st.integers(0, 50)),
        min_size=1,
        max_size=12,
    ),
    st.integers(1, 1999),
)
def test_windows_that_tile_the_span_hold_all_its_tokens(some, cut_ms):
    calls = [plain(start, start + length, tokens=n) for start, length, n in some]
    start_ns, end_ns = span_ns(calls)
    cut_ns = start_ns + (end_ns - start_ns) * cut_ms // 2000
    tiles = [w for w in itertools.pairwise((start_ns, cut_ns, end_ns)) if w[1] > w[0]]
    held = sum(throughput_tok_s(calls, tile) * (tile[1] - tile[0]) / 1e9 for tile in tiles)
    assert held == pytest.approx(sum(n for _, _, n in some))


def test_figures_of_an_iteration():
    calls = (plain(0, 400), plain(0, 600), plain(400, 900), plain(600, 1000))
    view = IterationView(record=iteration(), calls=calls, load=ClosedLoad(concurrency=2))
    found = {metric.name: metric.formula(view) for metric in ITERATION_METRICS}
    assert found == {
        "wall_ms": 1500.0,
        "throughput_tok_s": 40.0,
        "held_throughput_tok_s": pytest.approx(37.5 / 0.9),
        "requests_per_s": 4.0,
        "output_tokens": 40.0,
        "goodput_share": None,  # no SLO
        "goodput_per_s": None,
        "iteration_cost_usd": None,
        "cost_usd_per_1k_output_tokens": None,
    }


def test_a_workflow_offers_no_load_to_hold():
    view = IterationView(record=iteration(end_ns=-1), calls=(plain(0, 400, tokens=None),))
    found = {metric.name: metric.formula(view) for metric in ITERATION_METRICS}
    assert found.pop("requests_per_s") == 2.5
    assert set(found.values()) == {None}, "a wall time that ran backwards is unknown, too"
