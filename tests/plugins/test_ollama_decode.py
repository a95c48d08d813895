"""Ollama's NDJSON, as literal bytes."""

from __future__ import annotations

import json
import struct

import msgspec
import pytest
from harness_ollama.decode import decode
from hypothesis import given
from hypothesis import strategies as st

from harness.schema import ChunkKind
from tests.plugins.wire_hostile import payloads
from tests.plugins.wire_records import JSON, NDJSON, from_payloads, never_answered, record

EMPTY, REASONING, TOOL, ANSWER = (
    ChunkKind.EMPTY,
    ChunkKind.REASONING,
    ChunkKind.TOOL,
    ChunkKind.ANSWER,
)

CHAT = (
    b'{"model":"m","created_at":"2026-08-21T10:00:00.1Z","message":{"role":"assistant",'
    b'"content":"","thinking":"let me see"},"done":false}\n'
    b'{"model":"m","created_at":"2026-08-21T10:00:00.2Z","message":{"role":"assistant",'
    b'"content":"Hel"},"done":false}\n'
    b'{"model":"m","created_at":"2026-08-21T10:00:00.3Z","message":{"role":"assistant",'
    b'"content":"lo"},"done":false}\n'
)
DONE = (
    b'{"model":"m","created_at":"2026-08-21T10:00:00.4Z","message":{"role":"assistant",'
    b'"content":""},"done":true,"done_reason":"stop","total_duration":5000000000,'
    b'"load_duration":12345,"prompt_eval_count":26,"prompt_eval_duration":130079000,'
    b'"eval_count":3,"eval_duration":98000000}\n'
)


def test_a_chat_is_read_whole():
    decoded = decode(record(CHAT + DONE, NDJSON))
    assert decoded.kinds == bytes([REASONING, ANSWER, ANSWER, EMPTY])
    assert decoded.text == "Hello"
    assert decoded.reasoning == "let me see"
    assert decoded.finish_reason == "stop"
    assert decoded.end == 3
    assert decoded.error is None
    assert decoded.usage.prompt_tokens == 26
    assert decoded.usage.output_tokens == 3
    assert decoded.usage.cached_tokens is None  # Ollama does not tell
    assert decoded.server == {
        "model": "m",
        "created_at": "2026-08-21T10:00:00.4Z",
        "done_reason": "stop",
        "total_duration": 5_000_000_000,
        "load_duration": 12345,
        "prompt_eval_count": 26,
        "prompt_eval_duration": 130_079_000,
        "eval_count": 3,
        "eval_duration": 98_000_000,
    }
    assert decoded.chunk_tokens is None  # a line is not a token


def test_generate_drops_the_context_and_keeps_the_figures():
    body = (
        b'{"model":"m","response":"a","done":false}\n'
        b'{"model":"m","response":"","thinking":"why","done":false}\n'
        b'{"model":"m","response":"b","done":true,"done_reason":"length","context":[1,2,3],'
        b'"eval_count":2}\n'
    )
    decoded = decode(record(body, NDJSON))
    assert decoded.text == "ab"
    assert decoded.reasoning == "why"
    assert decoded.kinds == bytes([ANSWER, REASONING, ANSWER])
    assert decoded.finish_reason == "length"
    assert decoded.server == {"model": "m", "done_reason": "length", "eval_count": 2}


def test_an_absent_metric_stays_absent_but_an_absent_eval_count_is_zero():
    body = b'{"message":{"content":""},"done":true,"done_reason":"stop","total_duration":7}\n'
    decoded = decode(record(body, NDJSON))
    assert decoded.server == {"done_reason": "stop", "total_duration": 7}
    assert decoded.usage.output_tokens == 0
    assert decoded.usage.prompt_tokens is None
    assert decoded.end == 0


@pytest.mark.parametrize("outcome", ["complete", "eof", "reset", "timeout_payload"])
def test_without_done_there_is_no_proof_of_the_end(outcome):
    decoded = decode(record(CHAT, NDJSON, outcome=outcome))
    assert decoded.end is None
    assert decoded.error is None  # the engine calls it truncated
    assert decoded.text == "Hello"
    assert decoded.usage.output_tokens is None


def test_done_proves_the_end_even_if_the_body_was_cut_after_it():
    assert decode(record(CHAT + DONE, NDJSON, outcome="eof")).end == 3


def test_half_a_line_at_a_tear_is_the_tear_and_no_protocol_error():
    decoded = decode(record(CHAT + DONE[:50], NDJSON, outcome="reset"))
    assert decoded.error is None
    assert decoded.end is None
    assert decoded.kinds == bytes([REASONING, ANSWER, ANSWER, EMPTY])


def test_a_last_line_without_its_newline_counts():
    assert decode(record(CHAT + DONE.rstrip(b"\n"), NDJSON)).end == 3


def test_an_error_line_in_the_stream():
    body = CHAT + b'{"error":"an error was encountered while running the model: \\u001b[31mCUDA"}\n'
    decoded = decode(record(body, NDJSON))
    assert decoded.error is not None
    assert decoded.error.code == "stream"
    assert decoded.error.message == "an error was encountered while running the model: CUDA"
    assert decoded.end is None
    assert decoded.kinds == bytes([REASONING, ANSWER, ANSWER, EMPTY])


