"""open, effective and models against a scripted server over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from harness_openai.backend import OpenAIBackend
from harness_openai.options import OpenAIOptions
from harness_openai.prepare import Features

from harness.errors import BackendError
from harness.protocols import BackendConfig
from harness.schema import Request, TimeoutsSpec
from tests.plugins.wire_records import JSON, sse
from tests.plugins.wire_records import record as wire_record
from tests.plugins.wire_server import Answer, as_json, as_sse, nobody_listens, scripted

CHAT = "POST /v1/chat/completions"
PLAIN = as_sse(
    sse(
        '{"choices":[{"delta":{"role":"assistant","content":""}}],"system_fingerprint":"fp_1"}',
        '{"choices":[{"delta":{"content":"a"}}]}',
        '{"choices":[{"delta":{},"finish_reason":"length"}]}',
        '{"choices":[],"usage":{"completion_tokens":1}}',
        "[DONE]",
    )
)
CONTINUOUS = as_sse(
    sse(
        '{"choices":[{"delta":{"content":"a"}}],"usage":{"completion_tokens":1}}',
        '{"choices":[{"delta":{"content":"b"}}],"usage":{"completion_tokens":2}}',
        "[DONE]",
    )
)
SILENT_PROBE = as_sse(sse('{"choices":[{"delta":{},"finish_reason":"stop"}]}', "[DONE]"))
NO_SUCH_FIELD = as_json({"error": {"message": "Unrecognized field: stream_options"}}, status=400)


def listed(*ids: str, **fields: Any) -> Answer:
    entries = [{"id": name, "object": "model"} | fields for name in ids]
    return as_json({"object": "list", "data": entries})


def healthy(**changes: Any) -> dict[str, Any]:
    return {"GET /v1/models": listed("m"), CHAT: PLAIN, **changes}


def backend(
    *urls: str, model: str | None = "m", timeouts: TimeoutsSpec | None = None, **options: Any
) -> OpenAIBackend:
    return OpenAIBackend(
        BackendConfig(
            model=model,
            urls=urls,
            options=OpenAIOptions(**options),
            timeouts=timeouts or TimeoutsSpec(connect_s=5.0, first_byte_s=5.0),
            seed=0,
        )
    )


def refusal(made: OpenAIBackend) -> BackendError:
    with pytest.raises(BackendError) as caught:
        asyncio.run(made.open())
    assert "\n" not in str(caught.value)
    return caught.value


def opened(url: str, **options: Any) -> OpenAIBackend:
    made = backend(url, **options)
    asyncio.run(made.open())
    return made


def why(made: OpenAIBackend) -> dict[str, str]:
    return asyncio.run(made.effective()).unknown


def test_continuous_usage_is_used_where_it_is_offered():
    with scripted(healthy(**{CHAT: CONTINUOUS})) as server:
        made = opened(server.url)
        [probe] = server.bodies("/v1/chat/completions")
        assert "options.continuous_usage" not in why(made)
    assert probe["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert probe["max_tokens"] == 2
    assert made.features == Features(usage=True, continuous_usage=True)


def test_a_server_that_ignores_continuous_usage_is_not_asked_again():
    with scripted(healthy()) as server:
        made = opened(server.url)
        assert why(made)["options.continuous_usage"] == "its chunks carry no token counts"
    assert made.features == Features(usage=True, continuous_usage=False)


def test_a_probe_without_content_is_no_proof():
    with scripted(healthy(**{CHAT: SILENT_PROBE})) as server:
        made = opened(server.url)
        assert "no content" in why(made)["options.continuous_usage"]
    assert not made.features.continuous_usage


def test_a_server_that_refuses_continuous_usage_is_asked_for_less():
    with scripted(healthy(**{CHAT: [NO_SUCH_FIELD, PLAIN]})) as server:
        made = opened(server.url)
        probes = server.bodies("/v1/chat/completions")
        assert "Unrecognized field" in why(made)["options.continuous_usage"]
    assert [p["stream_options"] for p in probes] == [
        {"include_usage": True, "continuous_usage_stats": True},
        {"include_usage": True},
    ]
    assert made.features == Features(usage=True, continuous_usage=False)


def test_a_server_that_refuses_stream_options_is_asked_without():
    with scripted(healthy(**{CHAT: [NO_SUCH_FIELD, NO_SUCH_FIELD, PLAIN]})) as server:
        made = opened(server.url)
        probes = server.bodies("/v1/chat/completions")
        assert "options.include_usage" in why(made)
    assert "stream_options" not in probes[-1]
    assert made.features == Features(usage=False, continuous_usage=False)


def test_what_was_asked_for_by_name_is_not_dropped():
    with scripted(healthy(**{CHAT: NO_SUCH_FIELD})) as server:
        error = refusal(backend(server.url, continuous_usage=True))
    assert "Unrecognized field" in error.what
    with scripted(healthy()) as server:
        assert opened(server.url, continuous_usage=True).features.continuous_usage


def test_what_one_endpoint_refuses_is_not_asked_of_the_next():
    with (
        scripted(healthy(**{CHAT: [NO_SUCH_FIELD, PLAIN]})) as one,
        scripted(healthy(**{CHAT: CONTINUOUS})) as two,
    ):
        made = backend(one.url, two.url)
        asyncio.run(made.open())
        assert len(two.bodies("/v1/chat/completions")) == 1
    assert made.features == Features(usage=True, continuous_usage=False)


def test_without_the_probe_nothing_is_generated():
    with scripted(healthy()) as server:
        made = opened(server.url, probe=False)
        assert [one.path for one in server.asked] == ["/v1/models"]
    assert made.features == Features(usage=True, continuous_usage=False)


def test_completions_are_probed_as_completions():
    text = as_sse(sse('{"choices":[{"text":"a","finish_reason":"length"}]}', "[DONE]"))
    with scripted({"GET /v1/models": listed("m"), "POST /v1/completions": text}) as server:
        opened(server.url, api="completions")
        [probe] = server.bodies("/v1/completions")
    assert probe["prompt"]


def test_nobody_listens():
    with nobody_listens() as url:
        error = refusal(backend(url))
    assert error.where == f"{url}/v1"
    assert "connection refused" in error.what
    assert "--url" in error.remedy


def test_a_server_that_says_nothing_is_given_up():
    timeouts = TimeoutsSpec(connect_s=0.05)
    with scripted({"GET /v1/models": Answer(b"", silent=True)}) as server:
        error = refusal(backend(server.url, timeouts=timeouts))
    assert "no answer to /models within 0.05 s" in error.what


def test_a_probe_that_takes_too_long_is_given_up():
    timeouts = TimeoutsSpec(connect_s=5.0, first_byte_s=0.05)
    with scripted(healthy(**{CHAT: Answer(b"", silent=True)})) as server:
        error = refusal(backend(server.url, timeouts=timeouts))
    assert "within 0.05 s" in error.what


def test_a_missing_model_names_the_nearest():
    with scripted(healthy(**{"GET /v1/models": listed("llama-8b", "qwen-7b")})) as server:
        error = refusal(backend(server.url, model="lama-8b"))
    assert "llama-8b, qwen-7b" in error.what
    assert error.remedy == "--model llama-8b"


def test_without_a_name_the_only_model_is_taken_and_of_several_none():
    with scripted(healthy()) as server:
        assert opened(server.url, model=None).model == "m"
    with scripted(healthy(**{"GET /v1/models": listed("a", "b")})) as server:
        error = refusal(backend(server.url, model=None))
    assert "2: a, b" in error.what


EVIL = "evil[bold]\x1b[31m<b>"


def test_names_that_nobody_should_type_are_not_offered():
    with scripted(healthy(**{"GET /v1/models": listed(EVIL)})) as server:
        error = refusal(backend(server.url, model="evil[bold]"))
    assert error.remedy == "--model NAME"
    assert "\x1b" not in str(error)
    assert "31m" not in str(error)
    with scripted(healthy(**{"GET /v1/models": listed(EVIL, "sane")})) as server:
        error = refusal(backend(server.url, model=f"{EVIL}2"))
    assert error.remedy == "--model sane"
    assert "31m" not in str(error)


def test_a_connection_lost_during_the_probe_is_not_blamed_on_the_address():
    with scripted(healthy(**{CHAT: Answer(b"", hangs_up=True)})) as server:
        error = refusal(backend(server.url))
    assert error.what == (
        "the connection broke during the first small request (POST /chat/completions): "
        "closed before the answer was complete"
    )
    assert error.where == f"{server.url}/v1"
    assert "--url" not in error.remedy


def test_what_each_call_sets_is_no_effective_option():
    with scripted(healthy()) as server:
        effective = asyncio.run(opened(server.url, seed=5, stop=("x",)).effective())
    assert not {"seed", "stop", "max_tokens"} & set(effective.options)
    assert effective.unknown["options.seed"] == "set per call; 5 where a call has none"
    assert effective.unknown["options.max_tokens"] == "set per call; not sent where a call has none"
    assert effective.options["max_tokens_field"] == "max_tokens"


def test_a_server_without_completions_is_a_clear_error():
    made = backend("http://h:1")
    not_found = wire_record(b'{"error":"not found"}', JSON, status=404)
    bare = made.decode(Request(prompt="p"), not_found)
    assert bare.error is not None
    assert bare.error.code == "http.404"
    assert bare.error.message.startswith("not found (")
    assert "-o api=chat" in bare.error.message
    told = made.decode(Request(prompt="p", options={"api": "completions"}), not_found)
    assert told.error is not None
    assert told.error.message == "not found"


def test_an_alias_is_a_name():
    with scripted(healthy(**{"GET /v1/models": listed("/p/x.gguf", aliases=["x"])})) as server:
        assert opened(server.url, model="x").model == "x"


def test_a_server_without_a_list_of_models():
    with scripted({CHAT: PLAIN}) as server:
        made = opened(server.url)
        assert "no list" in why(made)["model"]
    with scripted({CHAT: PLAIN}) as server:
        assert refusal(backend(server.url, model=None)).remedy == "--model NAME"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"data":5}'])
def test_another_kind_of_server_is_recognised(body):
    with scripted({"GET /v1/models": Answer(body)}) as server:
        error = refusal(backend(server.url))
    assert "not an OpenAI-compatible server" in error.what


@pytest.mark.parametrize(
    ("status", "message", "remedy"),
    [
        (401, "no key", "export HARNESS_TEST_KEY=…"),
        (503, "Loading model", "wait until the server has loaded its model"),
        (500, "boom", "the server's log says more"),
    ],
)
def test_a_refusal_has_the_servers_words_and_a_remedy(status, message, remedy, monkeypatch):
    monkeypatch.delenv("HARNESS_TEST_KEY", raising=False)
    no = as_json({"error": {"message": message}}, status=status)
    with scripted(healthy(**{CHAT: no})) as server:
        error = refusal(backend(server.url, api_key_env="HARNESS_TEST_KEY"))
    assert message in error.what
    assert error.remedy == remedy


def test_the_field_that_newer_models_want_is_named():
    words = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    no = as_json({"error": {"message": words}}, status=400)
    with scripted(healthy(**{CHAT: no})) as server:
        error = refusal(backend(server.url))
    assert error.remedy == "-o max_tokens_field=max_completion_tokens"


def test_llama_cpp_is_recognised_by_its_properties():
    props = {
        "default_generation_settings": {"n_ctx": 512, "params": {"temperature": 0.8, "dry": 1}},
        "total_slots": 2,
        "model_path": "/m.gguf",
        "build_info": "b10488-abc",
        "chat_template": "long",
    }
    models = listed("m", owned_by="llamacpp", meta={"n_params": 8, "size": 999})
    with scripted(healthy(**{"GET /v1/models": models, "GET /props": as_json(props)})) as server:
        effective = asyncio.run(opened(server.url).effective())
    assert (effective.server, effective.server_version) == ("llama.cpp", "b10488-abc")
    assert effective.context_length == 512  # of one slot
    assert effective.size_bytes == 999
    assert effective.details["total_slots"] == 2
    assert effective.details["defaults"] == {"temperature": 0.8}
    assert effective.details["system_fingerprint"] == "fp_1"
    assert "chat_template" not in effective.details
    assert "model_digest" in effective.unknown


@pytest.mark.parametrize(
    ("owner", "path", "server_name"),
    [
        ("vllm", "/version", "vllm"),
        ("sglang", "/get_server_info", "sglang"),
        ("library", "/api/version", "ollama"),
    ],
)
def test_other_servers_are_recognised_by_the_owner_of_their_models(owner, path, server_name):
    models = listed("m", owned_by=owner, max_model_len=8192)
    version = as_json({"version": "0.26.1"})
    with scripted(healthy(**{"GET /v1/models": models, f"GET {path}": version})) as server:
        effective = asyncio.run(opened(server.url).effective())
    assert (effective.server, effective.server_version) == (server_name, "0.26.1")
    assert effective.context_length == 8192


def test_an_unknown_server_is_unknown_with_reasons():
    with scripted(healthy(**{"GET /v1/models": listed("m", owned_by="me")})) as server:
        effective = asyncio.run(opened(server.url, temperature=0).effective())
    assert effective.server is None
    assert "'me'" in effective.unknown["server"]
    assert effective.context_length is None
    assert "context_length" in effective.unknown
    assert effective.options["temperature"] == 0
    assert "server decides" in effective.unknown["options.top_p"]


def test_models():
    with scripted({"GET /v1/models": listed("a", "b", owned_by="x", meta={"size": 5})}) as server:
        found = asyncio.run(backend(server.url, model=None).models())
    assert [(m.name, m.size_bytes) for m in found] == [("a", 5), ("b", 5)]
    assert found[0].details["owned_by"] == "x"


def test_a_server_on_a_unix_socket(tmp_path):
    with scripted(healthy(), unix=tmp_path / "s") as server:
        made = opened(server.url)
        assert asyncio.run(made.effective()).model == "m"
    assert made.urls[0].endswith("s/v1")
