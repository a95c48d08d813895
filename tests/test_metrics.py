"""Metrics: every formula on a record whose answer is known by hand, and what must stay unknown."""

from __future__ import annotations

import heapq
import itertools
import math
import random
import subprocess
import sys
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import SpecError
from harness.metrics import (
    CALL_METRICS,
    ITERATION_METRICS,
    IterationView,
    call_metric,
    held_window_ns,
    inter_chunk_ns,
    iteration_metric,
    itl_ns,
    itl_unknown_because,
    requests_per_s,
    span_ns,
    summarise,
    throughput_tok_s,
)
from harness.schema import (
    CallRecord,
    ChunkColumns,
    ChunkKind,
    ClosedLoad,
    Instants,
    IterationRecord,
    MetricValue,
    OpenLoad,
    Span,
    Usage,
)

MS = 1_000_000
relaxed = settings(deadline=None)

A, R, E = ChunkKind.ANSWER, ChunkKind.REASONING, ChunkKind.EMPTY


def columns(arrivals_ms, kinds) -> ChunkColumns:
    return ChunkColumns(
        count=len(kinds),
        arrival_ns=np.array([round(ms * MS) for ms in arrivals_ms], "<i8").tobytes(),
        lag_ns=bytes(4 * len(kinds)),
        size=bytes(4 * len(kinds)),
        kind=bytes(kinds),
    )


def call(**changes: Any) -> CallRecord:
    """Due at 100 ms, sent 0.5 ms late; reasoning at 150, answers at 170, 190, 215, end at 216."""
    base: dict[str, Any] = {
        "call_id": "0000.m0.00000",
        "arm": "a",
        "cell": "c",
        "trial": 0,
        "iteration": 0,
        "phase": "measured",
        "status": "ok",
        "instants": instants(),
        "usage": Usage(prompt_tokens=40, output_tokens=4),
        "chunks": columns([145, 150, 170, 190, 215, 216], [E, R, A, A, A, E]),
        "content_chunks": 4,
        "client_lag_p50_ns": 12_000,
        "client_lag_p99_ns": 30_500,
        "client_lag_max_ns": 31_000,
    }
    return CallRecord(**(base | changes))


def instants(**changes: Any) -> Instants:
    base = {
        "due_ns": 100 * MS,
        "sent_ns": 100 * MS + MS // 2,
        "headers_ns": 140 * MS,
        "first_byte_ns": 145 * MS,
        "first_chunk_ns": 145 * MS,
        "first_token_ns": 150 * MS,
        "first_answer_ns": 170 * MS,
        "last_token_ns": 215 * MS,
        "end_ns": 216 * MS,
        "closed_ns": 216 * MS,
    }
    return Instants(**(base | changes))


OLLAMA = {
    "total_duration": 115 * MS,
    "load_duration": 10 * MS,
    "prompt_eval_count": 40,
    "prompt_eval_duration": 20 * MS,
    "eval_count": 4,
    "eval_duration": 60 * MS,
}
LLAMACPP = {
    "timings": {
        "cache_n": 10,
        "prompt_n": 30,
        "prompt_ms": 25.0,
        "predicted_n": 4,
        "predicted_ms": 64.0,
    }
}


def value(name: str, record: CallRecord) -> float | None:
    return call_metric(name).formula(record)


def values(record: CallRecord) -> dict[str, float | None]:
    return {metric.name: metric.formula(record) for metric in CALL_METRICS}


# ----------------------------------------------------------------------------------- one definition


def test_every_metric_is_defined_once_in_one_sentence_with_its_unit():
    metrics = [*CALL_METRICS, *ITERATION_METRICS]
    names = [metric.name for metric in metrics]
    assert len(set(names)) == len(names)
    suffixes = {
        "ms": "_ms",
        "us": "_us",
        "tok/s": "_tok_s",
        "req/s": "_per_s",
        "chunks/tok": "_ratio",
        "tok": "_tokens",
    }
    for metric in metrics:
        assert metric.name.endswith(suffixes[metric.unit]), metric.name
        assert metric.definition.endswith(".")
        assert ". " not in metric.definition, "one sentence"
    assert {metric.level for metric in CALL_METRICS} == {"call"}
    assert {metric.level for metric in ITERATION_METRICS} == {"iteration"}


