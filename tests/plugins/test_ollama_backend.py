"""open, effective, models and unload against a scripted server over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from harness_ollama.backend import OllamaBackend
from harness_ollama.control import same_model
from harness_ollama.options import OllamaOptions

from harness.errors import BackendError
from harness.protocols import BackendConfig
from harness.schema import TimeoutsSpec
from tests.plugins.wire_server import Answer, as_json, nobody_listens, scripted

DIGEST = "a" * 64
DETAILS = {"format": "gguf", "family": "gemma3", "quantization_level": "Q4_K_M"}
TAG = {"name": "gemma3:4b", "model": "gemma3:4b", "size": 100, "digest": DIGEST, "details": DETAILS}
LOADED = {
    "name": "gemma3:4b",
    "size": 120,
    "size_vram": 90,
    "digest": DIGEST,
    "context_length": 4096,
}
SHOW = {
    "details": DETAILS,
    "capabilities": ["completion", "tools"],
    "parameters": "stop <end>",
    "license": "long text",
    "model_info": {"general.architecture": "gemma3", "gemma3.block_count": 34, "tokens": None},
}


def healthy(**changes: Any) -> dict[str, Any]:
    return {
        "GET /api/version": as_json({"version": "0.33.0"}),
        "GET /api/tags": as_json({"models": [TAG]}),
        "POST /api/show": as_json(SHOW),
        "POST /api/chat": as_json({"model": "gemma3:4b", "done": True, "done_reason": "load"}),
        "POST /api/generate": as_json({"done": True, "done_reason": "unload"}),
        "GET /api/ps": as_json({"models": [LOADED]}),
        **changes,
    }


class Clock:
    """Sleeps without time passing, and remembers for how long."""

    def __init__(self) -> None:
        self.slept_s: list[float] = []

    async def sleep(self, duration_s: float) -> None:
        self.slept_s.append(duration_s)


def backend(
    *urls: str,
    model: str | None = "gemma3:4b",
    clock: Clock | None = None,
    connect_s: float = 5.0,
    **options: Any,
):
    config = BackendConfig(
        model=model,
        urls=urls,
        options=OllamaOptions(**options),
        timeouts=TimeoutsSpec(connect_s=connect_s, first_byte_s=5.0),
        seed=0,
    )
    return OllamaBackend(config, sleep=(clock or Clock()).sleep)


def refusal(made: OllamaBackend) -> BackendError:
    with pytest.raises(BackendError) as caught:
        asyncio.run(made.open())
    assert "\n" not in str(caught.value)
    return caught.value


def test_open_loads_the_model_as_the_calls_will_want_it():
    with scripted(healthy()) as server:
        made = backend(server.url, num_ctx=2048, num_gpu=10, think="low", shift=False)
        asyncio.run(made.open())
        [load] = server.bodies("/api/chat")
    assert load["messages"] == []
    assert load["stream"] is False
    assert load["options"]["num_ctx"] == 2048
    assert load["options"]["num_gpu"] == 10
    assert load["shift"] is False  # another value in the calls would load the model again
    assert load["think"] == "low"  # a model that cannot think is found out now


def test_generate_is_loaded_through_generate():
    with scripted(healthy()) as server:
        asyncio.run(backend(server.url, api="generate").open())
        [load] = server.bodies("/api/generate")
    assert load["prompt"] == ""
    assert "keep_alive" in load
    assert load["keep_alive"] != 0


def test_a_model_without_a_tag_is_the_latest():
    tag = TAG | {"name": "gemma3:latest"}
    loaded = LOADED | {"name": "gemma3:latest"}
    script = healthy(
        **{
            "GET /api/tags": as_json({"models": [tag]}),
            "GET /api/ps": as_json({"models": [loaded]}),
        }
    )
    with scripted(script) as server:
        made = backend(server.url, model="Gemma3")
        asyncio.run(made.open())
        assert asyncio.run(made.effective()).model == "gemma3:latest"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("gemma3", "gemma3:latest", True),
        ("registry.ollama.ai/library/gemma3:4b", "gemma3:4b", True),
        ("hf.co/me/gemma3", "gemma3", False),
        ("localhost:5000/me/gemma3", "localhost:5000/me/gemma3:latest", True),
        ("gemma3:4b", "gemma3:12b", False),
    ],
)
def test_names_compare_as_ollama_compares_them(one, other, same):
    assert same_model(one, other) is same


def test_without_a_name_the_only_model_is_taken():
    with scripted(healthy()) as server:
        made = backend(server.url, model=None)
        asyncio.run(made.open())
    assert made.model == "gemma3:4b"


def test_without_a_name_several_models_are_listed():
    tags = as_json({"models": [TAG, TAG | {"name": "llama3.1:8b"}]})
    with scripted(healthy(**{"GET /api/tags": tags})) as server:
        error = refusal(backend(server.url, model=None))
    assert "gemma3:4b, llama3.1:8b" in error.what
    assert error.remedy == "--model gemma3:4b"


def test_nobody_listens():
    with nobody_listens() as url:
        error = refusal(backend(url))
    assert error.where == url
    assert "connection refused" in error.what
    assert "ollama serve" in error.remedy
    assert "--url" in error.remedy


def test_a_server_that_says_nothing_is_given_up():
    with scripted({"GET /api/version": Answer(b"", silent=True)}) as server:
        error = refusal(backend(server.url, connect_s=0.05))
    assert "no answer to /api/version within 0.05 s" in error.what


@pytest.mark.parametrize(
    "answer",
    [
        Answer(b"<html>hello</html>", content_type="text/html"),
        Answer(b"not found", status=404, content_type="text/plain"),
        as_json({"something": "else"}),
        as_json(["a"]),
    ],
)
def test_another_kind_of_server_is_recognised(answer):
    with scripted({"GET /api/version": answer}) as server:
        error = refusal(backend(server.url))
    assert "not an Ollama server" in error.what
    assert "--backend openai" in error.remedy


def test_a_missing_model_names_the_nearest_and_the_pull():
    with scripted(healthy()) as server:
        error = refusal(backend(server.url, model="gemma3:4bb"))
    assert "gemma3:4b" in error.what
    assert "ollama pull gemma3:4bb" in error.remedy
    assert "--model gemma3:4b" in error.remedy


def test_a_name_that_nobody_should_type_is_not_offered():
    with scripted(healthy()) as server:
        error = refusal(backend(server.url, model="evil[bold]\x1b[31m<b>"))
    assert error.remedy == "`ollama pull NAME`"
    assert "'evil[bold]<b>'" in error.what
    assert "31m" not in str(error)


def test_a_connection_lost_is_not_blamed_on_the_address():
    with scripted(healthy(**{"POST /api/chat": Answer(b"", hangs_up=True)})) as server:
        error = refusal(backend(server.url))
    assert (
        error.what == "the connection broke during /api/chat: closed before the answer was complete"
    )


def test_what_each_call_sets_is_no_effective_option():
    with scripted(healthy()) as server:
        effective = asyncio.run(backend(server.url, num_predict=7, stop=("x",)).effective())
    assert not {"num_predict", "seed", "stop", "format"} & set(effective.options)
    assert effective.unknown["options.num_predict"] == "set per call; 7 where a call has none"
    assert effective.unknown["options.seed"] == "set per call; -1 where a call has none"
    assert effective.unknown["options.format"] == "set per call; not sent where a call has none"


@pytest.mark.parametrize("where", ["tags", "show"])
def test_a_cloud_model_is_refused(where):
    cloud = {"remote_host": "https://ollama.com:443", "remote_model": "gpt-oss:120b"}
    script = healthy()
    if where == "tags":
        script["GET /api/tags"] = as_json({"models": [TAG | cloud]})
    else:
        script["POST /api/show"] = as_json(SHOW | cloud)
    with scripted(script) as server:
        error = refusal(backend(server.url))
        assert not server.bodies("/api/chat")  # nothing was sent to the cloud
    assert "https://ollama.com:443" in error.what


def test_what_the_server_says_against_loading_is_passed_on():
    no = as_json({"error": '"gemma3:4b" does not support thinking'}, status=400)
    with scripted(healthy(**{"POST /api/chat": no})) as server:
        error = refusal(backend(server.url, think=True))
    assert '"gemma3:4b" does not support thinking' in error.what


def test_a_model_that_is_not_loaded_after_loading():
    with scripted(healthy(**{"GET /api/ps": as_json({"models": []})})) as server:
        error = refusal(backend(server.url))
    assert "not in /api/ps" in error.what


def test_servers_with_different_models_under_one_name_are_refused():
    other = as_json({"models": [TAG | {"digest": "b" * 64}]})
    with scripted(healthy()) as one, scripted(healthy(**{"GET /api/tags": other})) as two:
        error = refusal(backend(one.url, two.url))
    assert "aaaaaaaaaaaa" in error.what
    assert "bbbbbbbbbbbb" in error.what


def test_effective_is_what_the_server_says():
    with scripted(healthy()) as server:
        effective = asyncio.run(backend(server.url, temperature=0.1).effective())
    assert effective.server == "ollama"
    assert effective.server_version == "0.33.0"
    assert effective.model == "gemma3:4b"
    assert effective.model_digest == DIGEST
    assert effective.context_length == 4096
    assert (effective.size_bytes, effective.size_vram_bytes) == (120, 90)
    assert effective.layers_on_gpu is None
    assert "layers_on_gpu" in effective.unknown
    assert "OLLAMA_NUM_PARALLEL" in effective.unknown["num_parallel"]
    assert effective.options["temperature"] == 0.1
    assert effective.options["num_ctx"] == 4096
    assert "Modelfile" in effective.unknown["options.use_mmap"]
    assert effective.details["model_info"] == {
        "general.architecture": "gemma3",
        "gemma3.block_count": 34,
    }
    assert "license" not in effective.details


def test_a_model_on_the_cpu_has_no_vram_field_and_that_is_zero():
    loaded = {k: v for k, v in LOADED.items() if k != "size_vram"}
    with scripted(healthy(**{"GET /api/ps": as_json({"models": [loaded]})})) as server:
        assert asyncio.run(backend(server.url).effective()).size_vram_bytes == 0


def test_what_is_not_loaded_is_unknown_with_a_reason():
    with scripted(healthy(**{"GET /api/ps": as_json({"models": []})})) as server:
        effective = asyncio.run(backend(server.url).effective())
    assert effective.context_length is None
    assert effective.size_vram_bytes is None
    assert "not loaded" in effective.unknown["context_length"]
    assert effective.model_digest == DIGEST  # from the list of models


def test_an_old_server_without_context_length():
    loaded = {k: v for k, v in LOADED.items() if k != "context_length"}
    with scripted(healthy(**{"GET /api/ps": as_json({"models": [loaded]})})) as server:
        effective = asyncio.run(backend(server.url).effective())
    assert effective.context_length is None
    assert "version" in effective.unknown["context_length"]


def test_several_endpoints_each_have_their_line():
    with scripted(healthy()) as one, scripted(healthy()) as two:
        effective = asyncio.run(backend(one.url, two.url).effective())
    assert set(effective.details["endpoints"]) == {one.url, two.url}


def test_models_lists_what_is_on_disk_without_open():
    with scripted(healthy()) as server:
        [model] = asyncio.run(backend(server.url).models())
    assert (model.name, model.size_bytes, model.digest) == ("gemma3:4b", 100, DIGEST)
    assert model.details["quantization_level"] == "Q4_K_M"


def test_unload_waits_until_the_model_is_gone():
    there, gone = as_json({"models": [LOADED]}), as_json({"models": []})
    clock = Clock()
    with scripted(healthy(**{"GET /api/ps": [there, there, gone]})) as server:
        asyncio.run(backend(server.url, clock=clock).unload())
        [asked] = server.bodies("/api/generate")
    assert asked == {"model": "gemma3:4b", "keep_alive": 0, "stream": False}
    assert len(clock.slept_s) == 2


def test_unload_that_never_happens_is_an_error():
    clock = Clock()
    with (
        scripted(healthy()) as server,
        pytest.raises(BackendError, match="still loaded 30 s after") as caught,
    ):
        asyncio.run(backend(server.url, clock=clock).unload())
    assert sum(clock.slept_s) == 30
    assert "ollama stop" in caught.value.remedy


def test_an_unload_of_two_waits_for_both():
    gone = healthy(**{"GET /api/ps": as_json({"models": []})})
    with (
        scripted(gone) as one,
        scripted(healthy()) as two,
        pytest.raises(BackendError) as caught,
    ):
        asyncio.run(backend(one.url, two.url).unload())
    assert caught.value.where == two.url


def test_a_server_on_a_unix_socket(tmp_path):
    with scripted(healthy(), unix=tmp_path / "s") as server:
        made = backend(server.url)
        asyncio.run(made.open())
        assert asyncio.run(made.effective()).server_version == "0.33.0"
