"""prompt-truncated, prompt-cache, token-mismatch: fired by real faults, silent without them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from harness.engine import sealing
from harness.engine.prompts import facts_of
from harness.engine.token_checks import BUDGET_NS, CALLS_MAX, CallSample, check_tokens
from harness.schema import (
    ArmSpec,
    BackendSpec,
    ChunkKind,
    Message,
    Request,
    TokenCheck,
    Usage,
    ValiditySpec,
)
from harness.testing import ScriptedBackend
from tests.engine.faults import caveat_of, caveats, changed, clean, codes
from tests.engine.real_runs import measure, plugin, words
from tests.sim.servers import inline_sim
from tests.store import builders

relaxed = settings(max_examples=60, suppress_health_check=list(HealthCheck))
LLAMA = {"name": "llamacpp", "options": {"parallel": 1, "probe": False}}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Speaks both dialects, and knows prompts that it has seen."""
    spec = {"ttft": 0, "gap": 0, "dialect": "llamacpp", "prompt_cache": True}
    with inline_sim(tmp_path_factory.mktemp("sim"), spec) as running:
        yield running.url


def load_of(url, *, backend="ollama", requests=3, **more):
    return {
        "backend": {"name": backend, "url": url, **more.pop("backend_fields", {})},
        "scenario": {"name": "load", "options": {"max_tokens": 4} | more.pop("scenario", {})},
        "load": {"mode": "closed", "requests": requests},
        **more,
    }


# prompt-truncated, for real ----------------------------------------------------------------------


def arms(num_ctx):
    return {"short": {"backend": {"options": {"num_ctx": num_ctx}}}, "long": {}}


def test_ollama_cuts_prompts_in_silence_and_every_sign_shows_it(server):
    """600 words into a context of 128: the server keeps 4 + 62 of them, and says 200 OK."""
    long = load_of(server, scenario={"prompt_tokens": 600}, arms=arms(128))
    cut = measure(long, tokenizer=words)
    assert {c.usage.prompt_tokens for c in cut.calls if c.arm == "short"} == {66}
    caveat = cut.caveat("prompt-truncated")
    assert (caveat.arm, caveat.severity) == ("short", "doubtful")
    assert caveat.evidence["signs"] == {"counted": 3, "twins": 3, "dense": 3}
    assert caveat.evidence["prompt_tokens_counted"] == 600
    assert caveat.message.startswith("3 of 3 calls: the server counted fewer prompt tokens than")
    assert caveat.remedy.startswith("--set arms.short.backend.options.num_ctx=2048, or shorter")
    unknown = measure(long)  # nobody knows the tokenizer
    assert unknown.caveat("prompt-truncated").evidence["signs"] == {"twins": 3, "dense": 3}
    fits = measure(load_of(server, scenario={"prompt_tokens": 600}, arms=arms(1024)))
    assert fits.doubts == []
    checks = measure(load_of(server, scenario={"prompt_tokens": 60}), tokenizer=words)
    assert checks.doubts == []
    (measured,) = [i for i in checks.iterations if i.phase == "measured"]
    assert [c.prompt_counted for c in measured.token_checks] == [60] * 3
    assert [(c.output_counted, c.output_reported) for c in measured.token_checks] == [(4, 4)] * 3


def test_prompts_of_different_length_that_all_come_to_what_ollama_leaves(server):
    texts = [" ".join(["word"] * count) for count in (300, 390, 90)]
    raw = {
        "backend": {"name": "ollama", "url": server, "options": {"num_ctx": 256}},
        "scenario": {"name": "says", "options": {"texts": texts}},
    }
    cut = measure(raw).caveat("prompt-truncated")
    assert cut.evidence["signs"] == {"halved": 2}
    assert cut.evidence["prompt_tokens"] == 4 + 126
    assert cut.remedy.startswith("-o num_ctx=1024, or shorter")
    raw["scenario"]["options"]["texts"] = [texts[2], " ".join(["word"] * 128)]
    assert measure(raw).doubts == []


