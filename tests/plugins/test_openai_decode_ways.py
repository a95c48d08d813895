"""The decoder's short way and its general one agree, and no bytes make either raise."""

from __future__ import annotations

import json

import msgspec
import pytest
from harness_openai.decode import decode
from hypothesis import given
from hypothesis import strategies as st

from tests.plugins.wire_hostile import payloads
from tests.plugins.wire_openai import LLAMA_CPP, OPENAI, VLLM_CONTINUOUS, read
from tests.plugins.wire_records import from_payloads, sse


def general_way_only(monkeypatch):
    monkeypatch.setattr("harness_openai.decode.as_plain", lambda payload: None)


@pytest.mark.parametrize("body", [OPENAI, VLLM_CONTINUOUS, LLAMA_CPP])
def test_the_short_way_and_the_general_way_agree(body, monkeypatch):
    short = read(body)
    general_way_only(monkeypatch)
    assert msgspec.to_builtins(read(body)) == msgspec.to_builtins(short)


def test_what_the_short_way_skips_is_still_checked():
    body = sse('{"choices":[{"delta":{"content":"a"}}],"usage":{"completion_tokens":1,"x":1e999}}')
    decoded = read(body)
    assert decoded.error is not None
    assert decoded.error.code == "protocol"


hostile = payloads(
    *("usage", "timings", "error", "object", "message", "code", "id", "created"),
    *("delta", "text", "logprobs", "finish_reason", "content", "reasoning", "tool_calls"),
    nested={
        "function": ("id", "content"),
        "tool_calls": ("function", "id", "code"),
        "delta": ("content", "reasoning", "tool_calls", "message"),
        "logprobs": ("content", "text"),
        "choices": ("delta", "text", "logprobs", "finish_reason", "message"),
    },
)


@given(st.lists(hostile, max_size=6), st.sampled_from([200, 200, 204, 400, 500]), st.booleans())
def test_no_bytes_make_it_raise(lines, status, named):
    sealed = from_payloads(lines, status=status, named=named)
    decoded = decode(sealed, str)
    assert len(decoded.kinds) == len(sealed)
    assert decoded.end is None or decoded.error is None
    assert decoded.chunk_tokens is None or len(decoded.chunk_tokens) == 4 * len(sealed)
    assert msgspec.msgpack.encode(decoded)  # the log can hold whatever came


pieces = st.fixed_dictionaries(
    {
        "choices": st.lists(
            st.fixed_dictionaries(
                {"index": st.just(0)},
                optional={
                    "delta": st.fixed_dictionaries(
                        {},
                        optional={
                            "role": st.just("assistant"),
                            "content": st.none() | st.text(max_size=3),
                            "reasoning": st.none() | st.text(max_size=3),
                            "reasoning_content": st.none() | st.text(max_size=3),
                            "tool_calls": st.none() | st.just([]),
                        },
                    ),
                    "text": st.none() | st.text(max_size=3),
                    "logprobs": st.none(),
                    "finish_reason": st.none() | st.just("stop"),
                },
            ),
            max_size=2,
        )
    },
    optional={
        "usage": st.none() | st.fixed_dictionaries({"completion_tokens": st.integers(0, 9)}),
        "timings": st.none() | st.fixed_dictionaries({"predicted_n": st.integers(0, 9)}),
        "extra": st.booleans(),
    },
)


@given(st.lists(pieces, max_size=8))
def test_both_ways_agree_on_any_stream(chunks):
    body = sse(*(json.dumps(chunk) for chunk in chunks))
    short = read(body)
    with pytest.MonkeyPatch.context() as monkeypatch:
        general_way_only(monkeypatch)
        general = read(body)
    for name in ("kinds", "text", "reasoning", "finish_reason", "end", "chunk_tokens", "error"):
        assert getattr(short, name) == getattr(general, name), name
