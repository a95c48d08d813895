"""What a program says is read, whatever it is: nothing of it raises, and what is wrong is named."""

from __future__ import annotations

import msgspec
import pytest
from harness_agents.judging import judge
from harness_agents.protocol import Endpoint, Job, Stage, Violation, read_event
from harness_agents.reporting import reported_calls, usage_of
from harness_agents.transcript import read_transcript
from hypothesis import given
from hypothesis import strategies as st

JOB = Job(
    job_id="t",
    agent="a",
    model="m",
    endpoint=Endpoint(url="http://127.0.0.1:9", dialect="openai"),
    stages=(
        Stage(
            name="only",
            path="/",
            body={},
            prompt_at=("p",),
            prompt="",
            answer_chars_max=1,
            timeout_s=1,
        ),
    ),
    chunk_stamps=True,
    keep_text=True,
)
KINDS = (
    *("hello", "clock", "ready", "begin", "phase_start", "phase_end", "call_sent", "result"),
    *("call_first_token", "call_last_token", "call_end", "error", "x_own", "nonsense"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
INSTANT = st.integers(-1, 5) | st.none()
EVENTS = st.fixed_dictionaries(
    {"t": st.sampled_from(KINDS)},
    optional={
        "at_ns": INSTANT,
        "call": st.sampled_from(["a.0.only", "b", ""]),
        "stage": st.sampled_from(["only", "other"]),
        "name": st.sampled_from(["only", "ingest", "n"]),
        "protocol": st.integers(0, 2),
        "version": st.just("1"),
        "language": st.just("L"),
        "n": st.integers(0, 5),
        "status": st.sampled_from(["ok", "error", "timeout", "?"]),
        "http_status": st.sampled_from([None, 200, 5000]),
        "content_chunks": st.integers(-1, 3),
        "server": st.dictionaries(st.sampled_from(["usage", "x"]), JSON, max_size=2),
        "text": st.text(max_size=5) | st.none(),
        "chunk_ns": st.lists(st.integers(0, 5), max_size=3) | st.none(),
        "message": st.text(max_size=5),
        "error": st.just({"code": "c"}) | JSON,
        "reason": st.text(max_size=3),
    },
)


@given(st.lists(EVENTS, max_size=12))
def test_any_events_are_read_judged_and_reported(events):
    script = read_transcript(msgspec.json.encode(event) for event in events)
    for broken in judge(script, JOB, start_ns=1):
        assert broken.what.isprintable()
    for call in reported_calls(script, JOB):
        assert call.call == "a.0.only"
        msgspec.msgpack.encode(call)  # as the record log will
        assert call.reported.status == "ok" or call.error is not None


@given(st.lists(st.binary(max_size=40) | JSON.map(msgspec.json.encode), max_size=5))
def test_any_bytes_are_read(lines):
    script = read_transcript(lines)
    assert len(script.events) + len(script.broken) >= len(lines)
    judge(script, JOB, start_ns=None)


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (b"", "json"),
        (b"[]", "json"),
        (b'{"t": 1}', "json"),
        (b'{"t": "begin", "at_ns": 1', "json"),
        (b'{"t": "begin", "at_ns": "1"}', "fields"),
        (b'{"t": "begin", "at_ns": 9223372036854775808}', "fields"),
        (b'{"t": "begin", "at_ns": 1.5}', "fields"),
        (b'{"t": "hello", "protocol": 1}', "hello"),
        (b'{"t": "progress"}', "event"),
        (b'{"t": "x_own", "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "json"),
        (b'{"t": "result", "at_ns": 1, "status": "ok", "metrics": [{"name": "A b"}]}', "fields"),
    ],
)
def test_what_is_no_event_is_named(line, rule):
    found = read_event(line)
    assert isinstance(found, Violation)
    assert found.rule == rule
    assert found.what.isprintable()


def test_usage_is_what_the_server_said():
    told = {"usage": {"prompt_tokens": 5, "completion_tokens": 7}}
    assert usage_of("openai", told).output_tokens == 7
    assert usage_of("openai", {"usage": "many"}).output_tokens is None
    told = {"prompt_eval_count": 5, "eval_count": True}
    assert (usage_of("ollama", told).prompt_tokens, usage_of("ollama", told).output_tokens) == (
        5,
        None,
    )


def test_a_refusal_comes_in_place_of_hello():
    script = read_transcript([b'{"t":"error","message":"protocol 999?"}'])
    assert script.failed is not None
    assert script.broken == []