def test_a_failed_call_has_no_proper_end():
    decoded = decode(record(b'{"error":"boom"}\n' + DONE, NDJSON))
    assert decoded.error is not None
    assert decoded.end is None


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (404, b'{"error":"model \'x\' not found"}', "http.404", "model 'x' not found"),
        (
            503,
            b'{"error":"server busy, please try again. maximum pending requests exceeded"}',
            "http.503",
            "server busy, please try again. maximum pending requests exceeded",
        ),
        (400, b'{"error":{"message":"bad"}}', "http.400", "bad"),
        (502, b"<html>Bad\r\n gateway</html>", "http.502", "<html>Bad gateway</html>"),
        (500, b"", "http.500", ""),
        (302, b"", "http.302", ""),
    ],
)
def test_http_errors_name_their_status(status, body, code, message):
    sealed = record(body, JSON, status=status)
    decoded = decode(sealed)
    assert decoded.error is not None
    assert (decoded.error.code, decoded.error.message) == (code, message)
    assert decoded.end is None
    assert len(decoded.kinds) == len(sealed)


@pytest.mark.parametrize("reason", ["load", "unload"])
def test_an_answer_that_generated_nothing_is_an_error(reason):
    body = json.dumps({"message": {"content": ""}, "done": True, "done_reason": reason}).encode()
    decoded = decode(record(body + b"\n", NDJSON))
    assert decoded.finish_reason == reason
    assert decoded.error is not None
    assert decoded.error.code == "empty"
    assert decoded.end is None


def test_tool_calls_keep_their_arguments_as_an_object():
    body = (
        b'{"message":{"role":"assistant","content":"","tool_calls":[{"id":"c1","function":'
        b'{"index":0,"name":"add","arguments":{"a":1}}}]},"done":false}\n' + DONE
    )
    decoded = decode(record(body, NDJSON))
    assert decoded.kinds == bytes([TOOL, EMPTY])
    assert decoded.tool_calls == [
        {"id": "c1", "function": {"index": 0, "name": "add", "arguments": {"a": 1}}}
    ]


def test_answer_wins_over_reasoning_in_one_chunk():
    body = b'{"message":{"content":"a","thinking":"t","tool_calls":[{"function":{}}]}}\n'
    assert decode(record(body, NDJSON)).kinds == bytes([ANSWER])


def test_logprobs_tell_the_tokens_of_a_chunk():
    body = (
        b'{"message":{"content":"ab"},"logprobs":[{"token":"a"},{"token":"b"}],"done":false}\n'
        b'{"message":{"content":"c"},"logprobs":[{"token":"c"}],"done":false}\n' + DONE
    )
    decoded = decode(record(body, NDJSON))
    assert decoded.usage.output_tokens == 3
    assert decoded.chunk_tokens is not None
    assert struct.unpack("<3I", decoded.chunk_tokens) == (2, 1, 0)
    # Half a character held back: a line of two tokens comes with one entry.
    short = body.replace(b'{"token":"a"},', b"")
    assert decode(record(short, NDJSON)).chunk_tokens is None


def test_logprobs_that_do_not_cover_every_chunk_tell_nothing():
    body = (
        b'{"message":{"content":"ab"},"logprobs":[{"token":"a"}],"done":false}\n'
        b'{"message":{"content":"c"},"done":false}\n' + DONE
    )
    assert decode(record(body, NDJSON)).chunk_tokens is None


@pytest.mark.parametrize(
    "line",
    [
        b"<html>",
        b"{",
        b"[]",
        b'"text"',
        b'{"message":5}',
        b'{"done":"yes"}',
        b'{"message":{"content":["a"]}}',
        b"[" * 100_000,
        b'{"message":{"content":"\\ud800"}}',
        b'{"done":true,"x":1e999}',
    ],
)
def test_a_line_that_ollama_does_not_send_is_a_protocol_error(line):
    decoded = decode(record(line + b"\n" + DONE, NDJSON))
    assert decoded.error is not None
    assert decoded.error.code == "protocol"
    assert len(decoded.error.message) <= 1000
    assert decoded.kinds == bytes(2)


def test_invalid_utf8_is_replaced_and_the_stream_goes_on():
    body = b'{"message":{"content":"a\xff"}}\n{"message":{"content":"b"}}\n' + DONE
    decoded = decode(record(body, NDJSON))
    assert decoded.text == "a\ufffdb"
    assert decoded.error is None
    assert decoded.end == 2


def test_line_separators_inside_a_string_do_not_split_it():
    text = "a\u2028b\u0085c"
    line = json.dumps({"message": {"content": text}}, ensure_ascii=False).encode() + b"\n"
    assert decode(record(line + DONE, NDJSON)).text == text


def test_figures_that_the_log_cannot_hold_are_kept_as_text():
    nested = b'{"a":' * 50 + b"1" + b"}" * 50
    body = b'{"done":true,"big":123456789012345678901234567890,"deep":' + nested + b"}\n"
    decoded = decode(record(body, NDJSON))
    assert decoded.server["big"] == "123456789012345678901234567890"
    assert msgspec.msgpack.encode(decoded.server)


def test_a_call_that_was_never_answered():
    decoded = decode(never_answered())
    assert (decoded.kinds, decoded.error, decoded.end) == (b"", None, None)


hostile = payloads(
    *("response", "thinking", "tool_calls", "logprobs", "done", "done_reason", "error"),
    *("eval_count", "prompt_eval_count"),
    nested={"message": ("content", "thinking", "tool_calls")},
)


@given(st.lists(hostile, max_size=6), st.sampled_from([200, 200, 204, 400, 500]))
def test_no_bytes_make_it_raise(lines, status):
    sealed = from_payloads(lines, status=status)
    decoded = decode(sealed)
    assert len(decoded.kinds) == len(sealed)
    assert decoded.end is None or decoded.error is None
    assert msgspec.msgpack.encode(decoded)  # the log can hold whatever came
