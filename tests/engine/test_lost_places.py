"""A trial whose place is lost begins anew: it is counted once, and nothing of before is left."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from harness.cli.live.board import Board
from harness.engine import Silent, run, spec_from
from harness.engine import execute as execute_module
from harness.engine.attempts import RETRIES_MAX
from harness.engine.gathering import Gathering
from harness.engine.messages import Ended, decode_job, encode_message
from harness.engine.resume import Resume
from harness.engine.schedule import InOrder
from harness.engine.summary import derive_summary
from harness.engine.whereabouts import clock_id, here
from harness.errors import PlaceLostError, PluginError, SpecError, StoreError, TrialLostError
from harness.schema import CallRecord, IterationRecord, RetryRecord, TrialRecord
from harness.store import LogReader, RunWriter, load_run
from harness.store.folder import RECORDS
from harness.testing import MemorySink
from tests.store import builders

SPEC = {
    "backend": {"name": "scripted"},
    "scenario": {"name": "asking"},
    "load": {"requests": 2},
    "iterations": {"warmup": 0},
    "isolation": "process",
}
GONE = PlaceLostError("the node is gone")


class Losing:
    """An executor: of trial t, the first `losses[t]` attempts lose their place after some calls."""

    def __init__(self, losses, error=GONE, calls=2, placement=None, late=False):
        self.losses, self.error, self.calls, self.late = dict(losses), error, calls, late
        self.placement = placement or {}
        self.jobs, self.closed = [], 0

    async def execute(self, job, placement, deliver):
        job = decode_job(job)
        number = sum(one.trial == job.trial for one in self.jobs)
        self.jobs.append(job)
        placement |= {"node": f"n{number}", **self.placement}
        await asyncio.sleep(0)
        made = [
            builders.call(arm="default", trial=job.trial, ordinal=n, ttft_ms=10 + number)
            for n in range(self.calls)
        ]
        for call in made:
            deliver(encode_message(call))
        if not self.late and number < self.losses.get(job.trial, 0):
            raise self.error
        deliver(encode_message(builders.iteration(made)))
        record = builders.trial("default", job.trial)
        deliver(encode_message(Ended(record=record, failure=None)))
        if number < self.losses.get(job.trial, 0):
            raise self.error

    async def close(self):
        self.closed += 1


@pytest.fixture
def placed(host):
    """placed(executor, trials) → (outcome, sink)."""
    host.is_installed = True

    def do(executor, trials=2, sink=None, observer=None, **more):
        sink = sink or MemorySink()
        spec = spec_from({**SPEC, "trials": trials})
        outcome = asyncio.run(run(spec, host, sink, observer, executor=executor, **more))
        assert executor.closed == 1
        return outcome, sink

    return do


def kinds(sink, trial):
    return [type(one).__name__ for one in sink.records if one.trial == trial]


WHOLE = ["CallRecord", "CallRecord", "IterationRecord", "TrialRecord"]


def test_it_is_made_again_and_counted_once(placed):
    executor = Losing({0: 2})
    outcome, sink = placed(executor)
    assert (outcome.manifest.state, outcome.error) == ("finished", None)
    assert kinds(sink, 0) == kinds(sink, 1) == WHOLE
    ends = {one.trial: one for one in sink.records if isinstance(one, TrialRecord)}
    assert [(ends[t].status, ends[t].lost, ends[t].placement["node"]) for t in (0, 1)] == [
        ("ok", 2, "n2"),
        ("ok", 0, "n0"),
    ]
    assert sink.retries == [
        RetryRecord(trial=0, attempt=n, reason=str(GONE), placement={"node": f"n{n - 1}"})
        for n in (1, 2)
    ]


def test_prompts_that_a_server_has_seen_are_not_sent_again(placed):
    """What prompts are salted with differs from one attempt to the next."""
    executor = Losing({0: 2})
    placed(executor, trials=1)
    assert len({job.run_id for job in executor.jobs}) == len(executor.jobs) == 3


def test_who_loses_every_place_is_lost(placed):
    executor = Losing({0: 99})
    outcome, sink = placed(executor)
    assert outcome.manifest.state == "finished"
    assert len(executor.jobs) == 1 + RETRIES_MAX + 1
    (end,) = [one for one in sink.records if isinstance(one, TrialRecord) and one.trial == 0]
    assert (end.status, end.error.code, end.lost) == ("error", "lost", RETRIES_MAX)
    assert kinds(sink, 0) == ["CallRecord", "CallRecord", "TrialRecord"], "of the last attempt"
    assert kinds(sink, 1) == WHOLE


def test_what_was_whole_stays(placed):
    executor = Losing({0: 1}, late=True)
    _, sink = placed(executor)
    assert len(executor.jobs) == 2
    assert sink.retries == []
    assert kinds(sink, 0) == WHOLE


def test_a_trial_that_crashed_is_not_made_again(placed):
    executor = Losing({0: 1}, TrialLostError("killed by SIGSEGV"))
    placed(executor)
    assert len(executor.jobs) == 2


def test_an_interrupt_that_comes_with_the_loss_counts(placed, host):
    """Then it runs again when the run is taken up."""

    class Waiting(Losing):
        async def execute(self, job, placement, deliver):
            try:
                self.under_way.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise GONE from None

    async def main():
        executor, sink = Waiting({}), MemorySink()
        executor.under_way = asyncio.Event()
        running = asyncio.ensure_future(
            run(spec_from({**SPEC, "trials": 1}), host, sink, executor=executor)
        )
        await executor.under_way.wait()
        running.cancel()
        return await running, sink

    host.is_installed = True
    outcome, sink = asyncio.run(main())
    assert outcome.manifest.state == "interrupted"
    assert [one.status for one in sink.records] == ["cancelled"]
    assert sink.retries == []


def test_a_sink_that_takes_no_retry_ends_the_run(placed):
    class Full(MemorySink):
        def append(self, record):
            if isinstance(record, RetryRecord):
                raise StoreError("no space left", where="records.log")
            super().append(record)

    outcome, _ = placed(Losing({0: 1}), sink=Full())
    assert (outcome.manifest.state, str(outcome.error)) == ("failed", "records.log: no space left")


def test_no_place_at_all_is_why_the_run_failed(placed):
    refusal = PluginError("no node has a GPU", where="ray", remedy="fewer")
    outcome, sink = placed(Losing({0: 1}, refusal))
    assert outcome.manifest.state == "failed"
    assert str(outcome.error) == str(refusal)
    (end,) = [one for one in sink.records if isinstance(one, TrialRecord)]
    assert (end.status, end.error.message) == ("error", str(refusal))


def test_schedule_and_observer_hear_of_it(placed, monkeypatch):
    seen, told = [], []

    class Watching(InOrder):
        def see(self, record):
            seen.append(record)
            super().see(record)

    class Observing(Silent):
        def trial_retried(self, record):
            told.append(record)

    monkeypatch.setattr(execute_module, "make_schedule", Watching)
    _, sink = placed(Losing({1: 1}), observer=Observing())
    assert told == sink.retries == [one for one in seen if isinstance(one, RetryRecord)]


def test_rules_forget_what_is_void():
    spec = builders.spec()
    gathering = Gathering(spec, {}, [("baseline", "base", 0)])
    bad, good = builders.call(trial=0, ttft_ms=99), builders.call(trial=0, ttft_ms=5)
    gathering.add(bad)
    assert gathering.add(RetryRecord(trial=0, attempt=1, reason="gone")) is None
    gathering.add(good)
    ended = gathering.add(builders.trial("baseline", 0))
    assert [call.call_id for call in ended.calls] == [good.call_id]
    assert [call.instants for call in ended.calls] == [good.instants]


def test_the_board_forgets_it_too(host):
    from harness.engine import make_plan

    board = Board(lambda: 1.0)
    plan = make_plan(spec_from({**SPEC, "isolation": "inline", "trials": 1}), host)
    board.run_started(plan)
    board.trial_started(plan.trials[0], 1)
    board.call_finished(builders.call(arm="default", trial=0))
    board.call_finished(builders.call(arm="default", trial=0, status="error"))
    board.trial_retried(RetryRecord(trial=0, attempt=1, reason="gone"))
    assert (board.running[0].ok, board.running[0].measured_ok) == (0, 0)
    assert board.doubts.lines() == ["place-lost: trial 0: gone (default)"]
    board.trial_finished(builders.trial("default", 0))
    (row,) = board.rows.values()
    assert (row.done, row.running, row.left) == (1, 0, 0)


# ------------------------------------------------------------------------------- in the run folder


class Folder:
    def __init__(self, path):
        self.path = path

    def begin(self, manifest):
        self.writer = RunWriter.create(manifest, out=self.path)

    def resume(self, manifest, session):
        self.writer = RunWriter.reopen(self.path, manifest, session, 0)

    def append(self, record):
        self.writer.append(record)

    def artifact(self, trial, name, content):
        return self.writer.artifact(trial, name, content)


def test_a_reader_of_the_log_leaves_it_out(placed, tmp_path):
    outcome, sink = placed(Losing({0: 2, 1: 1}), trials=3, sink=Folder(tmp_path / "run"))
    _, memory = placed(Losing({0: 2, 1: 1}), trials=3)
    sink.writer.finish(outcome.manifest.state, None, ended="2026-11-20T21:17:00+00:00")
    log = LogReader(tmp_path / "run" / RECORDS)
    assert [(one.trial, one.attempt) for one in log.retries] == [(0, 1), (0, 2), (1, 1)]
    assert log.sessions == ()
    found = load_run(tmp_path / "run")
    assert [builtin(one) for one in found.records()] == [builtin(one) for one in memory.records]
    assert found.summary.arms[0].calls == {"ok": 6}
    (caveat,) = [one for one in found.summary.verdict.caveats if one.code == "place-lost"]
    assert caveat.evidence == {"lost": {"0": 2, "1": 1}}


def builtin(record):
    """Without what differs from one execution to the next."""
    return replace(record, home_ns=None) if isinstance(record, TrialRecord) else record


@pytest.mark.parametrize("kept", range(12))
def test_a_kill_in_the_midst_of_it(placed, tmp_path, kept):
    """Cut after any record, the run is taken up and comes to the same."""
    path = tmp_path / "run"
    outcome, sink = placed(Losing({0: 1}), sink=Folder(path))
    sink.writer.close()
    log = path / RECORDS
    whole = list(LogReader(log))
    offsets = [offset for offset, _ in LogReader(log).bodies()]
    assert len(offsets) == 2 + 1 + 4 + 4
    if kept < len(offsets):
        log.write_bytes(log.read_bytes()[: offsets[kept] + 3])
    found = load_run(path)
    resume = Resume(run=found, begin=sink.resume)
    placed(Losing({}), sink=sink, resume=resume)
    sink.writer.close()
    again = list(load_run(path).records())
    assert sorted(kind(one) for one in again) == sorted(kind(one) for one in whole)
    assert outcome.manifest.run_id == found.manifest.run_id


def kind(record):
    return record.trial, type(record).__name__


# --------------------------------------------------------------------------------- another machine


def test_instants_of_another_machine_are_its_own(placed):
    """The record says when it was by the clock of the run; the length of the run goes by that."""
    outcome, sink = placed(Losing({}, placement={"clock": "another", "host": "h"}))
    ends = [one for one in sink.records if isinstance(one, TrialRecord)]
    assert all(one.start_ns < one.home_ns[0] <= one.home_ns[1] for one in ends)
    summary = derive_summary(outcome.manifest, sink.records)
    first, last = min(one.home_ns[0] for one in ends), max(one.home_ns[1] for one in ends)
    assert summary.wall_s == pytest.approx((last - first) / 1e9)
    _, sink = placed(Losing({}, placement={"clock": clock_id()}))
    assert {one.home_ns for one in sink.records if isinstance(one, TrialRecord)} == {None}


def test_a_trial_that_was_lost_there_has_the_instants_of_its_calls(placed):
    _, sink = placed(
        Losing({0: 1}, TrialLostError("SIGKILL"), placement={"clock": "another"}), trials=1
    )
    calls = [one.instants for one in sink.records if isinstance(one, CallRecord)]
    (end,) = [one for one in sink.records if isinstance(one, TrialRecord)]
    assert (end.start_ns, end.end_ns) == (calls[0].due_ns, calls[-1].closed_ns or calls[-1].end_ns)
    assert end.home_ns is not None
    assert not any(isinstance(one, IterationRecord) for one in sink.records)


def test_here_says_what_a_run_says_of_its_machine():
    from harness.engine.environment import cpu_model, host_digest

    found = here()
    assert (found["host"], found["cpu_model"]) == (host_digest(), cpu_model())
    assert found["clock"] == clock_id()
    assert all(isinstance(value, str) and value for value in found.values())


# ------------------------------------------------------------------------------- whom a spec names


@pytest.mark.parametrize(
    ("placement", "says"),
    [
        ({"executor": "locl"}, r"\$\.placement\.executor: there is no executor 'locl' .*local"),
        ({"executor_options": {"cpus": 2}}, r"\$\.placement\.executor_options"),
    ],
)
def test_a_name_or_an_option_that_nobody_knows(placement, says):
    from harness.engine import make_plan
    from harness.host import Host

    raw = {"backend": {"name": "sim"}, "scenario": {"name": "load"}, "placement": placement}
    with pytest.raises(SpecError, match=says):
        make_plan(spec_from(raw), Host.load())


def test_who_places_trials_has_them_in_processes(host):
    import harness
    from harness.engine import make_plan

    class Plugin:
        @harness.hookimpl
        def harness_register_executors(self, registry):
            registry.add("losing", lambda config: Losing({}))

    assert host.add("losing", Plugin())
    raw = {**SPEC, "isolation": "auto", "placement": {"executor": "losing"}}
    with pytest.raises(SpecError, match=r"not every plugin here is an installed one"):
        make_plan(spec_from(raw), host)
    host.is_installed = True
    assert make_plan(spec_from(raw), host).isolation == "process"
    with pytest.raises(SpecError, match=r"\$\.placement\.executor.*isolation: process"):
        make_plan(spec_from({**raw, "isolation": "inline"}), host)
