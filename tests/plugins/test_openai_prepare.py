"""Requests in OpenAI's dialect, and the addresses they go to."""

from __future__ import annotations

import json

import msgspec
import pytest
from harness_openai.backend import OpenAIBackend
from harness_openai.control import base_url
from harness_openai.options import OpenAIOptions

from harness.errors import SpecError
from harness.protocols import Backend, BackendConfig, ListsModels
from harness.schema import Message, Request, TimeoutsSpec

PROMPT = Request(prompt="Why is the sky blue?")
ASKED = Request(messages=(Message(role="user", content="Why is the sky blue?"),))


def backend(*urls: str, **options: object) -> OpenAIBackend:
    return OpenAIBackend(
        BackendConfig(
            model="m",
            urls=urls,
            options=OpenAIOptions(**options),
            timeouts=TimeoutsSpec(),
            seed=0,
        )
    )


def body_of(request: Request, **options: object) -> dict:
    return json.loads(backend(**options).prepare(request).body)


def test_it_is_what_the_protocols_want():
    assert isinstance(backend(), Backend)
    assert isinstance(backend(), ListsModels)


def test_by_default_only_what_is_needed_is_sent(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    exchange = backend().prepare(ASKED)
    assert exchange.url == "http://127.0.0.1:8080/v1/chat/completions"
    assert exchange.framing == "sse"
    assert "Authorization" not in dict(exchange.headers)
    assert json.loads(exchange.body) == {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": "Why is the sky blue?"}],
    }


def test_everything_that_is_set_is_sent():
    body = body_of(
        Request(prompt="p", max_tokens=5, ignore_eos=True, seed=2, stop=("a",)),
        continuous_usage=True,
        temperature=0,
        top_p=0.5,
        top_k=3,
        min_p=0.1,
        seed=1,
        api="chat",
        presence_penalty=0.1,
        frequency_penalty=0.2,
        stop=("b",),
        logprobs=True,
        obfuscation=False,
        cache_prompt=False,
        timings=True,
        extra={"cache_salt": "x", "min_tokens": 5},
    )
    del body["messages"], body["model"], body["stream"]
    assert body == {
        "stream_options": {
            "include_usage": True,
            "continuous_usage_stats": True,
            "include_obfuscation": False,
        },
        "temperature": 0,
        "top_p": 0.5,
        "top_k": 3,
        "min_p": 0.1,
        "seed": 2,  # the request's own wins
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "stop": ["a"],
        "logprobs": True,
        "top_logprobs": 1,
        "cache_prompt": False,
        "timings_per_token": True,
        "cache_salt": "x",
        "min_tokens": 5,
        "max_tokens": 5,
        "ignore_eos": True,
    }


def test_the_newer_name_of_the_bound():
    body = body_of(Request(prompt="p", max_tokens=5), max_tokens_field="max_completion_tokens")
    assert body["max_completion_tokens"] == 5
    assert "max_tokens" not in body


def test_without_usage_there_are_no_stream_options():
    assert "stream_options" not in body_of(PROMPT, include_usage=False)


def test_a_requests_options_win():
    request = Request(prompt="p", seed=1, options={"seed": 9, "temperature": 1, "extra": {"a": 1}})
    body = body_of(request, temperature=0)
    assert (body["seed"], body["temperature"], body["a"]) == (9, 1, 1)


def test_an_unknown_option_is_refused_with_the_nearest_name_and_the_way_round():
    with pytest.raises(SpecError) as caught:
        backend().prepare(Request(prompt="p", options={"temprature": 1}))
    assert caught.value.where == "request.options.temprature"
    assert caught.value.remedy == "temperature, or put it under `extra`"
    with pytest.raises(SpecError, match="extra"):
        backend().prepare(Request(prompt="p", options={"extra": {"stream": False}}))


@pytest.mark.parametrize(
    "options",
    [
        {"extra": {"n": 2}},
        {"extra": {"stream": False}},
        {"continuous_usage": True, "include_usage": False},
        {"continuous_usage": "yes"},
        {"temprature": 0},
    ],
)
def test_wrong_options_do_not_decode(options):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, OpenAIOptions)


def test_completions():
    exchange = backend(api="completions", logprobs=True).prepare(PROMPT)
    assert exchange.url.endswith("/v1/completions")
    body = json.loads(exchange.body)
    assert body["prompt"] == "Why is the sky blue?"
    assert body["logprobs"] == 1
    assert "messages" not in body
    one = Request(messages=(Message(role="user", content="hi"),))
    assert body_of(one, api="completions")["prompt"] == "hi"


