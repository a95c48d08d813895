"""The whole conversation with OpenRouter, over TLS: `harness run` against the truth server.

One run, a request at a time. Each line of its prompt file names what is to happen to its request;
the first one meets a service that refuses it, and is sent a second time.
"""

from __future__ import annotations

import json
import os
import subprocess
from decimal import Decimal

import pytest

from harness import load_run
from harness.schema import CallRecord, IterationRecord, TrialRecord
from tests.sim.servers import RUN, sim, tls_front

KEY = "sk-or-v1-5e5f0c3a9d1b4e7f8a6c"
TOKENS = 6
STATUSES = (400, 401, 402, 403, 408, 429, 502, 503)
PROMPTS = (
    *("first", "second", "error_mid", "close_mid", "cache_hit", "wrong_usage", "hostile_text"),
    *(str(status) for status in STATUSES),
)
FAULTS = [
    {"kind": "http_429", "requests": [1], "retry_after_s": 0},
    *({"kind": one, "match": f"[{one}]"} for one in PROMPTS[2:7]),
    *(
        {"kind": "http_status", "match": f"[{status}]", "status": status, "retry_after_s": 0}
        for status in STATUSES
    ),
]
SPEC = {
    "dialect": "openrouter",
    "model": "sim/tiny",
    "providers": ["alpha/fp8", "beta"],
    "ttft": 5,
    "gap": 1,
    "comments": 3,
    "faults": FAULTS,
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """({what happened: call}, the run, its folder, what the command printed)"""
    folder = tmp_path_factory.mktemp("openrouter")
    (folder / "sim.json").write_text(json.dumps(SPEC))
    prompts = folder / "prompts.jsonl"
    lines = [{"prompt": f"a prompt that asks for [{name}]"} for name in PROMPTS]
    prompts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ["load", "--backend", "openrouter", "--model", "sim/tiny", "--out", folder / "run"]
    words += ["-o", "provider=alpha", "-o", "title=A benchmark", "-o", f"prompts={prompts}"]
    words += ["--requests", len(PROMPTS), "--concurrency", 1, "--warmup", 0]
    words += ["--max-tokens", TOKENS, "--set", "isolation=inline", "--set", "keep.payloads=true"]
    with (
        sim(folder / "log", folder / "sim.json") as server,
        tls_front(server.url, folder) as (url, trusted),
    ):
        done = subprocess.run(
            [*RUN, *map(str, words), "--url", f"{url}/api/v1"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=200,
            env={**os.environ, **trusted, "OPENROUTER_API_KEY": KEY},
        )
    assert "Traceback" not in done.stderr, done.stderr
    run = load_run(folder / "run")
    calls = [one for one in run.records() if isinstance(one, CallRecord)]
    calls.sort(key=lambda call: call.call_id)
    assert len(calls) == len(PROMPTS), done.stderr
    return dict(zip(PROMPTS, calls, strict=True)), run, folder, done


def test_a_good_call(ran):
    call = ran[0]["second"]
    assert (call.status, call.attempts) == ("ok", 1) and len(call.text.split()) == TOKENS
    assert call.comments == 3 and call.content_chunks == TOKENS
    assert call.stamp_source == "user", "TLS: nothing that the kernel stamps is a chunk"
    usage = call.usage
    assert usage.output_tokens == TOKENS
    assert Decimal(call.cost.usd) == (usage.prompt_tokens + TOKENS) * Decimal("0.000001")
    assert call.cost.source == "provider"
    assert call.server["provider"] == "Alpha"
    metadata = call.server["openrouter_metadata"]
    assert metadata["endpoints"]["available"] == [
        {"provider": "Alpha", "model": "sim/tiny", "selected": True}
    ]
    assert call.server["headers"]["x-generation-id"] == call.server["id"]


def test_a_call_that_is_refused_for_a_while(ran):
    """A 429, then the answer: one call, without times."""
    call = ran[0]["first"]
    assert call.status == "ok" and call.attempts == 2
    assert [one.code for one in call.earlier] == ["http.429"]
    assert call.cost.source == "provider" and call.usage.output_tokens == TOKENS
    found = {one.name: one for arm in ran[1].summary.arms for one in arm.metrics}
    ok = sum(call.status == "ok" for call in ran[0].values())
    assert found["ttft_ms"].n == ok - 1 and found["ttft_ms"].missing == 1


@pytest.mark.parametrize("status", STATUSES)
def test_every_status(ran, status):
    call = ran[0][str(status)]
    assert (call.status, call.error.code) == ("error", f"http.{status}")
    assert call.http_status == status and "(try: " in call.error.message
    assert call.attempts == (3 if status in (429, 503) else 1)
    assert (call.server.get("headers", {}).get("x-ratelimit-limit") == "20") == (status == 429)
    assert call.cost is None


def test_what_fails_in_mid_stream(ran):
    calls = ran[0]
    assert (calls["error_mid"].status, calls["error_mid"].error.code) == ("error", "stream")
    assert "the provider failed" in calls["error_mid"].error.message
    assert calls["error_mid"].content_chunks == TOKENS // 2
    assert calls["close_mid"].status == "truncated"


def test_an_answer_from_a_cache_is_no_sample(ran):
    call = ran[0]["cache_hit"]
    assert (call.status, call.error.code) == ("error", "cache_hit")
    assert call.server["headers"]["x-openrouter-cache-status"] == "HIT"


def test_its_books(ran):
    """Of every call that came to something, and of the one whose usage was wrong."""
    (iteration,) = [one for one in ran[1].records() if isinstance(one, IterationRecord)]
    accounts = {one.call_id: one for one in iteration.accounts}
    calls = ran[0]
    names = ("first", "second", "error_mid", "close_mid", "wrong_usage", "hostile_text")
    asked = {calls[name].call_id for name in names}
    assert asked <= set(accounts)
    wrong = accounts[calls["wrong_usage"].call_id]
    assert set(wrong.disagrees) == {"output_tokens", "cost_usd"}
    assert accounts[calls["second"].call_id].disagrees == {}
    assert accounts[calls["second"].call_id].facts["provider_name"] == "Alpha"


def test_what_it_ran(ran):
    (trial,) = [one for one in ran[1].records() if isinstance(one, TrialRecord)]
    found = trial.effective
    assert (trial.transport, found.location, found.server) == ("portable", "api", "openrouter")
    assert found.details["routing"]["pinned"] == "alpha/fp8" and found.quantization == "fp8"
    assert found.price.input_usd_per_token == "0.000001"


def test_the_verdict_names_all_of_it(ran):
    codes = {one.code for one in ran[1].summary.verdict.caveats}
    assert {"errors", "retried", "account-mismatch", "user-stamps"} <= codes
    assert not codes & {"provider-not-pinned", "provider-mismatch"}


def test_the_key_is_nowhere(ran):
    _, _, folder, done = ran
    assert KEY not in done.stdout + done.stderr
    files = [path for path in (folder / "run").rglob("*") if path.is_file()]
    assert len(files) > 3
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
