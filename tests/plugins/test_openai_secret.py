"""The API key is sent, and appears in nothing that is returned, recorded or raised."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest
from harness_openai.backend import OpenAIBackend
from harness_openai.options import OpenAIOptions
from harness_openai.secret import Secret

from harness.errors import BackendError, HarnessError
from harness.protocols import BackendConfig
from harness.schema import Request, TimeoutsSpec
from tests.plugins.wire_records import JSON, SSE, record, sse
from tests.plugins.wire_server import Answer, as_json, as_sse, scripted

KEY = "sk-proj-0123456789abcdef"


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("HARNESS_TEST_KEY", KEY + "\n")  # as some editors and tools leave it


def backend(url: str = "http://127.0.0.1:1", **options: object) -> OpenAIBackend:
    return OpenAIBackend(
        BackendConfig(
            model="m",
            urls=(url,),
            options=OpenAIOptions(api_key_env="HARNESS_TEST_KEY", **options),
            timeouts=TimeoutsSpec(connect_s=5.0, first_byte_s=5.0),
            seed=0,
        )
    )


def test_the_key_is_sent_with_control_traffic_and_calls_alike():
    script = {
        "GET /v1/models": as_json({"data": [{"id": "m"}]}),
        "POST /v1/chat/completions": as_sse(sse('{"choices":[{"delta":{"content":"a"}}]}')),
    }
    with scripted(script) as server:
        made = backend(server.url)
        asyncio.run(made.open())
        sent = {one.headers["Authorization"] for one in server.asked}
        exchange = made.prepare(Request(prompt="p"))
    assert sent == {f"Bearer {KEY}"}
    assert dict(exchange.headers)["Authorization"] == f"Bearer {KEY}"
    assert KEY.encode() not in exchange.body


def test_effective_and_models_do_not_hold_it():
    script = {"GET /v1/models": as_json({"data": [{"id": "m"}]})}
    with scripted(script) as server:
        made = backend(server.url, extra={"cache_salt": KEY})  # recorded, in spite of the warning
        effective = asyncio.run(made.effective())
        models = asyncio.run(made.models())
    assert KEY not in msgspec.json.encode([effective, models]).decode()
    assert KEY not in repr(vars(made)["secret"])


ECHO = {"error": {"message": f"Incorrect API key provided: {KEY}", "type": KEY, "headers": [KEY]}}


@pytest.mark.parametrize("where", ["GET /v1/models", "POST /v1/chat/completions"])
@pytest.mark.parametrize("status", [400, 401, 500])
def test_a_server_that_quotes_it_is_not_quoted(where, status):
    script: dict[str, Answer | list[Answer]] = {
        "GET /v1/models": as_json({"data": [{"id": "m"}]}),
        where: as_json(ECHO, status=status),
    }
    with scripted(script) as server, pytest.raises(BackendError) as caught:
        asyncio.run(backend(server.url).open())
    assert "Incorrect API key provided: [$HARNESS_TEST_KEY]" in str(caught.value)
    assert KEY not in repr(caught.value.__dict__) + str(caught.value) + repr(caught.value.__cause__)


def test_effective_of_a_server_that_quotes_it():
    script = {
        "GET /v1/models": as_json({"data": [{"id": "m", "owned_by": KEY, "root": KEY}]}),
        "GET /props": as_json({"build_info": KEY, "default_generation_settings": {}}),
    }
    with scripted(script) as server:
        made = backend(server.url)
        effective = asyncio.run(made.effective())
        models = asyncio.run(made.models())
    assert KEY not in msgspec.json.encode([effective, models]).decode()


@pytest.mark.parametrize("status", [200, 401])
@pytest.mark.parametrize(
    "body",
    [
        json.dumps(ECHO).encode(),
        json.dumps({"detail": KEY}).encode(),
        f"<html>{KEY}</html>".encode(),
    ],
)
def test_decoded_errors_do_not_hold_it(status, body):
    decoded = backend().decode(Request(prompt="p"), record(body, JSON, status=status))
    assert KEY not in msgspec.json.encode(decoded).decode()


def test_a_stream_that_echoes_it_even_in_pieces():
    body = sse(
        json.dumps({"id": KEY, "headers": {KEY: [KEY]}, "choices": []}),
        json.dumps({"choices": [{"delta": {"content": KEY[:9]}}]}),
        json.dumps({"choices": [{"delta": {"content": KEY[9:], "reasoning": KEY}}]}),
        json.dumps({"choices": [{"delta": {"tool_calls": [{"function": {"name": KEY}}]}}]}),
        json.dumps({"choices": [{"delta": {}, "finish_reason": KEY}]}),
    )
    decoded = backend().decode(Request(prompt="p"), record(body, SSE))
    assert decoded.text == "[$HARNESS_TEST_KEY]"
    assert KEY not in msgspec.json.encode(decoded).decode()


@pytest.mark.parametrize("bad", ["sk-with space-0123", "sk-ünicode-0123", "sk-new\nline-0123"])
def test_a_key_that_cannot_be_sent_is_refused_unquoted(bad, monkeypatch):
    monkeypatch.setenv("HARNESS_TEST_KEY", bad)
    with pytest.raises(HarnessError) as caught:
        backend()
    assert "$HARNESS_TEST_KEY" in str(caught.value)
    assert bad not in str(caught.value)


@pytest.mark.parametrize("placeholder", ["EMPTY", "x", "none"])
def test_a_placeholder_is_sent_but_is_no_secret(placeholder, monkeypatch):
    monkeypatch.setenv("HARNESS_TEST_KEY", placeholder)
    secret = Secret("HARNESS_TEST_KEY")
    assert secret.headers == (("Authorization", f"Bearer {placeholder}"),)
    assert secret.redact("an EMPTY box, x none") == "an EMPTY box, x none"


def test_no_variable_no_key(monkeypatch):
    monkeypatch.delenv("HARNESS_TEST_KEY")
    assert Secret("HARNESS_TEST_KEY").headers == ()
    assert Secret("").headers == ()
