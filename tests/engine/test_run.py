"""The run, over scripted wire bytes: what is recorded, in which order, and what follows from it."""

from __future__ import annotations

import threading
from collections import Counter
from functools import partial

import msgspec
import pytest

from harness.engine import iterations
from harness.engine.summary import derive_summary
from harness.errors import BackendError, SpecError
from harness.options import own_copy
from harness.schema import CallRecord, IterationRecord, TrialRecord
from harness.testing import MemorySink, Piece, ScriptedBackend, respond

from .conftest import Asking, TwoSteps

CUT = ScriptedBackend.answer(["a ", "b ", "c"])[:-2]


def calls(sink, **which):
    return [
        r
        for r in sink.records
        if isinstance(r, CallRecord) and all(getattr(r, k) == v for k, v in which.items())
    ]


def of(sink, kind):
    return [r for r in sink.records if isinstance(r, kind)]


def test_a_request_scenario(execute, host):
    load = {"mode": "closed", "concurrency": 2, "requests": 5}
    outcome, sink, transports = execute({"load": load})
    assert outcome.manifest.state == "finished"
    measured = calls(sink, phase="measured")
    assert [c.status for c in measured] == ["ok"] * 5
    assert len(calls(sink, phase="warmup")) == 2, "warm-up touches every slot"
    assert [i.planned_calls for i in of(sink, IterationRecord)] == [2, 5]
    (trial,) = of(sink, TrialRecord)
    assert trial.status == "ok"
    assert trial.effective.simulated
    assert transports[0].closed
    assert transports[0].lanes == [0, 2, 2]
    assert host.made[0].log == ["open", "effective", "effective", "close"]
    assert sink.manifest.state == "running"


def test_stamps_come_from_the_wire(execute):
    _, sink, _ = execute({"load": {"mode": "closed", "requests": 1}, "iterations": {"warmup": 0}})
    (call,) = calls(sink)
    i = call.instants
    ms = 1_000_000
    # The head takes 1 ms and every chunk another: first token after 2, last after 4, end after 5.
    assert i.headers_ns - i.sent_ns == ms
    assert i.first_token_ns - i.sent_ns == 2 * ms
    assert i.first_answer_ns == i.first_token_ns
    assert i.last_token_ns - i.sent_ns == 4 * ms
    assert i.end_ns - i.sent_ns == 5 * ms
    assert call.content_chunks == 3
    assert call.chunks.count == 4
    assert call.usage.output_tokens == 3
    assert call.text == "a b c"
    assert call.stamp_source == "user"


def test_what_is_not_to_be_kept_is_not(execute):
    keep = {"text": False, "chunks": False}
    _, sink, _ = execute({"keep": keep, "load": {"mode": "closed", "requests": 1}})
    for call in calls(sink):
        assert call.text is None
        assert call.chunks.count == 4
        assert call.chunks.arrival_ns == b""
        assert call.payloads is None
    _, sink, _ = execute({"keep": {"payloads": True}, "load": {"mode": "closed", "requests": 1}})
    assert calls(sink)[0].payloads[0] == b'{"text":"a "}'


def test_a_workflow_reads_the_text_that_is_not_kept(execute):
    _, sink, _ = execute({"scenario": {"name": "two_steps"}, "keep": {"text": False}})
    assert {c.text for c in calls(sink)} == {None}
    assert of(sink, IterationRecord)[-1].data == {"first_text": "a b c"}


def test_call_ids_are_unique_and_tell_their_place(execute):
    _, sink, _ = execute({"trials": 2, "arms": {"a": {}, "b": {}}})
    ids = [c.call_id for c in calls(sink)]
    assert len(set(ids)) == len(ids)
    assert "0000.w0.00000" in ids
    assert "0003.m0.00019" in ids


def test_arms_are_interleaved_in_seeded_blocks(execute):
    outcome, _, _ = execute({"trials": 4, "arms": {"a": {}, "b": {}}, "seed": 7})
    plan = [arm for arm, _, _ in outcome.manifest.plan]
    assert [set(plan[i : i + 2]) for i in range(0, 8, 2)] == [{"a", "b"}] * 4
    again, _, _ = execute({"trials": 4, "arms": {"a": {}, "b": {}}, "seed": 7})
    assert again.manifest.plan == outcome.manifest.plan
    orders = set()
    for seed in range(8):
        other, _, _ = execute({"trials": 4, "arms": {"a": {}, "b": {}}, "seed": seed})
        orders.add(other.manifest.plan)
    assert len(orders) > 1, "the seed decides the order"


