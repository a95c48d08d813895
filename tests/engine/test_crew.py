"""Trials on their places: several at once, ended, lost, skipped; and what comes home of them."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from harness.engine import execute as execute_module
from harness.engine import run, spec_from
from harness.engine.messages import Begun, Ended, Failure, Kept, decode_job, encode_message
from harness.engine.schedule import InOrder
from harness.errors import BackendError, StoreError, TrialLostError
from harness.schema import Artifact, CallRecord, IterationRecord, TrialRecord
from harness.testing import MemorySink, ScriptedBackend, ScriptedTransport

from .test_interrupt import Stuck

SPEC = {
    "backend": {"name": "scripted"},
    "scenario": {"name": "asking"},
    "load": {"requests": 2},
    "iterations": {"warmup": 0},
}


def trials(sink):
    found = [record for record in sink.records if isinstance(record, TrialRecord)]
    return sorted(found, key=lambda record: record.trial)


# ---------------------------------------------------------------------------------- in this process


def test_as_many_at_once_as_there_are_places(execute, monkeypatch):
    opened, most = set(), []

    async def enter(self):
        opened.add(self)
        for _ in range(5):  # others may come in meanwhile
            await asyncio.sleep(0)
        most.append(len(opened))

    async def leave(self):
        opened.discard(self)

    monkeypatch.setattr(ScriptedBackend, "open", enter)
    monkeypatch.setattr(ScriptedBackend, "close", leave)
    outcome, sink, _ = execute({"trials": 7, "placement": {"parallel": 3}})
    assert outcome.manifest.state == "finished"
    assert max(most) == 3
    assert [(one.trial, one.status) for one in trials(sink)] == [(n, "ok") for n in range(7)]


def test_an_interrupt_reaches_all_of_them(host):
    async def main():
        transports, sink = [Stuck(), Stuck()], MemorySink()
        given = iter(transports)
        raw = {**SPEC, "trials": 5, "placement": {"parallel": 2}}
        task = asyncio.ensure_future(
            run(spec_from(raw), host, sink, open_transport=lambda kind, urls: next(given))
        )
        for transport in transports:
            await transport.reached.wait()
        task.cancel()
        return await task, sink

    outcome, sink = asyncio.run(main())
    assert outcome.manifest.state == "interrupted"
    assert [one.status for one in trials(sink)] == ["cancelled", "cancelled"]
    calls = Counter(r.trial for r in sink.records if isinstance(r, CallRecord))
    assert set(calls) == {0, 1}


def test_if_the_first_one_fails_the_others_are_interrupted(host, monkeypatch):
    transport = Stuck()

    async def refuse_one(self):
        self.number = len(host.made)
        if self.number == 1:
            await transport.reached.wait()
            raise BackendError("gone", where="http://x")

    monkeypatch.setattr(ScriptedBackend, "open", refuse_one)

    async def main():
        sink = MemorySink()
        raw = {**SPEC, "trials": 4, "placement": {"parallel": 2}}
        opened = run(spec_from(raw), host, sink, open_transport=lambda kind, urls: transport)
        return await opened, sink

    outcome, sink = asyncio.run(main())
    assert outcome.manifest.state == "failed"
    assert isinstance(outcome.error, BackendError)
    assert [one.status for one in trials(sink)] == ["error", "cancelled"]


def test_a_trial_over_its_time_is_ended_and_the_run_goes_on(execute, monkeypatch):
    hung = []

    async def hangs(self):
        hung.append(self)
        if len(hung) == 1:
            await asyncio.Event().wait()

    monkeypatch.setattr(ScriptedBackend, "open", hangs)
    outcome, sink, _ = execute({"trials": 2, "placement": {"trial_timeout_s": 2}})
    assert outcome.manifest.state == "finished"
    late, other = trials(sink)
    assert (late.status, late.error.code) == ("error", "timeout")
    assert other.status == "ok"


class Choosy(InOrder):
    """Needs no trial after the second."""

    told = False

    def skipped(self):
        ended = [n for n in range(5) if n not in self._left]
        if len(ended) == 2 and not self.told:
            self.told = True
            left, self._left = self._left, {}
            return [(planned, "two are enough") for planned in left.values()]
        return ()


def test_what_became_unnecessary_is_recorded(execute, monkeypatch):
    monkeypatch.setattr(execute_module, "make_schedule", Choosy)
    outcome, sink, _ = execute({"trials": 5})
    assert outcome.manifest.state == "finished"
    assert [one.status for one in trials(sink)] == ["ok", "ok", "skipped", "skipped", "skipped"]
    assert {one.error.message for one in trials(sink)[2:]} == {"two are enough"}


def test_the_schedule_sees_what_the_sink_gets(execute, monkeypatch):
    seen = []

    class Watching(InOrder):
        def see(self, record):
            seen.append(record)
            super().see(record)

    monkeypatch.setattr(execute_module, "make_schedule", Watching)
    _, sink, _ = execute({"trials": 2})
    assert seen == sink.records


# ---------------------------------------------------------------------------------------- elsewhere


class Elsewhere:
    """An executor that delivers what a test has written down, job by job."""

    def __init__(self, *scripts):
        self.scripts = dict(enumerate(scripts))
        self.jobs, self.closed = [], 0

    async def execute(self, job, placement, deliver):
        job = decode_job(job)
        self.jobs.append(job)
        placement["node"] = f"n{job.trial}"
        await asyncio.sleep(0)
        for message in self.scripts[job.trial]:
            if isinstance(message, Exception):
                raise message
            deliver(encode_message(message))

    async def close(self):
        self.closed += 1


def ended(trial=0, status="ok", failure=None):
    record = TrialRecord(
        arm="default", cell="base", trial=trial, status=status, start_ns=1, end_ns=2
    )
    return Ended(record=record, failure=failure and Failure.of(failure))


def iteration(*artifacts):
    return IterationRecord(
        arm="default", cell="base", trial=0, iteration=0, phase="measured", status="ok",
        start_ns=1, end_ns=2, planned_calls=0, artifacts=artifacts,
    )  # fmt: skip


@pytest.fixture
def elsewhere(host):
    """elsewhere(scripts of trials) → (outcome, sink, executor)."""
    host.is_installed = True  # as if another process could have it

    def do(*scripts, sink=None):
        executor, sink = Elsewhere(*scripts), sink or MemorySink()
        spec = spec_from({**SPEC, "trials": len(scripts), "isolation": "process"})
        outcome = asyncio.run(run(spec, host, sink, executor=executor))
        assert executor.closed == 1
        return outcome, sink, executor

    return do


def test_a_record_says_where_it_was_made(elsewhere):
    outcome, sink, executor = elsewhere([Begun(phase="measured", calls=2), ended()], [ended(1)])
    assert outcome.manifest.state == "finished"
    assert [one.placement for one in trials(sink)] == [{"node": "n0"}, {"node": "n1"}]
    assert {one.isolation for one in trials(sink)} == {"process"}
    assert {job.digest for job in executor.jobs} == {outcome.manifest.spec_digest}


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ([TrialLostError("the node is gone")], "the node is gone"),
        ([ZeroDivisionError("odd")], "the executor failed: ZeroDivisionError: odd"),
        ([], "it ended without saying how"),
    ],
)
def test_a_lost_trial_is_recorded_once_and_the_run_goes_on(elsewhere, script, says):
    outcome, sink, _ = elsewhere(script, [ended(1)])
    assert (outcome.manifest.state, outcome.error) == ("finished", None)
    lost, other = trials(sink)
    assert (lost.status, lost.error.code, lost.error.message) == ("error", "lost", says)
    assert lost.placement == {"node": "n0"}
    assert other.status == "ok"


def test_what_was_whole_before_it_was_lost_is_no_loss(elsewhere):
    """A library that crashes when the process ends."""
    _, sink, _ = elsewhere([ended(), TrialLostError("killed by SIGSEGV")])
    (trial,) = trials(sink)
    assert trial.status == "ok"


def test_why_the_first_trial_failed_is_why_the_run_did(elsewhere):
    refusal = BackendError("connection refused", where="http://x", remedy="start it")
    outcome, sink, executor = elsewhere([ended(0, "error", refusal)], [ended(1)])
    assert outcome.manifest.state == "failed"
    assert (type(outcome.error), str(outcome.error)) == (BackendError, str(refusal))
    assert len(executor.jobs) == len(trials(sink)) == 1


def test_a_job_that_was_refused_leaves_a_record(elsewhere):
    refusal = BackendError("no", where="there")
    outcome, sink, _ = elsewhere([Ended(record=None, failure=Failure.of(refusal))])
    assert outcome.manifest.state == "failed"
    (trial,) = trials(sink)
    assert (trial.status, trial.error.message) == ("error", "there: no")


def test_records_name_the_path_that_the_run_chose(elsewhere):
    script = [
        Kept(ticket="1", name="a.txt", content="text"),
        Kept(ticket="2", name="b.bin", content=b"bytes"),
        iteration(Artifact(name="a.txt", path="1"), Artifact(name="b.bin", path="2")),
        ended(),
    ]
    _, sink, _ = elsewhere(script)
    (record,) = [r for r in sink.records if isinstance(r, IterationRecord)]
    assert [sink.artifacts[one.path] for one in record.artifacts] == ["text", b"bytes"]


class Full(MemorySink):
    def artifact(self, trial, name, content):
        if name == "b.bin":
            raise StoreError("no space left", where=name)
        return super().artifact(trial, name, content)


def test_an_artifact_that_cannot_be_kept_ends_the_run(elsewhere):
    """As it does in this process: its iteration failed, with the reason, and has what was kept."""
    script = [
        Kept(ticket="1", name="a.txt", content="text"),
        Kept(ticket="2", name="b.bin", content=b"bytes"),
        iteration(Artifact(name="a.txt", path="1"), Artifact(name="b.bin", path="2")),
        ended(),
    ]
    outcome, sink, executor = elsewhere(script, [ended(1)], sink=Full())
    assert outcome.manifest.state == "failed"
    assert isinstance(outcome.error, StoreError)
    (record,) = [r for r in sink.records if isinstance(r, IterationRecord)]
    assert (record.status, record.error.code) == ("error", "store")
    assert [one.name for one in record.artifacts] == ["a.txt"]
    assert len(executor.jobs) == 1


class FullAtOnce(MemorySink):
    """Takes one record, and no more."""

    def append(self, record):
        if self.records:
            raise StoreError("no space left", where="records.hlog")
        super().append(record)


def test_a_sink_that_takes_no_more_is_how_the_run_ended(elsewhere, host):
    """Wherever trials are executed: whoever called `run` can still conclude with what there is."""
    outcome, _, _ = elsewhere([iteration(), iteration(), ended()], sink=FullAtOnce())
    assert (outcome.manifest.state, str(outcome.error)) == ("failed", "records.hlog: no space left")
    here = asyncio.run(
        run(spec_from(SPEC), host, FullAtOnce(),
            open_transport=lambda *_: ScriptedTransport([ScriptedBackend.answer(["a"])]))
    )  # fmt: skip
    assert (here.manifest.state, str(here.error)) == ("failed", str(outcome.error))
