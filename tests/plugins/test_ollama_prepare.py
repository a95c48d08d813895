"""Requests in Ollama's dialect."""

from __future__ import annotations

import json

import msgspec
import pytest
from harness_ollama.backend import OllamaBackend
from harness_ollama.options import LOAD_OPTIONS, SAMPLING_OPTIONS, OllamaOptions

from harness.errors import SpecError
from harness.protocols import Backend, BackendConfig, ListsModels, Unloads
from harness.schema import Message, Request, TimeoutsSpec

PROMPT = Request(prompt="Why is the sky blue?")
# Sent only if set: their defaults are the server's own decision.
OPTIONAL = {"main_gpu", "use_mmap", "draft_num_predict"}


def backend(*urls: str, **options: object) -> OllamaBackend:
    return OllamaBackend(
        BackendConfig(
            model="gemma3:4b",
            urls=urls,
            options=OllamaOptions(**options),
            timeouts=TimeoutsSpec(),
            seed=0,
        )
    )


def body_of(request: Request, **options: object) -> dict:
    return json.loads(backend(**options).prepare(request).body)


def test_it_is_what_the_protocols_want():
    made = backend()
    assert isinstance(made, Backend)
    assert isinstance(made, ListsModels)
    assert isinstance(made, Unloads)


def test_the_whole_option_set_is_sent():
    sent = body_of(PROMPT)["options"]
    assert set(sent) == set(SAMPLING_OPTIONS + LOAD_OPTIONS) - OPTIONAL
    assert sent["num_ctx"] == 4096
    assert sent["repeat_penalty"] == 1.0
    assert set(body_of(PROMPT, main_gpu=1, use_mmap=False, draft_num_predict=0)["options"]) == set(
        SAMPLING_OPTIONS + LOAD_OPTIONS
    )


def test_every_option_is_either_in_the_option_set_or_a_field_of_the_body():
    fields = set(OllamaOptions.__struct_fields__)
    top = {"api", "raw", "think", "keep_alive", "format", "truncate", "shift"}
    assert fields == set(SAMPLING_OPTIONS + LOAD_OPTIONS) | top | {"logprobs", "top_logprobs"}


def test_a_chat_request_in_full():
    exchange = backend().prepare(PROMPT)
    assert exchange.url == "http://127.0.0.1:11434/api/chat"
    assert exchange.framing == "ndjson"
    body = json.loads(exchange.body)
    assert body["model"] == "gemma3:4b"
    assert body["messages"] == [{"role": "user", "content": "Why is the sky blue?"}]
    assert body["stream"] is True
    assert body["think"] is False  # always said: left out, the server turns it on
    assert body["keep_alive"] == "5m"
    assert "format" not in body
    assert "tools" not in body


def test_the_requests_own_fields_win_over_the_spec_and_its_options_over_both():
    request = Request(prompt="p", max_tokens=7, seed=3, stop=("\n",), format="json")
    sent = body_of(request, num_predict=99, seed=1)
    assert sent["options"]["num_predict"] == 7
    assert sent["options"]["seed"] == 3
    assert sent["options"]["stop"] == ["\n"]
    assert sent["format"] == "json"
    over = Request(prompt="p", max_tokens=7, options={"num_predict": 5, "temperature": 0})
    sent = body_of(over)
    assert sent["options"]["num_predict"] == 5
    assert sent["options"]["temperature"] == 0


@pytest.mark.parametrize(
    ("name", "guess"), [("num_ctxx", "num_ctx"), ("temprature", "temperature")]
)
def test_a_misspelt_option_is_refused_with_the_nearest_name(name, guess):
    with pytest.raises(SpecError) as caught:
        backend().prepare(Request(prompt="p", options={name: 1}))
    assert caught.value.where == f"request.options.{name}"
    assert caught.value.remedy == guess


def test_an_option_of_the_wrong_type_is_refused():
    with pytest.raises(SpecError, match="num_ctx"):
        backend().prepare(Request(prompt="p", options={"num_ctx": "big"}))


def test_generate_with_raw():
    body = body_of(PROMPT, api="generate", raw=True)
    assert body["prompt"] == "Why is the sky blue?"
    assert body["raw"] is True
    assert "messages" not in body
    exchange = backend(api="generate").prepare(PROMPT)
    assert exchange.url.endswith("/api/generate")


def test_generate_takes_a_system_text_and_one_prompt():
    turns = (Message(role="system", content="be brief"), Message(role="user", content="hi"))
    body = body_of(Request(messages=turns), api="generate")
    assert (body["system"], body["prompt"]) == ("be brief", "hi")


@pytest.mark.parametrize(
    ("request_", "options"),
    [
        (Request(prompt=""), {}),
        (Request(), {}),
        (Request(prompt=""), {"api": "generate"}),
        (Request(prompt="p", tools=({"type": "function"},)), {"api": "generate"}),
        (
            Request(
                messages=(Message(role="user", content="a"), Message(role="user", content="b"))
            ),
            {"api": "generate"},
        ),
    ],
)
def test_what_ollama_cannot_do_is_refused(request_, options):
    with pytest.raises(SpecError):
        backend(**options).prepare(request_)


def test_tools_think_format_and_logprobs_pass_through():
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    schema = {"type": "object"}
    request = Request(prompt="p", tools=(tool,), format=schema)
    body = body_of(request, think="high", logprobs=True, top_logprobs=2, shift=False)
    assert body["tools"] == [tool]
    assert body["format"] == schema
    assert body["think"] == "high"
    assert (body["logprobs"], body["top_logprobs"]) == (True, 2)
    assert body["shift"] is False


def test_a_tool_calls_arguments_become_an_object():
    call = {"id": "c1", "function": {"name": "add", "arguments": '{"a":1}'}}
    turns = (
        Message(role="user", content="add"),
        Message(role="assistant", content="", tool_calls=(call,)),
        Message(role="tool", content="1", tool_call_id="c1"),
    )
    sent = body_of(Request(messages=turns))["messages"]
    assert sent[1]["tool_calls"][0]["function"]["arguments"] == {"a": 1}
    assert sent[2] == {"role": "tool", "content": "1", "tool_call_id": "c1"}


def test_calls_go_round_the_endpoints():
    made = backend("http://127.0.0.1:1", "127.0.0.1:2/")
    urls = [made.prepare(PROMPT).url for _ in range(3)]
    assert urls == [
        "http://127.0.0.1:1/api/chat",
        "http://127.0.0.1:2/api/chat",
        "http://127.0.0.1:1/api/chat",
    ]


@pytest.mark.parametrize(
    "url", ["http://me:pw@host:1", "http://host/?key=1", "ftp://host", "http://"]
)
def test_addresses_that_cannot_be_recorded_are_refused(url):
    with pytest.raises(SpecError) as caught:
        backend(url)
    assert caught.value.where == "$.backend.url"
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"raw": True},  # needs api: generate
        {"num_ctx": 0},
        {"think": "very"},
        {"num_ctxx": 1},
        {"top_logprobs": 21},
        {"num_predict": 1.5},
    ],
)
def test_wrong_options_do_not_decode(options):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, OllamaOptions)


def test_right_options_decode():
    options = {"think": "max", "keep_alive": -1, "stop": ["a"], "temperature": 0, "raw": False}
    decoded = msgspec.convert(options, OllamaOptions)
    assert decoded.stop == ("a",)
    assert decoded.keep_alive == -1