@pytest.mark.real_model
def test_llama_cpp_ends_an_output_that_its_context_cannot_hold():
    raw = load_of(None, backend="llamacpp", scenario={"prompt_tokens": 150, "max_tokens": 200})
    raw["backend"] = LLAMA | {"options": LLAMA["options"] | {"num_ctx": 256}}
    raw["iterations"] = {"warmup": 0}
    full = measure(raw).caveat("prompt-truncated")
    assert full.evidence["signs"] == {"full": 3}
    assert full.remedy.startswith("-o num_ctx=512")
    raw["scenario"]["options"]["max_tokens"] = 60
    assert measure(raw).doubts == []


# prompt-truncated, record by record --------------------------------------------------------------


def sent(records, index, *, arm="baseline", **changes):
    """The n-th measured call of an arm with another prompt."""
    places = [
        i
        for i, r in enumerate(records)
        if getattr(r, "call_id", None) and r.phase == "measured" and r.arm == arm
    ]
    made = list(records)
    made[places[index]] = replace(made[places[index]], **changes)
    return made


def in_context(records, tokens, **more):
    return [
        replace(r, effective=replace(r.effective, context_length=tokens, **more))
        if hasattr(r, "effective")
        else r
        for r in records
    ]


def usage(prompt, output=5, cached=None):
    return Usage(prompt_tokens=prompt, output_tokens=output, cached_tokens=cached)


@pytest.mark.parametrize(
    ("prompt", "output", "bound", "reason", "expected"),
    [
        (500, 13, 200, "length", True),  # more than there is: the beginning was dropped
        (500, 12, 200, "length", True),
        (500, 10, 200, "length", True),  # two places left, and the bound far off
        (500, 9, 200, "length", False),
        (500, 12, 12, "length", False),  # its own bound ended it
        (500, 12, 200, "stop", False),  # the model ended it
        (500, 12, None, "length", True),
        (20, 5, 5, "stop", False),
    ],
)
def test_a_full_context(prompt, output, bound, reason, expected):
    call = {"usage": usage(prompt, output), "max_tokens": bound, "finish_reason": reason}
    records = sent(in_context(clean(), 512), 0, chunks=builders.columns([1] * 5), **call)
    found = [c for c in caveats(records) if c.code == "prompt-truncated"]
    assert [c.evidence["signs"] for c in found if c.severity == "doubtful"] == (
        [{"full": 1}] if expected else []
    )
    unknown = [c.code for c in caveats(in_context(records, None))]
    assert "prompt-truncated" not in unknown


def test_a_bound_that_did_not_fit_and_was_not_reached_is_a_note():
    records = sent(in_context(clean(), 512), 0, usage=usage(500), max_tokens=13)
    caveat = caveat_of("prompt-truncated", records)
    assert (caveat.severity, caveat.evidence["calls"]) == ("note", 1)
    assert "(500 + 13 in 512 tokens); none went that far" in caveat.message
    fits = sent(in_context(clean(), 512), 0, usage=usage(500), max_tokens=12)
    assert "prompt-truncated" not in codes(fits)


@relaxed
@given(chars=st.integers(0, 100_000), tokens=st.integers(1, 100_000))
def test_density_needs_a_long_prompt_and_more_than_the_bound(chars, tokens):
    records = sent(in_context(clean(2), None), 0, prompt_chars=chars, usage=usage(tokens))
    dense = chars >= 2000 and chars > 10 * tokens
    assert ("prompt-truncated" in codes(records)) == dense


def test_only_ollama_cuts_to_half_of_the_context():
    halved = in_context(clean(), 512, server="ollama")
    for index, chars in ((0, 900), (1, 1500)):
        halved = sent(halved, index, prompt_chars=chars, usage=usage(260))
    assert caveat_of("prompt-truncated", halved).evidence["signs"] == {"halved": 2}
    for server in ("llama.cpp", None):
        other = in_context(halved, 512, server=server)
        assert "prompt-truncated" not in codes(other)