def test_a_name_that_is_not_there_gets_the_nearest_one():
    with pytest.raises(SpecError, match=r"no metric 'ttft'.*try: ttft_ms"):
        call_metric("ttft")
    with pytest.raises(SpecError, match="one of wall_ms"):
        iteration_metric("xyzzy")


def test_importing_the_package_loads_no_numpy():
    code = "import harness.metrics, sys; print('numpy' in sys.modules, 'scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


# -------------------------------------------------------------------------------- one call, by hand


def test_stamps_give_what_the_client_saw():
    found = values(call())
    assert found["ttft_ms"] == 49.5
    assert found["ttft_from_due_ms"] == 50.0
    assert found["ttfa_ms"] == 69.5
    assert found["e2e_ms"] == 115.5
    assert found["e2e_from_due_ms"] == 116.0
    assert found["send_lag_ms"] == 0.5
    assert found["tpot_ms"] == pytest.approx(65 / 3)
    assert found["decode_rate_client_tok_s"] == pytest.approx(3 / 0.065)
    assert found["inter_chunk_p50_ms"] == 20.0
    assert found["inter_chunk_max_ms"] == 25.0
    assert found["itl_p50_ms"] == 20.0
    assert found["batch_ratio"] == 1.0
    assert found["client_lag_p50_us"] == 12.0
    assert found["client_lag_p99_us"] == 30.5
    assert found["client_lag_max_us"] == 31.0


def test_without_server_figures_its_metrics_are_unknown():
    from_server = {m.name for m in CALL_METRICS if m.provenance == "declared"}
    found = values(call())
    assert {name for name, figure in found.items() if figure is None} == from_server | {
        "queue_residual_ms"
    }


def test_ollamas_account():
    found = values(call(server=OLLAMA))
    assert found["server_load_ms"] == 10.0
    assert found["server_prompt_ms"] == 20.0
    assert found["queue_residual_ms"] == pytest.approx(49.5 - 10 - 20)
    assert found["decode_rate_server_tok_s"] == pytest.approx(4 / 0.060)
    assert found["decode_rate_server_n1_tok_s"] == pytest.approx(3 / 0.060)
    assert found["ttft_load_plus_prompt_eval_ms"] == 30.0
    assert found["ttft_prompt_eval_ms"] == 20.0


def test_llamacpps_account():
    found = values(call(server=LLAMACPP))
    assert found["server_load_ms"] is None
    assert found["server_prompt_ms"] == 25.0
    assert found["queue_residual_ms"] == pytest.approx(49.5 - 25)
    assert found["decode_rate_server_tok_s"] == pytest.approx(4 / 0.064)
    assert found["decode_rate_server_n1_tok_s"] == pytest.approx(3 / 0.064)
    assert found["prefill_rate_tok_s"] == pytest.approx(30 / 0.025)
    assert found["ttft_load_plus_prompt_eval_ms"] is None
    assert found["ttft_prompt_eval_ms"] is None


@pytest.mark.parametrize(
    ("cached", "expected"), [(None, None), (7, None), (0, pytest.approx(40 / 0.020))]
)
def test_ollamas_prefill_rate_needs_to_know_that_nothing_was_cached(cached, expected):
    usage = Usage(prompt_tokens=40, cached_tokens=cached, output_tokens=4)
    assert value("prefill_rate_tok_s", call(server=OLLAMA, usage=usage)) == expected


def test_the_residual_keeps_its_sign():
    """To drop what clocks disagree by would bias the mean of those that wait for nothing."""
    timings = {"timings": LLAMACPP["timings"] | {"prompt_ms": 49.6}}
    assert value("queue_residual_ms", call(server=timings)) == pytest.approx(-0.1)


def test_one_token_has_no_rate():
    one = OLLAMA | {"eval_count": 1, "eval_duration": 1}
    found = values(call(server=one, usage=Usage(output_tokens=1)))
    for name in ("tpot_ms", "decode_rate_client_tok_s", "decode_rate_server_tok_s"):
        assert found[name] is None
    assert found["decode_rate_server_n1_tok_s"] is None


def test_all_tokens_in_one_chunk_say_nothing_about_the_time_between_them():
    found = values(call(instants=instants(last_token_ns=150 * MS)))
    assert found["tpot_ms"] is None
    assert found["decode_rate_client_tok_s"] is None


