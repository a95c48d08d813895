"""The arithmetic of the table: quantiles, marginal cost, goals; and what is not there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.peers.figures import figures_of, goals, marginal_cpu_us, quantile
from benchmarks.peers.loads import plan
from benchmarks.peers.rounds import Run
from benchmarks.peers.table import goal_lines, markdown, put_between, text

MS = 1e6

EMPTY = Run(
    load="64x100",
    cores=1,
    tool="ours",
    size="long",
    round=0,
    outcome="ok",
    planned=192,
    ok=192,
    failed=0,
    unmatched=0,
    reported_ns=[],
    true_ns=[],
    stamp_error_ns=[],
    reported_p50_ns=None,
    noticed=[],
    chunks=0,
    cpu_ns=0.0,
    wall_s=10.0,
    contact_s=0.25,
    start_s=0.375,
    rss_bytes=80_000_000,
    pss_bytes=60_000_000,
    processes=1,
    server_lateness_p99_ns=90_000.0,
    server_late_share=0.0,
    realtime=True,
    held_up=0,
)


def pair(tool, load="64x100", cpu_us=10.0, base_ns=0.5e9, turn=0, **more):
    """A short and a long run whose chunks cost `cpu_us` each, on top of what a run costs anyway."""
    runs = []
    for size, chunks in (("short", 10_000), ("long", 50_000)):
        cpu_ns = base_ns + chunks * cpu_us * 1e3
        runs.append(
            EMPTY._replace(
                tool=tool, load=load, size=size, round=turn, chunks=chunks, cpu_ns=cpu_ns, **more
            )
        )
    return runs


def requests(reported_ms, true_ms, error_us, n=100):
    return {
        "reported_ns": [reported_ms * MS] * n,
        "true_ns": [true_ms * MS] * n,
        "stamp_error_ns": [error_us * 1e3] * n,
    }


# ---- quantiles


@given(st.lists(st.floats(-1e12, 1e12), min_size=100, max_size=200), st.floats(0, 1))
def test_a_quantile_is_numpys(values, p):
    import numpy as np

    found = quantile(values, p)
    assert found == pytest.approx(float(np.quantile(values, p)), rel=1e-9, abs=1e-3)


def test_p99_needs_a_hundred():
    assert quantile([1.0] * 99, 0.99) is None
    assert quantile([1.0] * 100, 0.99) == 1.0
    assert quantile([], 0.5) is None


# ---- marginal cost


def test_start_up_and_reports_are_in_no_chunks_cost():
    assert marginal_cpu_us(pair("ours", cpu_us=12.5, base_ns=3e9)) == pytest.approx(12.5)


def test_the_median_of_the_rounds_counts():
    runs = [r for turn, us in enumerate((10, 90, 12)) for r in pair("ours", cpu_us=us, turn=turn)]
    assert marginal_cpu_us(runs) == pytest.approx(12)


def test_a_run_that_failed_or_has_no_partner_gives_no_cost():
    short, long = pair("aiperf")
    assert marginal_cpu_us([short]) is None
    assert marginal_cpu_us([short, long._replace(outcome="stopped after 120 s")]) is None


# ---- figures and goals


def test_figures_are_of_the_long_runs():
    short, long = pair("ours", **requests(50.3, 50.1, 7))
    short = short._replace(reported_ns=[9999 * MS], wall_s=1.0)
    (found,) = figures_of([short, long])
    assert (found.n, found.wall_s) == (100, 10.0)
    assert found.ttft_p50_ms == pytest.approx(50.3)
    assert found.bias_p50_ms == pytest.approx(0.2)
    assert found.stamp_p99_us == pytest.approx(7)
    assert found.cpu_us_per_chunk == pytest.approx(10)


def test_a_doubt_is_told_once_with_the_number_of_runs():
    runs = pair("aiperf", noticed=["loop of w_12 late: 3 ms", "loop of w_9 late: 44 ms"])
    (found,) = figures_of([*runs, EMPTY._replace(tool="aiperf", noticed=["other"])])
    assert found.noticed == ("loop of w_12 late: 3 ms (2 of 3 runs)", "other (1 of 3 runs)")


def a_whole_run(**ours):
    said = requests(50.1, 50.08, 12) | ours
    return [
        *pair("bare", cpu_us=10, **requests(0, 0, 0, n=0)),
        *pair("ours", cpu_us=14, **said),
        *pair("aiperf", cpu_us=170, **requests(95, 50.08, 9_000)),
        *pair("guidellm", cpu_us=350, **requests(285, 50.08, 30_000)),
        *pair("ours", load="1000x100", cpu_us=4, **said),
        *pair("ours", load="flat", cpu_us=2.5, **said),
    ]


def test_every_goal_is_met_by_a_run_that_meets_them():
    found = goals(figures_of(a_whole_run()))
    assert [goal.met for goal in found] == [True] * 8
    by = {goal.what: goal.value for goal in found}
    assert by["64 × 100: CPU per chunk / bare loop"] == pytest.approx(1.4)
    assert by["64 × 100: CPU per chunk / better peer"] == pytest.approx(14 / 170)
    assert by["flat out: chunks per CPU-second"] == pytest.approx(400_000)


def test_a_late_stamp_and_an_own_doubt_are_missed_goals():
    found = goals(figures_of(a_whole_run(**requests(50.5, 50.08, 210), noticed=["client-lag: x"])))
    missed = [goal.what for goal in found if goal.met is False]
    assert len(missed) == 4
    assert any(line.startswith("MISSED") and "slow" not in line for line in goal_lines(found))


def test_no_goal_is_met_or_missed_without_a_figure():
    assert {goal.met for goal in goals([])} == {None}


# ---- the table


ABOUT = {
    "date": "2026-01-02",
    "minutes": 11.6,
    "rounds": "rounds: 64x100 on 1: 3",
    "cpu": "A CPU",
    "cores": 2,
    "platform": "Linux",
    "python": "3.11",
    "load_average": [0.1, 0.2, 0.3],
    "load_after": [1.0, 0.2, 0.3],
    "harness": "0.1.0",
    "server_core": 0,
    "client_core": 1,
    "realtime": True,
    "server_lateness_p99_us": 90.0,
    "dependencies": {"ours": {"direct": 11, "total": 30, "disk_bytes": 200e6}},
}


def test_the_page_holds_conditions_every_load_and_the_goals():
    figures = figures_of(a_whole_run())
    page = markdown(figures, goals(figures), ABOUT)
    assert "3" in page and "real-time priority granted" in page
    assert "| TTFT reported, p50 / p99, ms | – | 50.1 / 50.1 | 95.0 / 95.0 | 285 / 285 |" in page
    assert "**flat out, 16 streams, 1 core for the client**" in page
    assert page.count(" met |") == 8
    assert "| harness | 11 | 30 | 200 |" in page


def test_a_peers_text_cannot_break_the_table():
    runs = pair("aiperf", **requests(1, 1, 1), noticed=["a | b <script> `x` [y](z) *w*"])
    figures = figures_of(runs)
    row = next(
        line
        for line in markdown(figures, [], ABOUT).splitlines()
        if line.startswith("| what it noticed")
    )
    assert row.count("|") == 3
    assert not set("<>`[]") & set(row)


def test_a_run_that_was_stopped_is_in_the_table():
    runs = [EMPTY._replace(tool="guidellm", outcome="stopped after 150 s", start_s=None)]
    shown = text(figures_of(runs))
    assert "stopped after 150 s" in shown


def test_only_what_lies_between_the_marks_is_replaced():
    page = "a\n<!-- t -->\nold\n<!-- /t -->\nb\n"
    assert put_between(page, "t", "new\n") == "a\n<!-- t -->\nnew\n<!-- /t -->\nb\n"
    with pytest.raises(ValueError, match="no <!-- u -->"):
        put_between(page, "u", "new\n")


# ---- what is run


@pytest.mark.parametrize("quick", [True, False])
def test_every_goal_has_its_runs_in_the_plan(quick):
    done = {(p.load.name, p.cores, tool) for p in plan(quick) for tool in p.tools}
    assert {("64x100", 1, t) for t in ("bare", "ours", "aiperf", "guidellm")} <= done
    assert {("1000x100", 1, "ours"), ("flat", 1, "ours")} <= done
    for one in plan(quick):
        for tool in one.tools:
            assert one.load.tokens(tool, "short") < one.load.tokens(tool, "long")
