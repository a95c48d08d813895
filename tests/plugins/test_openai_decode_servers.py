"""OpenAI's SSE in the dialect of every server, as literal bytes."""

from __future__ import annotations

import pytest
from harness_openai.decode import decode

from tests.plugins.wire_openai import (
    ANSWER,
    EMPTY,
    LLAMA_CPP,
    OPENAI,
    REASONING,
    VLLM_CONTINUOUS,
    read,
    tokens,
)
from tests.plugins.wire_records import SSE, record, sse


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
