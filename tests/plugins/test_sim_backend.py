"""Backend `sim`: a truth server for each trial, spoken to in its dialect."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness_sim import SimOptions
from harness_sim.backend import SimBackend, make_backend

from harness.errors import BackendError, SpecError
from harness.host import Host
from harness.protocols import BackendConfig, ListsModels, Reads, Unloads
from harness.schema import Message, Request, TimeoutsSpec, TrialRecord
from harness.store import load_run
from harness.testing import BackendContract, Piece, respond
from harness.testing.sim import SimSpec
from harness.testing.sim.log import read_log
from tests.plugins.test_openai_contract import event

RUN = [sys.executable, "-m", "harness", "run"]


def made(urls=(), model=None, **options):
    config = BackendConfig(
        model=model, urls=urls, options=SimOptions(**options), timeouts=TimeoutsSpec(), seed=7
    )
    return make_backend(config)


class TestOpenAI(BackendContract):
    good_text = "Hello"
    good_tokens = 2

    def backend(self) -> SimBackend:
        return made(dialect="vllm")

    def good(self) -> list[Piece]:
        body = [
            event({"index": 0, "delta": {"role": "assistant", "content": ""}}),
            event({"index": 0, "delta": {"content": "Hel"}}),
            event({"index": 0, "delta": {"content": "lo"}}),
            event({"index": 0, "delta": {}, "finish_reason": "stop"}),
            event(None, usage={"prompt_tokens": 3, "completion_tokens": 2}),
            b"data: [DONE]\n\n",
        ]
        return respond(body)


class TestOllama(BackendContract):
    good_text = "Hello"
    good_tokens = 2

    def backend(self) -> SimBackend:
        return made(dialect="ollama")

    def good(self) -> list[Piece]:
        lines = [{"message": {"role": "assistant", "content": text}} for text in ("Hel", "lo", "")]
        lines[-1] |= {"done_reason": "stop", "prompt_eval_count": 3, "eval_count": 2}
        body = [
            json.dumps({"model": "sim", "done": line is lines[-1], **line}).encode() + b"\n"
            for line in lines
        ]
        return respond(body, content_type="application/x-ndjson")


# --------------------------------------------------------------------------------------- what it is


def test_every_field_of_the_servers_spec_is_an_option():
    assert set(SimSpec.__struct_fields__) <= set(SimOptions.__struct_fields__)
    assert made().spec == SimSpec(seed=7), "and its default is the same"


def test_what_it_can_do():
    assert isinstance(made(), ListsModels) and isinstance(made(), Reads)
    assert made(dialect="ollama").paths == ("/api/chat", "/api/generate")
    assert isinstance(made(dialect="ollama"), Unloads)
    assert not isinstance(made(), Unloads), "the others have no way to"


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        ({"ttft": "normal:1,2"}, "$.ttft"),
        ({"gap": {"law": "uniform", "low_ms": 2, "high_ms": 1}}, "$.gap"),
        ({"slots": 0}, "$.slots"),
        ({"faults": ["explode:0.1"]}, "$.faults"),
        ({"faults": [{"kind": "stall_mid"}]}, "$.faults[0]"),
        ({"gap": "replay:x", "shared_tok_s": 5}, "$"),
        ({"slotz": 1}, "$.slotz"),
        ({"cpus": "3-1"}, "$.cpus"),
        ({"num_ctx": 512}, "$.num_ctx"),
        ({"dialect": "ollama", "client": {"num_ctxx": 1}}, "$.client.num_ctxx"),
        ({"client": {"temperature": "hot"}}, "$.client"),
    ],
)
def test_mistakes_are_named_with_their_path(raw, where):
    with pytest.raises(SpecError) as error:
        Host.load().backends.get("sim").decode_options(raw, "$")
    assert error.value.where == where


def test_an_address_is_refused():
    with pytest.raises(SpecError, match="servers of its own"):
        made(urls=("http://127.0.0.1:1",))


def test_options_of_a_call_go_to_the_dialects_backend():
    backend = made(dialect="ollama", temperature=0.5, client={"top_k": 3})
    message = (Message(role="user", content="x"),)
    request = Request(messages=message, max_tokens=2, options={"num_ctx": 512})
    sent = json.loads(backend.prepare(request).body)["options"]
    assert (sent["temperature"], sent["top_k"], sent["num_ctx"]) == (0.5, 3, 512)
    with pytest.raises(SpecError, match="not for one call"):
        backend.prepare(Request(messages=message, options={"slots": 2}))


# ------------------------------------------------------------------------------ for real, in a run


def run(out: Path, *words: str) -> dict:
    command = [*RUN, "load", "--backend", "sim", "--json", "--out", str(out), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("dialect", ["ollama", "llamacpp"])
def test_a_run_has_its_own_server_and_leaves_nothing(tmp_path, dialect, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    options = ("-o", f"dialect={dialect}", "-o", "ttft=2", "-o", "gap=1", "-o", "servers=2")
    more = ("-o", f"log={tmp_path / 'sims'}", "-o", f"cpus={min(os.sched_getaffinity(0))}")
    summary = run(tmp_path / "run", *options, *more, "--requests", "6", "--max-tokens", "3")
    assert summary["arms"][0]["calls"] == {"ok": 6}
    assert "simulated" in {caveat["code"] for caveat in summary["verdict"]["caveats"]}
    logs = {str(folder): read_log(folder) for folder in (tmp_path / "sims").iterdir()}
    (trial,) = (one for one in load_run(tmp_path / "run").records() if isinstance(one, TrialRecord))
    told = trial.effective.details["sim"]
    assert trial.effective.simulated and {one["log"] for one in told["servers"]} == {*logs}
    seeds = [logs[one["log"]].server["spec"].get("seed", 0) for one in told["servers"]]
    assert seeds == [seeds[0], seeds[0] + 1]
    logs = list(logs.values())
    assert all(log.end is not None for log in logs), "stopped in order"
    texts = [
        [r for r in log.requests.values() if r["ordinal"] is not None and r["status"] == 200]
        for log in logs
    ]
    assert sum(map(len, texts)) >= 6 and min(map(len, texts)) >= 3, "both were asked"
    for log in logs:
        with pytest.raises(ProcessLookupError):
            os.kill(log.server["pid"], 0)
    assert list((tmp_path / "scratch").glob("harness-sim-*")) == []


def test_a_server_that_cannot_start_says_why():
    backend = made(cpus="4000")

    async def life():
        try:
            await backend.open()
        finally:
            await backend.close()

    with pytest.raises(BackendError, match="does not start"):
        asyncio.run(life())


@pytest.mark.parametrize(("servers", "status"), [(1, 2), (2, 0)])
def test_a_plan_knows_how_many_addresses_there_will_be(servers, status):
    words = ["multi_agent", "--backend", "sim", "-o", f"servers={servers}", "-o", "endpoints=each"]
    done = subprocess.run([*RUN, *words, "--dry-run"], capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stderr
    assert ("-o servers=2" in done.stderr) is (status == 2)
