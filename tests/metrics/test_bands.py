"""What figures are called, and when they are not called anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import SpecError
from harness.metrics import summarise
from harness.metrics.bands import band_of, check_bands, why_no_band
from harness.schema import BandSpec, MetricSummary

LOWER = BandSpec(excellent=10, good=20, moderate=30)
HIGHER = BandSpec(excellent=30, good=20, moderate=10)


def figure(value=None, *, better="lower", **changes):
    base = {"name": "x", "unit": "ms", "provenance": "measured", "of": "call", "n": 40}
    return MetricSummary(**(base | {"better": better, "median": value} | changes))


@pytest.mark.parametrize(
    ("value", "called"),
    [(9, "excellent"), (10, "excellent"), (11, "good"), (30, "moderate"), (31, "poor")],
)
def test_bounds_belong_to_the_better_name(value, called):
    assert band_of(figure(value), LOWER) == called
    assert band_of(figure(40 - value, better="higher"), HIGHER) == called


def test_a_metric_of_no_direction_goes_by_the_order_of_its_bounds():
    assert band_of(figure(9, better="neither"), LOWER) == "excellent"
    assert band_of(figure(9, better="neither"), HIGHER) == "poor"


def test_a_name_that_is_left_out_is_not_given():
    assert band_of(figure(1), BandSpec(good=20)) == "good"
    assert band_of(figure(21), BandSpec(good=20)) == "poor"


def test_the_figure_is_the_one_that_was_asked_for():
    one = figure(5, mean=15.0, p95=25.0, sd=6.0)
    found = {of: band_of(one, BandSpec(excellent=10, good=20, moderate=30, of=of))
             for of in ("median", "mean", "p95", "cv_percent")}  # fmt: skip
    assert found == {
        "median": "excellent",
        "mean": "good",
        "p95": "moderate",
        "cv_percent": "poor",  # 40 %
    }
    rate = figure(5, better="higher", mean=100.0, sd=1.0)
    assert band_of(rate, BandSpec(excellent=5, of="cv_percent")) == "excellent"


@pytest.mark.parametrize(
    ("one", "of", "why"),
    [
        (figure(5, n=3, needs={"p95": 20}), "p95", "needs n = 20"),
        (figure(None, n=0), "median", "no value"),
        (figure(5, n=1, mean=5.0), "cv_percent", "needs n = 2"),
        (figure(5, mean=0.0, sd=1.0), "cv_percent", "no mean above 0"),
        (figure(5, provenance="simulated"), "median", "simulated"),
    ],
)
def test_what_cannot_be_said_has_a_reason(one, of, why):
    band = BandSpec(good=20, of=of)
    assert band_of(one, band) is None
    assert why_no_band(one, band) == why


@pytest.mark.parametrize(
    ("name", "band", "says"),
    [
        ("ttft", LOWER, r"\$\.bands\.ttft: there is no such metric .*ttft_ms"),
        ("ttft_ms", BandSpec(), r"\$\.bands\.ttft_ms: has no bound"),
        ("ttft_ms", HIGHER, r"lower is better, so excellent \(30\) cannot be worse than good"),
        ("throughput_tok_s", LOWER, "higher is better, so excellent"),
        ("throughput_tok_s", BandSpec(excellent=9, good=5, of="cv_percent"), "lower is better"),
        ("my_score", BandSpec(excellent=1, good=5, moderate=3), "lower is better, so good"),
        ("ttft_ms", BandSpec(good=float("nan")), r"\$\.bands\.ttft_ms\.good: nan is no bound"),
    ],
)
def test_mistakes_are_named_by_their_path(name, band, says):
    with pytest.raises(SpecError, match=says):
        check_bands({name: band})


def test_what_is_right_is_let_through():
    check_bands({
        "ttft_ms": LOWER,
        "requests_per_s": BandSpec(good=10),
        "cold_start_ms": BandSpec(excellent=10, good=10, moderate=10),
        "exact_match": HIGHER,
        "span.analysis_ms": LOWER,
        "slo.ttft_ms_share": HIGHER,
    })  # fmt: skip


def test_summaries_have_them():
    from tests.metrics.records import call

    bands = {"ttft_ms": BandSpec(good=50), "tpot_ms": BandSpec(good=50, of="p99")}
    found = {one.name: one for one in summarise([call()], [], bands=bands)}
    assert (found["ttft_ms"].band, found["ttft_ms"].band_by) == ("good", "median")
    assert (found["tpot_ms"].band, found["tpot_ms"].band_by) == (None, "p99: needs n = 100")
    assert (found["e2e_ms"].band, found["e2e_ms"].band_by) == (None, "")


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3).map(sorted),
    st.floats(-1e6, 1e6),
    st.floats(-1e6, 1e6),
)
def test_better_is_never_called_worse(limits, one, other):
    order = ("excellent", "good", "moderate", "poor")
    lower = BandSpec(excellent=limits[0], good=limits[1], moderate=limits[2])
    check_bands({"ttft_ms": lower})
    ranks = [order.index(band_of(figure(value), lower)) for value in sorted((one, other))]
    assert ranks == sorted(ranks)
