"""Agents within an iteration: doors, matching, and the records of calls that others made."""

from __future__ import annotations

import asyncio
import types
from collections import Counter
from typing import ClassVar

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import harness
from harness.engine import run, spec_from
from harness.engine.asked import request_of
from harness.engine.matching import match
from harness.engine.prompts import facts_of
from harness.engine.summary import derive_summary
from harness.errors import ScenarioError, SpecError
from harness.host import Host
from harness.schema import (
    CallError,
    CallRecord,
    IterationRecord,
    Message,
    Reported,
    ReportedCall,
    Request,
    TrialRecord,
    Usage,
)
from harness.testing import (
    MemorySink,
    ScriptedBackend,
    ScriptedTap,
    ScriptedTransport,
    passed,
    respond,
)

KEY = "sk-proj-0123456789abcdef"
ANSWER = ScriptedBackend.answer(["a ", "b ", "c"])


class Reading(ScriptedBackend):
    """A ScriptedBackend that says which paths it reads."""

    paths = ("/talk",)

    def prepare(self, request):
        exchange = super().prepare(request)
        return msgspec.structs.replace(
            exchange, url=f"{self.urls[0]}/talk", headers=(("Authorization", f"Bearer {KEY}"),)
        )


def execute(work, script=(), *, raw=None, urls=("http://one.invalid:1/x", "http://two.invalid:2")):
    """One run of a scenario whose execute is `work(ctx)`: (outcome, sink, tap)."""

    class Attends:
        taps = True

        def __init__(self, config): ...

        async def setup(self, ctx): ...

        async def teardown(self, ctx): ...

        async def execute(self, ctx):
            await work(ctx)

    @harness.hookimpl
    def harness_register_backends(registry):
        registry.add("reading", Reading)

    @harness.hookimpl
    def harness_register_scenarios(registry):
        registry.add("attends", Attends)

    module = types.ModuleType("attending_test")
    module.harness_register_backends = harness_register_backends
    module.harness_register_scenarios = harness_register_scenarios
    host = Host.load()
    assert host.add("attending_test", module)
    sink, tap = MemorySink(), ScriptedTap(lambda number: script)
    transports = []

    def open_transport(kind, urls):
        transports.append(ScriptedTransport([ANSWER]))
        return transports[-1]

    spec = {
        "backend": {"name": "reading", "url": list(urls), "tap": True},
        "scenario": {"name": "attends"},
        "iterations": {"warmup": 0, "measured": 1},
        "isolation": "inline",
        **(raw or {}),
    }
    outcome = asyncio.run(
        run(
            spec_from(spec),
            host,
            sink,
            open_transport=open_transport,
            open_tap=lambda kind, urls: tap,
        )
    )
    tap.transports = transports
    return outcome, sink, tap


def of(kind, sink):
    return [one for one in sink.records if isinstance(one, kind)]


def calls(work, script=(), **how):
    outcome, sink, _ = execute(work, script, **how)
    assert outcome.error is None
    (iteration,) = of(IterationRecord, sink)
    found = of(CallRecord, sink)
    assert (iteration.status, iteration.planned_calls) == ("ok", len(found)), iteration.error
    return found


def told(name, *, sent_ns=1_000_000_000, status="ok", **more):
    stamps = {"sent_ns": sent_ns - 500, "first_token_ns": sent_ns + 3_100_000}
    stamps |= {"last_token_ns": sent_ns + 5_100_000, "end_ns": sent_ns + 6_100_000}
    said = {**stamps, **more.pop("said", {})}
    return ReportedCall(call=name, reported=Reported(status=status, **said), **more)


def asking(text="hello", **more):
    return {"messages": [{"role": "user", "content": text}], "stream": True, **more}


async def one_agent(ctx):
    async with ctx.agent("a") as agent:
        assert agent.tapped
        assert agent.url == "http://127.0.0.1:7000"


# ---- what the tap saw