@pytest.mark.parametrize(
    ("order", "expected"), [("sequential", ["a", "a", "a", "b", "b", "b"]), ("randomised", None)]
)
def test_other_orders(execute, order, expected):
    outcome, _, _ = execute({"trials": 3, "arms": {"a": {}, "b": {}}, "order": order})
    plan = [arm for arm, _, _ in outcome.manifest.plan]
    assert Counter(plan) == {"a": 3, "b": 3}
    if expected:
        assert plan == expected


def test_seeds_are_equal_between_arms_and_salts_never(execute):
    execute({"trials": 2, "arms": {"a": {}, "b": {}}, "iterations": {"warmup": 1, "measured": 2}})
    by_arm = {arm: [(phase, seed) for a, phase, seed, _ in Asking.seen if a == arm] for arm in "ab"}
    assert by_arm["a"] == by_arm["b"]
    assert len(set(by_arm["a"])) == 6
    salts = [salt for *_, salt in Asking.seen]
    assert len(set(salts)) == len(salts) == 12


def test_arms_change_what_they_name_and_nothing_else(execute, host):
    execute(
        {
            "backend": {"name": "scripted", "model": "m", "options": {"num_ctx": 1024}},
            "arms": {"baseline": {}, "chimera": {"backend": {"options": {"num_ctx": 512}}}},
            "order": "sequential",
        }
    )
    assert [(b.config.model, b.config.options.num_ctx) for b in host.made] == [
        ("m", 1024),
        ("m", 512),
    ]


class Spoilable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    words: list[str] = []


def test_a_trial_has_options_of_its_own(execute, host):
    """What one does to a list in them is not seen by the next, nor by the plan."""
    seen = []

    def spoil(kind, config):
        seen.append(list(config.options.words))
        config.options.words.append("spoilt")
        return kind(config)

    host.scenarios.add("spoils", partial(spoil, TwoSteps), options=Spoilable)
    host.backends.add("spoils", partial(spoil, ScriptedBackend), options=Spoilable)
    raw = {"name": "spoils", "options": {"words": ["a"]}}
    outcome, _, _ = execute({"backend": raw, "scenario": raw, "trials": 3})
    assert outcome.manifest.state == "finished", outcome.error
    assert seen == [["a"]] * 7  # three trials with both, and the scenario that the plan makes
    assert outcome.manifest.spec.scenario.options == {"words": ["a"]}


def test_options_that_cannot_be_copied_are_shared():
    """An option without an annotation may have anything for its default."""
    options = Spoilable(words=[threading.Lock()])
    assert own_copy(options) is options


def test_a_workflow(execute):
    _, sink, _ = execute({"scenario": {"name": "two_steps"}})
    assert TwoSteps.log == ["setup", "execute warmup", "execute measured", "teardown"]
    measured = of(sink, IterationRecord)[-1]
    assert measured.status == "ok"
    assert measured.planned_calls == 2
    assert [span.name for span in measured.spans] == ["first", "second"]
    assert measured.metrics[0].name == "letters"
    assert measured.data == {"first_text": "a b c"}
    assert sink.artifacts[measured.artifacts[0].path] == "# report"
    assert [c.stage for c in calls(sink, phase="measured")] == ["first", "second"]


def test_the_machine_is_read_before_artifacts_are_written(execute, monkeypatch):
    """Our own writing is no noise of the machine's."""
    log = []
    load, keep = iterations.host_load, MemorySink.artifact
    monkeypatch.setattr(iterations, "host_load", lambda *a: log.append("read") or load(*a))
    monkeypatch.setattr(MemorySink, "artifact", lambda *a: log.append("artifact") or keep(*a))
    execute({"scenario": {"name": "two_steps"}, "iterations": {"warmup": 0}})
    assert log == ["read", "artifact"]


def test_a_failed_iteration_balances_its_calls(execute):
    _, sink, _ = execute({"scenario": {"name": "two_steps"}, "iterations": {"warmup": 0}}, [CUT])
    (iteration,) = of(sink, IterationRecord)
    assert iteration.status == "error"
    assert "truncated" in iteration.error.message
    assert [c.status for c in calls(sink)] == ["truncated", "not_sent"]
    assert iteration.planned_calls == 2
    assert TwoSteps.log[-1] == "teardown"


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (CUT, "truncated", "truncated"),
        (ScriptedBackend.answer(["a"])[:2], "truncated", "truncated"),
        (respond([b"not json\n"], content_type="application/x-ndjson"), "error", "protocol"),
        (respond([b"{}"], status=503, content_type="application/json"), "error", "http.503"),
        ([Piece(b"this is not HTTP\r\n\r\n")], "error", "protocol"),
        (respond([], content_type="application/x-ndjson"), "truncated", "truncated"),
    ],
)
def test_every_call_ends_in_one_status(execute, answer, status, code):
    good = ScriptedBackend.answer(["a"])
    load = {"mode": "closed", "concurrency": 2, "requests": 6}
    outcome, sink, _ = execute({"load": load, "iterations": {"warmup": 0}}, [good, answer])
    ended = calls(sink)
    assert Counter(c.status for c in ended) == {"ok": 3, status: 3}
    assert {c.error.code for c in ended if c.error} == {code}
    summary = derive_summary(outcome.manifest, sink.records)
    (arm,) = summary.arms
    assert arm.planned == sum(arm.calls.values()) == 6
    assert summary.verdict.state == "invalid"
    assert "errors" in {caveat.code for caveat in summary.verdict.caveats}


