"""OpenAI's SSE in the dialect of every server, as literal bytes."""

from __future__ import annotations

import json
import struct

import msgspec
import pytest
from harness_openai.decode import NAMED, decode
from hypothesis import given
from hypothesis import strategies as st

from harness._native import recorder
from harness.schema import ChunkKind, Decoded
from tests.plugins.wire_hostile import payloads
from tests.plugins.wire_records import JSON, SSE, from_payloads, never_answered, record, sse

EMPTY, REASONING, TOOL, ANSWER = (
    ChunkKind.EMPTY,
    ChunkKind.REASONING,
    ChunkKind.TOOL,
    ChunkKind.ANSWER,
)


def read(body: bytes, content_type: bytes = SSE, **how: object) -> Decoded:
    return decode(record(body, content_type, **how), lambda text: text)


def tokens(decoded: Decoded) -> list[int] | None:
    if decoded.chunk_tokens is None:
        return None
    return list(struct.unpack(f"<{len(decoded.kinds)}I", decoded.chunk_tokens))


OPENAI = sse(
    '{"id":"c1","object":"chat.completion.chunk","created":1,"model":"gpt","system_fingerprint":"fp",'
    '"choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},'
    '"finish_reason":null}],"usage":null,"obfuscation":"xyz"}',
    '{"id":"c1","choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":null}],"usage":null}',
    '{"id":"c1","choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":null}],"usage":null}',
    '{"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}',
    '{"id":"c1","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12,'
    '"prompt_tokens_details":{"cached_tokens":4},'
    '"completion_tokens_details":{"reasoning_tokens":1}}}',
    "[DONE]",
)


def test_openai():
    decoded = read(OPENAI)
    assert decoded.kinds == bytes([EMPTY, ANSWER, ANSWER, EMPTY, EMPTY, EMPTY])
    assert decoded.text == "Hello"
    assert decoded.finish_reason == "stop"
    assert decoded.end == "body"
    assert decoded.error is None
    usage = decoded.usage
    assert (usage.prompt_tokens, usage.cached_tokens) == (9, 4)
    assert (usage.output_tokens, usage.reasoning_tokens) == (3, 1)
    assert decoded.server["usage"]["total_tokens"] == 12
    assert decoded.server["system_fingerprint"] == "fp"
    assert "obfuscation" not in decoded.server
    assert decoded.chunk_tokens is None  # a chunk is not a token


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_in_both_spellings(field):
    body = sse(
        '{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}',
        f'{{"choices":[{{"index":0,"delta":{{"{field}":"hm"}}}}]}}',
        f'{{"choices":[{{"index":0,"delta":{{"{field}":"m","content":null}}}}]}}',
        '{"choices":[{"index":0,"delta":{"content":"yes"}}]}',
        '{"choices":[{"index":0,"delta":{},"finish_reason":"stop","stop_reason":13}]}',
        "[DONE]",
    )
    decoded = read(body)
    assert decoded.kinds == bytes([EMPTY, REASONING, REASONING, ANSWER, EMPTY, EMPTY])
    assert (decoded.reasoning, decoded.text) == ("hmm", "yes")
    assert decoded.server["stop_reason"] == 13  # vLLM says which


def test_the_same_reasoning_under_both_names_counts_once():
    body = sse('{"choices":[{"delta":{"reasoning":"a","reasoning_content":"a"}}]}')
    assert read(body).reasoning == "a"


VLLM_CONTINUOUS = sse(
    '{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}],'
    '"usage":{"prompt_tokens":5,"completion_tokens":0,"total_tokens":5}}',
    '{"choices":[{"index":0,"delta":{"content":"ab"}}],'
    '"usage":{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8}}',
    '{"choices":[{"index":0,"delta":{"content":"c"}}],'
    '"usage":{"prompt_tokens":5,"completion_tokens":4,"total_tokens":9}}',
    '{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"length"}],'
    '"usage":{"prompt_tokens":5,"completion_tokens":5,"total_tokens":10}}',
    '{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":5,"total_tokens":10},'
    '"metrics":{"time_to_first_token_ms":12.5,"queue_time_ms":0.5}}',
    "[DONE]",
)


