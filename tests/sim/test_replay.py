"""A recorded run played again: exact where it was made up, and once all the way round."""

from __future__ import annotations

import json
import subprocess

import msgspec
import numpy as np
import pytest

from harness import load_run
from harness.errors import SpecError, StoreError
from harness.metrics.chunks import inter_chunk_ns
from harness.schema import CallRecord, ChunkColumns
from harness.store import RunWriter
from harness.testing.sim.beside import serial_of
from harness.testing.sim.log import read_log
from tests.sim.reception import Reception, content_due
from tests.sim.servers import RUN, SIM, sim
from tests.store.builders import call, failed, manifest

MS = 1_000_000


def write_run(folder, calls):
    writer = RunWriter.create(manifest(), out=folder, root=folder.parent)
    for one in calls:
        writer.append(one)
    writer.close()
    return folder


@pytest.fixture
def run(tmp_path):
    """Three calls to be replayed; they end, and are recorded, in another order than they began."""
    return write_run(
        tmp_path / "run",
        [
            call(ordinal=9, phase="warmup", ttft_ms=777),
            call(ordinal=1, sent_ms=1010, ttft_ms=20, tpot_ms=2, tokens=4),
            call(ordinal=2, sent_ms=1020, ttft_ms=30, tokens=1, arm="chimera"),
            call(ordinal=0, sent_ms=1000, ttft_ms=70, tpot_ms=3, tokens=3),
            failed(ordinal=3, sent_ms=1005),
        ],
    )


def times(desk, requests, tokens):
    """(TTFT, gaps) of each request, in ms."""
    found = []
    for _ in range(requests):
        due = content_due(desk.wire(desk.ask(at_ns=500 * MS, options={"num_predict": tokens})))
        found.append((due[0] / MS - 500, [gap / MS for gap in np.diff(due)]))
    return found


def test_call_by_call_in_the_order_of_sending(run):
    desk = Reception(ttft=f"replay:{run}", gap=f"replay:{run}")
    assert times(desk, 4, 4) == [
        (70, [3, 3, 3]),  # an answer longer than the call goes through its gaps again
        (20, [2, 2, 2]),
        (30, [3, 3, 3]),  # one chunk: the gaps of the next call
        (70, [3, 3, 3]),
    ]


def test_one_arm_at_another_speed_beside_another_law(run):
    law = {"law": "replay", "run": str(run), "arm": "baseline", "speed": 4}
    assert times(Reception(ttft=law, gap=7), 3, 2) == [(17.5, [7]), (5, [7]), (17.5, [7])]
    assert times(Reception(ttft=1, gap=law), 2, 3) == [(1, [0.75, 0.75]), (1, [0.5, 0.5])]


def test_from_a_file_of_numbers(tmp_path):
    file = tmp_path / "times.jsonl"
    lines = [{"ttft_ms": 5, "gaps_ms": [1, 2.5]}, {"ttft_ms": None}, {"ttft_ms": 6, "gaps_ms": []}]
    lines.append({"status": "error", "ttft_ms": 9})
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    desk = Reception(ttft=f"replay:{file}", gap=f"replay:{file}")
    assert times(desk, 3, 4) == [(5, [1, 2.5, 1]), (6, [1, 2.5, 1]), (5, [1, 2.5, 1])]


def test_what_cannot_be_replayed(tmp_path, run):
    bare = call(chunks=ChunkColumns(count=5))
    calls = {"unkept": [bare], "failed": [failed()], "single": [call(tokens=1)]}
    for name, records in calls.items():
        write_run(tmp_path / name, records)
    numbers = tmp_path / "numbers.jsonl"
    numbers.write_text('{"ttft_ms": 5}\n{"ttft_ms": "soon"}\n')
    for law, of, says in (
        (f"replay:{tmp_path / 'nowhere'}", "ttft", "no run"),
        (f"replay:{tmp_path / 'failed'}", "ttft", "no ok call"),
        (f"replay:{tmp_path / 'unkept'}", "gap", "were not kept"),
        (f"replay:{tmp_path / 'single'}", "gap", "no gap between chunks"),
        (f"replay:{numbers}", "ttft", "line 2"),
        (f"replay:{numbers}", "gap", "no gap"),
        ({"law": "replay", "run": str(run), "arm": "third"}, "ttft", "baseline, chimera"),
    ):
        with pytest.raises((SpecError, StoreError), match=says) as error:
            Reception(**{of: law})
        assert "\n" not in str(error.value)
    assert Reception(ttft=f"replay:{tmp_path / 'unkept'}"), "its TTFT was kept"
    done = subprocess.run(
        [*SIM, "--replay", "latest"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "no run" in done.stderr
    assert not (tmp_path / "sims").exists()


def record(server, cwd, folder, requests, tokens):
    words = ["load", "--backend", "ollama", "--model", "sim", "--url", server.url]
    words += ["--requests", requests, "--concurrency", 1, "--max-tokens", tokens, "--warmup", 0]
    words += ["--out", folder]
    done = subprocess.run([*RUN, *map(str, words)], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    calls = [r for r in load_run(folder).records() if isinstance(r, CallRecord)]
    return sorted(calls, key=lambda one: one.instants.sent_ns)


def test_record_replay_record(tmp_path):
    """What a second run sees of a replayed first one is the first, but for what the server's log
    owns up to: how late it sent. Judged by the log, so that a slow machine changes nothing."""
    requests, tokens = 6, 8
    laws = ["--ttft", "uniform:5,15", "--gap", "uniform:1,4"]
    with sim(tmp_path / "first", *laws) as server:
        before = record(server, tmp_path, tmp_path / "runs" / "a", requests, tokens)
    with sim(tmp_path / "again", "--replay", tmp_path / "runs" / "a") as server:
        after = record(server, tmp_path, tmp_path / "runs" / "b", requests, tokens)
        log = server.stop()
    assert len(before) == len(after) == requests
    for old, new in zip(before, after, strict=True):
        serial = serial_of(new, log.boot)
        rows = log.rows[(log.rows["serial"] == serial) & (log.rows["kind"] == 3)]
        asked = log.requests[serial]
        ttft_ns = old.instants.first_token_ns - old.instants.sent_ns
        # What was to be sent when: the recorded times, to the nanosecond.
        assert rows["due_ns"][0] - asked["start_ns"] == ttft_ns
        assert np.diff(rows["due_ns"]).tolist() == inter_chunk_ns(old).tolist()
        # What the second run measured: those times and the lateness of each send, beside which
        # there is only the way from server to client (from the log's send to the run's stamp).
        stamps = np.frombuffer(new.chunks.arrival_ns, "<i8")[: len(rows)]
        way_ns = stamps - rows["before_ns"]
        late_ns = rows["before_ns"] - rows["due_ns"]
        assert (late_ns >= 0).all()
        if new.stamp_source == "kernel":  # mapped between two clocks: true to some µs
            assert (way_ns > -50_000).all()
        gaps = inter_chunk_ns(old) + np.diff(late_ns) + np.diff(way_ns)
        assert inter_chunk_ns(new).tolist() == gaps.tolist()


def test_the_law_is_in_the_log(tmp_path):
    write_run(tmp_path / "run", [call()])
    with sim(tmp_path / "log", "--replay", tmp_path / "run") as server:
        server.stop()
    spec = read_log(tmp_path / "log").server["spec"]
    assert spec["gap"] == {"law": "replay", "run": str(tmp_path / "run")}
    assert msgspec.json.encode(spec)