def test_a_decoder_that_raises_fails_its_call_only(execute, host, monkeypatch):
    monkeypatch.setattr(ScriptedBackend, "decode", lambda *a: 1 / 0)
    _, sink, _ = execute({"load": {"mode": "closed", "requests": 2}})
    assert {c.status for c in calls(sink)} == {"error"}
    assert calls(sink)[0].error.code == "plugin"
    assert "ZeroDivisionError" in calls(sink)[0].error.message


def test_a_server_that_is_not_there_ends_the_run(execute, monkeypatch):
    async def refuse(self):
        raise BackendError("connection refused", where="http://x", remedy="start it")

    monkeypatch.setattr(ScriptedBackend, "open", refuse)
    outcome, sink, _ = execute({"trials": 3})
    assert outcome.manifest.state == "failed"
    assert "connection refused" in str(outcome.error)
    (trial,) = of(sink, TrialRecord)
    assert trial.status == "error"


def test_a_factory_that_raises_ends_the_run_with_its_reason(execute, host, monkeypatch):
    monkeypatch.setattr(ScriptedBackend, "__init__", lambda self, config: 1 / 0)
    outcome, sink, _ = execute({})
    assert outcome.manifest.state == "failed"
    assert "ZeroDivisionError" in str(outcome.error)
    assert of(sink, TrialRecord)[0].status == "error"


def test_a_later_trial_that_fails_does_not_end_the_run(execute, monkeypatch):
    opened = []

    async def once(self):
        opened.append(self)
        if len(opened) == 2:
            raise BackendError("gone", where="http://x")

    monkeypatch.setattr(ScriptedBackend, "open", once)
    outcome, sink, _ = execute({"trials": 3, "iterations": {"warmup": 0}})
    assert outcome.manifest.state == "finished"
    assert [t.status for t in of(sink, TrialRecord)] == ["ok", "error", "ok"]


def test_the_backend_is_closed_whatever_happens(execute, host, monkeypatch):
    monkeypatch.setattr(Asking, "requests", lambda self, ctx: 1 / 0)
    outcome, sink, _ = execute({})
    assert outcome.manifest.state == "failed"
    assert "ZeroDivisionError" in str(outcome.error)
    assert of(sink, TrialRecord)[0].status == "error"
    assert host.made[0].log[-1] == "close"


def test_another_process_cannot_have_a_plugin_that_was_made_by_hand(execute):
    with pytest.raises(SpecError, match=r"\$\.isolation: .*not every plugin here is an installed"):
        execute({"isolation": "process"})


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"trials": 0}, r"\$\.trials: must be at least 1"),
        ({"load": {"mode": "closed", "concurrency": 0}}, r"\$\.load\.concurrency"),
        ({"load": {"mode": "open", "rate_per_s": 0}}, r"\$\.load\.rate_per_s"),
        ({"load": {"mode": "open", "rate_per_s": float("nan")}}, r"\$\.load\.rate_per_s"),
        ({"timeouts": {"total_s": 0}}, r"\$\.timeouts\.total_s"),
        ({"validity": {"error_share_max": 2}}, r"error_share_max"),
        ({"backend": {"name": "scriptd"}}, r"\$\.backend\.name: .*try: scripted"),
        ({"scenario": {"name": "two_step"}}, r"\$\.scenario\.name: .*try: two_steps"),
        (
            {"arms": {"a": {"backend": {"options": {"num_ct": 1}}}}},
            r"\$\.arms\.a\.backend\.options\.num_ct: .*try: num_ctx",
        ),
        (
            {"scenario": {"name": "two_steps"}, "load": {"mode": "closed"}},
            r"\$\.load: scenario 'two_steps' makes its calls itself",
        ),
        ({"arms": {"": {}}}, "cannot name an arm"),
    ],
)
def test_wrong_specs_are_refused_before_anything_starts(execute, host, raw, says):
    with pytest.raises(SpecError, match=says):
        execute(raw)
    assert host.made == []


def test_the_open_loop_keeps_its_schedule(execute):
    load = {"mode": "open", "rate_per_s": 2000.0, "arrival": "poisson", "requests": 30}
    _, sink, transports = execute({"load": load, "iterations": {"warmup": 0}})
    assert len(calls(sink)) == 30
    assert len(transports[0].sent) == 30
