"""How OpenAI's SSE ends, and what is no proof that it did; errors by status and in the stream."""

from __future__ import annotations

import pytest
from harness_openai.decode import decode

from tests.plugins.wire_openai import ANSWER, EMPTY, OPENAI, read
from tests.plugins.wire_records import JSON, never_answered, record, sse


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


@pytest.mark.parametrize("reason", ["error", "abort"])
def test_a_generation_given_up_is_no_success(reason):
    body = sse('{"choices":[{"delta":{},"finish_reason":"' + reason + '"}]}', "[DONE]")
    decoded = read(body)
    assert decoded.error is not None
    assert decoded.error.code == "stream"
    assert decoded.end is None


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
            "bad value (invalid)",
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


def test_a_call_that_was_never_answered():
    decoded = decode(never_answered(), str)
    assert (decoded.kinds, decoded.error, decoded.end) == (b"", None, None)
