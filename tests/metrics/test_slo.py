"""Which requests are good, what share of them, and how sure that is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import SpecError
from harness.metrics import IterationView, check_slo, good_requests, iteration_metric, summarise
from harness.metrics.slo import bounds, provenance_of, tally
from harness.metrics.summary import summarise_with_goodput
from harness.schema import CallError, ClosedLoad
from harness.statistics import clopper_pearson
from tests.metrics.records import OLLAMA, call, iteration, plain

NOT_NEEDED = CallError(code="not_needed")


@pytest.mark.parametrize(
    ("slo", "says"),
    [
        ({}, r"\$\.slo: names no metric"),
        ({"ttft": 1}, r"\$\.slo\.ttft: .*try: ttft_ms"),
        ({"throughput_tok_s": 1}, r"\$\.slo\.throughput_tok_s: there is no such metric of a call"),
        ({"batch_ratio": 1}, r"\$\.slo\.batch_ratio: neither direction of it is better"),
        ({"ttft_ms": 0}, r"\$\.slo\.ttft_ms: a bound is positive, this is 0"),
        ({"e2e_ms": 5, "ttft_ms": float("nan")}, r"\$\.slo\.ttft_ms: .*nan"),
        ({"ttft_ms": float("inf")}, r"\$\.slo\.ttft_ms"),
    ],
)
def test_mistakes_are_named_by_their_path(slo, says):
    with pytest.raises(SpecError, match=says):
        check_slo(slo)


def test_a_bound_is_met_on_the_side_that_is_better():
    """TTFT 49.5 ms, decode rate (client) 46.15 tok/s."""
    good = [
        {"ttft_ms": 49.5},
        {"decode_rate_client_tok_s": 46.0},
        {"ttft_ms": 50, "decode_rate_client_tok_s": 46.0},
    ]
    bad = [
        {"ttft_ms": 49.4},
        {"decode_rate_client_tok_s": 47.0},
        {"ttft_ms": 50, "decode_rate_client_tok_s": 47.0},
    ]
    assert [good_requests([call()], slo) for slo in good] == [(1, 1)] * 3
    assert [good_requests([call()], slo) for slo in bad] == [(0, 1)] * 3


@pytest.mark.parametrize("status", ["error", "timeout", "truncated", "cancelled", "not_sent"])
def test_what_failed_is_not_good_whatever_its_stamps_say(status):
    assert good_requests([call(), call(status=status)], {"ttft_ms": 1000}) == (1, 2)


def test_what_is_unknown_is_not_good_and_counted_apart():
    slo = {"server_load_ms": 20, "ttft_ms": 1000}
    some = [call(server=OLLAMA), call(), call(status="error")]
    found = tally(some, slo)
    assert (found.good, found.of, found.unknown) == (1, 3, 1)
    assert found.met == {"server_load_ms": 1, "ttft_ms": 2}
    assert found.unknown_of == {"server_load_ms": 1, "ttft_ms": 0}
    assert tally(some, slo | {"ttft_ms": 1}).unknown == 0, "it fails the other bound anyway"


def test_what_was_never_made_counts_and_what_was_not_needed_does_not():
    spared = call(status="not_sent", error=NOT_NEEDED)
    assert good_requests([call(), spared], {"ttft_ms": 1000}) == (1, 1)
    assert tally([call(), spared], {"ttft_ms": 1000}, planned=4).of == 3
    assert tally([call()], {"ttft_ms": 1000}, planned=4).of == 4


def test_a_share_is_as_sure_as_its_least_sure_figure():
    assert provenance_of({"ttft_ms": 1}) == "measured"
    assert provenance_of({"ttft_ms": 1, "tpot_ms": 1}) == "derived"
    assert provenance_of({"server_load_ms": 1, "tpot_ms": 1}) == "declared"


def series(calls, iterations, slo, **how):
    return {one.name: one for one in summarise(calls, iterations, slo=slo, **how)}


def test_without_an_slo_there_is_no_goodput():
    view = IterationView(record=iteration(), calls=(call(),))
    assert iteration_metric("goodput_share").formula(view) is None
    assert iteration_metric("goodput_per_s").formula(view) is None
    assert not [name for name in series([call()], [iteration()], None) if "good" in name]


def test_iterations_that_failed_are_in_it_and_those_cut_short_are_not():
    calls = [plain(0, 400), plain(0, 600, iteration=1), plain(0, 400, iteration=2)]
    iterations = [
        iteration(planned_calls=1),
        iteration(planned_calls=3, iteration=1, status="error"),
        iteration(planned_calls=9, iteration=2, status="cancelled"),
        iteration(planned_calls=9, iteration=3, phase="warmup"),
    ]
    found = series(calls, iterations, {"e2e_ms": 500})
    assert found["goodput_share"].n == 2
    assert found["goodput_share"].mean == 0.5
    assert found["goodput_per_s"].mean == pytest.approx((1 / 0.4 + 0) / 2)
    assert found["requests_per_s"].n == 1
    _, made = summarise_with_goodput(calls, iterations, slo={"e2e_ms": 500})
    assert (made.good, made.of) == (1, 4)
    assert made.per_s == found["goodput_per_s"].mean


def test_every_bound_has_its_share():
    slo = {"e2e_ms": 500, "server_load_ms": 20}
    found = series([plain(0, 400), plain(0, 600)], [iteration()], slo)
    assert found["slo.e2e_ms_share"].mean == 0.5
    assert found["slo.server_load_ms_share"].mean == 0.0
    assert found["slo.e2e_ms_share"].provenance == "measured"
    assert found["slo.server_load_ms_share"].provenance == "declared"
    assert (found["goodput_share"].unit, found["goodput_share"].better) == ("share", "higher")
    names = [bound.share_name for bound in bounds(slo)]
    assert names == ["slo.e2e_ms_share", "slo.server_load_ms_share"]
    simulated = series([plain(0, 400)], [iteration()], slo, simulated=True)
    assert {one.provenance for one in simulated.values()} == {"simulated"}


def test_the_interval_of_one_launch_is_that_of_chance():
    calls = [plain(0, 400 if n < 18 else 600) for n in range(20)]
    found = series(calls, [iteration(planned_calls=20)], {"e2e_ms": 500})["goodput_share"]
    exact = clopper_pearson(18, 20)
    assert (found.ci_low, found.ci_high, found.ci_of) == (exact.low, exact.high, "calls")
    assert "ci" not in found.needs


def test_launches_that_were_all_good_are_no_proof():
    calls = [plain(0, 400, trial=trial) for trial in range(6) for _ in range(10)]
    iterations = [iteration(planned_calls=10, trial=trial) for trial in range(6)]
    found = series(calls, iterations, {"e2e_ms": 500})["goodput_share"]
    assert found.ci_of == "trials"
    assert (found.ci_low, found.ci_high) == (clopper_pearson(60, 60).low, 1.0)


def test_launches_that_differ_widen_the_interval():
    calls = [
        plain(0, 400 if trial < 3 else 600, trial=trial) for trial in range(6) for _ in range(50)
    ]
    iterations = [iteration(planned_calls=50, trial=trial) for trial in range(6)]
    _, made = summarise_with_goodput(calls, iterations, slo={"e2e_ms": 500})
    exact = clopper_pearson(150, 300)
    assert made.share_high - made.share_low > 3 * (exact.high - exact.low)
    assert made.share_low >= 0.0
    assert made.share_high <= 1.0
    assert made.ci_of == "trials"


def test_nothing_planned_has_no_share():
    found, made = summarise_with_goodput([], [iteration(planned_calls=0)], slo={"e2e_ms": 1})
    assert (made.of, made.share, made.share_low, made.ci_of) == (0, None, None, None)
    assert {one.name: one.n for one in found}["goodput_share"] == 0


@given(
    ends=st.lists(st.tuples(st.integers(1, 900), st.booleans()), max_size=30),
    bound=st.integers(1, 900),
    more=st.integers(0, 3),
)
def test_the_counts_balance(ends, bound, more):
    calls = [plain(0, ms, status="ok" if ok else "error") for ms, ok in ends]
    slo = {"e2e_ms": bound}
    found = tally(calls, slo, planned=len(calls) + more)
    assert found.good == sum(ok and ms <= bound for ms, ok in ends)
    assert found.of == len(calls) + more
    assert found.good + found.unknown <= found.of
    good, of = good_requests(calls, slo)
    assert (good, of) == (found.good, len(calls))
    load = ClosedLoad(requests=found.of)
    view = IterationView(
        record=iteration(planned_calls=found.of), calls=tuple(calls), load=load, slo=slo
    )
    rate = iteration_metric("goodput_per_s").formula(view)
    whole = iteration_metric("requests_per_s").formula(view)
    assert (rate is None) == (whole is None)
    assert rate is None or rate <= whole * (1 + 1e-12)