def test_vllm_continuous_usage_tells_the_tokens_of_each_chunk():
    decoded = read(VLLM_CONTINUOUS)
    assert tokens(decoded) == [0, 3, 1, 1, 0, 0]
    assert decoded.usage.output_tokens == 5
    assert decoded.server["metrics"] == {"time_to_first_token_ms": 12.5, "queue_time_ms": 0.5}


def test_vllm_error_followed_by_done_is_an_error():
    body = sse(
        '{"choices":[{"index":0,"delta":{"content":"a"}}]}',
        '{"error":{"message":"EngineCore encountered an issue","type":"InternalServerError",'
        '"param":null,"code":500}}',
        "[DONE]",
    )
    decoded = read(body)
    assert decoded.error is not None
    assert decoded.error.code == "stream"
    assert decoded.error.message == "EngineCore encountered an issue (InternalServerError, 500)"
    assert decoded.server["error"]["code"] == 500
    assert decoded.end is None
    assert decoded.kinds == bytes([ANSWER, EMPTY, EMPTY])


def test_sglang_flat_error_and_its_reasoning_tokens():
    flat = sse('{"object":"error","message":"out of memory","type":"OOM","param":null,"code":503}')
    decoded = read(flat)
    assert decoded.error is not None
    assert decoded.error.message == "out of memory (OOM, 503)"
    good = sse(
        '{"choices":[{"delta":{"reasoning_content":"r"}}]}',
        '{"choices":[{"delta":{},"finish_reason":"stop","matched_stop":151645}],'
        '"usage":{"prompt_tokens":1,"completion_tokens":2,"reasoning_tokens":1}}',
    )
    decoded = read(good)
    assert decoded.usage.reasoning_tokens == 1
    assert decoded.server["matched_stop"] == 151645


LLAMA_CPP = sse(
    '{"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],'
    '"created":1,"id":"x","model":"m","system_fingerprint":"b1-2","object":"chat.completion.chunk"}',
    '{"choices":[{"finish_reason":null,"index":0,"delta":{"content":"df"}}]}',
    '{"choices":[{"finish_reason":null,"index":0,"delta":{"content":"eb"}}]}',
    '{"choices":[{"finish_reason":"length","index":0,"delta":{}}]}',
    '{"choices":[],"usage":{"completion_tokens":2,"prompt_tokens":15,"total_tokens":17,'
    '"prompt_tokens_details":{"cached_tokens":8}},"timings":{"cache_n":8,"prompt_n":7,'
    '"prompt_ms":0.669,"predicted_n":2,"predicted_ms":0.395}}',
    "[DONE]",
)


def test_llama_cpp():
    decoded = read(LLAMA_CPP)
    assert decoded.kinds == bytes([EMPTY, ANSWER, ANSWER, EMPTY, EMPTY, EMPTY])
    assert decoded.finish_reason == "length"
    assert decoded.end == "body"
    assert (decoded.usage.prompt_tokens, decoded.usage.cached_tokens) == (15, 8)
    assert decoded.server["timings"]["prompt_ms"] == 0.669
    assert tokens(decoded) is None  # timings only at the end


def test_llama_cpp_timings_with_each_chunk_tell_its_tokens():
    body = sse(
        '{"choices":[{"delta":{"content":"a"}}],"timings":{"cache_n":1,"prompt_n":4,"predicted_n":1}}',
        '{"choices":[{"delta":{"content":"b"}}],"timings":{"cache_n":1,"prompt_n":4,"predicted_n":4}}',
        '{"choices":[{"delta":{},"finish_reason":"stop"}],'
        '"timings":{"cache_n":1,"prompt_n":4,"predicted_n":5}}',
    )
    decoded = read(body)
    assert tokens(decoded) == [1, 3, 1]
    usage = decoded.usage  # no usage was sent: the timings say it
    assert (usage.prompt_tokens, usage.cached_tokens, usage.output_tokens) == (5, 1, 5)


def test_llama_cpp_error_without_done():
    body = sse(
        '{"choices":[{"delta":{"content":"a"}}]}',
        '{"error":{"code":500,"message":"context shift is disabled","type":"server_error"}}',
    )
    decoded = read(body)
    assert decoded.error is not None
    assert decoded.error.message == "context shift is disabled (server_error, 500)"
    assert decoded.end is None


