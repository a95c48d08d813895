"""From records to summaries: what counts, and what the interval of a mean is drawn from."""

from __future__ import annotations

import math

import msgspec
import pytest

from harness.metrics import (
    CALL_METRICS,
    ITERATION_METRICS,
    summarise,
)
from harness.metrics.call import LOCAL, TAPPED
from harness.metrics.cost import PRICED
from harness.schema import (
    CallRecord,
    ClosedLoad,
    MetricValue,
    Span,
    Usage,
)
from tests.metrics.records import (
    MS,
    OLLAMA,
    call,
    instants,
    iteration,
    plain,
)


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
    elsewhere = {*LOCAL, *TAPPED, *PRICED}
    ours = [m.name for m in (*CALL_METRICS, *ITERATION_METRICS) if m.name not in elsewhere]
    assert list(found) == [name for name in ours if not name.startswith("goodput")]
    assert (found["ttft_ms"].n, found["ttft_ms"].missing) == (2, 0)
    assert (found["tpot_ms"].n, found["tpot_ms"].missing) == (1, 1)
    assert (found["server_load_ms"].n, found["server_load_ms"].missing) == (0, 2)
    assert found["server_load_ms"].mean is None
    assert found["ttft_ms"].needs == {"p05": 20, "p95": 20, "p99": 100, "ci": 20}
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
    """Five trials of ten equal calls carry five figures, however many calls there are."""
    shifts = [0.0, 4.0, 8.0, 12.0, 16.0]
    nested = summary_of([slower(ms, trial) for trial, ms in enumerate(shifts) for _ in range(10)])
    flat = summary_of([slower(ms, 0) for ms in shifts for _ in range(10)])
    width = nested["ttft_ms"].ci_high - nested["ttft_ms"].ci_low
    assert width > 2 * (flat["ttft_ms"].ci_high - flat["ttft_ms"].ci_low)
    assert nested["ttft_ms"].mean == flat["ttft_ms"].mean
    assert (nested["ttft_ms"].ci_of, flat["ttft_ms"].ci_of) == ("trials", "calls")


def test_within_one_trial_iterations_are_drawn_first():
    shifts = [0.0, 4.0, 8.0, 12.0, 16.0]
    nested = summary_of([slower(ms, 0, i) for i, ms in enumerate(shifts) for _ in range(10)])
    by_trial = summary_of([slower(ms, i, 0) for i, ms in enumerate(shifts) for _ in range(10)])
    assert nested["ttft_ms"].ci_of == "iterations"
    once = msgspec.structs.replace(
        nested["ttft_ms"], ci_of="trials", n_eff=by_trial["ttft_ms"].n_eff
    )
    assert once == by_trial["ttft_ms"]


@pytest.mark.parametrize(
    ("calls", "drawn", "needed"),
    [
        ([slower(ms, 0) for ms in (0, 9)], "calls", 20),
        ([slower(ms, 0) for ms in range(19)], "calls", 20),
        ([slower(ms, 0) for ms in range(20)], "calls", None),
        ([slower(ms, 0, ms % 4) for ms in range(40)], "iterations", 5),
        ([slower(ms, 0, ms % 5) for ms in range(40)], "iterations", None),
        ([slower(ms, ms % 4) for ms in range(40)], "trials", 5),
        ([slower(ms, ms % 5) for ms in range(40)], "trials", None),
    ],
)
def test_too_few_to_draw_from_is_no_interval_and_says_what_it_takes(calls, drawn, needed):
    """Least and greatest of two values are not an interval of 95 %."""
    one = summary_of(calls)["ttft_ms"]
    assert one.ci_of == drawn
    assert one.needs.get("ci") == needed
    assert (one.ci_low is None, one.ci_high is None) == (needed is not None,) * 2


def test_a_figure_of_one_iteration_lacks_iterations():
    found = summary_of([call()], [iteration()])
    assert (found["wall_ms"].n, found["wall_ms"].ci_of) == (1, "iterations")
    assert found["wall_ms"].needs["ci"] == 5
    nothing = found["server_load_ms"]
    assert (nothing.n, nothing.ci_of, "ci" in nothing.needs) == (0, None, False)


def test_a_summary_repeats_and_its_seed_matters():
    calls = [slower(ms, trial) for trial in range(5) for ms in (0.0, 1.0, 5.0)]
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


def test_the_order_of_the_log_is_no_matter():
    """Calls are recorded as they end; what is said of neighbours is said in order of sending."""
    calls = [
        call(
            call_id=f"{n}",
            trial=n % 2,
            instants=instants(sent_ns=(100 + n) * MS, first_token_ns=(150 + 3 * n) * MS),
        )
        for n in range(12)
    ]
    assert summarise(calls, []) == summarise([*calls[7:], *calls[6::-1]], [])


def test_what_resembles_its_neighbour_counts_for_less():
    def n_eff(shifts, trials=1):
        made = [
            call(
                trial=n % trials,
                call_id=f"{n:03d}",
                instants=instants(
                    sent_ns=(100 + n) * MS, first_token_ns=round((150 + n + ms) * MS)
                ),
            )
            for n, ms in enumerate(shifts)
        ]
        return summary_of(made)["ttft_ms"].n_eff

    assert n_eff(range(40)) < 2
    assert n_eff([0, 9] * 20) == 40.0
    assert n_eff(range(40), trials=2) == pytest.approx(2 * n_eff(range(0, 40, 2)))
    assert n_eff([1, 2, 3]) is None


def test_outliers_are_counted_and_left_out_of_two_figures_alone():
    usual = [slower(ms, 0) for ms in (0, 1, 2, 3, 4, 5, 6, 7, 8)]
    found = summary_of([*usual, slower(500, 0)])["ttft_ms"]
    assert (found.n, found.outliers) == (10, 1)
    assert found.mean == pytest.approx(49.5 + 53.6)
    assert found.mean_without_outliers == pytest.approx(49.5 + 4)
    assert found.median_without_outliers == 53.5
    few = summary_of(usual)["ttft_ms"]
    assert (few.outliers, few.mean_without_outliers, few.median_without_outliers) == (None,) * 3


def test_a_summary_survives_its_file():
    found = summarise([call(server=OLLAMA)], [iteration()])
    from harness.schema import MetricSummary

    again = msgspec.json.decode(msgspec.json.encode(found), type=tuple[MetricSummary, ...])
    assert again == found
