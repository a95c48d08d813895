"""Backend `hf` against its worker: real torch, real sockets, stamps that are recovered, its end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import msgspec
import numpy as np
import pytest
from harness_hf import HfOptions, harness_count_tokens
from harness_hf.backend import HfBackend

from harness.engine.sealing import CallPlace, seal
from harness.metrics import call_metric, itl_ns
from harness.protocols import Footprints, ListsModels, Unloads
from harness.schema import CallRecord, ChunkKind, KeepSpec, Request
from harness.serverprocess import default_threads
from harness.testing import BackendContract, Piece, respond
from harness.transport import open_transport
from tests.plugins.hf_kit import make, passes, stamps_of, tokens_of, write_slow_model
from tests.plugins.own_server_kit import ask, carry

pytestmark = pytest.mark.real_model

DELAY_MS = 20.0


@pytest.fixture(scope="module")
def home(cache: Path) -> Iterator[Path]:
    """The hub's cache is an empty one of our own, and nobody is asked; there is no GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", str(cache / "hf"))
        patch.setenv("HF_HUB_CACHE", str(cache / "hf" / "hub"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        yield cache


@pytest.fixture(scope="module")
def backend(runner: asyncio.Runner, home: Path) -> Iterator[HfBackend]:
    it = make(num_ctx=512)
    try:
        runner.run(it.open())
        yield it
    finally:
        runner.run(it.close())


@pytest.fixture(scope="module")
def slow(runner: asyncio.Runner, home: Path) -> Iterator[tuple[HfBackend, Path]]:
    """A model that takes 20 ms longer for each step, by code of its own, and writes down when it
    did; up to three sequences at once."""
    log = write_slow_model(home / "slow", DELAY_MS)
    it = make(str(home / "slow"), trust_remote_code=True, batch=3, batch_wait_ms=2000, warmup=0)
    try:
        runner.run(it.open())
        yield it, log
    finally:
        runner.run(it.close())


def record_of(backend: HfBackend, request: Request, wire, read) -> CallRecord:
    place = CallPlace(arm="a", cell="base", trial=0, iteration=0, phase="measured")
    return seal(wire, read, request, backend.prepare(request), place, 0, KeepSpec())


# ------------------------------------------------------------------------------------------- calls


def test_a_call_has_text_counts_stamps_and_a_proven_end(runner, backend) -> None:
    ((wire, read),) = runner.run(carry(backend, ask(max_tokens=20, ignore_eos=True)))
    assert (wire.outcome, wire.http_status, read.error) == ("complete", 200, None)
    assert (read.finish_reason, read.end) == ("length", 20)
    assert (read.usage.prompt_tokens, read.usage.output_tokens) == (11, 20)
    assert read.usage.cached_tokens == 0
    assert tokens_of(read) == [1] * 20 + [0]
    assert list(read.kinds) == [ChunkKind.ANSWER] * 20 + [ChunkKind.EMPTY]
    assert read.text.isprintable() or "\n" in read.text
    stamps = stamps_of(read)
    assert (np.diff(stamps) >= 0).all()
    assert (stamps > wire.sent_ns).all()
    assert (stamps <= wire.arrival_ns + wire.lag_ns).all(), "made before we had read it"


def test_a_sealed_call_has_the_workers_stamps_and_account(runner, backend) -> None:
    request = ask(max_tokens=20)
    ((wire, read),) = runner.run(carry(backend, request))
    call = record_of(backend, request, wire, read)
    assert (call.status, call.stamp_source, call.stamps_refused) == ("ok", "in_process", 0)
    stamps = stamps_of(read)
    at = call.instants
    assert (at.first_token_ns, at.last_token_ns) == (stamps[0], stamps[19])
    assert (itl_ns(call) == np.diff(stamps[:20])).all()
    value = {name: call_metric(name).formula(call) for name in NAMES}
    assert value["server_prompt_ms"] < value["ttft_ms"]
    assert 0 <= value["server_queue_ms"] < value["queue_residual_ms"] < value["ttft_ms"]
    assert value["decode_rate_server_n1_tok_s"] == pytest.approx(value["decode_rate_client_tok_s"])
    assert value["prefill_rate_tok_s"] == pytest.approx(11e3 / value["server_prompt_ms"])
    assert value["process_peak_mib"] > 100
    assert value["allocated_peak_mib"] is value["reserved_peak_mib"] is None, "there is no GPU"


NAMES = (
    "ttft_ms",
    "server_prompt_ms",
    "server_queue_ms",
    "queue_residual_ms",
    "decode_rate_server_n1_tok_s",
    "decode_rate_client_tok_s",
    "prefill_rate_tok_s",
    "process_peak_mib",
    "allocated_peak_mib",
    "reserved_peak_mib",
)


def test_requests_wait_for_one_another_and_say_how_long(runner, backend) -> None:
    requests = [ask(f"Request {i}.", max_tokens=6, ignore_eos=True) for i in range(12)]
    read = [read for _, read in runner.run(carry(backend, *requests))]
    assert [r.usage.output_tokens for r in read] == [6] * 12
    spans = sorted((stamps_of(r)[0], stamps_of(r)[-1]) for r in read)
    assert all(last <= first for (_, last), (first, _) in pairwise(spans))
    waits = sorted(r.server["queue_ns"] for r in read)
    assert waits[-1] >= sum(r.server["decode_ns"] for r in read) / 2 - max(
        r.server["decode_ns"] for r in read
    )


def test_seeds_and_a_bare_prompt(runner, backend) -> None:
    texts = [
        runner.run(carry(backend, ask(seed=seed, options={"temperature": 1.0})))[0][1].text
        for seed in (None, 11, 5)
    ]
    assert texts[0] == texts[1] != texts[2], "a request without a seed takes the run's"
    bare = Request(prompt="the the the", max_tokens=2)
    told = Request(prompt="the the the", max_tokens=2, options={"api": "chat"})
    (_, raw), (_, chat) = runner.run(carry(backend, bare, told))
    assert raw.usage.prompt_tokens == 1 + 3
    assert chat.usage.prompt_tokens is not None
    assert chat.usage.prompt_tokens > 4


def test_a_prompt_beyond_the_context_is_refused(runner, backend) -> None:
    ((wire, read),) = runner.run(carry(backend, ask("the " * 600)))
    assert wire.http_status == 400
    assert read.error is not None
    assert read.error.code == "http.400"
    assert "and the context holds 512" in read.error.message


def test_exact_token_counts_while_it_is_served(backend) -> None:
    assert harness_count_tokens("tiny", "the median latency of the server") == 6
    assert harness_count_tokens("tiny", "") == 0
    assert harness_count_tokens("another", "the") is None


def test_who_hangs_up_frees_the_model(runner, backend) -> None:
    """480 tokens take a while; a call that is given up after the first costs a step more."""

    async def give_up() -> None:
        body = backend.prepare(ask(max_tokens=480)).body
        async with httpx.AsyncClient(timeout=60) as client:
            headers = {"Content-Type": "application/json"}
            url = f"{backend.urls[0]}/generate"
            async with client.stream("POST", url, content=body, headers=headers) as answer:
                await anext(answer.aiter_lines())

    ((_, whole),) = runner.run(carry(backend, ask(max_tokens=480, ignore_eos=True)))
    for _ in range(3):
        runner.run(give_up())
    ((_, after),) = runner.run(carry(backend, ask(max_tokens=2)))
    assert after.usage.output_tokens == 2
    assert after.server["queue_ns"] < whole.server["decode_ns"]


def test_pages_in_a_browser_and_strange_requests_get_nothing(backend) -> None:
    url = backend.urls[0]
    plain = httpx.post(f"{url}/generate", content=b"{}", headers={"Content-Type": "text/plain"})
    assert plain.status_code == 415
    assert httpx.post(f"{url}/generate", json={"max_tokens": "many"}).status_code == 400
    assert httpx.post(f"{url}/nowhere", json={}).status_code == 404
    assert httpx.get(f"{url}/nowhere").status_code == 404
    assert httpx.get(f"{url}/facts").json()["parameters"] == 647_488


# -------------------------------------------------------------------------------- what is read back


def test_effective_is_what_the_worker_says(runner, backend, home) -> None:
    read = runner.run(backend.effective())
    assert read.server == "transformers"
    assert read.server_version is not None
    assert "torch" in read.server_version
    assert (read.model, read.random_weights, read.simulated) == ("tiny", True, False)
    assert read.model_digest is not None
    assert read.model_digest.startswith("sha256:")
    assert read.context_length == 512
    assert (read.parameters, read.quantization, read.location) == (647_488, "float32", "local")
    assert (read.layers_on_gpu, read.size_vram_bytes) == (0, 0)
    assert read.size_bytes is not None
    assert read.disk_bytes is not None
    assert read.disk_bytes > read.size_bytes >= 4 * 647_488
    assert read.load_ms is not None
    assert read.load_ms > 0
    assert read.details["import_ms"] > 0
    assert read.not_effective == {}
    assert read.read_back["num_ctx"] == 512
    assert read.read_back["num_thread"] == default_threads()
    msgspec.json.encode(read)


def test_the_prediction_holds_the_model(runner, backend) -> None:
    said, read = runner.run(backend.footprint()), runner.run(backend.effective())
    assert (said.parameters, said.context_length) == (read.parameters, read.context_length)
    assert said.device == "host"
    assert said.weights_bytes == 4 * 647_488
    assert said.kv_bytes == 2 * 2 * 1 * 64 * 4 * 512
    assert set(said.basis) == {"weights_bytes", "kv_bytes", "overhead_bytes"}
    assert said.unknown == {}


def test_it_can_unload_list_and_predict(runner, backend) -> None:
    assert isinstance(backend, Unloads)
    assert isinstance(backend, ListsModels)
    assert isinstance(backend, Footprints)
    assert {"tiny", "tiny-5M", "tiny-22M"} <= {one.name for one in runner.run(backend.models())}
    runner.run(backend.unload())
    ((_, cold),) = runner.run(carry(backend, ask(max_tokens=2)))
    ((_, warm),) = runner.run(carry(backend, ask(max_tokens=2)))
    assert cold.server["load_ns"] > 0
    assert "load_ns" not in warm.server
    assert runner.run(backend.effective()).load_ms == pytest.approx(
        cold.server["load_ns"] / 1e6, rel=0.5
    )


# ----------------------------------------------------------------------------- stamps are recovered


def test_a_known_delay_is_recovered_step_by_step(runner, slow) -> None:
    """Every stamp lies between the end of the pass that made its token and the beginning of the
    next pass, as the model itself wrote them down; so do ITL and TPOT have the delay in them."""
    it, log = slow
    before = len(passes(log)) if log.exists() else 0
    request = ask(max_tokens=12, ignore_eos=True)
    ((wire, read),) = runner.run(carry(it, request))
    began, ended = passes(log)[before : before + 12].T
    stamps = stamps_of(read)[:12]
    assert (stamps >= ended).all()
    assert (stamps[:-1] <= began[1:]).all()
    call = record_of(it, request, wire, read)
    gaps = itl_ns(call)
    assert gaps is not None
    assert (gaps >= DELAY_MS * 1e6).all()
    tpot_ms = call_metric("tpot_ms").formula(call)
    assert tpot_ms == pytest.approx((ended[11] - ended[0]) / 11e6, rel=0.25)
    assert read.server["prefill_ns"] >= DELAY_MS * 1e6
    assert read.server["decode_ns"] == stamps[-1] - stamps[0] >= 11 * DELAY_MS * 1e6


def test_sequences_of_a_batch_share_their_steps_and_end_by_themselves(runner, slow) -> None:
    it, log = slow
    before = len(passes(log))
    requests = [ask("The first.", max_tokens=5), ask("No. 2", max_tokens=9), ask(max_tokens=2)]
    done = runner.run(carry(it, *requests))
    read = [one for _, one in done]
    assert [r.server["batch_size"] for r in read] == [3, 3, 3]
    assert [r.usage.output_tokens for r in read] == [5, 9, 2]
    assert len(passes(log)) - before == 9, "nine steps for all three"
    longest = stamps_of(read[1])
    for one in (read[0], read[2]):
        count = len(stamps_of(one)) - 1
        assert (stamps_of(one)[:count] == longest[:count]).all()
    ends = [stamps_of(r)[-1] for r in read]
    assert ends[2] < ends[0] < ends[1]
    arrived = [wire.arrival_ns[-1] for wire, _ in done]
    assert arrived[2] < ends[1], "the shortest is over before the longest is made"


def test_whose_code_runs_is_said(runner, backend, slow) -> None:
    own, ours = (runner.run(it.effective()).details for it in (slow[0], backend))
    assert (own["code"], own["architecture"]) == ("the model's own", "SlowForCausalLM")
    assert (ours["code"], ours["architecture"]) == ("transformers", "LlamaForCausalLM")


def test_out_of_memory_is_an_error_of_the_call_alone(runner, slow) -> None:
    it, log = slow
    Path(f"{log}.full").touch()
    ((wire, read),) = runner.run(carry(it, ask(max_tokens=4)))
    assert wire.outcome == "complete"
    assert read.error is not None
    assert read.error.code == "out_of_memory"
    assert "no room for 3 GB" in read.error.message
    ((_, after),) = runner.run(carry(it, ask(max_tokens=4)))
    assert (after.error, after.usage.output_tokens) == (None, 4)


def test_a_worker_that_dies_ends_its_calls_and_says_so(runner, slow) -> None:
    """The last one of this worker."""
    it, log = slow
    sign = Path(f"{log}.die")

    async def die() -> list:
        transport = open_transport("portable", it.urls)
        await transport.open()
        request = ask(max_tokens=400)
        call = asyncio.ensure_future(transport.send(it.prepare(request), it.timeouts))
        await asyncio.sleep(0)
        await asyncio.to_thread(sign.touch)
        wire = await call
        await transport.close()
        return [it.decode(request, wire), await carry(it, ask())]

    first, ((_, second),) = runner.run(die())
    assert first.error is not None
    assert first.error.code == "server_died"
    assert signal.SIGABRT.name in first.error.message
    assert second.error is not None
    assert second.error.code == "server_died"
    assert it._process is not None
    with pytest.raises(ProcessLookupError):
        os.kill(it._process.pid, 0)


# --------------------------------------------------------------------------------------- the plugin


class TestContract(BackendContract):
    """On lines in the form in which the worker sends them."""

    good_text = " the server"
    good_tokens = 2

    def backend(self) -> HfBackend:
        return make()

    def good(self) -> list[Piece]:
        lines = [
            b'{"t":1000000100,"n":1,"text":" the"}\n',
            b'{"t":1000000200,"n":1,"text":" server"}\n',
            b'{"t":1000000200,"text":"","done":true,"finish_reason":"length","usage":'
            b'{"prompt_tokens":9,"output_tokens":2},"server":{"prefill_ns":5,"decode_ns":100}}\n',
        ]
        return respond(lines, content_type="application/x-ndjson")


def test_registers_under_its_name() -> None:
    import harness_hf

    from harness.host import BackendRegistry

    registry = BackendRegistry("backend")
    harness_hf.harness_register_backends(registry)
    entry = registry.get("hf")
    assert entry.options is HfOptions
    assert entry.summary