# ---------------------------------------------------------------------------------- what stays None


@pytest.mark.parametrize("status", ["error", "timeout", "truncated", "cancelled", "not_sent"])
def test_a_call_that_is_not_ok_keeps_the_facts_of_its_beginning_only(status):
    """Even if it looks complete; summaries leave it out altogether."""
    found = values(call(status=status, server=OLLAMA))
    assert {name for name, figure in found.items() if figure is not None} == {
        "ttft_ms",
        "ttft_from_due_ms",
        "ttfa_ms",
        "send_lag_ms",
        "client_lag_p50_us",
        "client_lag_p99_us",
        "client_lag_max_us",
    }


def test_a_call_that_was_never_sent_has_no_figures():
    record = call(
        status="not_sent",
        instants=Instants(due_ns=5),
        chunks=ChunkColumns(count=0),
        content_chunks=0,
        usage=Usage(),
        client_lag_p50_ns=None,
        client_lag_p99_ns=None,
        client_lag_max_ns=None,
    )
    assert set(values(record).values()) == {None}


@pytest.mark.parametrize(
    "bad", ["20", None, True, -1, math.nan, math.inf, 10**400, [1], {"n": 1}, 2**63]
)
def test_figures_of_a_strange_server_are_unknown_not_fatal(bad):
    for server in (
        dict.fromkeys(OLLAMA, bad),
        {"timings": dict.fromkeys(LLAMACPP["timings"], bad)},
        {"timings": bad},
    ):
        found = values(call(server=server, usage=Usage(output_tokens=4, cached_tokens=0)))
        assert all(found[m.name] is None for m in CALL_METRICS if m.provenance == "declared")
        assert found["queue_residual_ms"] is None
        assert found["ttft_ms"] == 49.5


stamps = st.none() | st.integers(0, 10**6)


@relaxed
@given(
    st.integers(0, 10**6),
    st.lists(stamps, min_size=5, max_size=5),
    st.sampled_from(["ok", "error", "truncated"]),
    st.none() | st.integers(-2, 10**30) | st.just(10**400),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 3)), max_size=8),
)
def test_no_record_breaks_a_formula_or_gives_a_negative_duration(due, some, status, tokens, chunks):
    """Stamps in any order, as a broken clock would leave them."""
    sent, first, answer, last, end = some
    record = call(
        status=status,
        instants=Instants(
            due_ns=due,
            sent_ns=sent,
            first_token_ns=first,
            first_answer_ns=answer,
            last_token_ns=last,
            end_ns=end,
        ),
        usage=Usage(output_tokens=tokens),
        chunks=columns([at for at, _ in chunks], [kind for _, kind in chunks]),
        content_chunks=sum(kind != E for _, kind in chunks),
        server=OLLAMA,
    )
    for name, figure in values(record).items():
        assert figure is None or math.isfinite(figure)
        assert figure is None or figure >= 0 or name == "queue_residual_ms"
    if sent is not None and first is not None:
        expected = None if first < sent else (first - sent) / MS
        assert value("ttft_ms", record) == expected


# -------------------------------------------------------------------------- chunks are not tokens


def test_gaps_are_between_content_chunks():
    assert inter_chunk_ns(call()).tolist() == [20 * MS, 20 * MS, 25 * MS]
    assert itl_ns(call()).tolist() == [20 * MS, 20 * MS, 25 * MS]


def test_chunks_without_stamps_have_no_gaps():
    dropped = msgspec.structs.replace(call().chunks, arrival_ns=b"", kind=b"", size=b"", lag_ns=b"")
    record = call(chunks=dropped)
    assert inter_chunk_ns(record) is None
    assert "not kept" in itl_unknown_because(record)
    assert value("inter_chunk_p50_ms", record) is None
    assert value("tpot_ms", record) is not None, "the instants are there all the same"


def test_stamps_that_run_backwards_or_do_not_fit_have_no_gaps():
    assert inter_chunk_ns(call(chunks=columns([1, 3, 2], [A, A, A]), content_chunks=3)) is None
    assert inter_chunk_ns(call(content_chunks=3)) is None


