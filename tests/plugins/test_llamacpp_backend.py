"""Backend `llamacpp` against the engine itself: real tokens, real sockets, every refusal."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from harness_llamacpp import LlamaCppOptions, harness_count_tokens
from harness_llamacpp.backend import LlamaCppBackend
from harness_llamacpp.options import default_threads

from harness.errors import BackendError, HarnessError, MissingExtra, SpecError
from harness.protocols import BackendConfig, ListsModels
from harness.schema import ChunkKind, Decoded, Message, Request, TimeoutsSpec
from harness.testing import BackendContract, Piece, respond
from harness.transport import open_transport

pytestmark = pytest.mark.real_model

NUM_CTX = 512


def make(model: str | None = None, urls: tuple[str, ...] = (), **options: Any) -> LlamaCppBackend:
    return LlamaCppBackend(
        BackendConfig(
            model=model,
            urls=urls,
            options=msgspec.convert(options, LlamaCppOptions),
            timeouts=TimeoutsSpec(),
            seed=11,
        )
    )


def ask(text: str = "Compare the two arms.", **fields: Any) -> Request:
    return Request(messages=(Message(role="user", content=text),), **{"max_tokens": 8, **fields})


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("HARNESS_CACHE_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as it:
        yield it


@pytest.fixture(scope="module")
def backend(runner: asyncio.Runner, cache: Path) -> Iterator[LlamaCppBackend]:
    it = make(num_ctx=NUM_CTX, parallel=4)
    try:
        runner.run(it.open())
        yield it
    finally:
        runner.run(it.close())


async def carry(backend: LlamaCppBackend, *requests: Request) -> list[tuple[Any, Decoded]]:
    """All at once; (wire record, what was read of it) for each."""
    transport = open_transport("portable", backend.urls)
    await transport.open()
    try:
        sent = [transport.send(backend.prepare(r), backend.timeouts) for r in requests]
        wires = await asyncio.gather(*sent)
    finally:
        await transport.close()
    return [(w, backend.decode(r, w)) for r, w in zip(requests, wires, strict=True)]


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


# ----------------------------------------------------------------------------------------- options


def test_a_calls_own_options_win() -> None:
    it = make(temperature=0.5, extra={"dry_multiplier": 0.1})
    changes = {"temperature": 0, "repeat_penalty": 1.2, "num_ctx": 8192}
    plain, changed = (
        msgspec.json.decode(it.prepare(ask(options=options)).body) for options in ({}, changes)
    )
    assert (plain["temperature"], plain["repeat_penalty"]) == (0.5, 1.0)
    assert (changed["temperature"], changed["repeat_penalty"]) == (0, 1.2)
    assert changed["dry_multiplier"] == plain["dry_multiplier"] == 0.1
    assert plain["cache_prompt"] is False
    assert "num_ctx" not in changed
    same = ("top_p", "top_k", "min_p", "seed", "model", "messages", "max_tokens")
    assert [plain[name] for name in same] == [changed[name] for name in same]


def test_a_seed_among_the_calls_options_wins_over_the_requests() -> None:
    body = make().prepare(ask(seed=5, options={"seed": 11})).body
    assert msgspec.json.decode(body)["seed"] == 11


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"temprature": 1}, "no option 'temprature'.*temperature"),
        ({"num_ctx": 512}, "fixed when the server starts.*-o num_ctx=512"),
        ({"top_p": 2.0}, "top_p"),
        ({"temperature": "hot"}, "temperature"),
    ],
)
def test_a_calls_wrong_option_is_named(options: dict[str, Any], what: str) -> None:
    with pytest.raises(SpecError, match=what) as caught:
        make().prepare(ask(options=options))
    assert "request.options" in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [{"parallel": 0}, {"parallel": 257}, {"num_ctx": 0}, {"flash_attn": "maybe"}, {"n_ctx": 5}],
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, LlamaCppOptions)


@pytest.mark.parametrize("extra", [{"n": 2}, {"api_key": "sk-hunter2"}])
def test_what_the_openai_backend_refuses_in_extra_is_a_spec_error(extra: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="`extra`") as caught:
        make(extra=extra)
    assert "hunter2" not in str(caught.value)


def test_an_api_key_in_the_environment_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-this-server")
    exchange = make().prepare(ask())
    assert "not-for-this" not in repr(exchange)


# ---------------------------------------------------------------------------------- what goes wrong


def refusal(runner: asyncio.Runner, backend: LlamaCppBackend) -> HarnessError:
    with pytest.raises(HarnessError) as caught:
        runner.run(backend.open())
    runner.run(backend.close())
    assert "\n" not in str(caught.value)
    return caught.value


def test_an_address_is_not_for_this_backend() -> None:
    with pytest.raises(SpecError, match="--backend openai --url http://there"):
        make(urls=("http://there:1",))


def test_a_missing_file_names_itself_and_the_remedy(runner: asyncio.Runner) -> None:
    error = refusal(runner, make("/no/such/model.gguf"))
    assert isinstance(error, BackendError)
    assert "/no/such/model.gguf" in str(error)
    assert "harness models" in str(error)


def test_a_hostile_name_leaves_no_remnant(runner: asyncio.Runner) -> None:
    error = refusal(runner, make("evil[bold]\x1b[31m<b>"))
    assert "'evil[bold]<b>'" in error.what
    assert "31m" not in str(error)


def test_a_broken_file_gives_the_engines_words(runner: asyncio.Runner, tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF\x03" + bytes(200))
    error = refusal(runner, make(str(tmp_path / "broken.gguf")))
    assert isinstance(error, BackendError)
    assert "error" in error.what
    assert "broken.gguf" in str(error)


def test_too_slow_a_load_is_ended(runner: asyncio.Runner) -> None:
    it = make(load_timeout_s=1e-6)
    error = refusal(runner, it)
    assert "load_timeout_s" in str(error)
    assert it._process is not None
    assert not it._process.alive()


@pytest.mark.parametrize("missing", ["xllamacpp", "gguf"])
def test_a_missing_package_names_the_extra(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    monkeypatch.setenv("HARNESS_CACHE_DIR", str(tmp_path))
    monkeypatch.setitem(sys.modules, missing, None)
    error = refusal(runner, make())
    assert isinstance(error, MissingExtra)
    assert f"'{missing}'" in str(error)
    assert "chimera-harness[llamacpp]" in str(error)
    assert not list(tmp_path.rglob("*.part"))


def test_a_server_that_dies_ends_its_calls_and_says_so(
    runner: asyncio.Runner, caplog: pytest.LogCaptureFixture
) -> None:
    it = make(num_ctx=32_768, parallel=1)

    async def die() -> list[tuple[Any, Decoded]]:
        await it.open()
        assert it._process is not None
        call = asyncio.ensure_future(carry(it, ask(max_tokens=30_000, ignore_eos=True)))
        async with httpx.AsyncClient() as client:
            address = it.urls[0].removesuffix("/v1")
            while not (await client.get(f"{address}/slots")).json()[0]["is_processing"]:
                assert not call.done()
        os.kill(it._process.pid, signal.SIGKILL)
        torn = await call
        # The kernel may close the port after the streams.
        await asyncio.to_thread(it._process._child.wait)
        return torn + await carry(it, ask())

    with caplog.at_level(logging.ERROR, "harness.llamacpp"):
        (torn, half), (refused, none) = runner.run(die())
        runner.run(it.close())
    assert torn.outcome in ("eof", "reset")
    assert half.end is None
    assert refused.outcome == "connect"
    for read in (half, none):
        assert read.error is not None
        assert read.error.message.startswith("the embedded server died: ")
        assert "killed by SIGKILL" in read.error.message
    assert "killed by SIGKILL" in caplog.text
    assert harness_count_tokens("tiny", "the") is None


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