@pytest.mark.parametrize(
    "request_",
    [
        Request(prompt="p", tools=({"type": "function"},)),
        Request(messages=(Message(role="system", content="a"), Message(role="user", content="b"))),
    ],
)
def test_completions_takes_no_conversation(request_):
    with pytest.raises(SpecError) as caught:
        backend(api="completions").prepare(request_)
    assert caught.value.remedy == "-o api=chat"


def test_formats():
    assert body_of(Request(prompt="p", format="json"))["response_format"] == {"type": "json_object"}
    schema = {"type": "object"}
    sent = body_of(Request(prompt="p", format=schema))["response_format"]
    assert sent["type"] == "json_schema"
    assert sent["json_schema"]["schema"] == schema
    with pytest.raises(SpecError):
        backend().prepare(Request(prompt="p", format="yaml"))


def test_a_tool_conversation():
    call = {"id": "c1", "function": {"name": "add", "arguments": {"a": 1}}}
    turns = (
        Message(role="assistant", content="", tool_calls=(call,)),
        Message(role="tool", content="1", tool_call_id="c1"),
    )
    tool = {"type": "function", "function": {"name": "add"}}
    body = body_of(Request(messages=turns, tools=(tool,)))
    assert body["tools"] == [tool]
    assert body["messages"][0]["tool_calls"] == [
        {"type": "function", "id": "c1", "function": {"name": "add", "arguments": '{"a":1}'}}
    ]
    assert body["messages"][1] == {"role": "tool", "content": "1", "tool_call_id": "c1"}


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("http://h:1", "http://h:1/v1"),
        ("http://h:1/", "http://h:1/v1"),
        ("http://h:1/v1", "http://h:1/v1"),
        ("http://h:1/v1/", "http://h:1/v1"),
        ("h:1", "http://h:1/v1"),
        ("http://h:1/v1/chat/completions", "http://h:1/v1"),
        ("http://v2.example/llm", "http://v2.example/llm/v1"),
        ("https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1"),
        ("https://host/v1beta/openai", "https://host/v1beta/openai"),
        ("http://[::1]:8080", "http://[::1]:8080/v1"),
        ("http+unix://%2Ftmp%2Fs.sock", "http+unix://%2Ftmp%2Fs.sock/v1"),
    ],
)
def test_addresses_with_and_without_v1(given, base):
    assert base_url(given) == base


@pytest.mark.parametrize("url", ["http://u:pw@h", "http://h/?key=sk", "ftp://h", "http://"])
def test_addresses_that_cannot_be_recorded_are_refused(url):
    with pytest.raises(SpecError) as caught:
        base_url(url)
    assert caught.value.where == "$.backend.url"
    assert "pw" not in str(caught.value)
    assert "sk" not in str(caught.value)


def test_by_default_a_prompt_is_completed_and_messages_are_a_chat():
    made = backend(logprobs=True)
    bare, told = made.prepare(PROMPT), made.prepare(ASKED)
    assert bare.url.endswith("/v1/completions")
    assert json.loads(bare.body)["prompt"] == "Why is the sky blue?"
    assert json.loads(bare.body)["logprobs"] == 1
    assert told.url.endswith("/v1/chat/completions")
    assert json.loads(told.body)["logprobs"] is True
    chat = body_of(PROMPT, api="chat")
    assert chat["messages"] == [{"role": "user", "content": "Why is the sky blue?"}]
    one_call = Request(prompt="p", options={"api": "chat"})
    assert made.prepare(one_call).url.endswith("/v1/chat/completions")


def test_a_key_is_no_option():
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert({"api_key_env": "sk-hunter2"}, OpenAIOptions)
    assert "hunter2" not in str(caught.value)
    for name in ("api_key", "API-Key", "Authorization"):
        with pytest.raises(msgspec.ValidationError, match="api_key_env") as caught:
            msgspec.convert({"extra": {name: "hunter2"}}, OpenAIOptions)
        assert "hunter2" not in str(caught.value)


def test_calls_go_round_the_endpoints():
    made = backend("http://a", "http://b")
    hosts = [made.prepare(PROMPT).url[:8] for _ in range(3)]
    assert hosts == ["http://a", "http://b", "http://a"]


def test_a_subclass_may_start_the_server_itself():
    class Own(OpenAIBackend):
        default_url = "http://127.0.0.1:9/v1"

    config = BackendConfig(
        model="m", urls=(), options=OpenAIOptions(), timeouts=TimeoutsSpec(), seed=0
    )
    made = Own(config)
    assert made.urls == ("http://127.0.0.1:9/v1",)
    made.serve_at("http://127.0.0.1:10")
    assert made.prepare(ASKED).url == "http://127.0.0.1:10/v1/chat/completions"