def test_transformers_serve_ends_without_done_and_errs_with_a_string():
    body = sse(
        '{"choices":[{"delta":{"role":"assistant"},"index":0}],"model":"m"}',
        '{"choices":[{"delta":{"content":"some tokens"},"index":0}]}',
        '{"choices":[{"delta":{},"finish_reason":"stop","index":0}],'
        '"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}',
    )
    decoded = read(body)
    assert decoded.end == "body"
    assert decoded.usage.output_tokens == 4
    assert tokens(decoded) is None  # usage at the end covers no single chunk
    failed = read(sse('{"error":"CUDA out of memory"}'))
    assert failed.error is not None
    assert failed.error.message == "CUDA out of memory"


def test_ollama_v1_loses_its_error_and_is_truncated():
    body = sse(
        '{"id":"chatcmpl-1","object":"chat.completion.chunk","model":"m","system_fingerprint":'
        '"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"},'
        '"finish_reason":null}]}',
        '{"id":"chatcmpl-1","choices":[{"index":0,"delta":{"role":"assistant","content":""},'
        '"finish_reason":null}]}',
    )
    decoded = read(body)
    assert decoded.end is None
    assert decoded.error is None
    assert decoded.kinds == bytes([ANSWER, EMPTY])


def test_openrouter():
    body = b": OPENROUTER PROCESSING\n\n" + sse(
        '{"id":"gen-1","provider":"Groq","choices":[{"index":0,"delta":{"role":"assistant",'
        '"content":"","reasoning":null,"reasoning_details":[{"type":"reasoning.text","text":"so"}]}}]}',
        '{"id":"gen-1","provider":"Groq","choices":[{"index":0,"delta":{"content":"ok"},'
        '"finish_reason":"stop","native_finish_reason":"end_turn"}]}',
        '{"id":"gen-1","choices":[],"usage":{"prompt_tokens":2,"completion_tokens":3,"cost":0.00015}}',
        "[DONE]",
    )
    sealed = record(body, SSE)
    decoded = decode(sealed, str)
    assert sealed.comments == 1
    assert decoded.kinds == bytes([REASONING, ANSWER, EMPTY, EMPTY])
    assert decoded.server["provider"] == "Groq"
    assert decoded.server["native_finish_reason"] == "end_turn"
    assert decoded.server["usage"]["cost"] == 0.00015
    assert decoded.end == "body"


@pytest.mark.parametrize("code", ["502", '"server_error"'])
def test_openrouter_error_in_the_stream(code):
    body = sse(
        '{"id":"g","choices":[{"index":0,"delta":{"content":"par"}}]}',
        '{"id":"g","error":{"code":' + code + ',"message":"Provider disconnected"},'
        '"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}',
    )
    decoded = read(body)
    assert decoded.error is not None
    assert decoded.error.message.startswith("Provider disconnected (")
    assert decoded.finish_reason == "error"
    assert decoded.end is None


@pytest.mark.parametrize("reason", ["error", "abort"])
def test_a_generation_given_up_is_no_success(reason):
    body = sse('{"choices":[{"delta":{},"finish_reason":"' + reason + '"}]}', "[DONE]")
    decoded = read(body)
    assert decoded.error is not None
    assert decoded.error.code == "stream"
    assert decoded.end is None


def test_deepseek_comments_and_cache_hits():
    body = b": keep-alive\n\n\n: keep-alive\n\n" + sse(
        '{"choices":[{"delta":{"reasoning_content":"r","content":null}}]}',
        '{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,'
        '"completion_tokens":2,"prompt_cache_hit_tokens":8,"prompt_cache_miss_tokens":2}}',
    )
    decoded = read(body)
    assert decoded.kinds == bytes([REASONING, ANSWER])
    assert decoded.usage.cached_tokens == 8


def test_lm_studio_named_error_event():
    body = sse('{"choices":[{"delta":{"content":"a"}}]}') + (
        b'event: error\ndata: {"error":{"type":"invalid_request","message":"Model unloaded"}}\n\n'
    )
    decoded = read(body)
    assert decoded.error is not None
    assert decoded.error.code == "stream"
    assert decoded.error.message == "Model unloaded (invalid_request)"
    assert len(decoded.kinds) == 2