def test_a_tapped_call_is_sealed_as_our_own_is():
    async def work(ctx):
        async with ctx.agent("a"):
            pass
        await ctx.call(Request(messages=(Message(role="user", content="hello"),), max_tokens=9))

    seen = passed(asking(max_tokens=9), ANSWER, path="/x/talk", headers=[("authorization", KEY)])
    tapped, own = calls(work, [seen])
    for name in ("status", "text", "usage", "finish_reason", "content_chunks", "max_tokens"):
        assert getattr(tapped, name) == getattr(own, name), name
    assert (tapped.prompt_digest, tapped.prompt_chars) == (own.prompt_digest, own.prompt_chars)
    assert tapped.stamp_source == "tap"
    assert tapped.agent == "a"
    assert tapped.endpoint == "http://one.invalid:1/x/talk"
    assert (tapped.instants.due_ns, tapped.instants.sent_ns) == (1_000_000_000, 1_000_001_000)
    assert tapped.client_lag_p50_ns is tapped.client_lag_max_ns is None
    first_ns = tapped.instants.first_token_ns
    assert tapped.tap.first_token_ns == first_ns + 20_000
    assert tapped.tap.end_ns == tapped.instants.end_ns + 20_000
    assert (tapped.tap.delay_p50_ns, tapped.tap.delay_max_ns) == (20_000, 20_000)
    assert (tapped.call_id, own.call_id) == ("0000.m0.00000", "0000.m0.00001")


def test_what_is_no_model_call_is_passed_on_and_counted():
    others = [
        passed(b"", respond([b"{}"]), path="/api/tags", method="GET"),
        passed(b"", respond([b"{}"]), path="/x/talk", method="GET"),
        passed(b"{}", respond([b"{}"]), path="/v1/embeddings"),
    ]
    _, sink, tap = execute(one_agent, [*others, passed(asking(), ANSWER, path="/x/talk?key=v")])
    assert len(of(CallRecord, sink)) == 1
    (trial,) = of(TrialRecord, sink)
    assert trial.transport_stats["tap_passed_on"] == 3
    assert trial.transport_stats["tap_requests"] == 1
    assert tap.closed
    assert tap.doors[0].closed
    assert tap.upstreams == ["http://one.invalid:1"]


def test_other_dialects_are_read_by_the_backends_that_know_them():
    lines = [
        {"message": {"role": "assistant", "content": "hi "}, "done": False},
        {"message": {"content": "you"}, "done": False},
        {"done": True, "done_reason": "stop", "eval_count": 2, "eval_duration": 5, "x": KEY},
    ]
    ndjson = [msgspec.json.encode(line) + b"\n" for line in lines]
    whole = {
        "choices": [{"message": {"content": "all of it"}, "finish_reason": "stop"}],
        "usage": {"completion_tokens": 3, "prompt_tokens": 1},
    }
    answer = respond([msgspec.json.encode(whole)], content_type="application/json")
    ollama, openai = calls(
        one_agent,
        [
            passed(
                asking(options={"num_predict": 2}),
                respond(ndjson, content_type="application/x-ndjson"),
                path="/api/chat",
                headers=[("x-api-key", KEY)],
            ),
            passed({"messages": []}, answer, path="/v1/chat/completions", at_ns=2_000_000_000),
        ],
    )
    assert (ollama.status, ollama.text, ollama.max_tokens) == ("ok", "hi you", 2)
    assert ollama.usage == Usage(output_tokens=2)
    assert KEY not in repr(ollama)
    assert (openai.status, openai.text) == ("ok", "all of it")
    assert openai.usage.output_tokens == 3
    assert openai.instants.first_token_ns is openai.tap.first_token_ns is None
    assert openai.no_first_token == "the response was not streamed"
    assert openai.instants.end_ns is not None


def test_a_stream_was_asked_for_and_did_not_come():
    whole = {"choices": [{"message": {"content": "all"}, "finish_reason": "stop"}]}
    answer = respond([msgspec.json.encode(whole)], content_type="application/json")
    (call,) = calls(one_agent, [passed(asking(), answer, path="/v1/chat/completions")])
    assert call.status == "error"
    assert "did not stream" in call.error.message


def test_no_secret_of_the_request_is_in_the_record():
    said = ScriptedBackend.answer([f"your key is {KEY}", "open-sesame-12345"])
    seen = passed(
        asking(),
        said,
        path="/x/talk?api_key=open-sesame-12345",
        headers=[("authorization", f"Bearer {KEY}"), ("connection", "keep-alive")],
    )
    (call,) = calls(one_agent, [seen])
    assert KEY not in repr(call)
    assert "sesame" not in repr(call)


