"""Cold starts: what is dropped, that it is confirmed, and what a record says of it."""

from __future__ import annotations

import asyncio
import socket

import pytest

from harness.engine import run, spec_from
from harness.errors import BackendError, SpecError
from harness.schema import CallRecord, IterationRecord, TrialRecord
from harness.testing import MemorySink, ScriptedBackend
from tests.engine.real_runs import measure
from tests.sim.servers import inline_sim

from .test_interrupt import Stuck

COLD = {"iterations": {"cold": 2, "warmup": 1, "measured": 1}, "load": {"requests": 3}}
RESTARTS = {**COLD, "iterations": {"cold": 2, "warmup": 0, "cold_by": "restart"}}
LOAD_MS = 200


@pytest.fixture
def unloads(monkeypatch):
    """unloads(how): every backend can, from now on. (The class is left as it is: what it can do is
    asked of it once and for all.)"""
    make = ScriptedBackend.__init__

    def do(how):
        def init(self, config):
            make(self, config)
            self.unload = lambda: how(self)

        monkeypatch.setattr(ScriptedBackend, "__init__", init)

    return do


async def at_once(backend):
    backend.log.append("unload")


def of(records, kind):
    return [record for record in records if isinstance(record, kind)]


def test_each_cold_iteration_comes_after_an_unload(execute, host, unloads):
    unloads(at_once)
    outcome, sink, _ = execute(COLD)
    assert outcome.manifest.state == "finished", outcome.error
    told = [
        (one.phase, one.iteration, one.planned_calls) for one in of(sink.records, IterationRecord)
    ]
    assert told == [("cold", 0, 1), ("cold", 1, 1), ("warmup", 0, 2), ("measured", 0, 3)]
    assert host.made[0].log == ["open", "effective", "unload", "unload", "effective", "close"]
    for one in of(sink.records, IterationRecord):
        if one.phase == "cold":
            assert one.start_ns <= one.ready_ns <= one.end_ns
        else:
            assert one.ready_ns is None
    ids = [call.call_id for call in of(sink.records, CallRecord)]
    assert ids[:2] == ["0000.c0.00000", "0000.c1.00000"]


def test_a_workflow_is_executed_once_each(execute, unloads):
    unloads(at_once)
    _, sink, _ = execute({"scenario": {"name": "two_steps"}, "iterations": {"cold": 2}})
    told = [(one.phase, one.planned_calls, one.status) for one in of(sink.records, IterationRecord)]
    assert told == [("cold", 2, "ok")] * 2 + [("warmup", 2, "ok"), ("measured", 2, "ok")]


def test_a_backend_that_cannot_is_refused_before_it_is_opened(execute, host):
    outcome, sink, _ = execute(COLD)
    assert outcome.manifest.state == "failed"
    assert isinstance(outcome.error, SpecError)
    assert str(outcome.error).startswith("$.iterations.cold_by: backend 'scripted' cannot unload")
    assert "try: cold_by: restart" in str(outcome.error)
    assert host.made[0].log == ["close"]
    assert of(sink.records, CallRecord) == []


def test_a_model_that_will_not_go_ends_the_trial(execute, unloads):
    async def stays(backend):
        raise BackendError("it is still loaded", where="http://x")

    unloads(stays)
    outcome, sink, _ = execute(COLD)
    assert outcome.manifest.state == "failed"
    (iteration,) = of(sink.records, IterationRecord)
    assert (iteration.phase, iteration.status, iteration.planned_calls) == ("cold", "error", 0)
    assert iteration.error.message == "http://x: it is still loaded"
    assert of(sink.records, CallRecord) == []


def test_a_restart_is_a_new_backend_and_a_new_transport(execute, host):
    outcome, sink, transports = execute(RESTARTS)
    assert outcome.manifest.state == "finished", outcome.error
    assert [made.log for made in host.made] == [
        ["open", "effective", "close"],
        ["open", "effective", "close"],
        ["open", "effective", "effective", "close"],
    ]
    assert [len(one.sent) for one in transports] == [0, 1, 4]
    assert all(one.closed for one in transports)
    (trial,) = of(sink.records, TrialRecord)
    assert trial.transport_stats == {"calls": 5}, "of all of them"