def test_named_events_lose_their_name_and_pings_are_nothing():
    body = (
        b"event: ping\ndata: now\n\n"
        b'event: ping\ndata: {"type":"ping"}\n\n'
        b'event: message\ndata: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n'
        b"event: error\ndata: words only\n\n"
    )
    decoded = read(body)
    assert decoded.kinds == bytes([EMPTY, EMPTY, ANSWER, EMPTY])
    assert decoded.error is not None
    assert decoded.error.message == "words only"


def test_the_flag_is_the_recorders():
    assert NAMED == recorder.FLAG_NAMED


def test_completions():
    body = sse(
        '{"object":"text_completion","choices":[{"text":"a","index":0,"logprobs":'
        '{"tokens":["a"],"token_logprobs":[-0.1]},"finish_reason":null}]}',
        '{"choices":[{"text":"bc","index":0,"logprobs":{"tokens":["b","c"]},"finish_reason":null}]}',
        '{"choices":[{"text":"","index":0,"logprobs":null,"finish_reason":"length"}],'
        '"usage":{"prompt_tokens":1,"completion_tokens":3}}',
        "[DONE]",
    )
    decoded = read(body)
    assert decoded.text == "abc"
    assert decoded.kinds == bytes([ANSWER, ANSWER, EMPTY, EMPTY])
    assert tokens(decoded) == [1, 2, 0, 0]


def test_chat_logprobs_tell_the_tokens():
    body = sse(
        '{"choices":[{"delta":{"content":"ab"},"logprobs":{"content":[{"token":"a"},{"token":"b"}]}}]}',
        '{"choices":[{"delta":{"content":"c"},"logprobs":{"content":[{"token":"c"}]}}]}',
        '{"choices":[{"delta":{},"logprobs":null,"finish_reason":"stop"}]}',
    )
    assert tokens(read(body)) == [2, 1, 0]


def test_counts_that_do_not_add_up_tell_nothing():
    """llama.cpp: a chunk of two tokens (half a character each) has one entry of logprobs."""
    entry = '"logprobs":{"content":[{"token":"x"}]}'
    body = sse(
        '{"choices":[{"delta":{"content":"a"},' + entry + "}]}",
        '{"choices":[{"delta":{"content":"\u00e9"},' + entry + "}]}",
        '{"choices":[{"delta":{},"finish_reason":"length"}],"usage":{"completion_tokens":3}}',
    )
    assert tokens(read(body)) is None


def test_counts_that_run_backwards_tell_nothing():
    body = sse(
        '{"choices":[{"delta":{"content":"a"}}],"usage":{"completion_tokens":4}}',
        '{"choices":[{"delta":{"content":"b"}}],"usage":{"completion_tokens":2}}',
    )
    assert tokens(read(body)) is None


def test_tool_calls_are_put_together_by_index():
    body = sse(
        '{"choices":[{"delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"a",'
        '"type":"function","function":{"name":"add","arguments":""}}]}}]}',
        '{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\\"x\\""}}]}}]}',
        '{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]}}]}',
        '{"choices":[{"delta":{"tool_calls":[{"index":1,"id":"b","type":"function",'
        '"function":{"name":"now","arguments":"{}"}}]}}]}',
        '{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}',
    )
    decoded = read(body)
    assert decoded.kinds == bytes([TOOL, TOOL, TOOL, TOOL, EMPTY])
    assert decoded.tool_calls == [
        {"type": "function", "id": "a", "function": {"name": "add", "arguments": '{"x":1}'}},
        {"type": "function", "id": "b", "function": {"name": "now", "arguments": "{}"}},
    ]


def test_the_older_function_call():
    body = sse('{"choices":[{"delta":{"function_call":{"name":"f","arguments":"{}"}}}]}')
    decoded = read(body)
    assert decoded.kinds == bytes([TOOL])
    assert decoded.tool_calls[0]["function"] == {"name": "f", "arguments": "{}"}


def test_content_in_parts():
    body = sse('{"choices":[{"delta":{"content":[{"type":"text","text":"a"},{"type":"text"}]}}]}')
    assert read(body).text == "a"


def test_a_refusal_is_text():
    body = sse('{"choices":[{"delta":{"refusal":"I cannot"}}]}')
    assert (read(body).text, read(body).kinds) == ("I cannot", bytes([ANSWER]))