def test_nor_in_what_the_agent_says_of_itself(monkeypatch):
    """The tap has seen its keys; and ours are in its environment."""
    ours, other = "sk-ours-0123456789abcdef", "of-a-query-0123"
    monkeypatch.setenv("SOME_API_KEY", ours)
    keys = [
        ("authorization", f"Bearer {KEY}"),
        ("x-api-key", "one-1234"),
        ("x-api-key", "two-1234"),
    ]
    everything = [KEY, ours, other, "one-1234", "two-1234"]

    async def work(ctx):
        async with ctx.agent("a") as agent:
            pass
        agent.span(f"with {KEY}", 1, 2)
        ctx.note("said", {other: everything})
        ctx.artifact("stderr.txt", " ".join(everything))
        ctx.artifact("stderr.bin", " ".join(everything).encode())
        raise ScenarioError(f"it failed: {everything}")

    seen = passed(asking(), ANSWER, path=f"/v1/models?api={other}", headers=keys)
    _, sink, _ = execute(work, [seen])
    assert len(of(IterationRecord, sink)) == 1
    written = repr((sink.records, sink.artifacts))
    assert "it failed" in written
    assert "[$SOME_API_KEY]" in written
    assert not [one for one in everything if one in written]


def test_what_the_spec_does_not_keep_is_not_kept():
    keep = {"keep": {"text": False, "chunks": False}}
    chunk_ns = bytes(24)
    reports = told("n", said={"chunk_ns": chunk_ns})

    async def work(ctx):
        async with ctx.agent("a") as agent:
            agent.report(reports)

    seen = passed(asking(), ANSWER, path="/x/talk", headers=[("x-request-id", "n")])
    (call,) = calls(work, [seen], raw=keep)
    assert (call.text, call.chunks.arrival_ns, call.reported.chunk_ns) == (None, b"", None)
    (call,) = calls(work, [seen_again(seen)], raw={"keep": {"payloads": True}})
    assert call.reported.chunk_ns == chunk_ns
    assert len(call.payloads) == call.chunks.count == 4


def seen_again(seen):
    return passed(seen.body, ANSWER, path=seen.path, headers=seen.headers)


# ---- what was reported of it


def test_reports_are_found_by_the_request_id():
    async def work(ctx):
        async with ctx.agent("a") as agent:
            agent.report(told("two", stage="report"))
            agent.report(told("one", stage="analysis"))

    script = [
        passed(asking(), ANSWER, path="/talk", headers=[("x-request-id", "one")]),
        passed(asking(), ANSWER, path="/talk", headers=[("X-Request-Id", "two")], at_ns=2 * 10**9),
    ]
    one, two = calls(work, script)
    assert (one.stage, two.stage) == ("analysis", "report")
    assert one.reported.first_token_ns == 1_003_100_000
    assert all(call.stamp_source == "tap" for call in (one, two))


def test_matching():
    def seen(name, at_ns=0):
        headers = [("x-request-id", name)] if name else []
        return passed(b"", ANSWER, headers=headers, at_ns=10**9 + at_ns)

    def pairs(tapped, names):
        found = match(tapped, [told(name, sent_ns=10**9 + at) for name, at in names])
        return [
            (tapped.index(one) if one else None, call.call if call else None) for one, call in found
        ]

    # A second try under the same name is the one that is reported of.
    assert pairs([seen("n"), seen("n", 5)], [("n", 0)]) == [(0, None), (1, "n")]
    # Without names: in order, if there are as many.
    assert pairs([seen(""), seen("", 9)], [("y", 8), ("x", 0)]) == [(0, "x"), (1, "y")]
    assert pairs([seen("")], [("x", 0), ("y", 1)]) == [(0, None), (None, "x"), (None, "y")]
    # A name of the client library's own is as good as none.
    assert pairs([seen("lib-1")], [("x", 0)]) == [(0, "x")]
    # Two reports of one name: one has the exchange, the other is nobody's.
    assert pairs([seen("n")], [("n", 0), ("n", 1)]) == [(0, "n"), (None, "n")]


