"""Backend `llamacpp` against the engine itself: real tokens, real sockets, what is read back."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from harness_llamacpp import LlamaCppOptions, harness_count_tokens
from harness_llamacpp.backend import LlamaCppBackend

from harness.protocols import ListsModels
from harness.schema import ChunkKind, Request
from harness.serverprocess import default_threads
from harness.testing import BackendContract, Piece, respond
from tests.plugins.llamacpp_kit import make
from tests.plugins.own_server_kit import ask, carry

pytestmark = [pytest.mark.real_model, pytest.mark.usefixtures("cache")]

NUM_CTX = 512


@pytest.fixture(scope="module")
def backend(runner: asyncio.Runner, cache: Path) -> Iterator[LlamaCppBackend]:
    it = make(num_ctx=NUM_CTX, parallel=4)
    try:
        runner.run(it.open())
        yield it
    finally:
        runner.run(it.close())


# ------------------------------------------------------------------------------------------- calls


def test_a_call_has_text_counts_timings_and_a_proven_end(
    runner: asyncio.Runner, backend: LlamaCppBackend
) -> None:
    ((wire, read),) = runner.run(carry(backend, ask(max_tokens=20, ignore_eos=True)))
    assert (wire.outcome, wire.http_status, read.error) == ("complete", 200, None)
    assert read.end is not None
    assert read.finish_reason == "length"
    assert read.usage.output_tokens == read.server["timings"]["predicted_n"] == 20
    assert read.usage.prompt_tokens == read.server["timings"]["prompt_n"] > 5
    assert read.usage.cached_tokens == 0
    assert sum(kind == ChunkKind.ANSWER for kind in read.kinds) == 20
    assert read.text.isprintable() or "\n" in read.text
    # From due_ns, which lies before the send: stamps in user space may follow it by a time slice.
    first_ns = wire.arrival_ns[read.kinds.index(ChunkKind.ANSWER)]
    assert (first_ns - wire.due_ns) / 1e6 >= read.server["timings"]["prompt_ms"]


def test_equal_seeds_give_equal_text_and_other_seeds_do_not(
    runner: asyncio.Runner, backend: LlamaCppBackend
) -> None:
    texts = [
        runner.run(carry(backend, ask(max_tokens=24, seed=seed)))[0][1].text
        for seed in (None, 11, 5, 5, 6)
    ]
    assert texts[0] == texts[1], "a request without a seed takes the run's"
    assert texts[2] == texts[3]
    assert len({texts[0], texts[2], texts[4]}) == 3


def test_more_requests_than_slots_all_end_well(
    runner: asyncio.Runner, backend: LlamaCppBackend
) -> None:
    requests = [ask(f"Request {i}.", max_tokens=6, ignore_eos=True) for i in range(24)]
    read = [read for _, read in runner.run(carry(backend, *requests))]
    assert [r.usage.output_tokens for r in read] == [6] * 24
    assert {r.finish_reason for r in read} == {"length"}


def test_a_prompt_beyond_the_context_is_an_error_of_the_server(
    runner: asyncio.Runner, backend: LlamaCppBackend
) -> None:
    ((wire, read),) = runner.run(carry(backend, ask("the " * 2 * NUM_CTX)))
    assert wire.http_status == 400
    assert read.error is not None
    assert read.error.code == "http.400"
    assert "context size" in read.error.message
    assert read.end is None


def test_a_bare_prompt_by_completions(runner: asyncio.Runner, backend: LlamaCppBackend) -> None:
    request = Request(prompt="the the the", max_tokens=4, options={"api": "completions"})
    ((_, read),) = runner.run(carry(backend, request))
    assert read.usage.output_tokens == 4
    assert read.usage.prompt_tokens == 1 + 3, "a begin mark and the words: no template"


def test_a_bare_prompt_is_completed_and_a_message_is_a_chat(
    runner: asyncio.Runner, backend: LlamaCppBackend
) -> None:
    bare = Request(prompt="the the the", max_tokens=4)
    told = Request(prompt="the the the", max_tokens=4, options={"api": "chat"})
    (_, raw), (_, chat) = runner.run(carry(backend, bare, told))
    assert raw.usage.prompt_tokens == 1 + 3, "a begin mark and the words: no template"
    assert chat.usage.prompt_tokens is not None
    assert chat.usage.prompt_tokens > 1 + 3
    assert backend.prepare(ask()).url.endswith("/v1/chat/completions")


def test_timings_with_each_chunk_count_its_tokens(
    runner: asyncio.Runner, backend: LlamaCppBackend
) -> None:
    ((_, read),) = runner.run(carry(backend, ask(max_tokens=9, options={"timings": True})))
    assert read.chunk_tokens is not None
    assert sum(memoryview(read.chunk_tokens).cast("I")) == 9


def test_json_on_request_is_json(runner: asyncio.Runner, backend: LlamaCppBackend) -> None:
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}
    ((_, read),) = runner.run(carry(backend, ask(max_tokens=200, format=schema)))
    assert read.finish_reason == "stop"
    assert msgspec.json.decode(read.text)["n"] in (1, 2)


def test_exact_token_counts_while_it_is_served(
    runner: asyncio.Runner, backend: LlamaCppBackend
) -> None:
    words = "the median latency of the server"
    counted = harness_count_tokens("tiny", words)
    request = Request(prompt=words, max_tokens=1, options={"api": "completions"})
    ((_, read),) = runner.run(carry(backend, request))
    assert counted == 6
    assert read.usage.prompt_tokens == counted + 1
    assert harness_count_tokens("tiny", "") == 0
    assert harness_count_tokens("another", words) is None
    # More than a server answers on one connection.
    assert {harness_count_tokens("tiny", words) for _ in range(250)} == {counted}


# -------------------------------------------------------------------------------- what is read back


def test_effective_is_what_the_server_says(
    runner: asyncio.Runner, backend: LlamaCppBackend, cache: Path
) -> None:
    import xllamacpp

    read = runner.run(backend.effective())
    (file,) = (cache / "models").glob("tiny-v*.gguf")
    assert read.server == "llama.cpp"
    assert read.server_version == f"xllamacpp {xllamacpp.__version__}"
    assert (read.model, read.random_weights, read.simulated) == ("tiny", True, False)
    assert read.model_digest is not None
    assert read.model_digest.startswith("sha256:")
    assert read.context_length == NUM_CTX, "of one slot, though there are four"
    assert read.details["total_slots"] == 4
    assert read.details["meta"]["n_params"] == 647_488
    assert read.details["meta"]["n_ctx_train"] == 32_768
    assert read.details["file_bytes"] == file.stat().st_size
    assert read.options["temperature"] == 0.8
    assert read.options["cache_prompt"] is False
    assert "seed" not in read.options
    assert read.unknown.pop("options.seed") == "set per call; 11 where a call has none"
    assert read.options["num_ctx"] == NUM_CTX
    assert read.options["num_thread"] == default_threads()
    if all(device["type"] == "CPU" for device in read.details["devices"]):
        assert (read.layers_on_gpu, read.size_vram_bytes) == (0, 0)
        assert all("set per call" in why for why in read.unknown.values())
    else:
        assert {"layers_on_gpu", "size_vram_bytes"} <= set(read.unknown)
    msgspec.json.encode(read)


def test_a_context_beyond_the_models_own_is_cut_and_read_back(runner: asyncio.Runner) -> None:
    it = make(num_ctx=40_000, parallel=1, probe=False)
    try:
        runner.run(it.open())
        read = runner.run(it.effective())
        assert (read.options["num_ctx"], read.context_length) == (40_000, 32_768)
    finally:
        runner.run(it.close())


def test_models_lists_tiny_without_a_server(runner: asyncio.Runner) -> None:
    it = make()
    assert isinstance(it, ListsModels)
    assert "tiny" in [info.name for info in runner.run(it.models())]
    runner.run(it.close())


def test_threads_leave_the_client_a_core() -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert 1 <= default_threads() <= max(1, (cores or 1) - 1)


# --------------------------------------------------------------------------------------- the plugin


def test_importing_the_plugin_is_cheap() -> None:
    code = (
        "import sys, harness_llamacpp; print({'numpy', 'httpx', 'xllamacpp', 'gguf', 'psutil', "
        "'asyncio', 'harness_openai.backend'} & set(sys.modules))"
    )
    path = os.pathsep.join(entry for entry in sys.path if entry)
    env = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_registers_under_its_name() -> None:
    import harness_llamacpp

    from harness.host import BackendRegistry

    registry = BackendRegistry("backend")
    harness_llamacpp.harness_register_backends(registry)
    entry = registry.get("llamacpp")
    assert entry.options is LlamaCppOptions
    assert entry.summary


class TestContract(BackendContract):
    """On events in the form in which the server sends them."""

    good_text = " the server"
    good_tokens = 2

    def backend(self) -> LlamaCppBackend:
        return make()

    def good(self) -> list[Piece]:
        head = '"created":1,"id":"chatcmpl-1","model":"tiny","object":"chat.completion.chunk"'
        deltas = [
            ('{"role":"assistant","content":null}', "null"),
            ('{"content":" the"}', "null"),
            ('{"content":" server"}', "null"),
            ("{}", '"length"'),
        ]
        events = [
            f'data: {{"choices":[{{"finish_reason":{end},"index":0,"delta":{delta}}}],{head}}}\n\n'
            for delta, end in deltas
        ]
        tail = (
            f'data: {{"choices":[],{head},"usage":{{"completion_tokens":2,"prompt_tokens":9,'
            '"total_tokens":11},"timings":{"cache_n":0,"prompt_n":9,"prompt_ms":1.5,'
            '"predicted_n":2,"predicted_ms":0.5}}\n\n'
        )
        return respond([event.encode() for event in [*events, tail, "data: [DONE]\n\n"]])
