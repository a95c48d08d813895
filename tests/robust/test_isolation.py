"""Trials in processes of their own: what becomes of a run when they die, hang or print."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import psutil
import pytest

from harness.engine import local, run, spec_from
from harness.host import Host
from harness.schema import CallRecord, IterationRecord, TrialRecord
from harness.store import load_run
from harness.testing import MemorySink
from tests.robust.tools import STRANGER, Command, check_run, ended, harness, run_words, watched

LOAD = ("--requests", 100_000, "--concurrency", 2, "--runs", 4)


@pytest.fixture
def misbehave(server, tmp_path, monkeypatch):
    """misbehave(how, more fields) → (outcome, records, sink): three trials, of which the second
    does something."""
    monkeypatch.syspath_prepend(str(STRANGER))
    monkeypatch.chdir(tmp_path)

    def do(how="", **more):
        raw = {
            "backend": {"name": "openai", "model": "sim", "url": server.url},
            "scenario": {"name": "misbehaves", "options": {"how": how}},
            "iterations": {"warmup": 0},
            "trials": 3,
            **more,
        }
        sink = MemorySink()
        outcome = asyncio.run(run(spec_from(raw), Host.load(), sink))
        return outcome, sink.records, sink

    return do


def trials(records):
    found = [one for one in records if isinstance(one, TrialRecord)]
    return sorted(found, key=lambda one: one.trial)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("killed", "its process was killed by SIGKILL; it last printed: trial 1 of the stranger"),
        ("crashes", "its process was killed by SIGSEGV; it last printed: Fatal Python error: Segm"),
        ("exits", "its process ended with status 7; it last printed: trial 1 of the stranger"),
    ],
)
def test_a_trial_that_dies_is_lost_and_the_run_goes_on(misbehave, how, says):
    outcome, records, sink = misbehave(how)
    assert (outcome.manifest.state, outcome.error) == ("finished", None)
    first, lost, third = trials(records)
    assert (first.status, lost.status, third.status) == ("ok", "error", "ok")
    assert lost.error.code == "lost"
    assert lost.error.message.startswith(says)
    assert lost.isolation == "process"
    assert lost.start_ns < lost.end_ns
    calls = Counter(one.trial for one in records if isinstance(one, CallRecord))
    assert calls == {0: 1, 1: 1, 2: 1}, "what it had delivered is kept"
    assert how != "crashes" or "Segmentation fault" in sink.artifacts["artifacts/0001/output.txt"]


def test_a_first_trial_that_dies_fails_no_run(misbehave):
    scenario = {"name": "misbehaves", "options": {"how": "killed", "trial": 0}}
    outcome, records, _ = misbehave(scenario=scenario, trials=2)
    assert outcome.manifest.state == "finished"
    assert [one.status for one in trials(records)] == ["error", "ok"]


@pytest.mark.parametrize("how", ["waits", "holds_the_loop"])
def test_a_trial_that_takes_too_long_is_ended_with_all_it_started(misbehave, monkeypatch, how):
    monkeypatch.setattr(local, "POLITE_S", 60 if how == "waits" else 0.1)
    scenario = {"name": "misbehaves", "options": {"how": how, "trial": 0}}
    limit = {"trial_timeout_s": 6}
    outcome, records, _ = misbehave(scenario=scenario, trials=2, placement=limit)
    assert outcome.manifest.state == "finished"
    late, other = trials(records)
    assert (late.status, late.error.code, other.status) == ("error", "timeout", "ok")
    assert late.error.message == "it took longer than the 6 s of placement.trial_timeout_s"
    calls = [one for one in records if isinstance(one, CallRecord) and one.trial == 0]
    assert [call.status for call in calls] == ["ok"]
    if how == "waits":
        # Asked to end, the iteration ended; nobody asked the one that went its own way.
        (iteration,) = [o for o in records if isinstance(o, IterationRecord) and o.trial == 0]
        assert iteration.status == "cancelled"
        assert not psutil.pid_exists(int(Path("left").read_text()))


def test_what_a_trial_prints_is_kept_and_is_not_in_the_way(server, tmp_path):
    words = ["run", "misbehaves", "--backend", "openai", "--model", "sim", "--url", server.url]
    done = harness(*words, "--runs", 2, "--json", "--out", "run", cwd=tmp_path)
    assert done.status == 0, done.err
    assert done.out.startswith("{")
    assert "stranger" not in done.err
    folder = tmp_path / "run" / "artifacts"
    # Warm-up, and one measured iteration.
    assert (folder / "0001" / "output.txt").read_text() == "trial 1 of the stranger\n" * 2


def test_places_are_given_out_and_recorded(misbehave):
    here = sorted(os.sched_getaffinity(0))
    cpus = [str(here[0]), str(here[-1])]
    placement = {"parallel": 2, "cpus": cpus, "gpus": ["5", "GPU-6"]}
    outcome, records, _ = misbehave(trials=4, placement=placement)
    assert outcome.manifest.state == "finished"
    assert Counter(one.status for one in trials(records)) == {"ok": 4}
    places = {one.trial: one.placement for one in trials(records)}
    assert {tuple(place.values()) for place in places.values()} == set(
        zip(cpus, ["5", "GPU-6"], strict=True)
    )
    for one in records:
        if isinstance(one, IterationRecord):
            place = places[one.trial]
            told = {"cpus": [int(place["cpus"])], "gpus": place["gpus"]}
            assert one.data["place"] == told


def test_two_at_once_overlap(misbehave):
    _, records, _ = misbehave(trials=2, placement={"parallel": 2})
    one, other = trials(records)
    assert max(one.start_ns, other.start_ns) < min(one.end_ns, other.end_ns)


def shape(records):
    """All that does not differ from one run to the next."""
    calls, rest = {}, []
    for one in records:
        if isinstance(one, CallRecord):
            calls[one.call_id] = (one.status, one.stage, one.usage, one.content_chunks)
        elif isinstance(one, IterationRecord):
            place = (one.trial, one.phase, one.iteration)
            rest.append((*place, one.status, one.planned_calls, one.artifacts, len(one.spans)))
        else:
            rest.append((one.trial, one.status, one.transport, one.effective.model))
    return calls, rest


@pytest.mark.parametrize("scenario", ["load", "single_agent"])
def test_a_trial_leaves_the_same_in_a_process_as_in_ours(misbehave, scenario):
    found = {}
    for isolation in ("inline", "process"):
        outcome, records, sink = misbehave(
            scenario={"name": scenario}, isolation=isolation, trials=1, seed=7
        )
        assert outcome.manifest.state == "finished", outcome.error
        assert trials(records)[0].isolation == isolation
        found[isolation] = (*shape(records), sorted(sink.artifacts))
    assert found["inline"] == found["process"]


# --------------------------------------------------------------------------- signals, real command


def test_one_signal_interrupts_every_trial(tmp_path, server):
    folder = tmp_path / "run"
    words = run_words(server.url, folder, *LOAD, "--set", "placement.parallel=2")
    with Command(*words, cwd=tmp_path) as command:
        command.until(lambda: len(begun(folder)) == 2)
        command.signal(signal.SIGINT)
        done = command.done()
    assert done.status == 130, done.err
    summary, calls = check_run(folder)
    assert summary.state == "interrupted"
    records = list(load_run(folder).records())
    assert [one.status for one in trials(records)] == ["cancelled"] * 2
    cancelled = Counter(o.trial for o in records if isinstance(o, CallRecord) and o.status != "ok")
    assert set(cancelled) == {0, 1}, "both delivered what they had in flight"
    assert set(calls) <= {"ok", "cancelled", "not_sent"}


def begun(folder):
    """Trials that have delivered a call."""
    try:
        return {one.trial for one in load_run(folder).records()}
    except Exception:  # there is no run yet
        return set()


@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT twice"])
def test_trials_die_with_us(tmp_path, server, how):
    folder = tmp_path / "run"
    words = run_words(server.url, folder, *LOAD)
    with Command(*words, cwd=tmp_path, block="summary") as command:
        command.records(folder, 10)
        (guard,) = psutil.Process(command.pid).children()
        (child,) = guard.children()
        with watched(guard.pid) as one, watched(child.pid) as other:
            if how == "SIGKILL":
                command.signal(signal.SIGKILL)
            else:
                command.signal(signal.SIGINT)
                command.said("stopping")
                command.signal(signal.SIGINT)
            command.done()
            assert ended(one) and ended(other), "a trial outlived us"
    summary, calls = check_run(folder)
    assert summary.state == "interrupted"
    assert calls["ok"] > 0


@pytest.mark.real_model
def test_a_trial_that_is_killed_takes_its_server_along(tmp_path):
    folder = tmp_path / "run"
    words = ["run", "load", "--requests", 400, "--max-tokens", 8, "--runs", 2, "--out", folder]
    with Command(*words, cwd=tmp_path) as command:
        command.records(folder, 1)
        (guard,) = psutil.Process(command.pid).children()
        (child,) = guard.children()
        (embedded,) = child.children()
        assert "harness_llamacpp" in " ".join(embedded.cmdline())
        with watched(embedded.pid) as server:
            child.kill()
            assert ended(server), "the embedded server outlived its trial"
        done = command.done()
    assert "trial 1/2 default: error" in done.err
    assert "trial 2/2 default: ok" in done.err
    check_run(folder)
