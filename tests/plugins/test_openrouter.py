"""OpenRouter: routing, prices, what its responses have beside OpenAI's, and its books."""

from __future__ import annotations

import asyncio
import json
import re
from decimal import Decimal

import msgspec
import pytest
from harness_openrouter import caveats
from harness_openrouter.accounts import account_of, generation_id
from harness_openrouter.backend import OpenRouterBackend, _Offer
from harness_openrouter.catalog import (
    amount,
    dearest,
    endpoints_in,
    key_facts,
    listed_model,
    low_credit,
    price_of,
)
from harness_openrouter.decode import served_by
from harness_openrouter.options import OpenRouterOptions
from harness_openrouter.refusals import wait_s
from harness_openrouter.routing import pinned_endpoint, provider_field, unsupported
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from harness.errors import BackendError, SpecError
from harness.protocols import BackendConfig, ListsModels, Reconciles, Retries
from harness.schema import (
    CallError,
    CallRecord,
    Cost,
    Effective,
    Instants,
    Request,
    TimeoutsSpec,
    TrialRecord,
    Usage,
)
from harness.testing import BackendContract, Piece, record_from, respond

KEY = "sk-or-v1-0123456789abcdef"
TIMEOUTS = TimeoutsSpec(connect_s=5, first_byte_s=5)


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)


def made(model="a/m", url=None, **options):
    return OpenRouterBackend(
        BackendConfig(
            model=model,
            urls=(url,) if url else (),
            options=OpenRouterOptions(**options),
            timeouts=TIMEOUTS,
            seed=0,
        )
    )


def event(**fields):
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def stream(*events, head=()):
    pieces = respond([b": OPENROUTER PROCESSING\n\n", *events])
    first = pieces[0].data.removesuffix(b"\r\n") + b"".join(line + b"\r\n" for line in head)
    return [Piece(first + b"\r\n"), *pieces[1:]]


def delta(text, finish=None):
    return {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": finish}


def decoded(pieces, **how):
    return made(**how).decode(Request(prompt="x"), record_from(pieces, framing_hint="sse"))


GOOD = [
    event(id="gen-1", provider="Alpha", choices=[delta("Hel")]),
    event(id="gen-1", provider="Alpha", choices=[delta("lo", "stop")]),
]


def usage(cost="0.000123", **more):
    """With the cost as the service writes it."""
    said = {"prompt_tokens": 9, "completion_tokens": 2, "cost": "@", **more}
    return event(id="gen-1", choices=[], usage=said).replace(b'"@"', cost.encode())


class TestContract(BackendContract):
    good_text = "Hello"
    good_tokens = 2

    def backend(self):
        return made(provider="alpha")

    def good(self):
        return stream(*GOOD, usage(), b"data: [DONE]\n\n", head=[b"X-Generation-Id: gen-1"])


def test_it_lists_models_retries_and_reconciles():
    backend = made(provider="alpha")
    assert all(isinstance(backend, one) for one in (ListsModels, Retries, Reconciles))


# ---------------------------------------------------------------------------------------- requests


def test_headers_and_the_key():
    backend = made(provider="alpha", title="A benchmark", http_referer="https://example.org")
    sent = dict(backend.prepare(Request(prompt="x")).headers)
    assert sent["Authorization"] == f"Bearer {KEY}"
    assert sent["X-OpenRouter-Metadata"] == "enabled" and sent["X-OpenRouter-Cache"] == "false"
    assert sent["X-OpenRouter-Title"] == "A benchmark"
    assert sent["HTTP-Referer"] == "https://example.org"
    plain = dict(made(provider="alpha").prepare(Request(prompt="x")).headers)
    assert not {"X-OpenRouter-Title", "HTTP-Referer"} & set(plain)


@pytest.mark.parametrize(
    "options",
    [
        {"provider": "alpha", "sort": "price"},
        {"order": ("alpha",)},
        {"provider": "alpha", "allow_fallbacks": True},
        {"provider": "any", "extra": {"provider": {"only": ["x"]}}},
        {"provider": "any", "extra": {"models": ["a", "b"]}},
        {"provider": ""},
    ],
)
def test_options_that_contradict_each_other_are_refused(options):
    with pytest.raises(ValueError, match=r"provider|extra"):
        OpenRouterOptions(**options)


@pytest.mark.parametrize("model", ["a/m:nitro", "a/m:floor", "@preset/mine"])
def test_models_that_choose_a_provider_themselves_are_refused_when_one_is_pinned(model):
    with pytest.raises(SpecError, match=r"provider|preset"):
        made(model=model, provider="alpha")


# ----------------------------------------------------------------------------------------- routing

PRICES = {"prompt": "0.00000015", "completion": "0.0000006", "request": "0"}
SUPPORTED = ["temperature", "max_tokens", "seed"]


def listed(*tags, **fields):
    return endpoints_in(
        {
            "endpoints": [
                {
                    "tag": tag,
                    "provider_name": tag.partition("/")[0].title() + " AI",
                    "quantization": tag.partition("/")[2] or "unknown",
                    "pricing": PRICES,
                    "supported_parameters": SUPPORTED,
                    **fields,
                }
                for tag in tags
            ]
        }
    )


def pin(*tags, **options):
    options = OpenRouterOptions(**options)
    return pinned_endpoint(listed(*tags), options, "a/m", "https://x"), options


@pytest.mark.parametrize("name", ["alpha/fp8", "ALPHA/FP8", "alpha", "Alpha AI", "alpha-ai"])
def test_one_provider_is_pinned_by_slug_or_name(name):
    found, options = pin("alpha/fp8", "beta", provider=name)
    assert provider_field(options, found) == {
        "require_parameters": True,
        "only": ["alpha/fp8"],
        "allow_fallbacks": False,
        "quantizations": ["fp8"],
    }


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, r"alpha/fp8, alpha/bf16, beta.*-o provider=alpha/fp8, or -o provider=any"),
        ({"provider": "gamma"}, r"'gamma'.*served by alpha/fp8"),
        ({"provider": "alpha"}, r"2 ways: alpha/fp8 \(fp8\), alpha/bf16"),
        ({"provider": "beta", "quantizations": ("fp4",)}, "does not serve it as fp4"),
    ],
)
def test_what_does_not_name_one_way_is_refused_with_those_there_are(options, says):
    with pytest.raises(BackendError, match=says):
        pin("alpha/fp8", "alpha/bf16", "beta", **options)