def test_text_of_any_script_is_not_dense():
    """Characters a token: 1 for Chinese, 4 for prose, 6.4 for the densest of 5,000 files."""
    for per_token in (0.5, 1, 4, 6.4, 9.9):
        records = sent(clean(), 0, prompt_chars=int(4000 * per_token), usage=usage(4000))
        assert "prompt-truncated" not in codes(in_context(records, None))
    strict = builders.spec(validity=ValiditySpec(chars_per_token_max=5))
    dense = sent(in_context(clean(), None), 0, prompt_chars=6000, usage=usage(1000))
    assert codes(dense, spec=strict)["prompt-truncated"] == "doubtful"


def test_equal_prompts_of_which_one_arm_counts_fewer_tokens():
    both = in_context(clean(), None)
    for arm, tokens in (("baseline", 1000), ("chimera", 900)):
        both = sent(both, 3, arm=arm, prompt_digest="d1", prompt_chars=100, usage=usage(tokens))
    assert "prompt-truncated" not in codes(both)  # a tenth less is the bound
    fewer = sent(both, 3, arm="chimera", prompt_digest="d1", usage=usage(899))
    caveat = caveat_of("prompt-truncated", fewer)
    assert (caveat.arm, caveat.evidence["signs"]) == ("chimera", {"twins": 1})
    other_model = [
        replace(r, effective=replace(r.effective, model="other:7b"))
        if hasattr(r, "effective") and r.arm == "chimera"
        else r
        for r in fewer
    ]
    assert "prompt-truncated" not in codes(other_model)
    quirk = in_context(fewer, None, server="ollama", server_version="0.30.0")
    assert "prompt-truncated" not in codes(quirk)  # it counts what its cache lacks
    fixed = in_context(fewer, None, server="ollama", server_version="0.30.1")
    assert "prompt-truncated" in codes(fixed)


def test_short_prompts_may_differ_by_a_template():
    both = in_context(clean(), None)
    for arm, tokens in (("baseline", 84), ("chimera", 20)):
        both = sent(both, 3, arm=arm, prompt_digest="d1", prompt_chars=100, usage=usage(tokens))
    assert "prompt-truncated" not in codes(both)


def checked(records, *checks):
    return changed(records, "iteration", 0, token_checks=tuple(checks))


@pytest.mark.parametrize(
    ("counted", "reported", "expected"),
    [(1000, 1040, False), (1000, 900, False), (1000, 899, True), (30, 22, False), (30, 21, True)],
)
def test_our_own_count_of_a_prompt(counted, reported, expected):
    check = TokenCheck(call_id="0000.m0.00000", prompt_counted=counted, prompt_reported=reported)
    records = checked(in_context(clean(), None), check)
    assert ("prompt-truncated" in codes(records)) == expected


def test_an_unknown_server_is_given_no_option_of_ollama():
    remote = builders.spec(backend=BackendSpec(name="openai"), arms={"baseline": ArmSpec()})
    records = sent(in_context(clean(), None), 0, prompt_chars=60_000, usage=usage(1000))
    remedy = caveat_of("prompt-truncated", records, spec=remote).remedy
    assert remedy.startswith("shorter prompts, or a server with a context of 32768 (vllm")


# prompt-cache ------------------------------------------------------------------------------------


def repeated(cold, **backend):
    text = "the same words in the same order, over and over " * 12
    return {
        "backend": backend,
        "scenario": {"name": "says", "options": {"texts": [text] * 3, "cold": cold}},
    }


def test_prompts_said_to_be_new_that_a_server_knows(server):
    warm = measure(repeated(True, name="openai", url=server))
    caveat = warm.caveat("prompt-cache")
    assert (caveat.severity, caveat.evidence["calls"]) == ("doubtful", 3)
    assert caveat.evidence["cached_tokens"] == caveat.evidence["prompt_tokens"] - 1
    assert "were cached, up to 99% of one" in caveat.message
    assert measure(repeated(False, name="openai", url=server)).doubts == []
    salted = measure(load_of(server, backend="openai", scenario={"seed": 1}))
    assert salted.doubts == []
    assert all(call.cold_prompt for call in salted.calls)


