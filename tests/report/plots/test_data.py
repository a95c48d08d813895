"""What is drawn, as numbers: no figure shows others than the summary and the records have."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.metrics.series import all_series
from harness.report.plots import choose
from harness.report.plots.distribution import STEPS_MAX, bars, ecdf
from harness.report.plots.effects import rows_of
from harness.report.plots.family import families
from harness.report.plots.grid import grid_of
from harness.report.plots.heatmap import heatmaps
from harness.report.plots.overtime import track
from harness.report.plots.source import Key, Shot, Source, Unfit
from harness.report.plots.timeline import bars_of, slots
from harness.schema import CallRecord, Instants, IterationRecord
from tests.report.plots import runs
from tests.store.builders import MS

FINITE = st.floats(-1e6, 1e6)


def only(run, kind, **more):
    found = choose(run, kinds=[kind], **more)
    assert not found.refused, found.refused
    return found.plots


# Distributions. -----------------------------------------------------------------------------------


def test_an_ecdf_is_shares_of_sorted_values():
    found = ecdf(np.array([3.0, 1.0, 2.0, 2.0]))
    assert found.x.tolist() == [1, 2, 2, 3]
    assert found.share.tolist() == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(("n", "marks"), [(3, {"p50"}), (20, {"p50", "p95"}),
                                          (100, {"p50", "p95", "p99"})])  # fmt: skip
def test_percentiles_are_marked_where_n_carries_them(n, marks):
    assert set(ecdf(np.arange(n, dtype=float)).marks) == marks


def test_a_long_ecdf_is_thinned_and_keeps_its_tails():
    found = ecdf(np.arange(100_000, dtype=float))
    assert len(found.x) <= STEPS_MAX
    assert found.x[:60].tolist() == list(range(60))
    assert found.x[-60:].tolist() == list(range(99_940, 100_000))
    assert np.all(np.diff(found.share) > 0) and found.share[-1] == 1
    assert np.max(np.diff(found.share)) < 0.004


@given(st.lists(st.lists(FINITE, min_size=1, max_size=60), min_size=1, max_size=4))
def test_no_value_is_lost_from_a_histogram(parts):
    found = bars([np.array(part) for part in parts])
    for part, counts, beyond in zip(parts, found.counts, found.beyond, strict=True):
        assert counts.sum() + beyond == len(part)
    assert len(found.edges) <= 49


def test_a_long_tail_is_counted_and_not_drawn():
    values = np.concatenate((np.linspace(10, 20, 995), [60.0, 70.0]))
    found = bars([values])
    assert not found.log and 2 <= found.beyond[0] <= 5 and found.edges[-1] < 21


def test_the_values_drawn_are_those_of_all_series():
    run = runs.run_of(calls=12, failed=2)
    (ttft, itl) = only(run, "ecdf")
    for arm in ("baseline", "chimera"):
        mine = [r for r in run.records() if r.arm == arm]
        found = {
            one.name: one
            for one in all_series(
                [r for r in mine if isinstance(r, CallRecord)],
                [r for r in mine if isinstance(r, IterationRecord)],
            )
        }
        assert ttft.data[Key(arm, "base")].x.tolist() == sorted(found["ttft_ms"].values)
    assert itl.name == "itl-ecdf" and "each content chunk" in itl.caption.lower()


def test_gaps_are_not_called_itl_where_a_chunk_may_hold_two_tokens():
    run = runs.run_of(calls=4)
    changed = [
        msgspec.structs.replace(r, usage=msgspec.structs.replace(r.usage, output_tokens=9))
        if isinstance(r, CallRecord) else r for r in run.records()
    ]  # fmt: skip
    made = type(run)(run.manifest, changed)
    names = [plot.name for plot in only(made, "histogram")]
    assert names == ["ttft-histogram", "inter_chunk-histogram"]
    caption = only(made, "ecdf")[1].caption
    assert "not between tokens" in caption and "9 tokens came in 6 chunks" in caption


def test_another_metric_is_drawn_in_its_place():
    (plot,) = only(runs.run_of(calls=4), "ecdf", metrics=["e2e_ms"])
    assert plot.name == "e2e_ms-ecdf"


# Time. --------------------------------------------------------------------------------------------


def shot(trial, at_ms, value, phase="measured", status="ok"):
    at = Instants(due_ns=int(at_ms * MS), sent_ns=int(at_ms * MS), end_ns=int((at_ms + 90) * MS))
    return Shot(trial, 0, phase, status, at, "", value)


def test_trials_are_laid_end_to_end_by_their_own_clocks():
    """The second trial's clock may have begun anywhere: another machine start, another day."""
    shots = [shot(0, 1000, 5.0), shot(0, 1910, 5.0), shot(7, 10**9, 6.0), shot(7, 10**9 + 500, 6.0)]
    found = track(shots, 100)
    assert found.t_s.tolist() == pytest.approx([0, 0.91, 1.0, 1.5])
    assert found.breaks_s == pytest.approx((1.0,))
    assert found.trials == ((0, 0.0), (7, 1.0))
    assert found.median_ms == 5.5