def test_a_quantisation_tells_two_ways_apart():
    found, options = pin("alpha/fp8", "alpha/bf16", provider="alpha", quantizations=("bf16",))
    assert found.tag == "alpha/bf16"
    assert provider_field(options, found)["quantizations"] == ["bf16"]


def test_any_provider_is_what_the_options_leave():
    found, options = pin(
        *("alpha", "beta"), provider="any", order=("beta",), sort="price", zdr=True,
        max_price={"prompt": 1.0},
    )  # fmt: skip
    assert found is None
    assert provider_field(options, None) == {
        "require_parameters": True,
        "zdr": True,
        "max_price": {"prompt": 1.0},
        "order": ["beta"],
        "sort": "price",
    }


def test_options_that_no_provider_supports_are_named():
    options = OpenRouterOptions(provider="a", temperature=0.0, top_k=4, timings=True, logprobs=True)
    assert unsupported(options, listed("alpha")) == ["timings", "top_k", "logprobs"]
    silent = listed("alpha", supported_parameters=None)
    assert unsupported(options, silent) == ["timings"], "it does not say what it supports"


# ------------------------------------------------------------------------------------------ prices


def test_a_price_is_exact_and_dated():
    price = price_of(PRICES, "a/m", date="2026-11-20", source="there")
    assert (price.input_usd_per_token, price.output_usd_per_token) == ("0.00000015", "0.0000006")
    assert (price.backend, price.model, price.date) == ("openrouter", "a/m", "2026-11-20")
    assert price_of({"prompt": "-1", "completion": "-1"}, "auto", date="", source="") is None
    assert price_of({}, "a/m", date="", source="") is None


def test_the_dearest_of_several_is_what_a_call_may_cost():
    cheap, dear = listed("alpha")[0], listed("beta")[0]
    dear = replace(dear, pricing={"prompt": "0.000002", "completion": "0.0000001"})
    assert dearest([cheap, dear])["prompt"] == "0.000002"
    assert dearest([cheap, dear])["completion"] == "0.0000006"