def test_a_call_that_went_by_the_tap_is_doubtful():
    async def work(ctx):
        async with ctx.agent("a") as agent:
            agent.report(told("seen"))
            agent.report(told("hidden", usage=Usage(output_tokens=3), said={"content_chunks": 3}))

    seen = passed(asking(), ANSWER, path="/talk", headers=[("x-request-id", "seen")])
    outcome, sink, _ = execute(work, [seen])
    tapped, hidden = of(CallRecord, sink)
    assert (tapped.stamp_source, hidden.stamp_source) == ("tap", "agent")
    assert hidden.usage.output_tokens == 3
    summary = derive_summary(outcome.manifest, sink.records)
    (caveat,) = [c for c in summary.verdict.caveats if c.code == "tap-bypassed"]
    assert caveat.evidence == {"reported": 1, "calls": 2, "agents": ["a"]}
    names = {metric.name for metric in summary.arms[0].metrics}
    assert {"tap_delay_p50_us", "agent_first_token_delay_us"} <= names


# ---- without a tap


UNTAPPED = {"backend": {"name": "reading", "url": "http://one.invalid:1"}}


def reported(*reports, **how):
    async def work(ctx):
        async with ctx.agent("a") as agent:
            assert not agent.tapped
            assert agent.url == "http://one.invalid:1"
            for one in reports:
                agent.report(one)

    return calls(work, raw={**UNTAPPED, **how})


def test_without_a_tap_a_call_is_what_was_reported():
    chunk_ns = (10**9).to_bytes(8, "little") + (2 * 10**9).to_bytes(8, "little")
    (call,) = reported(
        told(
            "n",
            stage="analysis",
            http_status=200,
            usage=Usage(output_tokens=2),
            server={"done_reason": "stop"},
            text="hi",
            said={"content_chunks": 2, "chunk_ns": chunk_ns},
        )
    )
    assert (call.status, call.stamp_source, call.finish_reason) == ("ok", "agent", "stop")
    assert (call.chunks.count, call.content_chunks, call.http_status) == (2, 2, 200)
    assert call.chunks.arrival_ns == chunk_ns
    assert call.reported.status == "ok"
    assert call.tap is None
    assert call.no_first_token == ""


def test_how_reported_calls_end():
    refused = CallError(code="connect", message="refused")
    bad = {"sent_ns": None}
    error, timeout, odd, unsent = reported(
        told("1", status="error", error=refused),
        told("2", status="timeout", said={"end_ns": None}),
        told("3", status="gave up", error=refused),
        told("4", said=bad),
    )
    assert (error.status, error.error) == ("error", refused)
    assert (timeout.status, timeout.instants.end_ns) == ("timeout", None)
    assert (odd.status, odd.error.message) == ("error", "the agent ended it as 'gave up': refused")
    assert (unsent.status, unsent.error.code) == ("error", "report")


def test_a_first_token_that_nobody_saw_has_a_reason():
    blind = {"first_token_ns": None, "content_chunks": 2, "unknown": {"first_token_ns": "it waits"}}
    known, unknown = reported(told("1", said=blind), told("2", said={**blind, "unknown": {}}))
    assert known.instants.first_token_ns is None
    assert (known.no_first_token, unknown.no_first_token) == (
        "it waits",
        "the agent did not say when",
    )


def test_what_the_program_was_given_is_not_said_back():
    async def work(ctx):
        async with ctx.agent("a") as agent:
            exchange = agent.prepare(Request(prompt="x", stage="s", max_tokens=7))
            assert exchange.url == "http://one.invalid:1/talk"
            assert msgspec.json.decode(exchange.body)["agent"] == "a"
            unknown = {"first_token_ns": f"with {KEY}"}
            said = {"first_token_ns": None, "content_chunks": 1, "unknown": unknown}
            agent.report(told("1", stage="s", text=f"{KEY}!", server={"x": [KEY]}, said=said))

    (call,) = calls(work, raw=UNTAPPED)
    assert KEY not in repr(call)
    assert call.max_tokens == 7


# ---- in process, spans, endpoints


def test_calls_made_here_go_to_the_endpoint_that_is_named():
    async def work(ctx):
        async with ctx.agent("b", endpoint=1, outside=False) as agent:
            assert (agent.url, agent.tapped) == ("http://two.invalid:2", False)
            record = await agent.call(Request(prompt="x"))
            assert record.agent == "b"
            agent.span("agent", 5, 7)

    _, sink, tap = execute(work)
    (call,) = of(CallRecord, sink)
    assert call.endpoint == "http://two.invalid:2/talk"
    (iteration,) = of(IterationRecord, sink)
    (span,) = iteration.spans
    assert (span.agent, span.name, span.start_ns, span.end_ns) == ("b", "agent", 5, 7)
    assert not tap.doors