def test_warm_up_and_failures_are_kept_apart():
    shots = [shot(0, 0, 99.0, "cold"), shot(0, 100, 50.0, "warmup"), shot(0, 200, 5.0),
             shot(0, 300, None, status="timeout"), shot(0, 400, 1.0, "extra")]  # fmt: skip
    found = track(shots, 100)
    assert found.phase.tolist() == [0, 1, 2]
    assert (found.n, found.median_ms) == (1, 5.0)
    assert found.failed_s.tolist() == [0.3]


def test_outliers_are_all_drawn_however_many_calls_there_are():
    values = [10.0 + (i % 7) / 10 for i in range(100_000)]
    for at in range(500, 100_000, 1000):
        values[at] = 400.0
    found = track([shot(0, i, v) for i, v in enumerate(values)], 2000)
    assert found.outliers == 100 and found.outlier.sum() == 100
    assert len(found.t_s) == 2100 and found.n == 100_000


def test_few_values_have_no_outliers():
    assert track([shot(0, i, v) for i, v in enumerate([1, 1, 1, 50])], 9).outliers == 0


# Sweeps. ------------------------------------------------------------------------------------------


def test_axes_are_found_again_from_the_cells():
    found = grid_of(runs.grid(num_gpu=[80, 9], num_ctx=[512, 2048, 1024]))
    assert [(a.name, a.labels, a.values) for a in found.axes] == [
        ("num_gpu", ("9", "80"), (9.0, 80.0)),
        ("num_ctx", ("512", "1024", "2048"), (512.0, 1024.0, 2048.0)),
    ]
    assert found.places["num_gpu=80,num_ctx=1024"] == (1, 1)


def test_levels_keep_their_labels_even_if_they_hold_commas():
    cells = {
        "backend=small, quick,x=1": {"backend": {"model": "a"}, "scenario.options.x": 1},
        "backend=large,x=1": {"backend": {"model": "b"}, "scenario.options.x": 1},
    }
    found = grid_of(cells)
    assert [(a.name, a.labels) for a in found.axes] == [("backend", ("small, quick", "large"))]


def test_levels_side_by_side_are_one_axis():
    cells = {f"a={i},b={i}": {"load.a": i, "load.b": i} for i in range(4)}
    found = grid_of(cells)
    assert [a.name for a in found.axes] == ["cell"] and len(found.axes[0].labels) == 4


def test_one_cell_is_no_sweep():
    assert grid_of({}) is None
    assert grid_of({"a=1": {"load.a": 1}}) is None


def test_a_heatmap_has_the_means_of_the_summary_and_holes_where_there_is_nothing():
    run = runs.swept()
    arms = tuple(
        one for one in run.summary.arms
        if (one.arm, one.cell) != ("chimera", "num_ctx=512,num_gpu=80")
    )  # fmt: skip
    run.summary = msgspec.structs.replace(run.summary, arms=arms)
    (plot,) = heatmaps(Source(run, metrics=["ttft_ms"]))
    first, second = plot.data
    assert (first.title, second.title) == ("chimera", "other")
    assert (first.columns.name, first.rows.name) == ("num_ctx", "num_gpu")
    assert first.cells[2][0] is None
    mean = {(a.arm, a.cell): m.mean for a in arms for m in a.metrics if m.name == "ttft_ms"}
    assert second.cells[0][2].mean == mean["other", "num_ctx=2048,num_gpu=40"]
    assert "unknown (1 of 18)" in plot.caption


def test_a_family_has_a_line_per_arm_or_per_level():
    one = runs.run_of(cells=runs.grid(num_ctx=[512, 1024]), calls=3)
    (plot,) = families(Source(one))
    _, _, axis, lines = plot.data[0]
    assert axis.labels == ("512", "1024") and [line.label for line in lines] == [
        "baseline",
        "chimera",
    ]
    (plot,) = families(Source(runs.swept(), metrics=["tpot_ms"]))
    assert [panel[0] for panel in plot.data] == ["chimera", "other"]
    assert [line.label for line in plot.data[0][3]] == [f"num_gpu={n}" for n in (40, 60, 80)]