@given(st.one_of(st.text(), st.integers(), st.none(), st.booleans(), st.floats()))
def test_an_amount_is_one_or_nothing(value):
    found = amount(value)
    assert found is None or (found >= 0 and len(format(found, "f")) < 120)


@pytest.mark.parametrize("text", ["1e999999", "nan", "inf", "-1", "", "1" * 100, "1e-500"])
def test_no_amounts(text):
    assert amount(text) is None


def test_the_key_is_not_told_by_its_account():
    data = {"label": "sk-or-v1-012...cdef", "limit": 5, "limit_remaining": 0.25, "usage": 4.75}
    facts = key_facts(data)
    assert facts == {"limit": 5, "limit_remaining": 0.25, "usage": 4.75}
    assert "0.25 USD" in low_credit(facts)
    assert low_credit({"limit_remaining": -1}) and not low_credit({"limit_remaining": 4})
    assert not low_credit({}) and key_facts(None) == {}


@pytest.mark.parametrize(
    ("model", "listed_as", "canonical", "sent"),
    [
        ("a/m", "a/m", "a/m-2026", "a/m-2026"),
        ("a/m-2026", "a/m", "a/m-2026", "a/m-2026"),
        ("a/m:free", "a/m:free", "a/m-2026", "a/m-2026:free"),
        ("a/m:free", "a/m:free", "a/m-2026:free", "a/m-2026:free"),
        ("a/m:nitro", "a/m", "a/m-2026", "a/m-2026:nitro"),
        ("a/m", "a/m", None, "a/m"),
    ],
)
def test_the_name_that_never_changes(model, listed_as, canonical, sent):
    entries = [{"id": "other"}, {"id": listed_as, "canonical_slug": canonical}]
    found = listed_model(entries, model)
    assert found.name == listed_as and found.sent_as(canonical=True) == sent
    assert found.sent_as(canonical=False) == model or model == canonical
    assert listed_model(entries, "none") is None


# --------------------------------------------------------------------------------------- responses


def test_what_a_good_response_says():
    metadata = {"strategy": "direct", "attempt": 1}
    last = event(
        id="gen-1",
        choices=[],
        usage={"prompt_tokens": 9, "completion_tokens": 2, "cost": "@",
               "prompt_tokens_details": {"cached_tokens": 3},
               "completion_tokens_details": {"reasoning_tokens": 1}},
        openrouter_metadata=metadata,
    ).replace(b'"@"', b"1.2345678901234567e-05")  # fmt: skip
    found = decoded(stream(*GOOD, last, b"data: [DONE]\n\n", head=[b"x-generation-id: gen-1"]))
    assert found.error is None and found.text == "Hello" and found.end == "body"
    assert found.cost_usd == "0.000012345678901234567", "digit for digit"
    assert found.usage == Usage(
        prompt_tokens=9, cached_tokens=3, output_tokens=2, reasoning_tokens=1
    )
    assert found.server["openrouter_metadata"] == metadata and served_by(found.server) == "Alpha"
    assert found.server["headers"] == {"x-generation-id": "gen-1"}


@pytest.mark.parametrize(
    ("cost", "expected"),
    [("0", "0"), ("1", "1"), ("0.5", "0.5"), ("null", None), ('"x"', None), ("-1", None),
     ("1e999", None), ("true", None)],
)  # fmt: skip
def test_costs(cost, expected):
    assert decoded(stream(*GOOD, usage(cost))).cost_usd == expected


def test_a_key_of_ones_own_is_paid_at_its_provider():
    details = {"upstream_inference_cost": 0.25}
    own = usage("0.01", is_byok=True, cost_details=details)
    assert decoded(stream(*GOOD, own)).cost_usd == "0.26"
    assert decoded(stream(*GOOD, usage("0.01", cost_details=details))).cost_usd == "0.01"


def test_the_provider_by_the_metadata_alone():
    available = [{"provider": "Alpha"}, {"provider": "Beta", "selected": True}]
    assert served_by({"openrouter_metadata": {"endpoints": {"available": available}}}) == "Beta"
    for odd in ({}, {"provider": 3}, {"openrouter_metadata": []}, {"openrouter_metadata": {}}):
        assert served_by(odd) is None


