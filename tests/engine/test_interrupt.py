"""An interrupt ends calls with what they have, and the run with what it has."""

from __future__ import annotations

import asyncio

import pytest

from harness._native.recorder import Recorder
from harness.engine import run, spec_from
from harness.schema import CallRecord, IterationRecord, TrialRecord
from harness.testing import MemorySink, ScriptedBackend

from .conftest import Asking, TwoSteps


class Stuck:
    """Answers nothing until it is closed; then every call ends as a real transport ends it."""

    name = "stuck"

    def __init__(self, limit=2):
        self.waiting = []
        self.limit = limit
        self.reached = asyncio.Event()

    async def open(self):
        pass

    def lane(self, limit):
        return 1

    def send(self, exchange, timeouts, *, lane=0, due_ns=0):
        future = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        self.reached.set()
        return future

    def stats(self):
        return {}

    async def close(self):
        for index, future in enumerate(self.waiting):
            if future.done():
                continue
            recorder = Recorder(due_ns=1000)
            if index < self.limit:
                recorder.mark(sent_ns=1001, http_status=200)
                recorder.append(1002, 1003, b'{"text":"half"}')
            outcome = "cancelled" if index < self.limit else "not_sent"
            future.set_result(recorder.seal(outcome, closed_ns=1004))


def interrupted(host, raw):
    async def main():
        transport = Stuck()
        sink = MemorySink()
        spec = spec_from({"backend": {"name": "scripted"}, "iterations": {"warmup": 0}, **raw})
        task = asyncio.ensure_future(
            run(spec, host, sink, open_transport=lambda kind, urls: transport)
        )
        await transport.reached.wait()
        task.cancel()
        return await task, sink

    return asyncio.run(main())


def test_a_request_scenario(host):
    load = {"concurrency": 2, "requests": 300}
    outcome, sink = interrupted(host, {"scenario": {"name": "asking"}, "load": load, "trials": 3})
    assert outcome.manifest.state == "interrupted"
    calls = [r for r in sink.records if isinstance(r, CallRecord)]
    ended = [c for c in calls if c.status == "cancelled"]
    assert len(ended) == 2
    assert [c.text for c in ended] == ["half", "half"]
    assert all(c.instants.first_token_ns == 1002 for c in ended)
    assert {c.status for c in calls} == {"cancelled", "not_sent"}
    (iteration,) = [r for r in sink.records if isinstance(r, IterationRecord)]
    assert (iteration.status, iteration.planned_calls) == ("cancelled", 300)
    (trial,) = [r for r in sink.records if isinstance(r, TrialRecord)]
    assert trial.status == "cancelled"
    assert host.made[0].log[-1] == "close"


def test_a_request_scenario_that_does_not_notice(host, monkeypatch):
    """Its calls hang even when the transport closes: it is cancelled, and recorded as that."""

    async def close(self):
        pass

    monkeypatch.setattr(Stuck, "close", close)
    monkeypatch.setattr("harness.engine.trial.GRACE_S", 0)
    outcome, sink = interrupted(host, {"scenario": {"name": "asking"}, "load": {"requests": 3}})
    assert outcome.manifest.state == "interrupted"
    (iteration,) = [r for r in sink.records if isinstance(r, IterationRecord)]
    assert iteration.status == "cancelled"


def test_a_workflow(host):
    outcome, sink = interrupted(host, {"scenario": {"name": "two_steps"}})
    assert outcome.manifest.state == "interrupted"
    (iteration,) = [r for r in sink.records if isinstance(r, IterationRecord)]
    assert iteration.status == "cancelled"
    assert TwoSteps.log[-1] == "teardown"


def test_a_backend_that_is_still_opening(host, monkeypatch):
    opening = asyncio.Event()

    async def forever(self):
        opening.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(ScriptedBackend, "open", forever)

    async def main():
        sink = MemorySink()
        raw = {"backend": {"name": "scripted"}, "scenario": {"name": "asking"}}
        task = asyncio.ensure_future(run(spec_from(raw), host, sink))
        await opening.wait()
        task.cancel()
        return await task, sink

    outcome, sink = asyncio.run(main())
    assert outcome.manifest.state == "interrupted"
    assert host.made[0].log == ["close"]
    assert [type(r) for r in sink.records] == [TrialRecord]


def test_a_scenario_that_gives_a_call_up_ends_that_call_only(host, monkeypatch):
    """A timeout of the scenario's own is no interrupt."""

    async def impatient(self, ctx):
        from harness.schema import Request

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await ctx.call(Request(prompt="one"))

    monkeypatch.setattr(TwoSteps, "execute", impatient)
    monkeypatch.setattr(TwoSteps, "planned_calls_per_iteration", 1)

    async def main():
        sink = MemorySink()
        raw = {
            "backend": {"name": "scripted"},
            "scenario": {"name": "two_steps"},
            "iterations": {"warmup": 0, "measured": 2},
        }
        spec = spec_from(raw)
        return await run(spec, host, sink, open_transport=lambda kind, urls: Stuck()), sink

    outcome, sink = asyncio.run(main())
    assert outcome.manifest.state == "finished"
    calls = [r for r in sink.records if isinstance(r, CallRecord)]
    assert [c.status for c in calls] == ["cancelled", "cancelled"]
    assert calls[0].error.message == "the scenario gave the call up"
    iterations = [r for r in sink.records if isinstance(r, IterationRecord)]
    assert [i.status for i in iterations] == ["ok", "ok"]
    assert Asking.seen == []