@pytest.mark.real_model
def test_llama_cpp_s_own_prompt_cache():
    cached = LLAMA | {"options": LLAMA["options"] | {"cache_prompt": True}}
    caveat = measure(repeated(True, **cached)).caveat("prompt-cache")
    assert caveat.evidence["cached_tokens"] > 64
    assert "-o cache_prompt=false" in caveat.remedy
    assert measure(repeated(True, **LLAMA)).doubts == []
    salted = load_of(None, backend="llamacpp", scenario={"prompt_tokens": 150})
    assert measure(salted | {"backend": cached}).doubts == []  # the template alone is known


@pytest.mark.parametrize(
    ("cached", "prompt", "expected"),
    [(64, 100, False), (65, 100, True), (65, 130, False), (66, 130, True), (None, 100, False)],
)
def test_both_bounds_of_the_cache(cached, prompt, expected):
    call = {"usage": usage(prompt, cached=cached), "cold_prompt": True}
    assert ("prompt-cache" in codes(sent(clean(), 0, **call))) == expected
    assert "prompt-cache" not in codes(sent(clean(), 0, **(call | {"cold_prompt": False})))


@pytest.mark.parametrize(("cached", "expected"), [(400, False), (450, False), (451, True)])
def test_a_template_that_is_longer_than_the_prompt(cached, expected):
    """530 tokens, of which 400 are the template's; the text has 800 characters."""
    call = {"usage": usage(530, cached=cached), "cold_prompt": True, "prompt_chars": 800}
    assert ("prompt-cache" in codes(sent(clean(), 0, **call))) == expected


# token-mismatch ----------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["openai", "ollama"])
def test_a_server_that_reports_twice_the_tokens(tmp_path, backend):
    spec = {"ttft": 0, "gap": 0, "faults": ["wrong_usage~measured"]}
    with inline_sim(tmp_path, spec) as wrong:

        def said(text):
            return {
                "backend": {"name": backend, "url": wrong.url},
                "scenario": {"name": "says", "options": {"texts": [text] * 2, "max_tokens": 6}},
            }

        caveat = measure(said("measured wrongly")).caveat("token-mismatch")
        assert caveat.evidence["calls"] == {"bound": 2}
        assert caveat.evidence["first"]["bound"]["output_tokens"] == 19
        counted = measure(said("measured wrongly"), tokenizer=words).caveat("token-mismatch")
        assert counted.evidence["first"]["tokenizer"]["tokenizer"] == 12
        assert measure(said("rightly"), tokenizer=words).doubts == []


def mismatch(**changes):
    found = [c for c in caveats(sent(clean(), 0, **changes)) if c.code == "token-mismatch"]
    return [sign for caveat in found for sign in caveat.evidence["calls"]]


@relaxed
@given(tokens=st.integers(0, 12), bound=st.none() | st.integers(1, 12))
def test_counts_that_contradict_chunks_or_bound_by_more_than_a_stop_token(tokens, bound):
    """The call has 5 chunks with content."""
    expected = ["chunks"] if tokens < 4 else []
    expected += ["bound"] if bound is not None and tokens > bound + 1 else []
    server = {"eval_count": tokens}
    assert mismatch(usage=usage(20, tokens), max_tokens=bound, server=server) == expected


def test_a_stop_token_is_no_mismatch_in_either_direction():
    for tokens in (4, 5, 6):
        same = {"usage": usage(20, tokens), "server": {"eval_count": tokens}}
        assert mismatch(**same, max_tokens=5) == []
    strict = builders.spec(validity=ValiditySpec(token_slack_max=0))
    six = sent(clean(), 0, usage=usage(20, 6), server={"eval_count": 6}, max_tokens=5)
    assert "token-mismatch" in codes(six, spec=strict)


