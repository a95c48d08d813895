"""A service that refuses calls for a while is asked again, and then about what its calls were."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from harness.engine import accounts, run, spec_from
from harness.engine.retrying import ATTEMPTS_MAX, WAIT_MAX_S, again_after_s
from harness.metrics import CALL_METRICS, call_metric
from harness.protocols import Reconciles, Retries
from harness.schema import Account, CallError, CallRecord, IterationRecord
from harness.testing import MemorySink, ScriptedBackend, ScriptedTransport, respond

from .faults import caveat_of, changed, clean, codes

BUSY = respond([b'{"error": "slow down"}\n'], status=429, content_type="application/json")
GOOD = ScriptedBackend.answer(["a ", "b ", "c"])
LOAD = {"concurrency": 1, "requests": 3}
ONCE = {"iterations": {"warmup": 0}, "load": LOAD}


@pytest.fixture
def retrying(monkeypatch):
    """Every call that got a status of 4xx is sent again, three times in all, without a wait."""

    def retry_after_s(self, record):
        refused = record.http_status == 429 and record.attempts < 3
        return 0.0 if refused else None

    monkeypatch.setattr(ScriptedBackend, "retry_after_s", retry_after_s, raising=False)


def calls_of(sink):
    return [one for one in sink.records if isinstance(one, CallRecord)]


def test_a_call_that_was_refused_for_a_while_comes_through(execute, retrying):
    refusals = [BUSY, BUSY]

    def answer(exchange):
        return refusals.pop() if b"question 1" in exchange.body and refusals else GOOD

    _, sink, (transport,) = execute(ONCE, [answer])
    first, second, third = sorted(calls_of(sink), key=lambda call: call.call_id)
    assert [call.status for call in (first, second, third)] == ["ok"] * 3
    assert (first.attempts, first.earlier) == (1, ())
    assert second.attempts == 3 and [one.code for one in second.earlier] == ["http.429"] * 2
    assert second.text == "a b c" and second.usage.output_tokens == 3
    assert len(transport.sent) == 5 and len({one.body for one in transport.sent}) == 3


def test_a_call_that_is_refused_for_good_fails_once(execute, retrying):
    _, sink, _ = execute(ONCE, [BUSY])
    found = calls_of(sink)
    assert [(call.status, call.attempts, len(call.earlier)) for call in found] == [
        ("error", 3, 2)
    ] * 3
    assert found[0].error.code == "http.429"
    (iteration,) = [one for one in sink.records if isinstance(one, IterationRecord)]
    assert iteration.planned_calls == 3


def test_without_a_backend_that_says_so_nothing_is_sent_again(execute):
    _, sink, (transport,) = execute(ONCE, [BUSY])
    assert {call.attempts for call in calls_of(sink)} == {1} and len(transport.sent) == 3


class Waiting:
    """A backend that would wait so long."""

    def __init__(self, answer):
        self.answer = answer

    def retry_after_s(self, record):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_the_wait_is_bounded_and_so_are_the_attempts():
    failed = replace(clean()[0], status="error", error=CallError(code="http.429"))
    assert isinstance(Waiting(1), Retries)
    for answer, expected in ((3600, WAIT_MAX_S), (-1, 0.0), (0.5, 0.5), (None, None)):
        assert again_after_s(Waiting(answer), failed) == expected
    for odd in (ValueError("odd"), "soon"):
        assert again_after_s(Waiting(odd), failed) is None
    assert again_after_s(Waiting(1), replace(failed, attempts=ATTEMPTS_MAX)) is None
    for status in ("ok", "cancelled", "not_sent"):
        assert again_after_s(Waiting(1), replace(failed, status=status)) is None
    assert again_after_s(object(), failed) is None


def waiting_run(host, monkeypatch, *, wait_s, scenario="asking", end):
    """A run whose first call is refused; `end(task)` is called while it waits."""
    waiting = asyncio.Event()

    def retry_after_s(self, record):
        waiting.set()
        return wait_s

    async def main():
        monkeypatch.setattr(ScriptedBackend, "retry_after_s", retry_after_s, raising=False)
        sink = MemorySink()
        raw = {"backend": {"name": "scripted"}, "scenario": {"name": scenario}, **ONCE}
        if scenario != "asking":
            raw.pop("load")
        task = asyncio.ensure_future(
            run(spec_from(raw), host, sink, open_transport=lambda *_: ScriptedTransport([BUSY]))
        )
        await waiting.wait()
        end(task)
        return await task, sink

    return asyncio.run(main())


@pytest.mark.parametrize("scenario", ["asking", "two_steps"])
def test_an_interrupt_ends_the_wait(host, monkeypatch, scenario):
    """It would be two minutes."""
    end = asyncio.Task.cancel
    outcome, sink = waiting_run(host, monkeypatch, wait_s=120, scenario=scenario, end=end)
    assert outcome.manifest.state == "interrupted"
    (call, *_) = calls_of(sink)
    assert (call.status, call.error.message, call.attempts) == (
        "cancelled",  # it failed of nothing: it was to be sent again
        "the run was interrupted",
        1,
    )
    assert [one.code for one in call.earlier] == ["http.429"]


# ------------------------------------------------------------------------- no figure of time of it


def test_a_call_that_was_sent_again_has_no_times_but_its_counts():
    record = clean()[0]
    again = replace(record, attempts=2, earlier=(CallError(code="http.429"),))
    known = {one.name for one in CALL_METRICS if one.formula(record) is not None}
    assert {"ttft_ms", "e2e_ms", "tpot_ms"} <= known
    times = {one.name for one in CALL_METRICS if one.unit in ("ms", "tok/s")}
    assert all(call_metric(name).formula(again) is None for name in times)
    kept = {name for name in known if call_metric(name).formula(again) is not None}
    assert kept == known - times


def test_the_rule_of_calls_that_were_sent_again():
    again = {"attempts": 3, "earlier": (CallError(code="http.429"), CallError(code="http.503"))}
    records = changed(clean(), "call", 0, **again)
    found = caveat_of("retried", records)
    assert found.severity == "note" and found.arm == "baseline"
    assert found.evidence["codes"] == {"http.429": 1, "http.503": 1}
    assert found.evidence["attempts_max"] == 3 and found.evidence["ok"] == 1
    assert "retried" not in codes(clean())


# ------------------------------------------------------------------------------------- its books


def answering(monkeypatch, reconcile, most=20):
    monkeypatch.setattr(ScriptedBackend, "reconcile", reconcile, raising=False)
    monkeypatch.setattr(ScriptedBackend, "accounts_max", most, raising=False)


async def say(self, calls):
    return [Account(call_id=call.call_id, facts={"text": call.text}) for call in calls]


def accounts_in(sink):
    measured = [one for one in sink.records if isinstance(one, IterationRecord)]
    return {one.phase: one.accounts for one in measured}


def test_the_service_is_asked_about_measured_calls(execute, monkeypatch):
    answering(monkeypatch, say)
    assert isinstance(ScriptedBackend, type) and hasattr(ScriptedBackend, "accounts_max")
    _, sink, _ = execute({"load": LOAD, "keep": {"text": False}})
    found = accounts_in(sink)
    assert found["warmup"] == ()
    assert [one.call_id for one in found["measured"]] == [
        call.call_id for call in calls_of(sink) if call.phase == "measured"
    ]
    assert {one.facts["text"] for one in found["measured"]} == {"a b c"}


def test_of_a_workflow_too_and_no_more_than_it_wants(execute, monkeypatch):
    answering(monkeypatch, say, most=1)
    _, sink, _ = execute({"scenario": {"name": "two_steps"}, "iterations": {"warmup": 0}})
    assert len(accounts_in(sink)["measured"]) == 1


def test_a_backend_that_wants_none_is_not_asked(execute, monkeypatch):
    answering(monkeypatch, None, most=0)
    _, sink, _ = execute(ONCE)
    assert accounts_in(sink)["measured"] == ()


async def raises(self, calls):
    raise RuntimeError("odd")


async def of_others(self, calls):
    return [Account(call_id="another") for _ in calls]


async def too_few(self, calls):
    return []


async def never(self, calls):
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("reconcile", "why"),
    [(raises, "odd"), (of_others, "other"), (too_few, "other"), (never, "0 s")],
)
def test_what_goes_wrong_with_it_is_unknown_with_a_reason(execute, monkeypatch, reconcile, why):
    monkeypatch.setattr(accounts, "PATIENCE_S", 0.0)
    answering(monkeypatch, reconcile)
    outcome, sink, _ = execute(ONCE)
    assert outcome.manifest.state == "finished"
    found = accounts_in(sink)["measured"]
    assert len(found) == 3 and all(why in one.unknown for one in found)


@pytest.mark.parametrize("scenario", ["asking", "two_steps"])
def test_an_interrupt_while_it_is_asked_loses_nothing(host, monkeypatch, scenario):
    asked = asyncio.Event()

    async def slow(self, calls):
        asked.set()
        await asyncio.Event().wait()

    async def main():
        answering(monkeypatch, slow)
        raw = {"backend": {"name": "scripted"}, "scenario": {"name": scenario}, **ONCE}
        if scenario != "asking":
            raw.pop("load")
        sink = MemorySink()
        task = asyncio.ensure_future(
            run(spec_from(raw), host, sink, open_transport=lambda *_: ScriptedTransport([GOOD]))
        )
        await asked.wait()
        task.cancel()
        return await task, sink

    _, sink = asyncio.run(main())
    (iteration,) = [one for one in sink.records if isinstance(one, IterationRecord)]
    assert iteration.status == "ok"
    assert {one.unknown for one in iteration.accounts} == {"the run was interrupted"}


def test_failed_calls_that_had_begun_are_among_them():
    class Service:
        accounts_max = 5

        async def reconcile(self, calls): ...

    assert isinstance(Service(), Reconciles)
    sample = accounts.account_sample(Service())
    ok = clean()[0]
    never_begun = replace(ok, status="error", content_chunks=0)
    for ordinal, call in enumerate((ok, replace(ok, status="timeout"), never_begun)):
        sample.offer(ordinal, None, call)
    assert len(sample.calls()) == 2
    assert accounts.account_sample(object()) is None


def test_the_rule_of_books_that_say_otherwise():
    wrong = Account(call_id="0000.m0.00003", disagrees={"cost_usd": "call 1, account 2"})
    fine, lost = Account(call_id="0000.m0.00001"), Account(call_id="x", unknown="never told")
    records = changed(clean(), "iteration", 0, accounts=(fine, wrong, lost))
    found = caveat_of("account-mismatch", records)
    assert found.severity == "doubtful" and "call 1, account 2" in found.message
    assert found.evidence["calls"] == 1 and found.evidence["unknown"] == 1
    right = changed(clean(), "iteration", 0, accounts=(fine, lost))
    assert "account-mismatch" not in codes(right)
