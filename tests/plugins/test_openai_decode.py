"""What the chunks of OpenAI's SSE hold: text, reasoning, tools, and the tokens of each."""

from __future__ import annotations

import json

from harness_openai.decode import NAMED

from harness._native import recorder
from tests.plugins.wire_openai import ANSWER, EMPTY, TOOL, read, tokens
from tests.plugins.wire_records import sse


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


def test_invalid_utf8_is_replaced_and_the_stream_goes_on():
    body = b'data: {"choices":[{"delta":{"content":"a\xff"},"finish_reason":"stop"}]}\n\n'
    decoded = read(body)
    assert decoded.text == "a\ufffd"
    assert decoded.end == "body"


def test_line_separators_inside_a_string_do_not_split_it():
    text = "a\u2028b\u0085c"
    chunk = json.dumps({"choices": [{"delta": {"content": text}}]}, ensure_ascii=False)
    assert read(sse(chunk)).text == text
