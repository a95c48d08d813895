"""What each server's stream looks like, row by row of the reference, over real sockets."""

from __future__ import annotations

import contextlib
import json

import httpx
import pytest

from harness.testing.sim.log import read_log
from tests.sim.servers import chat, events, inline_sim, post

USAGE = {"stream_options": {"include_usage": True}}
CONTINUOUS = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """dialect → url; each is started, in this process, when it is first asked for."""
    root = tmp_path_factory.mktemp("dialects")
    with contextlib.ExitStack() as stack:
        urls = {}

        def url(dialect, **fields):
            key = repr((dialect, fields))
            if key not in urls:
                spec = {"dialect": dialect, "ttft": 2, "gap": 1, **fields}
                urls[key] = stack.enter_context(inline_sim(root / str(len(urls)), spec)).url
            return urls[key]

        yield url


def deltas(found):
    return [e["choices"][0]["delta"] for e in found if e != "[DONE]" and e.get("choices")]


def finish(found):
    return next(
        e["choices"][0]
        for e in found
        if e != "[DONE]" and e.get("choices") and e["choices"][0]["finish_reason"]
    )


def usages(found):
    return [e["usage"] for e in found if e != "[DONE]" and e.get("usage")]


def test_who_it_is(servers):
    url = servers("vllm")

    def get(path):
        return httpx.get(url + path, trust_env=False)

    (model,) = get("/v1/models").json()["data"]
    assert model["owned_by"] == "harness-sim" and model["id"] == "sim"
    assert get("/api/version").json()["version"].startswith("harness-sim ")
    assert get("/api/tags").json()["models"][0]["name"] == "sim:latest"
    assert get("/").text == "Ollama is running"
    assert get("/v1/models").headers["server"].startswith("harness-sim/")
    assert get("/nowhere").status_code == 404
    assert post(url, "/api/show", {"model": "sim"}).json()["model_info"]
    assert post(url, "/api/show", {"model": "other"}).status_code == 404
    pulled = post(url, "/api/pull", {"model": "sim"}).text.splitlines()
    assert json.loads(pulled[-1]) == {"status": "success"}
    (failed,) = post(url, "/api/pull", {"model": "other"}).text.splitlines()
    assert "does not exist" in json.loads(failed)["error"]


def test_ollama_chat(servers):
    lines = chat(servers("openai"), tokens=3)
    assert [line["done"] for line in lines] == [False, False, False, True]
    last = lines[-1]
    assert last["eval_count"] == 3 and last["prompt_eval_count"] == 3
    assert last["eval_duration"] == 2_000_000 and last["prompt_eval_duration"] == 2_000_000
    assert last["total_duration"] == 4_000_000
    one = chat(servers("openai"), tokens=1)[-1]
    assert "eval_duration" not in one, "a zero is left out"


def test_ollama_generate(servers):
    body = {"model": "sim:latest", "prompt": "a b", "options": {"num_predict": 2}}
    answer = post(servers("openai"), "/api/generate", body)
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert all("response" in line for line in lines)
    assert len(lines[-1]["context"]) == 4 and "context" not in lines[0]
    whole = post(servers("openai"), "/api/generate", body | {"stream": False}).json()
    assert whole["done"] and len(whole["response"].split()) == 2
    assert whole["context"][:2] == lines[-1]["context"][:2], "equal words, equal numbers"
    raw = post(servers("openai"), "/api/generate", body | {"raw": True, "stream": False})
    assert "context" not in raw.json()


def test_ollama_thinking(servers):
    lines = chat(servers("openai", reasoning_tokens=2), tokens=3)
    assert [("thinking" in line["message"]) for line in lines] == [True, True, False, False]
    lines = chat(servers("openai", reasoning_tokens=2), tokens=3, think=False)
    assert not any("thinking" in line["message"] for line in lines) and len(lines) == 4
    body = {"model": "sim", "messages": [{"role": "user", "content": "x"}], "think": "high"}
    refused = post(servers("openai"), "/api/chat", body)
    assert refused.status_code == 400 and "does not support thinking" in refused.json()["error"]


