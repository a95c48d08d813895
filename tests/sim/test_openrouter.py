"""The OpenRouter dialect beside its stream: routing, prices, the key, and the books."""

from __future__ import annotations

import httpx
import pytest

from tests.sim.servers import events, inline_sim, post

MODEL = "sim/tiny"
SPEC = {
    "dialect": "openrouter", "model": MODEL, "ttft": 1, "gap": 0, "cost_usd_per_token": 0.25,
    "providers": ["alpha/fp8", "beta"], "credit_usd": 100, "account_delay": 2,
    "faults": [
        {"kind": "http_429", "match": "[refuse]", "retry_after_s": 7},
        {"kind": "http_status", "match": "[moderate]", "status": 403},
        {"kind": "cache_hit", "match": "[cached]"},
        {"kind": "wrong_usage", "match": "[wrong]"},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with inline_sim(tmp_path_factory.mktemp("openrouter") / "log", SPEC) as server:
        yield server.url


def get(url, path, status=200):
    answer = httpx.get(f"{url}/api/v1{path}", trust_env=False)
    assert answer.status_code == status, answer.text
    return answer.json()


def asked(url, text="one two three", **more):
    body = {
        "model": MODEL,
        "stream": True,
        "max_tokens": 4,
        "messages": [{"role": "user", "content": text}],
    }
    return post(url, "/api/v1/chat/completions", body | more)


def served(url, **routing):
    found = events(url, path="/api/v1/chat/completions", model=MODEL, provider=routing)
    return found[0]["provider"]


def test_what_is_listed(url):
    (model,) = get(url, "/models")["data"]
    assert model["canonical_slug"] == "sim/tiny-20260101" and model["owned_by"] == "harness-sim"
    assert model["pricing"]["prompt"] == "0.25" and "temperature" in model["supported_parameters"]
    for name in (MODEL, model["canonical_slug"]):
        endpoints = get(url, f"/models/{name}/endpoints")["data"]["endpoints"]
        assert [one["tag"] for one in endpoints] == ["alpha/fp8", "beta"]
        assert [one["quantization"] for one in endpoints] == ["fp8", "unknown"]
    assert get(url, "/models/no/such/endpoints", 404)["error"]["code"] == 404
    assert asked(url, model=model["canonical_slug"]).status_code == 200


def test_routing(url):
    assert {served(url) for _ in range(4)} == {"Alpha", "Beta"}
    assert served(url, only=["beta"]) == served(url, only=["BETA"]) == "Beta"
    assert served(url, only=["alpha"]) == served(url, ignore=["beta"]) == "Alpha"
    assert served(url, order=["beta", "alpha"]) == "Beta"
    refused = asked(url, provider={"only": ["gamma"]})
    assert (
        refused.status_code == 404 and "No allowed providers" in refused.json()["error"]["message"]
    )


def test_who_asks_to_know_is_told(url):
    assert "openrouter_metadata" not in asked(url).text
    body = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "max_tokens": 2}
    answer = httpx.post(
        f"{url}/api/v1/chat/completions",
        json=body | {"provider": {"only": ["beta"]}},
        headers={"X-OpenRouter-Metadata": "enabled"},
        trust_env=False,
    )
    found = answer.json()["openrouter_metadata"]["endpoints"]
    assert found["total"] == 2
    assert found["available"] == [{"provider": "Beta", "model": MODEL, "selected": True}]


def test_refusals(url):
    refused = asked(url, "[refuse]")
    assert refused.status_code == 429 and refused.headers["retry-after"] == "7"
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert int(refused.headers["x-ratelimit-reset"]) % 60_000 == 0
    assert asked(url, "[moderate]").status_code == 403


def test_an_answer_from_the_cache_costs_nothing(url):
    before = get(url, "/key")["data"]["usage"]
    answer = asked(url, "[cached]")
    assert answer.headers["x-openrouter-cache-status"] == "HIT"
    assert '"cost":0.0' in answer.text and get(url, "/key")["data"]["usage"] == before


def test_the_books_say_what_it_was(url):
    """Later, and whatever the response said."""
    ident = asked(url, "a [wrong] one").headers["x-generation-id"]
    for _ in range(SPEC["account_delay"]):
        get(url, f"/generation?id={ident}", 404)
    found = get(url, f"/generation?id={ident}")["data"]
    assert (found["native_tokens_prompt"], found["native_tokens_completion"]) == (3, 4)
    assert found["total_cost"] == 7 * 0.25 and found["provider_name"] in ("Alpha", "Beta")
    get(url, "/generation?id=none", 404)
    get(url, "/generation", 404)


def test_the_credit_ends(tmp_path):
    with inline_sim(tmp_path / "log", SPEC | {"credit_usd": 1.5}) as server:
        assert asked(server.url).status_code == 200  # 7 tokens: 1.75 USD
        key = get(server.url, "/key")["data"]
        assert (key["limit"], key["limit_remaining"], key["usage"]) == (1.5, -0.25, 1.75)
        refused = asked(server.url)
        assert refused.status_code == 402 and refused.json()["error"]["code"] == 402


def test_other_dialects_have_none_of_it(tmp_path):
    with inline_sim(tmp_path / "log", {"dialect": "vllm", "ttft": 1, "gap": 0}) as server:
        get(server.url, "/key", 404)
        get(server.url, "/generation?id=x", 404)
        (model,) = get(server.url, "/models")["data"]
        assert "canonical_slug" not in model