def test_an_endpoint_that_there_is_not():
    async def work(ctx):
        async with ctx.agent("b", endpoint=2):
            pass

    _, sink, _ = execute(work)
    (iteration,) = of(IterationRecord, sink)
    assert iteration.status == "error"
    assert "endpoint 2, and there are 2" in iteration.error.message


def test_what_is_over_can_be_settled_before_the_end():
    counted = []

    async def work(ctx):
        async with ctx.agent("a", port=7) as agent:
            counted.append(await agent.settle())
            counted.append(await agent.settle())

    _, sink, tap = execute(work, [passed(asking(), ANSWER, path="/talk")])
    assert counted == [1, 1]
    assert len(of(CallRecord, sink)) == 1
    assert tap.ports == [7]


def test_an_iteration_that_fails_has_its_calls_all_the_same():
    async def work(ctx):
        async with ctx.agent("a"):
            raise ValueError("the program died")

    _, sink, _ = execute(work, [passed(asking(), ANSWER, path="/talk")])
    (iteration,) = of(IterationRecord, sink)
    assert (iteration.status, iteration.planned_calls) == ("error", 1)
    assert len(of(CallRecord, sink)) == 1


def test_an_interrupt_closes_the_doors_and_seals_what_came_through():
    seen = passed(asking(), ANSWER, path="/talk")

    async def work(ctx):
        async with ctx.agent("a"):
            for one in asyncio.all_tasks():
                if one.get_name() == "the run":
                    one.cancel()
            await asyncio.Event().wait()

    original = asyncio.run

    def named(main):
        async def within():
            asyncio.current_task().set_name("the run")
            return await main

        return original(within())

    asyncio.run = named
    try:
        outcome, sink, tap = execute(work, [seen])
    finally:
        asyncio.run = original
    assert outcome.manifest.state == "interrupted"
    assert len(of(CallRecord, sink)) == 1
    assert tap.closed
    (iteration,) = of(IterationRecord, sink)
    assert (iteration.status, iteration.planned_calls) == ("cancelled", 1)
    (trial,) = of(TrialRecord, sink)
    assert trial.transport_stats["tap_requests"] == 1


# ---- the plan, and the solo arm


def test_a_tap_for_nobody_is_refused():
    from harness.engine import make_plan

    host = Host.load()
    raw = {"backend": {"name": "ollama", "tap": True}, "scenario": {"name": "single_agent"}}
    with pytest.raises(SpecError) as refused:
        make_plan(spec_from(raw), host)
    assert refused.value.where == "$.backend.tap"
    del raw["backend"]["tap"]
    raw["arms"] = {"x": {"backend": {"tap": True}}}
    with pytest.raises(SpecError) as refused:
        make_plan(spec_from(raw), host)
    assert refused.value.where == "$.arms.x.backend.tap"


class Team:
    """Two agents in process, beside each other or one after the other."""

    solo = True
    planned_calls_per_iteration = 1
    seen: ClassVar[list[tuple]] = []

    def __init__(self, config): ...

    async def setup(self, ctx): ...

    async def teardown(self, ctx): ...

    async def execute(self, ctx):
        Team.seen.append((ctx.trial, ctx.phase, ctx.iteration, ctx.seed, ctx.salt))
        async with ctx.agent("a", outside=False) as agent:
            record = await agent.call(Request(prompt="x"))
            agent.span("agent", record.instants.sent_ns, record.instants.closed_ns)


@pytest.fixture
def team():
    @harness.hookimpl
    def harness_register_scenarios(registry):
        registry.add("team", Team)

    module = types.ModuleType("team_test")
    module.harness_register_scenarios = harness_register_scenarios
    Team.seen = []
    return module


def missing(manifest, records):
    from harness.compare.audit.records import audit_records

    return [one for one in audit_records(manifest, records) if one.code == "missing-iterations"]