def tokens(*per_chunk: int) -> bytes:
    return np.array(per_chunk, "<u4").tobytes()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"usage": Usage()}, "no token count"),
        ({"usage": Usage(output_tokens=5)}, "5 tokens came in 4 chunks: a stop token, or"),
        ({"usage": Usage(output_tokens=9)}, "9 tokens came in 4 chunks"),
        ({"usage": Usage(output_tokens=3)}, "3 tokens came in 4 chunks"),
        ({"status": "truncated"}, "truncated"),
        ({"chunks": columns([1], [A]), "content_chunks": 1}, "1 content chunks"),
        # Where the server says what each chunk holds, that decides: the fifth token is the stop
        # token, in the empty chunk at the end.
        ({"usage": Usage(output_tokens=5), "chunk_tokens": tokens(0, 1, 1, 1, 1, 1)}, None),
        ({"chunk_tokens": tokens(0, 1, 2, 1, 0, 0)}, "2 content chunks do not hold one token"),
        ({"chunk_tokens": tokens(1, 1)}, "do not fit"),
        ({"chunk_tokens": b"\x01"}, "do not fit"),
    ],
)
def test_itl_is_known_only_where_each_chunk_holds_one_token(changes, reason):
    record = call(**changes)
    found = itl_unknown_because(record)
    if reason is None:
        assert found is None
        assert len(itl_ns(record)) == 3
    else:
        assert reason in found
        assert itl_ns(record) is None
        assert value("itl_p50_ms", record) is None


def test_batch_ratio_is_chunks_per_token():
    assert value("batch_ratio", call(usage=Usage(output_tokens=16))) == 0.25
    assert value("batch_ratio", call(usage=Usage(output_tokens=0))) is None
    assert value("batch_ratio", call(usage=Usage())) is None


# --------------------------------------------------------------------------------- spans of time


def plain(start_ms, end_ms, *, tokens=10, **changes) -> CallRecord:
    """Sent when due; tokens spread evenly from the start to the end, stamps not kept."""
    return call(
        instants=Instants(
            due_ns=round(start_ms * MS),
            sent_ns=round(start_ms * MS),
            first_token_ns=round(start_ms * MS),
            last_token_ns=round(end_ms * MS),
            end_ns=round(end_ms * MS),
            closed_ns=round(end_ms * MS),
        ),
        usage=Usage(output_tokens=tokens),
        chunks=ChunkColumns(count=0),
        **changes,
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


@relaxed
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


@relaxed
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


# ------------------------------------------------------------------------------------ iterations


def iteration(**changes: Any) -> IterationRecord:
    base: dict[str, Any] = {
        "arm": "a",
        "cell": "c",
        "trial": 0,
        "iteration": 0,
        "phase": "measured",
        "status": "ok",
        "start_ns": 0,
        "end_ns": 1500 * MS,
        "planned_calls": 2,
    }
    return IterationRecord(**(base | changes))


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
    }


def test_a_workflow_offers_no_load_to_hold():
    view = IterationView(record=iteration(end_ns=-1), calls=(plain(0, 400, tokens=None),))
    found = {metric.name: metric.formula(view) for metric in ITERATION_METRICS}
    assert found.pop("requests_per_s") == 2.5
    assert set(found.values()) == {None}, "a wall time that ran backwards is unknown, too"


# --------------------------------------------------------------------------------------- summarise


def summary_of(calls, iterations=(), **options):
    return {one.name: one for one in summarise(calls, iterations, **options)}


def test_summaries_take_measured_ok_calls_and_count_what_is_unknown():
    calls = [
        call(),
        call(usage=Usage()),
        call(phase="warmup"),
        call(status="truncated"),
    ]
    found = summary_of(calls)
    assert list(found) == [m.name for m in CALL_METRICS] + [m.name for m in ITERATION_METRICS]
    assert (found["ttft_ms"].n, found["ttft_ms"].missing) == (2, 0)
    assert (found["tpot_ms"].n, found["tpot_ms"].missing) == (1, 1)
    assert (found["server_load_ms"].n, found["server_load_ms"].missing) == (0, 2)
    assert found["server_load_ms"].mean is None
    assert found["ttft_ms"].needs == {"p05": 20, "p95": 20, "p99": 100}
    assert (found["ttft_ms"].of, found["ttft_ms"].unit) == ("call", "ms")