def test_a_run_without_a_sweep_says_so():
    found = choose(runs.run_of(calls=3), kinds=["heatmap", "family", "load-curve", "search",
                                                "cold-warm", "effects"])  # fmt: skip
    assert found.plots == []
    assert "no sweep" in found.refused["heatmap"]
    assert "load" in found.refused["load-curve"]
    assert "cold" in found.refused["cold-warm"]
    with pytest.raises(Unfit, match="one axis"):
        heatmaps(Source(runs.run_of(cells=runs.grid(num_ctx=[1, 2]), calls=3)))


# The others. --------------------------------------------------------------------------------------


def test_arms_have_the_intervals_of_the_summary_and_the_means_of_their_trials():
    run = runs.run_of(trials=5, calls=4)
    (plot,) = only(run, "arms")
    shown = plot.data["ttft_ms"][Key("chimera", "base")]
    summary = next(
        m for a in run.summary.arms if a.arm == "chimera" for m in a.metrics if m.name == "ttft_ms"
    )
    assert (shown.mean, shown.low, shown.high) == (summary.mean, summary.ci_low, summary.ci_high)
    assert len(shown.trials) == 5
    assert sum(shown.trials) / 5 == pytest.approx(shown.mean)
    few = only(runs.run_of(trials=2, calls=4), "arms")[0]
    assert few.data["ttft_ms"][Key("chimera", "base")].low is None
    assert "none below 5 trials" in few.subtitle


def test_a_load_curve_goes_up_the_loads():
    (plot,) = only(runs.loads(), "load-curve")
    assert plot.data["ttft_ms"].keys() == {"baseline", "chimera"}
    assert [point[0] for point in plot.data["ttft_ms"]["chimera"]] == [1, 2, 4, 8, 16]
    assert "ttft_ms ≤ 80" in plot.caption


def test_loads_that_arms_set_are_a_curve_too():
    run = runs.loads()
    (plot,) = only(run, "load-curve", arms=["baseline"])
    assert list(plot.data["ttft_ms"]) == ["baseline"]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=30))
def test_calls_in_one_slot_never_overlap(found):
    spans = sorted((float(start), float(start + length)) for start, length in found)
    places = slots(spans)
    at_once = max((sum(a <= s < b for a, b in spans) for s, _ in spans), default=0)
    assert max(places, default=-1) + 1 == at_once
    for i, (start, _) in enumerate(spans):
        for j in range(i):
            if places[i] == places[j]:
                assert spans[j][1] <= start


def test_bars_of_calls():
    late = shot(0, 150, 5.0, status="timeout")
    made = bars_of([shot(0, 100, 5.0), late, shot(0, 190, 5.0)])
    assert [(bar.slot, round(bar.due_s, 3), bar.status) for bar in made] == [
        (0, 0.0, "ok"),
        (1, 0.05, "timeout"),
        (0, 0.09, "ok"),
    ]
    assert made[0].first_s is None, "a call without a first token has no such instant"


def test_effects_without_an_interval_have_a_row_that_says_so():
    found = rows_of(
        [
            ("a", runs.effect(share=-0.07, half=0.028)),
            ("b", runs.effect(share=0.3, share_low=None, share_high=None, more_trials=6, n=(2, 2))),
            ("c", runs.effect(share=None, words="not enough data")),
        ]
    )
    assert found[0].said == "−7.0 % (−9.8 to −4.2); n = 6, 6"
    assert found[1].said == "+30.0 %, no interval: 6 more trials; n = 2, 2"
    assert found[2].share_percent is None and "not enough data" in found[2].said


def test_cold_starts_are_their_first_calls():
    (plot,) = only(runs.run_of(calls=4, cold=2), "cold-warm")
    pair = plot.data[Key("baseline", "base")]
    assert len(pair.cold) == 4 and min(pair.cold) > 900 and max(pair.warm) < 120


def test_a_probe_without_requests_has_no_share():
    (plot,) = only(runs.searched(), "search")
    shares = {probe.load: share for probe, share in plot.data["default"]}
    assert shares == {4: 1.0, 8: 0.995, 10: 0.98, 12: 0.8, 16: None}


def test_the_lag_is_that_of_kernel_stamps_alone():
    run = runs.run_of(calls=4)
    (plot,) = only(run, "stamps")
    assert set(plot.data.client[Key("baseline", "base")].x) == {20.0}
    user = [
        msgspec.structs.replace(r, stamp_source="user") if isinstance(r, CallRecord) else r
        for r in run.records()
    ]
    refused = choose(type(run)(run.manifest, user), kinds=["stamps"]).refused["stamps"]
    assert "stamped in user space" in refused