@pytest.mark.parametrize("outcome", ["eof", "reset", "timeout_payload"])
def test_a_finish_reason_without_the_end_of_the_body_is_no_proof(outcome):
    decoded = read(OPENAI, outcome=outcome)
    assert decoded.end is None
    assert decoded.error is None
    assert decoded.text == "Hello"


def test_done_without_a_finish_reason_is_no_proof():
    decoded = read(sse('{"choices":[{"delta":{"content":"a"}}]}', "[DONE]"))
    assert decoded.end is None
    assert decoded.error is None


def test_a_last_event_without_its_blank_line_is_kept():
    body = sse('{"choices":[{"delta":{"content":"a"}}]}') + (
        b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}'
    )
    decoded = read(body)
    assert decoded.finish_reason == "stop"
    assert decoded.end == "body"


def test_half_an_event_at_a_tear_is_the_tear_and_no_protocol_error():
    body = sse('{"choices":[{"delta":{"content":"a"}}]}') + b'data: {"choices":[{"del'
    decoded = read(body, outcome="reset")
    assert decoded.error is None
    assert decoded.kinds == bytes([ANSWER, EMPTY])


@pytest.mark.parametrize("data", ["<html>", "{", "[1]", '"text"', "[" * 100_000, '{"a":1e999}'])
def test_a_payload_that_is_no_json_object_is_a_protocol_error(data):
    decoded = read(sse(data, '{"choices":[{"delta":{},"finish_reason":"stop"}]}'))
    assert decoded.error is not None
    assert decoded.error.code == "protocol"
    assert decoded.end is None
    assert len(decoded.kinds) == 2


def test_an_answer_all_at_once_is_not_a_stream():
    body = b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}'
    decoded = read(body, JSON)
    assert decoded.error is not None
    assert decoded.error.code == "protocol"
    assert "did not stream" in decoded.error.message
    text = b'{"object":"text_completion","choices":[{"text":"hi","finish_reason":"stop"}]}'
    decoded = read(text, JSON)
    assert decoded.error is not None
    assert "did not stream" in decoded.error.message


def test_an_error_with_status_200():
    decoded = read(b'{"error":{"message":"no such key"}}', JSON)
    assert decoded.error is not None
    assert (decoded.error.code, decoded.error.message) == ("stream", "no such key")


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (
            400,
            b'{"error":{"message":"bad \\u001b[31m value","type":"invalid","code":null}}',
            "bad [31m value (invalid)",
        ),
        (503, b'{"error":{"code":503,"message":"Loading model"}}', "Loading model (503)"),
        (400, b'{"object":"error","message":"too long","code":400}', "too long (400)"),
        (404, b'{"detail":"Not Found"}', "Not Found"),
        (
            422,
            b'{"detail":[{"loc":["body"],"msg":"missing"}]}',
            "[{'loc': ['body'], 'msg': 'missing'}]",
        ),
        (429, b'{"message":"slow down"}', "slow down"),
        (500, b'{"error":"words"}', "words"),
        (502, b"<html>\nBad gateway</html>", "<html> Bad gateway</html>"),
        (500, b"\xff\xfe", "\ufffd\ufffd"),
        (500, b"", ""),
        (301, b"", ""),
    ],
)
def test_http_errors_name_their_status(status, body, message):
    sealed = record(body, JSON, status=status)
    decoded = decode(sealed, str)
    assert decoded.error is not None
    assert (decoded.error.code, decoded.error.message) == (f"http.{status}", message)
    assert decoded.end is None
    assert len(decoded.kinds) == len(sealed)


def test_invalid_utf8_is_replaced_and_the_stream_goes_on():
    body = b'data: {"choices":[{"delta":{"content":"a\xff"},"finish_reason":"stop"}]}\n\n'
    decoded = read(body)
    assert decoded.text == "a\ufffd"
    assert decoded.end == "body"


def test_line_separators_inside_a_string_do_not_split_it():
    text = "a\u2028b\u0085c"
    chunk = json.dumps({"choices": [{"delta": {"content": text}}]}, ensure_ascii=False)
    assert read(sse(chunk)).text == text


def test_a_call_that_was_never_answered():
    decoded = decode(never_answered(), str)
    assert (decoded.kinds, decoded.error, decoded.end) == (b"", None, None)


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
