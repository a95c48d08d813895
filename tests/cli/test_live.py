"""The live view: what it knows, how it fits a screen, what it costs, and a real terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import stdtrit

from harness.cli.live.board import Board
from harness.cli.live.estimates import CALLS_MAX, Gathered, half_width
from harness.cli.live.lines import now_lines, progress_line, table_lines
from harness.cli.live.plain import PlainView
from harness.schema import CallError, OpenLoad, RetryRecord
from harness.statistics import t_interval
from tests.sim.servers import sim
from tests.store import builders


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


def plan_of(arms=("baseline", "chimera"), cells=(), trials=5, load=None, **spec):
    """As much of a plan as is looked at."""
    every = [
        SimpleNamespace(name=arm, cell=cell, load=load)
        for arm in arms
        for cell in cells or ["base"]
    ]
    blocks = [arm for _ in range(trials) for arm in every]
    planned = tuple(
        SimpleNamespace(arm=arm, cell=arm.cell, trial=i, block=0) for i, arm in enumerate(blocks)
    )
    return SimpleNamespace(
        spec=builders.spec(**spec), arms=tuple(every), cells={c: {} for c in cells}, trials=planned
    )


def board_of(plan):
    board = Board(Clock())
    board.run_started(plan)
    return board


def run_trial(view, board, planned, *, seconds=2.0, ttft=50.0, calls=4, **changes):
    """One trial from its start to its end."""
    view.trial_started(planned, board.total)
    view.iteration_started(planned, "measured", calls)
    made = [
        builders.call(arm=planned.arm.name, trial=planned.trial, cell=planned.cell, ordinal=i,
                      sent_ms=1000 * i, ttft_ms=ttft)
        for i in range(calls)
    ]  # fmt: skip
    for call in made:
        view.call_finished(call)
    view.iteration_finished(builders.iteration(made))
    board.clock_s.now_s += seconds
    view.trial_finished(
        builders.trial(planned.arm.name, planned.trial, cell=planned.cell, **changes)
    )


def texts(board, width=100, height=24):
    return [line.text for line in table_lines(board, width, height)]


# What it knows. -----------------------------------------------------------------------------------


def test_estimates_are_means_over_trials_with_an_interval_from_five_on():
    plan = plan_of()
    board = board_of(plan)
    means = [50.0, 51.0, 53.0, 50.0, 52.0]
    for index, planned in enumerate(plan.trials):
        run_trial(board, board, planned, ttft=means[index // 2])
        row = board.rows["baseline", "base"]
        if index == 6:
            assert row.estimates()["ttft_ms"].half is None
    found = row.estimates()["ttft_ms"]
    interval = t_interval(means)
    assert found.mean == pytest.approx(51.2)
    assert found.half == pytest.approx((interval.high - interval.low) / 2, rel=0.006)
    assert (row.done, row.left, board.done) == (5, 0, 10)
    line = next(text for text in texts(board) if text.startswith("baseline"))
    assert re.search(r"5/5\s+51\.2 ±1\.\d+\s+10 ", line)


@given(st.lists(st.floats(1, 1000), min_size=5, max_size=40))
def test_the_interval_is_students(values):
    expected = t_interval(values)
    assert half_width(values) == pytest.approx(
        (expected.high - expected.low) / 2, rel=0.006, abs=1e-9
    )
    assert stdtrit(4, 0.975) == pytest.approx(2.776, abs=1e-3)


def test_time_left_is_by_cell_and_over_as_many_places_as_there_are():
    plan = plan_of(cells=("n=1", "n=8"), arms=("baseline",), trials=3)
    board = board_of(plan)
    assert board.left_s() is None
    run_trial(board, board, plan.trials[0], seconds=2.0)
    assert board.left_s() == pytest.approx(5 * 2.0), "what is not known yet is taken as the rest"
    run_trial(board, board, plan.trials[1], seconds=10.0)
    assert board.left_s() == pytest.approx(2 * 2.0 + 2 * 10.0)
    board.trial_started(plan.trials[2], 6)
    board.clock_s.now_s += 1.5
    assert board.left_s() == pytest.approx(0.5 + 2.0 + 20.0)
    board.places = 2
    assert board.left_s() == pytest.approx(22.5 / 2)


def test_trials_side_by_side_are_kept_apart():
    plan = plan_of(trials=1)
    board = board_of(plan)
    one, other = plan.trials
    board.trial_started(one, 2)
    board.trial_started(other, 2)
    board.iteration_started(one, "measured", 4)
    board.iteration_started(other, "warmup", 2)
    board.call_finished(builders.call(arm="baseline", trial=0))
    board.call_finished(builders.failed(arm="chimera", trial=1, phase="warmup"))
    assert [line.text for line in now_lines(board, 100)] == [
        "▶ baseline · trial 1 · measured · 1/4 calls",
        "▶ chimera · trial 2 · warmup · 1/2 calls, 1 not ok",
    ]


def test_an_earlier_session_counts():
    plan = plan_of(trials=2)
    board = board_of(plan)
    for record in builders.records()[:7]:
        board.recorded_before(record)
    assert board.rows["baseline", "base"].done == 1
    assert board.rows["baseline", "base"].figures["ttft_ms"] == [50.5]
    assert board.left_s() is None, "how long a trial took is known of this session's alone"


def test_doubts_arise_as_they_come():
    plan = plan_of(load=OpenLoad(rate_per_s=5))
    board = board_of(plan)
    board.trial_started(plan.trials[0], 10)
    board.call_finished(builders.failed(code="timeout.total", status="timeout"))
    assert board.doubts.lines() == ["errors: timeout, timeout.total (baseline)"]
    slow = builders.call(server={"load_duration": 3_000_000_000})
    slow = msgspec.structs.replace(slow, stamp_source="user", client_lag_p99_ns=9_000_000)
    for _ in range(2):
        board.call_finished(slow)
    late = builders.call(ttft_ms=9)
    late = msgspec.structs.replace(
        late, instants=msgspec.structs.replace(late.instants, due_ns=late.instants.due_ns - 10**9)
    )
    for _ in range(3):
        board.call_finished(late)
    record = builders.trial()
    effective = msgspec.structs.replace(
        record.effective, simulated=True, not_effective={"num_ctx": "asked 8192, runs 4096"}
    )
    failed = CallError(code="error", message="the server went away")
    board.trial_finished(
        msgspec.structs.replace(record, effective=effective, status="error", error=failed)
    )
    codes = [line.split(":")[0] for line in board.doubts.lines()]
    assert codes == ["errors", "failures", "simulated", "config-not-effective", "cold-in-warm",
                     "client-lag", "schedule-slip"]  # fmt: skip


def test_a_warm_server_raises_none():
    plan = plan_of()
    board = board_of(plan)
    for planned in plan.trials:
        run_trial(board, board, planned)
    assert board.doubts.lines() == []


def test_what_is_put_aside_is_bounded_and_spread_over_the_trial():
    gathered = Gathered()
    for i in range(3 * CALLS_MAX):
        gathered.add(builders.call(ordinal=i, ttft_ms=i % 100))
    assert len(gathered.calls) <= CALLS_MAX
    assert all(not call.chunks.count and call.text is None for call in gathered.calls[:50])
    found = gathered.figures(("ttft_ms", "throughput_tok_s"))
    assert found["ttft_ms"] == pytest.approx(49.5, rel=0.05)
    assert "throughput_tok_s" not in found, "not of every second call"


def test_a_scenario_without_calls_shows_its_own_figures():
    plan = plan_of(("a",), trials=1)
    board = board_of(plan)
    board.trial_started(plan.trials[0], 1)
    made = builders.iteration([builders.call(arm="a")])
    score = msgspec.convert({"name": "score", "value": 0.5, "unit": ""}, builders_metric())
    board.iteration_finished(msgspec.structs.replace(made, metrics=(score,)))
    board.trial_finished(builders.trial("a"))
    assert texts(board)[0].split() == ["arm", "trials", "score"]
    assert texts(board)[1].split() == ["a", "1/1", "0.500"]


def builders_metric():
    from harness.schema import MetricValue

    return MetricValue


# How it fits. -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 15), (40, 12), (200, 60), (20, 8)])
def test_ninety_trials_fit_any_screen(width, height):
    cells = tuple(f"num_ctx={ctx},num_gpu={gpu}" for ctx in range(6) for gpu in range(5))
    plan = plan_of(("baseline", "a-rather-long-name-of-an-arm", "other"), cells, trials=1)
    board = board_of(plan)
    assert board.total == 90
    for planned in plan.trials[:40]:
        run_trial(board, board, planned)
    board.call_finished(builders.failed(trial=1))
    board.trial_started(plan.trials[40], 90)
    above = [progress_line(board, width), *now_lines(board, width)]
    lines = [*above, *table_lines(board, width, height - len(above) - 1)]
    assert max(len(line.text) for line in lines) < width
    assert len(lines) <= max(height - 1, 10)
    shown = "\n".join(line.text for line in lines)
    if width >= 60:
        assert "40/90 trials · 44 % · 2 min left" in shown
        assert re.search(r"^a-rather\S+ +(num_ctx=)?0,(num_gpu=)?4 +1/1 +50", shown, re.M)
        assert "cells" in shown


def test_a_small_run_has_every_row():
    board = board_of(plan_of(cells=("n=1", "n=2")))
    rows = [" ".join(text.split()[:2]) for text in texts(board)[1:]]
    assert rows == ["baseline n=1", "chimera n=1", "baseline n=2", "chimera n=2"]


def test_names_cannot_write_on_the_terminal():
    plan = plan_of(("\x1b[31mred\x07", "b"), trials=1)
    board = board_of(plan)
    board.trial_started(plan.trials[0], 2)
    lines = [*texts(board), *(line.text for line in now_lines(board, 80))]
    assert all(text.isprintable() for text in lines)


# Plain lines. -------------------------------------------------------------------------------------


def test_plain_lines_name_cells_and_time_left(capfd):
    plan = plan_of(("baseline",), ("n=1", "n=2"), trials=1)
    view = PlainView(Board(Clock()))
    view.run_started(plan)
    run_trial(view, view.board, plan.trials[0], seconds=7.0)
    run_trial(view, view.board, plan.trials[1], calls=2)
    assert capfd.readouterr().err.splitlines() == [
        "trial 1/2 baseline n=1: opening the backend",
        "trial 1/2 baseline n=1: ok, 4 calls ok, 1.1 s; 7 s left",
        "trial 2/2 baseline n=2: ok, 2 calls ok, 1.1 s",
    ]


def test_skipped_trials_are_said_together(capfd):
    plan = plan_of(("a",), trials=5)
    view = PlainView(Board(Clock()))
    view.run_started(plan)
    reason = CallError(code="not_needed", message="the interval is narrow enough")
    run_trial(view, view.board, plan.trials[0])
    for number in range(1, 5):
        view.trial_finished(builders.trial("a", number, status="skipped", error=reason))
    lines = capfd.readouterr().err.splitlines()
    assert lines[2:] == ["4 trials skipped: the interval is narrow enough"]


def test_a_long_trial_says_where_it_stands_and_a_lost_place_is_said(capfd):
    plan = plan_of(("a",), trials=2)
    view = PlainView(Board(Clock()))
    view.run_started(plan)
    view.trial_started(plan.trials[0], 2)
    view.board.clock_s.now_s += 70.0
    view.iteration_started(plan.trials[0], "measured", 40)
    view.call_finished(builders.call(trial=0))
    view.board.clock_s.now_s += 12.0
    view.call_finished(builders.call(trial=0))
    view.trial_retried(RetryRecord(trial=0, attempt=1, reason="the node is gone"))
    assert capfd.readouterr().err.splitlines()[1:] == [
        "trial 1/2 a: measured, 0 of 40 calls, 70 s",
        "trial 1/2 a: measured, 2 of 40 calls, 82 s",
        "trial number 0: its place was lost, and it begins anew: the node is gone",
    ]


# A real terminal. ---------------------------------------------------------------------------------


def test_on_a_terminal_and_resized(tmp_path):
    """Every cell is drawn with its estimates, within the window, before and after it shrinks."""
    spec = tmp_path / "spec.json"
    ours, theirs = pty.openpty()
    resize(theirs, 30, 100)
    with sim(tmp_path / "log", "--ttft", "40", "--gap", "1") as server:
        spec.write_bytes(msgspec.json.encode(sweep(server.url)))
        command = [sys.executable, "-m", "harness", "run", str(spec), "--out", "run"]
        nowhere = subprocess.DEVNULL
        process = subprocess.Popen(
            command, cwd=tmp_path, stdin=nowhere, stdout=nowhere, stderr=theirs
        )
        os.close(theirs)
        shown = b""
        while b"calls" not in shown:
            shown += os.read(ours, 65536)  # raises when the command has ended
        resize(ours, 12, 60)
        shown += rest_of(ours)
        assert process.wait(60) == 0
    assert b"Traceback" not in shown
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    for cell in ("concurrency=1", "concurrency=2", "concurrency=3"):
        assert re.search(rf"base +{cell} +[12]/2 +\d", text), cell
    assert "simulated: no model is measured" in text
    lines = [line for line in re.split(r"[\r\n]+", text) if "concurrency=3" in line]
    assert max(map(len, lines)) < 100 and min(map(len, lines)) < 60


def resize(descriptor, rows, columns):
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def rest_of(descriptor):
    found = b""
    try:
        while part := os.read(descriptor, 65536):
            found += part
    except OSError:  # EIO: the other side is closed
        pass
    os.close(descriptor)
    return found


def sweep(url):
    return {
        "backend": {"name": "openai", "model": "sim", "url": url},
        "scenario": {"name": "load", "options": {"max_tokens": 4}},
        "arms": {"base": {}},
        "load": {"mode": "closed", "requests": 6},
        "sweep": {"axes": {"load.concurrency": [1, 2, 3]}},
        "trials": 2,
        "isolation": "inline",
        "iterations": {"warmup": 0, "measured": 1},
    }