def test_reasoning_in_both_forms():
    pieces = [{"type": "reasoning.text", "text": "hm"}]
    both = {"index": 0, "delta": {"content": "", "reasoning": "hm", "reasoning_details": pieces}}
    apart = {"index": 0, "delta": {"content": "", "reasoning_details": pieces}}
    found = decoded(stream(event(choices=[both]), event(choices=[apart]), *GOOD))
    assert found.reasoning == "hmhm" and found.text == "Hello"


def test_a_replayed_answer_is_no_sample():
    found = decoded(stream(*GOOD, usage("0"), head=[b"X-OpenRouter-Cache-Status: HIT"]))
    assert found.error.code == "cache_hit"
    missed = decoded(stream(*GOOD, usage("0"), head=[b"X-OpenRouter-Cache-Status: MISS"]))
    assert missed.error is None


@pytest.mark.parametrize("code", [502, "server_error", "429", None])
def test_an_error_in_mid_stream(code):
    last = event(
        id="gen-1",
        error={"code": code, "message": "Provider disconnected", "metadata": {"error_type": "up"}},
        choices=[delta("", "error")],
    )
    found = decoded(stream(GOOD[0], last))
    assert found.error.code == "stream" and "Provider disconnected" in found.error.message
    assert "error_type: up" in found.error.message and found.text == "Hel"
    assert found.cost_usd is None and found.end is None
    assert ("another -o provider" in found.error.message) == (code == 502)


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (400, "try: the message names the field"),
        (401, r"\$OPENROUTER_API_KEY"),
        (402, "add credit"),
        (403, "moderation"),
        (404, "no provider is left"),
        (408, "took too long"),
        (429, "a lower --rate"),
        (502, "the provider failed"),
        (503, "no provider that the routing allows"),
    ],
)
def test_every_refusal_says_what_to_try(status, says):
    body = json.dumps({"error": {"code": status, "message": f"no, with {KEY}"}}).encode()
    found = decoded(respond([body], status=status, content_type="application/json"))
    assert found.error.code == f"http.{status}"
    text = found.error.message
    assert "no, with" in text and KEY not in text
    assert re.search(says, text)


def test_limits_and_the_provider_that_refused_are_told():
    error = {
        "code": 429,
        "message": "Provider returned error",
        "metadata": {"provider_name": "Alpha", "raw": "busy"},
    }
    pieces = respond([json.dumps({"error": error}).encode()], status=429)
    head = pieces[0].data.removesuffix(b"\r\n") + (
        b"Retry-After: 7\r\nX-RateLimit-Limit: 20\r\nX-RateLimit-Remaining: 0\r\n"
        b"X-RateLimit-Reset: 1741305600000\r\n\r\n"
    )
    found = decoded([Piece(head), *pieces[1:]], model="a/m:free")
    for part in ("provider_name: Alpha", "raw: busy", "limit 20", "retry after 7 s", "20 requests"):
        assert part in found.error.message
    assert found.server["headers"] == {
        "retry-after": "7",
        "x-ratelimit-limit": "20",
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": "1741305600000",
    }


@given(st.binary(max_size=300))
def test_any_head_is_survived(noise):
    head = b"HTTP/1.1 200 OK\r\n" + noise.replace(b"\r", b"").replace(b"\n", b"")
    found = decoded([Piece(head + b"\r\n\r\n"), Piece(b'data: {"usage":{"cost":1.5}}\n\n')])
    assert len(found.kinds) <= 1


# ---------------------------------------------------------------------------------- trying again


