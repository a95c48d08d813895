"""One run for real: our own command against the server, in a process tree that is watched."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.peers.install import Tokenizer, closure
from benchmarks.peers.launch import Job, tree_of
from benchmarks.peers.loads import Load, Plan
from benchmarks.peers.rounds import _launch, client_cores, run_plans

LOAD = Load("tiny", "tiny", 4, 2, 2, "20", True, {"": (5, 25)}, 60)
NO_WORDS = Tokenizer(Path("none"), Path("none"), "none")


@pytest.mark.quiet
def test_ours_beside_the_servers_log(tmp_path):
    plans = [Plan(LOAD, 1, 1, ("ours",), ("short", "long"), ("long",))]
    short, long = run_plans(plans, NO_WORDS, tmp_path / "runs", keep=False)
    for run, tokens in ((short, 5), (long, 25)):
        assert (run.outcome, run.ok, run.failed, run.unmatched) == ("ok", 8, 0, 0)
        assert len(run.reported_ns) == len(run.true_ns) == len(run.stamp_error_ns) == 8
        assert min(run.true_ns) >= 20e6
        # Two requests a stream and one to warm up; the probe of the backend has content too.
        assert 12 * tokens <= run.chunks <= 12 * tokens + 4
        assert 0 < run.contact_s <= run.start_s < run.wall_s
        assert run.cpu_ns > 0
        assert run.reported_p50_ns is not None
    assert not list((tmp_path / "runs").iterdir())  # nothing went wrong, nothing is kept


def job(tmp_path, script, limit_s=30.0):
    return Job([sys.executable, "-c", script], str(tmp_path), client_cores(1), limit_s, {"X": "1"})


BUSY = "import time\nend = time.process_time() + {s}\nwhile time.process_time() < end: pass\n"


def test_what_a_command_leaves_behind_is_counted_and_ended(tmp_path):
    """A grandchild in a session of its own, whose parent goes when it has burnt its CPU."""
    left = BUSY.format(s=0.5) + "print('burnt', flush=True)\ntime.sleep(600)"
    script = (
        "import os, subprocess, sys, time\n"
        "assert os.environ['X'] == '1' and len(os.sched_getaffinity(0)) == 1\n"
        "left = subprocess.Popen(\n"
        f"    [sys.executable, '-c', {left!r}], stdout=subprocess.PIPE, start_new_session=True\n"
        ")\n" + BUSY.format(s=0.1) + "assert left.stdout.readline() == b'burnt\\n'\nprint('said')\n"
    )
    ended = _launch(job(tmp_path, script), tmp_path)
    assert ended.status == 0
    assert ended.user_s + ended.system_s >= 0.6
    assert ended.processes >= 2
    assert ended.rss_bytes >= ended.pss_bytes > 0
    assert (tmp_path / "said.txt").read_text() == "said\n"


def test_a_command_that_does_not_end_is_stopped(tmp_path):
    ended = _launch(job(tmp_path, "import time; time.sleep(600)", limit_s=0.5), tmp_path)
    assert ended.status is None
    assert 0.5 <= ended.wall_s < 60


def test_the_tree_of_a_process_without_children_is_empty():
    assert tree_of(0x7FFFFFFF) == []


def test_all_that_a_list_of_requirements_leads_to():
    known = {
        "a": ["b>=1", "c; extra == 'x'"],
        "b": ["A", "D_e ; python_version >= '3'"],
        "d-e": None,
    }
    assert closure(["a>=2"], known.get) == {"a", "b", "d-e"}
