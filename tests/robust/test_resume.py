"""The real command, killed or interrupted at random, and taken up again until it is done."""

from __future__ import annotations

import random
import signal
from collections import Counter

import pytest

from harness.schema import CallRecord, TrialRecord
from harness.store import load_run
from harness.store.folder import RECORDS, SUMMARY
from tests.robust.tools import Command, check_run, count_records, harness, run_words

SEED = 20261123
CHOSEN = random.Random(SEED)
TRIALS, REQUESTS = 3, 60
LOAD = ("--runs", TRIALS, "--requests", REQUESTS, "--concurrency", 2, "--seed", 7)


def words(server, folder, isolation):
    return [*run_words(server.url, folder, *LOAD), "--set", f"isolation={isolation}"]


def facts(folder):
    """What of the measured calls does not depend on when they were made."""
    run = load_run(folder)
    calls = [r for r in run.records() if isinstance(r, CallRecord)]
    ends = Counter(r.status for r in run.records() if isinstance(r, TrialRecord))
    return Counter((c.call_id, c.arm, c.status, c.max_tokens) for c in calls), ends


@pytest.mark.parametrize(("isolation", "kills"), [("inline", 2), ("process", 1)])
def test_killed_and_taken_up_again(tmp_path, server, isolation, kills):
    folder = tmp_path / "run"
    command = words(server, folder, isolation)
    points = sorted(CHOSEN.sample(range(2, TRIALS * REQUESTS), kills))
    for at in points:
        with Command(*command, cwd=tmp_path) as running:
            running.records(folder, at)
            running.signal(signal.SIGKILL)
            assert running.done().status == -signal.SIGKILL
        assert not (folder / SUMMARY).exists()
        command = ["run", "--resume", folder]
    assert harness(*command, cwd=tmp_path).status == 0, f"seed {SEED}, killed at {points}"
    summary, calls = check_run(folder)
    assert summary.state == "finished"
    assert calls == {"ok": TRIALS * REQUESTS}
    assert summary.sessions == 1 + kills
    assert (folder / "reports" / "comparison_report.md").stat().st_size > 0
    _, ends = facts(folder)
    assert ends == {"ok": TRIALS}


def test_interrupted_and_taken_up_again(tmp_path, server):
    undisturbed = tmp_path / "undisturbed"
    harness(*words(server, undisturbed, "inline"), cwd=tmp_path)
    folder = tmp_path / "run"
    with Command(*words(server, folder, "inline"), cwd=tmp_path) as running:
        running.records(folder, CHOSEN.randrange(2, REQUESTS))
        running.signal(signal.SIGSTOP)
        refused = harness("run", "--resume", folder, cwd=tmp_path)
        running.signal(signal.SIGCONT)
        running.signal(signal.SIGINT)
        cut = running.done()
    assert refused.status == 2
    assert "still being written by another process" in refused.line
    assert cut.status == 130
    assert f"next: harness run --resume {folder}" in cut.out
    summary, _ = check_run(folder)
    (caveat,) = [c for c in summary.verdict.caveats if c.code == "incomplete"]
    assert caveat.remedy == f"harness run --resume {summary.run_id}"

    refused = harness("run", "--resume", folder, "--seed", 8, cwd=tmp_path)
    assert refused.status == 2
    assert "the spec is another one: $.seed: 7 → 8" in refused.line
    refused = harness("run", "--resume", folder, "--out", tmp_path / "other", cwd=tmp_path)
    assert "a resumed run stays in its folder" in refused.line

    taken_up = harness(*words(server, folder, "inline"), "--resume", folder, cwd=tmp_path)
    assert taken_up.status == 0, taken_up.err
    assert facts(folder) == facts(undisturbed)
    summary, _ = check_run(folder)
    assert summary.sessions == 2
    assert [c.severity for c in summary.verdict.caveats if c.code == "resumed"] == ["note"]

    nothing = harness("run", "--resume", folder, cwd=tmp_path)
    assert nothing.status == 0
    assert nothing.line.endswith(f"nothing is missing, all {TRIALS} trials have ended")


def test_what_cannot_be_added_to_is_refused_and_left_alone(tmp_path, server):
    folder = tmp_path / "run"
    with Command(*words(server, folder, "inline"), cwd=tmp_path) as running:
        running.records(folder, 10)
        running.signal(signal.SIGKILL)
        running.done()
    log = folder / RECORDS
    whole = log.read_bytes()
    broken = whole[:200] + bytes(50) + whole[250:]
    log.write_bytes(broken)
    refused = harness("run", "--resume", folder, cwd=tmp_path)
    assert refused.status == 2
    assert "nothing can be added to it (try: restore it from a copy" in refused.line
    assert log.read_bytes() == broken

    log.write_bytes(whole[:-3])  # a torn tail is cut off, and the trial runs again
    assert harness("run", "--resume", folder, cwd=tmp_path).status == 0
    assert count_records(log) > 0
    summary, calls = check_run(folder)
    assert calls == {"ok": TRIALS * REQUESTS}
    assert "torn-log" not in {c.code for c in summary.verdict.caveats}


def test_only_a_resumed_run_has_failed_trials_to_retry(tmp_path):
    done = harness("run", "load", "--retry-failed", cwd=tmp_path)
    assert done.status == 2
    assert "--retry-failed goes with --resume" in done.err
