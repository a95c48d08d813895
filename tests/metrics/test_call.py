"""Metrics of a call: every formula on a record whose answer is known by hand, and what must stay
unknown."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import SpecError
from harness.metrics import (
    CALL_METRICS,
    COLD_METRICS,
    ITERATION_METRICS,
    call_metric,
    iteration_metric,
)
from harness.metrics.call import TAPPED
from harness.schema import (
    ChunkColumns,
    Instants,
    Usage,
)
from tests.metrics.records import (
    LLAMACPP,
    MS,
    OLLAMA,
    E,
    call,
    columns,
    instants,
    value,
    values,
)


def test_every_metric_is_defined_once_in_one_sentence_with_its_unit():
    metrics = [*CALL_METRICS, *ITERATION_METRICS, *COLD_METRICS]
    names = [metric.name for metric in metrics]
    assert len(set(names)) == len(names)
    suffixes = {
        "ms": "_ms",
        "us": "_us",
        "tok/s": "_tok_s",
        "req/s": "_per_s",
        "chunks/tok": "_ratio",
        "tok": "_tokens",
        "MiB": "_mib",
        "share": "_share",
        "USD": "_usd",
        "USD/1000 tok": "_usd_per_1k_output_tokens",
    }
    for metric in metrics:
        assert metric.name.endswith(suffixes[metric.unit]), metric.name
        assert metric.definition.endswith(".")
        assert ". " not in metric.definition, "one sentence"
    assert {metric.level for metric in CALL_METRICS} == {"call"}
    assert {metric.level for metric in (*ITERATION_METRICS, *COLD_METRICS)} == {"iteration"}


def test_a_name_that_is_not_there_gets_the_nearest_one():
    with pytest.raises(SpecError, match=r"no metric 'ttft'.*try: ttft_ms"):
        call_metric("ttft")
    with pytest.raises(SpecError, match="one of wall_ms"):
        iteration_metric("xyzzy")


def test_importing_the_package_loads_no_numpy():
    code = "import harness.metrics, sys; print('numpy' in sys.modules, 'scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


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
    unknown = {name for name, figure in found.items() if figure is None}
    # No program made this call, and nobody has a price for it.
    assert unknown == from_server | {*TAPPED, "queue_residual_ms", "cost_usd"}


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