def test_the_solo_arm(team):
    from harness.testing import run_scripted

    iterations = {"warmup": 1, "measured": 3}
    ran = run_scripted(
        {"scenario": {"name": "team"}, "trials": 2, "iterations": iterations}, plugin=team
    )
    order = [(trial, phase[0] + str(i)) for trial, phase, i, _, _ in Team.seen]
    first = ["w0", "s0", "m0", "m1", "s1", "s2", "m2"]
    second = ["w0", "m0", "s0", "s1", "m1", "m2", "s2"]
    assert order == [(0, one) for one in first] + [(1, one) for one in second]
    seeds = {(t, p, i): seed for t, p, i, seed, _ in Team.seen}
    assert all(seeds[t, "solo", i] == seeds[t, "measured", i] for t in (0, 1) for i in range(3))
    assert len({salt for *_, salt in Team.seen}) == len(Team.seen)
    ids = Counter(call.call_id for call in ran.calls)
    assert set(ids.values()) == {1}
    assert "0000.s1.00000" in ids
    summary = ran.data().summary
    assert summary.arms[0].iterations == 6
    assert summary.arms[0].calls == {"ok": 6}
    assert missing(ran.manifest, ran.records) == []
    gone = [r for r in ran.records if (getattr(r, "phase", ""), r.trial) != ("solo", 1)]
    (lost,) = missing(ran.manifest, gone)
    assert lost.evidence["trials"] == [{"trial": 1, "phase": "solo", "planned": 3, "recorded": 0}]


# ---- anything may come through a tap

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    ["messages", "prompt", "system", "tools", "stream", "options", "max_tokens", "content", "role"]
)


@given(st.binary() | st.dictionaries(names, json_values).map(msgspec.json.encode))
def test_any_body_can_be_asked_about(body):
    request = request_of(body, agent="a", stage="s")
    facts_of(request)
    assert request.agent == "a"
    assert set(request.options) == {"stream"}


def test_a_conversation_is_read_out_of_the_body():
    body = {
        "messages": [
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"text": "b"}, {"x": 1}]},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
            "nonsense",
        ],
        "tools": [{"type": "function"}],
        "max_completion_tokens": 12,
    }
    request = request_of(msgspec.json.encode(body), agent="a", stage="")
    assert [(m.role, m.content) for m in request.messages] == [
        ("system", "be brief"),
        ("user", "ab"),
        ("assistant", ""),
    ]
    assert request.max_tokens == 12
    assert request.tools == ({"type": "function"},)
    assert request_of(b'{"system": "s", "prompt": "p"}', agent="", stage="").messages[1] == Message(
        role="user", content="p"
    )


@pytest.mark.parametrize(("last", "status"), [(b"data: [DONE]\n\n", "ok"), (b"", "cancelled")])
def test_a_client_may_leave_when_it_has_all(last, status):
    chunks = [
        {"choices": [{"delta": {"content": "hi"}}]},
        {"choices": [{"delta": {}, "finish_reason": "stop"}]},
    ]
    parts = [b"data: " + msgspec.json.encode(chunk) + b"\n\n" for chunk in chunks]
    seen = passed(asking(), respond([*parts, last])[:-1], path="/v1/chat/completions", left=True)
    (call,) = calls(one_agent, [seen])
    assert (call.status, call.text) == (status, "hi")
    assert (call.instants.end_ns is not None) is (status == "ok")


def test_letting_the_stamps_of_chunks_go_changes_no_figure():
    from harness.metrics import CALL_METRICS, condense
    from harness.metrics.call import TAPPED

    seen = passed(asking(), ANSWER, path="/talk", headers=[("x-request-id", "n")])
    sent_on = (seen.record.arrival_ns + seen.record.lag_ns)[:3]
    stamps = np.add(sent_on, [3_000, 5_000, 10_000]).astype("<i8").tobytes()
    said = {"first_token_ns": int(sent_on[0]) + 3_000, "last_token_ns": int(sent_on[2]) + 10_000}

    async def work(ctx):
        async with ctx.agent("a") as agent:
            agent.report(told("n", said={**said, "chunk_ns": stamps}))

    (call,) = calls(work, [seen])
    figures = {one.name: one.formula(call) for one in CALL_METRICS}
    assert figures == {one.name: one.formula(condense(call)) for one in CALL_METRICS}
    assert [figures[name] for name in TAPPED] == pytest.approx(
        [0.5, 3.0, 10.0, 5.0, 9.9, 1.0, 20.0, 20.0, 20.0]
    )
    early = msgspec.structs.replace(call.reported, chunk_ns=(sent_on - 1).astype("<i8").tobytes())
    delay = next(one.formula for one in CALL_METRICS if one.name == "agent_chunk_delay_p50_us")
    assert delay(msgspec.structs.replace(call, reported=early)) is None