def test_nothing_measured_is_summarised_as_nothing():
    found = summarise([], [])
    assert {one.n for one in found} == {0}
    assert {one.missing for one in found} == {0}


def slower(ms: float, trial: int, iteration: int = 0) -> CallRecord:
    return call(
        trial=trial,
        iteration=iteration,
        instants=instants(first_token_ns=round((150 + ms) * MS)),
    )


def test_the_interval_of_a_mean_draws_trials_first():
    """Four trials of ten equal calls carry four figures, however many calls there are."""
    shifts = [0.0, 4.0, 8.0, 12.0]
    nested = summary_of([slower(ms, trial) for trial, ms in enumerate(shifts) for _ in range(10)])
    flat = summary_of([slower(ms, 0) for ms in shifts for _ in range(10)])
    width = nested["ttft_ms"].ci_high - nested["ttft_ms"].ci_low
    assert width > 2 * (flat["ttft_ms"].ci_high - flat["ttft_ms"].ci_low)
    assert nested["ttft_ms"].mean == flat["ttft_ms"].mean


def test_within_one_trial_iterations_are_drawn_first():
    shifts = [0.0, 4.0, 8.0, 12.0]
    nested = summary_of([slower(ms, 0, i) for i, ms in enumerate(shifts) for _ in range(10)])
    by_trial = summary_of([slower(ms, i, 0) for i, ms in enumerate(shifts) for _ in range(10)])
    assert nested["ttft_ms"] == by_trial["ttft_ms"]


def test_a_summary_repeats_and_its_seed_matters():
    calls = [slower(ms, trial) for trial in range(3) for ms in (0.0, 1.0, 5.0)]
    assert summarise(calls, []) == summarise(calls, [])
    assert summarise(calls, [], seed=1) != summarise(calls, [])


def test_records_of_two_arms_are_not_mixed():
    with pytest.raises(ValueError, match="more than one arm and cell"):
        summarise([call(), call(arm="b")], [])
    with pytest.raises(ValueError, match="more than one arm and cell"):
        summarise([call()], [iteration(cell="other")])


def test_figures_of_a_stub_are_never_measured():
    found = summarise([call()], [iteration()], simulated=True)
    assert {one.provenance for one in found} == {"simulated"}


def test_iterations_are_matched_with_their_own_calls():
    calls = [
        plain(0, 1000, tokens=10, iteration=0),
        plain(5000, 6000, tokens=20, iteration=1),
        plain(0, 1000, tokens=90, iteration=1, trial=1),
        plain(0, 1000, tokens=70, iteration=0, phase="warmup"),
    ]
    iterations = [
        iteration(),
        iteration(iteration=1),
        iteration(phase="warmup"),
        iteration(iteration=2, status="error"),
    ]
    found = summary_of(calls, iterations, load=ClosedLoad(concurrency=1))
    assert (found["throughput_tok_s"].n, found["throughput_tok_s"].mean) == (2, 15.0)
    assert found["held_throughput_tok_s"].mean == 15.0
    assert found["throughput_tok_s"].of == "iteration"
    assert found["wall_ms"].n == 2


def test_spans_and_the_scenarios_own_figures_are_summarised():
    score = MetricValue(name="score", value=0.5, unit="share")
    ours = MetricValue(name="wall_ms", value=1.0, unit="ms", provenance="declared")
    spans = (
        Span(name="analysis", start_ns=0, end_ns=30 * MS),
        Span(name="analysis", start_ns=40 * MS, end_ns=50 * MS),
    )
    iterations = [
        iteration(metrics=(score, ours), spans=spans),
        iteration(iteration=1, metrics=(msgspec.structs.replace(score, value=math.nan),)),
    ]
    found = summary_of([], iterations)
    assert found["span.analysis_ms"].mean == 40.0
    assert (found["span.analysis_ms"].n, found["span.analysis_ms"].missing) == (1, 1)
    assert (found["score"].n, found["score"].missing, found["score"].unit) == (1, 1, "share")
    assert found["scenario.wall_ms"].provenance == "declared"
    assert found["wall_ms"].mean == 1500.0


def test_a_summary_survives_its_file():
    found = summarise([call(server=OLLAMA)], [iteration()])
    from harness.schema import MetricSummary

    again = msgspec.json.decode(msgspec.json.encode(found), type=tuple[MetricSummary, ...])
    assert again == found