def test_two_counts_of_one_server():
    two = {"usage": {"completion_tokens": 5}, "timings": {"predicted_n": 9}}
    assert mismatch(server=two) == ["fields"]
    for odd in (True, "5", -1, None):
        assert mismatch(server={"eval_count": odd, "timings": odd}) == []


def test_tokens_by_chunk_that_do_not_add_up():
    assert mismatch(chunk_tokens=struct.pack("<5I", 1, 1, 1, 1, 1)) == []
    assert mismatch(chunk_tokens=struct.pack("<5I", 2, 1, 1, 1, 1)) == []
    assert mismatch(chunk_tokens=struct.pack("<5I", 2, 2, 1, 1, 1)) == ["parts"]
    assert mismatch(chunk_tokens=b"odd") == []


def test_pieces_of_tool_calls_are_no_tokens():
    few = {"usage": usage(20, 2), "server": {"eval_count": 2}}
    assert mismatch(**few) == ["chunks"]
    assert mismatch(**few, tool_chunks=5) == []
    assert mismatch(**few, finish_reason="tool_calls") == []


def test_a_call_says_that_it_had_tools_even_where_its_chunks_are_not_kept(execute, monkeypatch):
    """Ollama ends such a call with `stop`, as any other."""
    decode = ScriptedBackend.decode

    def with_tools(self, request, record):
        decoded = decode(self, request, record)
        kinds = decoded.kinds.replace(bytes([ChunkKind.ANSWER]), bytes([ChunkKind.TOOL]))
        return replace(decoded, kinds=kinds)

    monkeypatch.setattr(ScriptedBackend, "decode", with_tools)
    keep = {"chunks": False, "text": False}
    _, sink, _ = execute({"load": {"mode": "closed", "requests": 1}, "keep": keep})
    calls = [r for r in sink.records if hasattr(r, "call_id")]
    assert [(c.chunks.kind, c.tool_chunks) for c in calls] == [(b"", 3)] * len(calls)


@pytest.mark.parametrize(
    ("counted", "reported", "expected"),
    [(200, 220, False), (200, 221, True), (200, 179, True), (10, 18, False), (10, 19, True)],
)
def test_the_model_s_own_tokenizer(counted, reported, expected):
    check = TokenCheck(call_id="0000.m0.00000", output_counted=counted, output_reported=reported)
    records = checked(clean(), check)
    assert ("token-mismatch" in codes(records)) == expected
    noise = in_context(records, None, random_weights=True)
    assert "token-mismatch" not in codes(noise)


@pytest.mark.parametrize(("reported", "expected"), [(26, False), (27, True)])
def test_marks_of_reasoning_are_tokens_and_no_text(reported, expected):
    check = TokenCheck(call_id=clean_id(0), output_counted=10, output_reported=reported)
    thought = sent(checked(clean(), check), 0, usage=Usage(output_tokens=5, reasoning_tokens=2))
    assert ("token-mismatch" in codes(thought)) == expected
    answer = changed(clean(), "call", 0)
    instants = next(r for r in answer if getattr(r, "call_id", "") == clean_id(0)).instants
    later = replace(instants, first_answer_ns=instants.last_token_ns)
    assert ("token-mismatch" in codes(sent(checked(clean(), check), 0, instants=later))) == expected


def clean_id(index):
    """Of the n-th measured call of the first arm."""
    calls = [r for r in clean() if getattr(r, "call_id", "").startswith("0000.m")]
    return calls[index].call_id


# Digests ------------------------------------------------------------------------------------------