def test_what_goes_on_listening_was_not_restarted(execute, monkeypatch):
    """A backend that does not own its server closes a connection, and nothing is cold."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        outcome, sink, _ = execute({**RESTARTS, "backend": {"name": "scripted", "url": url}})
    assert outcome.manifest.state == "failed"
    assert isinstance(outcome.error, BackendError)
    assert "goes on when the backend is closed" in str(outcome.error)
    assert "cold_by: unload" in str(outcome.error)
    assert of(sink.records, CallRecord) == []


def test_a_server_that_does_not_come_back_fails_the_trial(execute, host, monkeypatch):
    async def once(self):
        self.log.append("open")
        if len(host.made) > 1:
            raise BackendError("no memory left", where="here")

    monkeypatch.setattr(ScriptedBackend, "open", once)
    outcome, _, transports = execute(RESTARTS)
    assert str(outcome.error) == "here: no memory left"
    assert [made.log for made in host.made] == [["open", "effective", "close"], ["open", "close"]]
    assert [one.closed for one in transports] == [True]


@pytest.mark.parametrize("cold_by", ["unload", "restart"])
def test_an_interrupt_in_the_midst_of_it(host, monkeypatch, unloads, cold_by):
    """Everything is closed once, and the iteration says that it was interrupted."""
    reached, transports = asyncio.Event(), []

    async def forever(self):
        self.log.append("waits")
        reached.set()
        await asyncio.Event().wait()

    async def reopens(self):
        self.log.append("open")
        if len(host.made) > 1:
            await forever(self)

    unloads(forever)
    monkeypatch.setattr(ScriptedBackend, "open", reopens)
    monkeypatch.setattr("harness.engine.trial.GRACE_S", 0)

    def open_transport(kind, urls):
        transports.append(Stuck())
        return transports[-1]

    async def main():
        sink = MemorySink()
        raw = {"backend": {"name": "scripted"}, "scenario": {"name": "asking"}}
        spec = spec_from({**raw, "iterations": {"cold": 1, "cold_by": cold_by}})
        task = asyncio.ensure_future(run(spec, host, sink, open_transport=open_transport))
        await reached.wait()
        task.cancel()
        return await task, sink

    outcome, sink = asyncio.run(main())
    assert outcome.manifest.state == "interrupted"
    (iteration,) = of(sink.records, IterationRecord)
    assert (iteration.phase, iteration.status, iteration.planned_calls) == ("cold", "cancelled", 0)
    assert [made.log.count("close") for made in host.made] == [1] * len(host.made)
    assert len(transports) == 1


# ------------------------------------------------------------------------------------- real servers


def test_ollama_loads_the_model_again_for_every_cold_call(tmp_path):
    spec = {"ttft": 0, "gap": 0, "load": LOAD_MS, "dialect": "ollama"}
    with inline_sim(tmp_path, spec) as server:
        run = measure(
            {
                "backend": {"name": "ollama", "model": "sim", "url": server.url},
                "scenario": {"name": "load", "options": {"max_tokens": 2}},
                **COLD,
            }
        )
    loads = {}
    for call in run.all_calls:
        loads.setdefault(call.phase, []).append(call.server["load_duration"] / 1e6)
    assert min(loads["cold"]) >= LOAD_MS
    assert max(loads["warmup"] + loads["measured"]) < LOAD_MS


@pytest.mark.real_model
def test_the_embedded_engine_is_started_anew():
    run = measure(
        {
            "backend": {"name": "llamacpp"},
            "scenario": {"name": "load", "options": {"max_tokens": 2}},
            **RESTARTS,
        }
    )
    cold = [call for call in run.all_calls if call.phase == "cold"]
    served = {call.endpoint for call in run.all_calls}
    assert len(served) == len(cold) == 2, "each at an address of its own"
    for one in run.iterations:
        if one.phase == "cold":
            assert one.ready_ns - one.start_ns > 1_000_000
    assert run.trials[0].status == "ok"