def call(status="error", code="http.429", **fields):
    server = {"headers": fields.pop("headers", {}), **fields.pop("server", {})}
    values = {
        "call_id": "0000.m0.00000", "arm": "a", "cell": "", "trial": 0, "iteration": 0,
        "phase": "measured", "status": status, "server": server,
        "error": CallError(code=code) if status != "ok" else None,
        "instants": Instants(due_ns=1, closed_ns=10_000_000_000),
        "realtime_offset_ns": 1_000_000_000_000, **fields,
    }  # fmt: skip
    return CallRecord(**values)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (call(headers={"retry-after": "7"}), 7.0),
        (call(headers={"retry-after": "0"}), 0.0),
        (call(headers={"retry-after": "3600"}), None),
        (call(headers={"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}), 1.0),
        (call(headers={"retry-after": "nan"}), 1.0),
        (call(headers={"x-ratelimit-reset": "1014000"}), 4.0),
        (call(headers={"x-ratelimit-reset": "1000"}), 1.0),  # over: a clock is wrong, or its unit
        (call(headers={"x-ratelimit-reset": "9014000"}), None),
        (call(), 1.0),
        (call(attempts=2), 2.0),
        (call(attempts=3), None),
        (call(code="http.503"), 1.0),
        (call(code="http.402"), None),
        (call(code="stream"), None),
        (call(content_chunks=1), None),
        (call(status="ok"), None),
    ],
)
def test_how_long_to_wait(record, expected):
    assert wait_s(record, retries=2, most_s=60.0) == expected


# ------------------------------------------------------------------------------------- its books

DATA = {
    "id": "gen-1",
    "native_tokens_prompt": 9,
    "native_tokens_completion": 2,
    "native_tokens_reasoning": 0,
    "native_tokens_cached": 0,
    "total_cost": "0.000123",
    "provider_name": "Alpha",
    "latency": 40,
}
PAID = call(
    status="ok",
    usage=Usage(prompt_tokens=9, output_tokens=2, cached_tokens=0, reasoning_tokens=0),
    cost=Cost(usd="0.000123", source="provider"),
)


def test_books_that_agree():
    found = account_of(PAID, DATA)
    assert found.disagrees == {} and found.facts["provider_name"] == "Alpha"
    near = account_of(PAID, DATA | {"total_cost": "0.0001230001"})
    assert near.disagrees == {}
    apart = replace(PAID, usage=replace(PAID.usage, output_tokens=5, reasoning_tokens=3))
    assert account_of(apart, DATA | {"native_tokens_reasoning": 3}).disagrees == {}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"native_tokens_prompt": 10}, "prompt_tokens"),
        ({"native_tokens_completion": 3}, "output_tokens"),
        ({"native_tokens_cached": 9}, "cached_tokens"),
        ({"total_cost": "0.000124"}, "cost_usd"),
    ],
)
def test_books_that_do_not(change, name):
    assert list(account_of(PAID, DATA | change).disagrees) == [name]


def test_what_is_unknown_to_either_is_no_difference():
    assert account_of(PAID, {"native_tokens_prompt": "many", "total_cost": []}).disagrees == {}
    table = replace(PAID, usage=Usage(), cost=Cost(usd="9", source="table"))
    assert account_of(table, DATA).disagrees == {}


def test_which_generation_a_call_was():
    assert generation_id(call(headers={"x-generation-id": "gen-2"}, server={"id": "c"})) == "gen-2"
    assert generation_id(call(server={"id": "gen-1"})) == "gen-1"
    assert generation_id(call(server={"id": 5})) is None
    assert generation_id(call(server={"id": "x" * 999})) is None


# ---------------------------------------------------------------------------------------- caveats


def found_in(routing, *names):
    trial = TrialRecord(
        arm="a", cell="", trial=0, status="ok", start_ns=0, end_ns=1,
        effective=Effective(server="openrouter", details={"routing": routing}),
    )  # fmt: skip
    calls = [call(status="ok", server={"provider": name}) for name in names]

    class Run:
        def records(self):
            return [*calls, trial]

    return caveats.find_caveats(Run())


def test_who_served():
    pinned = {"pinned": "alpha/fp8", "provider": "Alpha"}
    assert found_in(pinned, "Alpha", "alpha") is None
    (other,) = found_in(pinned, "Alpha", "Beta")
    assert other.code == "provider-mismatch" and other.severity == "doubtful"
    assert other.evidence["served"] == {"Alpha": 1, "Beta": 1}
    unlisted = {"pinned": "alpha", "provider": None}
    assert found_in(unlisted, "Alpha Cloud") is None, "nobody knows by which name it answers"
    (unpinned,) = found_in({"pinned": None}, "Alpha", "Beta", "Beta")
    assert unpinned.code == "provider-not-pinned" and "Beta (2), Alpha (1)" in unpinned.message