@pytest.mark.parametrize(
    ("dialect", "role", "done"),
    [
        ("openai", {"role": "assistant", "content": ""}, True),
        ("vllm", {"role": "assistant", "content": ""}, True),
        ("sglang", {"role": "assistant", "content": ""}, True),
        ("llamacpp", {"role": "assistant", "content": None}, True),
        ("transformers", {"role": "assistant", "content": ""}, False),
        ("ollama", None, True),
        ("openrouter", None, True),
        ("deepseek", {"role": "assistant", "content": ""}, True),
    ],
)
def test_first_and_last(servers, dialect, role, done):
    found = events(servers(dialect), tokens=3)
    first = deltas(found)[0]
    assert (first == role) if role else first["content"]
    assert (found[-1] == "[DONE]") is done
    assert finish(found)["finish_reason"] == "length"
    assert "".join(d.get("content") or "" for d in deltas(found)).split()


@pytest.mark.parametrize("dialect", ["openai", "vllm", "sglang", "llamacpp", "ollama", "deepseek"])
def test_usage_on_request_in_a_chunk_of_its_own(servers, dialect):
    url = servers(dialect)
    assert usages(events(url)) == []
    (usage,) = usages(events(url, tokens=4, **USAGE))
    counts = (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"])
    assert counts == (3, 4, 7)
    last = [e for e in events(url, **USAGE) if e != "[DONE]"][-1]
    assert last["choices"] == []


def test_usage_elsewhere(servers):
    found = events(servers("transformers"), tokens=4)
    (usage,) = usages(found)
    assert usage["completion_tokens"] == 4
    with_usage = next(e for e in found if e.get("usage"))
    assert with_usage["choices"][0]["finish_reason"], "on the finish chunk itself"
    (usage,) = usages(events(servers("openrouter"), tokens=4))
    assert usage["cost"] == pytest.approx(7e-6)
    details = {"cached_tokens": 0, "cache_write_tokens": 0, "audio_tokens": 0}
    assert usage["prompt_tokens_details"] == details
    (usage,) = usages(events(servers("deepseek"), tokens=4, **USAGE))
    assert usage["prompt_cache_miss_tokens"] == 3


def test_openai_pads_its_frames_and_says_where_there_is_no_usage(servers):
    url = servers("openai")
    found = [e for e in events(url, tokens=30, **USAGE) if e != "[DONE]"]
    content = [e for e in found if e["choices"] and e["choices"][0]["delta"].get("content")]
    lengths = {len(e["choices"][0]["delta"]["content"] + e["obfuscation"]) % 16 for e in content}
    assert lengths == {0}, "the size of a frame does not tell the length of its token"
    assert [e["usage"] for e in found[:-1]] == [None] * (len(found) - 1) and found[-1]["usage"]
    plain = events(url, stream_options={"include_obfuscation": False})
    assert not any("obfuscation" in e or "usage" in e for e in plain if e != "[DONE]")


@pytest.mark.parametrize(
    ("dialect", "asked", "tokens"),
    [
        ("vllm", {}, 3),
        ("vllm", {"ignore_eos": True}, 9),
        ("vllm", {"min_tokens": 5}, 5),
        ("sglang", {"ignore_eos": True, "min_tokens": 2}, 9),
        ("llamacpp", {"ignore_eos": True}, 9),
        ("llamacpp", {"min_tokens": 5}, 3),
        ("openai", {"ignore_eos": True, "min_tokens": 5}, 3),
    ],
)
def test_where_a_model_must_not_end_by_itself(servers, dialect, asked, tokens):
    found = events(servers(dialect, stop_after=3), tokens=9, **asked)
    assert len("".join(d.get("content") or "" for d in deltas(found)).split()) == tokens
    assert finish(found)["finish_reason"] == ("length" if tokens == 9 else "stop")


@pytest.mark.parametrize("dialect", ["vllm", "sglang"])
def test_continuous_usage(servers, dialect):
    found = usages(events(servers(dialect), tokens=3, **CONTINUOUS))
    # On every frame: the role, three with content, the finish, and the one of its own.
    assert [usage["completion_tokens"] for usage in found] == [0, 1, 2, 3, 3, 3]
    assert [usage["total_tokens"] for usage in found] == [3, 4, 5, 6, 6, 6]


def test_llamacpp_timings(servers):
    url = servers("llamacpp")
    found = events(url, tokens=3, timings_per_token=True, **USAGE)
    timed = [e["timings"] for e in found if e != "[DONE]" and "timings" in e]
    assert [t["predicted_n"] for t in timed] == [1, 2, 3, 3]
    assert timed[-1]["predicted_ms"] == 2.0 and timed[-1]["prompt_n"] == 3
    last = [e for e in events(url, tokens=3) if e != "[DONE]"][-1]
    assert last["timings"]["predicted_n"] == 3 and last["choices"], "without usage: on the finish"


@pytest.mark.parametrize(
    ("dialect", "field"),
    [
        ("vllm", "reasoning"),
        ("sglang", "reasoning_content"),
        ("llamacpp", "reasoning_content"),
        ("transformers", "reasoning_content"),
        ("ollama", "reasoning"),
        ("openrouter", "reasoning"),
        ("deepseek", "reasoning_content"),
    ],
)
def test_reasoning(servers, dialect, field):
    found = deltas(events(servers(dialect, reasoning_tokens=2), tokens=3))
    assert len([d for d in found if d.get(field)]) == 2
    assert len([d for d in found if d.get("content")]) == 1
    if dialect == "openrouter":
        assert found[0]["reasoning_details"][0]["text"]


def test_cached_tokens_are_shown_where_the_server_is_told_to(servers):
    url = servers("vllm", prompt_cache=True, cached_tokens_shown=True)
    found = [usages(events(url, text="a b c d", **USAGE))[0] for _ in range(2)]
    assert [u["prompt_tokens_details"]["cached_tokens"] for u in found] == [0, 3]


def test_comments_while_there_is_nothing_to_say(servers):
    body = {"model": "sim", "stream": True, "messages": [{"role": "user", "content": "x"}]}
    answer = post(servers("openrouter"), "/api/v1/chat/completions", body)
    assert answer.text.startswith(": OPENROUTER PROCESSING\n\n")
    assert answer.headers["x-generation-id"].startswith("chatcmpl-sim-")
    answer = post(servers("deepseek"), "/v1/chat/completions", body)
    assert answer.text.startswith(": keep-alive\n\n")


def test_completions_and_whole_answers(servers):
    url = servers("vllm")
    found = events(url, path="/v1/completions", tokens=2)
    assert found[0]["object"] == "text_completion" and found[0]["choices"][0]["text"]
    body = {"model": "sim", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2}
    whole = post(url, "/v1/chat/completions", body).json()
    assert whole["object"] == "chat.completion" and whole["usage"]["completion_tokens"] == 2
    assert len(whole["choices"][0]["message"]["content"].split()) == 2


@pytest.mark.parametrize(
    ("dialect", "shape"),
    [
        ("openai", lambda e: e[-1]["error"]["message"]),
        ("vllm", lambda e: e[-1] == "[DONE]" and e[-2]["error"]["message"]),
        ("sglang", lambda e: e[-1] == "[DONE]" and e[-2]["object"] == "error"),
        ("llamacpp", lambda e: e[-1]["error"]["code"] == 500),
        ("transformers", lambda e: isinstance(e[-1]["error"], str)),
        (
            "ollama",
            lambda e: "error" not in e[-1] and e[-1]["choices"][0]["delta"]["content"] == "",
        ),
        ("openrouter", lambda e: e[-1]["choices"][0]["finish_reason"] == "error"),
        ("deepseek", lambda e: e[-1]["error"]["message"]),
    ],
)
def test_an_error_in_mid_stream(servers, dialect, shape):
    assert shape(events(servers(dialect, faults=["error_mid:1"])))


def test_mistakes_of_a_client(servers):
    url = servers("vllm")
    messages = [{"role": "user", "content": "x"}]
    for path, body, status in (
        ("/v1/chat/completions", {"model": "sim"}, 400),
        ("/v1/chat/completions", {"messages": messages}, 400),
        ("/v1/chat/completions", {"model": "sim", "messages": messages, "max_tokens": 10**9}, 400),
        ("/v1/chat/completions", {"model": "other", "messages": messages}, 404),
        ("/v1/completions", {"model": "sim", "prompt": 5}, 400),
        ("/api/chat", {"model": "other", "messages": messages}, 404),
    ):
        answer = post(url, path, body)
        assert answer.status_code == status, (path, body)
        assert answer.json()["error"]


def test_head_ahead_of_the_first_token_or_with_it(tmp_path):
    """llama.cpp's head goes out when the request's turn comes, Ollama's with the first line."""
    for dialect, kinds in (("llamacpp", [0, 1, 3, 3, 4, 4]), ("ollama", [3, 3, 4, 4])):
        spec = {"dialect": dialect, "ttft": 2, "gap": 1}
        with inline_sim(tmp_path / dialect, spec) as server:
            events(server.url, tokens=2)
        log = read_log(tmp_path / dialect)
        assert log.rows["kind"].tolist() == kinds
        assert log.end["sender"]["requests"] == 1