def test_a_prompt_is_looked_at_when_its_reply_is_there(execute, monkeypatch):
    """A digest takes a millisecond for half a megabyte, which must not lie before the send."""
    log = []

    def noted(name, function):
        def wrapped(*args, **how):
            log.append(name)
            return function(*args, **how)

        return wrapped

    monkeypatch.setattr(ScriptedBackend, "prepare", noted("prepare", ScriptedBackend.prepare))
    monkeypatch.setattr(ScriptedBackend, "decode", noted("decode", ScriptedBackend.decode))
    monkeypatch.setattr(sealing, "facts_of", noted("digest", sealing.facts_of))
    spec = {"load": {"mode": "closed", "requests": 1}, "iterations": {"warmup": 0}}
    _, sink, _ = execute(spec)
    assert log == ["prepare", "decode", "digest"]
    assert sink.records[0].prompt_chars == len("question 0")


def test_an_odd_request_that_a_backend_let_pass_has_a_digest_too():
    odd = Request(messages=(Message(role="user", content=None),), tools=({"a": object()},))
    assert facts_of(odd).prompt_chars == len("None")


# What is counted, and when -----------------------------------------------------------------------


def request(text="one two"):
    return Request(messages=(Message(role="user", content=text),))


@relaxed
@given(st.permutations(range(40)))
def test_the_sample_does_not_depend_on_the_order_of_the_ends(order):
    sample = CallSample()
    for ordinal in order:
        sample.offer(ordinal, request(), builders.call(ordinal=ordinal))
    ordinals = [int(record.call_id[-5:]) for _, record in sample.calls()]
    assert ordinals == list(range(0, 40, 4))
    assert len(ordinals) <= CALLS_MAX


def test_only_calls_that_went_well_are_counted():
    sample = CallSample()
    sample.offer(0, request(), builders.failed())
    assert check_tokens(sample, words) == ()


def test_counting_ends_where_nobody_knows_the_model_or_time_is_up(monkeypatch):
    sample = CallSample()
    for ordinal in range(8):
        sample.offer(ordinal, request(), builders.call(ordinal=ordinal))
    asked = []
    assert check_tokens(sample, lambda text: asked.append(text)) == ()
    assert asked == ["one two"]
    now = iter(range(0, 100 * BUDGET_NS, BUDGET_NS))
    monkeypatch.setattr("harness.engine.token_checks.monotonic_ns", lambda: next(now))
    assert len(check_tokens(sample, words)) == 1


def test_what_the_tools_are_given_is_not_counted_as_text():
    sample = CallSample()
    sample.offer(0, request(), replace(builders.call(), tool_calls=[{"function": {}}]))
    sample.offer(1, request(), builders.call(ordinal=1, reasoning="let me see"))
    tools, text = check_tokens(sample, words)
    assert (tools.prompt_counted, tools.output_counted) == (2, None)
    assert text.output_counted == 4


def test_reasoning_that_a_server_counts_and_does_not_show_is_not_compared():
    sample = CallSample()
    hidden = builders.call(usage=Usage(output_tokens=50, reasoning_tokens=45))
    sample.offer(0, request(), hidden)
    (check,) = check_tokens(sample, words)
    assert (check.prompt_counted, check.output_counted) == (2, None)


@pytest.mark.parametrize("answer", ["abc", -5, 10**30, 2.5, True, ValueError("no")])
def test_a_tokenizer_that_gives_no_number_takes_nothing_back(answer, host, execute):
    sample = CallSample()
    sample.offer(0, request(), builders.call())

    def odd(text):
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert check_tokens(sample, odd) == ()
    assert host.add("tokenizer", plugin(tokenizer=odd))
    outcome, sink, _ = execute({"load": {"mode": "closed", "requests": 1}})
    assert outcome.manifest.state == "finished"
    iterations = [r for r in sink.records if hasattr(r, "token_checks")]
    assert [(i.status, i.token_checks) for i in iterations] == [("ok", ())] * 2
    assert {p.name: p.status for p in host.plugins}["tokenizer"] == "broken"


def test_counts_whose_sum_no_record_can_hold():
    sample = CallSample()
    turns = tuple(Message(role="user", content=text) for text in ("one", "two"))
    sample.offer(0, Request(messages=turns), builders.call())
    assert check_tokens(sample, lambda text: 2**62) == ()