# ------------------------------------------------------------------------- against the truth server


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    from tests.sim.servers import inline_sim

    spec = {
        "dialect": "openrouter", "model": "sim/tiny", "ttft": 1, "gap": 0,
        "providers": ["alpha/fp8", "alpha/bf16", "beta"], "credit_usd": 0.5, "account_delay": 1,
    }  # fmt: skip
    with inline_sim(tmp_path_factory.mktemp("openrouter") / "log", spec) as server:
        yield f"{server.url}/api/v1"


def opened(url, **how):
    backend = made(url=url, **{"model": "sim/tiny", **how})

    async def main():
        await backend.open()
        return await backend.effective(), await backend.effective()

    return backend, *asyncio.run(main())


def test_what_it_says_of_itself(service, caplog):
    backend, first, again = opened(service, provider="alpha/fp8", temperature=0.5)
    assert "0.5 USD more" in caplog.text
    assert first.model == backend.model == "sim/tiny-20260101" and first.quantization == "fp8"
    assert (first.server, first.location, first.context_length) == ("openrouter", "api", 4096)
    assert first.simulated and first.options["provider"]["only"] == ["alpha/fp8"]
    assert first.price.input_usd_per_token == "0.000001"
    assert first.price.source == f"{service}/models/sim/tiny/endpoints"
    assert first.details["routing"]["provider"] == "Alpha"
    assert first.details["key"]["limit_remaining"] == 0.5
    assert replace(again, price=first.price) == first, "a second reading of the same is the same"
    body = json.loads(backend.prepare(Request(prompt="x", max_tokens=4)).body)
    assert body["model"] == "sim/tiny-20260101" and body["provider"]["only"] == ["alpha/fp8"]
    assert "stream_options" not in body
    assert KEY not in str(msgspec.to_builtins(first))


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"model": "sim/tin", "provider": "beta"}, "no model 'sim/tin'.*--model sim/tiny"),
        ({"model": None, "provider": "beta"}, "no model is named"),
        ({}, "no provider is named.*alpha/fp8"),
        ({"provider": "alpha"}, "2 ways"),
        ({"provider": "beta", "min_p": 0.1}, "not supported by Beta: min_p"),
        ({"provider": "beta", "api_key_env": "NO_SUCH_KEY"}, r"no key in \$NO_SUCH_KEY"),
    ],
)
def test_what_it_refuses_to_begin(service, how, says):
    with pytest.raises(BackendError, match=says):
        opened(service, **how)


def test_whatever_the_service_lists_its_account_can_be_stored():
    """Numbers of JSON have no bounds, those of a record have."""
    entry = {"id": "sim/tiny", "context_length": 10**40, "created": 10**30, "pricing": [10**30]}
    backend = made(provider="beta")
    backend._offer = _Offer(
        model=listed_model([entry], "sim/tiny"), endpoints=[], pinned=None, key={"limit": 10**30}
    )
    found = asyncio.run(backend.effective())
    assert found.context_length is None and "context_length" in found.unknown
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=type(found)) == found


def test_options_that_are_dropped_are_not_effective(service):
    _, first, _ = opened(service, provider="any", min_p=0.1, require_parameters=False)
    assert "min_p" in first.not_effective and first.details["routing"]["pinned"] is None
    assert first.quantization is None and "dearest" in first.price.source


def test_books_are_asked_until_they_know(service, monkeypatch):
    from harness_openrouter import accounts

    from tests.sim.servers import post

    monkeypatch.setattr(accounts, "PAUSES_S", (0.0, 0.0))
    body = {"model": "sim/tiny", "stream": True, "max_tokens": 2,
            "messages": [{"role": "user", "content": "one two"}]}  # fmt: skip
    answer = post(service, "/chat/completions", body)
    known = replace(PAID, server={"id": answer.headers["x-generation-id"]})
    never = replace(PAID, call_id="n", server={"id": "gen-none"})
    unnamed = replace(PAID, call_id="u", server={})
    backend = made(url=service, provider="beta")
    found = asyncio.run(backend.reconcile([known, never, unnamed]))
    assert [one.call_id for one in found] == ["0000.m0.00000", "n", "u"]
    assert found[0].facts["native_tokens_completion"] == 2
    assert set(found[0].disagrees) == {"prompt_tokens", "cost_usd"}
    assert "did not know it" in found[1].unknown and "names no generation" in found[2].unknown
    assert Decimal(found[0].facts["total_cost"]) == Decimal("0.000004")
