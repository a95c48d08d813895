"""What the tools export, in small made-up files of their formats; the log; and the join."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.peers.read import Reported, Said, read, read_aiperf, read_guidellm
from benchmarks.peers.truth import Answer, join, truth_of
from harness.testing.sim.log import SimLog, row_type

OFFSET_NS = 1_700_000_000_000_000_000


# ---- AIPerf


def aiperf_record(key="a-1", phase="profiling", ttft=80.5, **more):
    metrics = {} if ttft is None else {"time_to_first_token": {"value": ttft, "unit": "ms"}}
    about = {"x_request_id": key, "benchmark_phase": phase, "request_start_ns": OFFSET_NS + 1000}
    return json.dumps({"metadata": about, "metrics": metrics, **more})


@pytest.fixture
def aiperf(tmp_path):
    lines = [
        aiperf_record("warm", phase="warmup"),
        aiperf_record("a-1"),
        aiperf_record("a-2", ttft=None, error={"code": 500}),
    ]
    (tmp_path / "profile_export.jsonl").write_text("\n".join(lines) + "\n")
    summary = {"time_to_first_token": {"p50": 80.5, "unit": "ms"}}
    (tmp_path / "profile_export_aiperf.json").write_text(json.dumps(summary))
    return tmp_path


PRINTED = """\
00:25:45.123 WARNING  Event loop delay of 31 ms (loop.py:12)
00:25:46.123 WARNING  Event loop delay of 31 ms (loop.py:12)
╭──────── Token Count Discrepancy Warning ────────╮
│  192 of 192 requests                            │
╰─────────────────────────────────────────────────╯
"""


def test_aiperf(aiperf):
    said = read_aiperf(aiperf, PRINTED)
    assert said.requests == [Reported("a-1", 80.5e6, OFFSET_NS + 1000 + 80_500_000)]
    assert (said.realtime, said.failed, said.ttft_p50_ns) == (True, 1, 80.5e6)
    assert said.noticed == [
        "Token Count Discrepancy Warning",
        "Event loop delay of 31 ms (loop.py:12)",
    ]


def test_a_tool_that_left_nothing_has_said_nothing(tmp_path):
    (tmp_path / "said.txt").write_text("Traceback")
    for tool in ("ours", "aiperf", "guidellm", "bare"):
        assert read(tool, tmp_path) is None


# ---- GuideLLM


def guidellm_report(**more):
    one = {
        "response_id": "chatcmpl-sim-b00-7",
        "time_to_first_token_ms": 99.5,
        "request_start_time": 1_700_000_000.4,
        "info": {"timings": {"first_token_iteration": 1_700_000_000.5}},
    }
    warmup = one | {"request_start_time": 1_700_000_000.1, "time_to_first_token_ms": 900.0}
    benchmark = {
        "requests": {"successful": [one, warmup], "errored": [one], "incomplete": None},
        "metrics": {"time_to_first_token_ms": {"successful": {"median": 99.5, "count": 1}}},
        "warnings": [{"code": "root_late", "message": "late by\x1b[31m 0.2 s"}],
        **more,
    }
    return {"benchmarks": [benchmark]}


def test_guidellm():
    said = read_guidellm(guidellm_report())
    assert said.requests == [Reported("b00-7", 99.5e6, OFFSET_NS + 500_000_000)]
    assert (said.realtime, said.failed, said.ttft_p50_ns) == (True, 1, 99.5e6)
    assert said.noticed == ["root_late: late by [31m 0.2 s"]


def test_a_report_of_another_form_is_refused():
    with pytest.raises((KeyError, IndexError, TypeError)):
        read_guidellm({"benchmarks": []})


# ---- the server's log


def log_of(rows, requests, end=None):
    """rows: (serial, kind, before_ns); tries is 1, so that no send was held up."""
    made = np.zeros(len(rows), row_type())
    for place, (serial, kind, before_ns) in enumerate(rows):
        made[place] = (serial, before_ns, before_ns, before_ns + 10, place, 1, kind, 1)
    server = {"boot": "b00", "realtime_offset_ns": OFFSET_NS}
    return SimLog(folder=None, server=server, requests=requests, rows=made, end=end)


REQUESTS = {
    1: {"arrived_ns": 500},
    2: {"arrived_ns": 1_000, "output_tokens": 2, "request_id": "a-1"},
    3: {"arrived_ns": 2_000, "output_tokens": 2, "request_id": None},
}
ROWS = [
    (3, 1, 50_000),
    (2, 1, 60_000),
    (2, 3, 70_000),
    (3, 3, 71_000),
    (2, 3, 80_000),
    (2, 4, 81_000),
]


def test_the_first_content_is_the_truth_and_not_the_role():
    truth = truth_of(log_of(ROWS, REQUESTS), [])
    assert truth.answers["b00-2"] == truth.answers["a-1"] == Answer(2, 1_000, 70_000, 2)
    assert truth.answers["b00-3"].first_content_ns == 71_000
    assert truth.chunks == 3
    assert truth.arrivals == [(500, None), (1_000, 2), (2_000, 2)]
    assert not truth.stepped


def test_a_call_is_joined_by_either_name_and_clocks_are_mapped():
    truth = truth_of(log_of(ROWS, REQUESTS), [])
    wall = Said([Reported("a-1", 90_000.0, OFFSET_NS + 70_400)], True, 0, None, [])
    joined = join(wall, truth)
    assert (joined.reported_ns, joined.true_ns) == ([90_000.0], [69_000.0])
    assert joined.stamp_error_ns == [400.0]
    monotonic = Said([Reported("b00-3", 69_100.0, 71_005)], False, 0, None, [])
    assert join(monotonic, truth).stamp_error_ns == [5.0]


def test_what_is_not_in_the_log_is_counted():
    truth = truth_of(log_of(ROWS, REQUESTS), [])
    said = Said([Reported("b01-2", 1.0, 1), Reported("", 1.0, 1)], True, 0, None, [])
    assert join(said, truth).unmatched == 2


def test_stamps_of_a_wall_clock_that_was_set_are_not_mapped():
    truth = truth_of(log_of(ROWS, REQUESTS), [{"realtime_offset_ns": OFFSET_NS + 1_000_000}])
    assert truth.stepped
    wall = Said([Reported("a-1", 90_000.0, OFFSET_NS + 70_400)], True, 0, None, [])
    assert join(wall, truth).stamp_error_ns == []
    assert join(wall, truth).reported_ns == [90_000.0]
