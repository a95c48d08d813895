"""What is decided before anything is sent: laws, turns, memory, cache. No sockets, no clock."""

from __future__ import annotations

import statistics
from collections import Counter
from random import Random
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import SpecError
from harness.testing.sim import FAULTS, sim_spec
from harness.testing.sim.dialects import TRAITS
from harness.testing.sim.draft import HOLD, RESET
from harness.testing.sim.faults import fault_for
from harness.testing.sim.job import Job
from harness.testing.sim.laws import Constant, Gamma, Lognormal, Uniform, mean_ms, sampler
from tests.sim.reception import HEAD, Reception, content_due

MS = 1_000_000


# --------------------------------------------------------------------------------------------- laws


@pytest.mark.parametrize(
    ("law", "sd"),
    [
        (Constant(ms=7), 0),
        (Uniform(low_ms=40, high_ms=60), 20 / 12**0.5),
        (Lognormal(mean_ms=50, sd_ms=10), 10),
        (Lognormal(mean_ms=50, sd_ms=0), 0),
        (Gamma(mean_ms=50, sd_ms=25), 25),
    ],
)
def test_moments(law, sd):
    draw = sampler(law, Random(5))
    drawn = [draw() / MS for _ in range(20_000)]
    assert statistics.fmean(drawn) == pytest.approx(mean_ms(law), rel=0.02)
    assert statistics.stdev(drawn) == pytest.approx(sd, rel=0.05, abs=1e-6)
    assert min(drawn) >= 0


@pytest.mark.parametrize(
    ("short", "law"),
    [
        (50, Constant(ms=50)),
        ("50.5", Constant(ms=50.5)),
        ("uniform:40,60", Uniform(low_ms=40, high_ms=60)),
        ("lognormal:50,10", Lognormal(mean_ms=50, sd_ms=10)),
        ("gamma:50,10", Gamma(mean_ms=50, sd_ms=10)),
        ({"law": "gamma", "mean_ms": 5, "sd_ms": 1}, Gamma(mean_ms=5, sd_ms=1)),
    ],
)
def test_short_forms(short, law):
    assert sim_spec({"ttft": short}).ttft == law


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        ({"ttft": "normal:1,2"}, "$.ttft"),
        ({"ttft": "uniform:3,2"}, "$.ttft"),
        ({"gap": -1}, "$.gap"),
        ({"gap": float("nan")}, "$.gap"),
        ({"tttft": 1}, "$.tttft"),
        ({"dialect": "vlm"}, "$.dialect"),
        ({"faults": ["explode:0.1"]}, "$.faults"),
        ({"faults": ["stall_mid:2"]}, "$.faults"),
        ({"faults": ["stall_mid@0"]}, "$.faults"),
        ({"faults": ["stall_mid:0.5", "reset_mid:0.4", "no_end:0.2"]}, "$.faults"),
        ({"faults": [{"kind": "stall_mid"}]}, "$.faults"),
        ({"faults": [{"kind": "stall_mid", "rate": 0.1, "match": "x"}]}, "$.faults"),
        ({"slots": 0}, "$.slots"),
        ({"load": "replay:latest"}, "$.load"),
        ({"ttft": "replay:"}, "$.ttft"),
        ({"gap": {"law": "replay", "run": "x", "speed": 0}}, "$.gap"),
    ],
)
def test_mistakes_are_named(raw, names):
    with pytest.raises(SpecError) as error:
        sim_spec(raw)
    assert error.value.where.startswith(names)


# -------------------------------------------------------------------------------- times and repeats


def test_due_instants_count_from_the_arrival():
    desk = Reception(ttft=50, gap=10)
    job = desk.ask(at_ns=1_000 * MS, options={"num_predict": 4})
    assert content_due(desk.wire(job)) == [(1_000 + t) * MS for t in (50, 60, 70, 80)]


def test_reading_the_prompt_takes_its_time():
    desk = Reception(ttft=50, prefill_tok_s=1000)
    short, long = desk.ask(text="one"), desk.ask(text="word " * 200)
    assert content_due(desk.wire(short))[0] == 51 * MS
    assert content_due(desk.wire(long))[0] == 250 * MS


def test_tokens_per_chunk():
    desk = Reception(tokens_per_chunk=4)
    job = desk.ask(options={"num_predict": 10})
    lines = desk.lines(job)
    assert [len(line["message"]["content"].split()) for line in lines] == [4, 4, 2, 0]
    assert lines[-1]["eval_count"] == 10


def test_the_model_may_stop_by_itself():
    desk = Reception(stop_after=3)
    stopped = desk.lines(desk.ask(options={"num_predict": 10}))[-1]
    bounded = desk.lines(desk.ask(options={"num_predict": 2}))[-1]
    assert (stopped["eval_count"], stopped["done_reason"]) == (3, "stop")
    assert (bounded["eval_count"], bounded["done_reason"]) == (2, "length")


SPEC = {"ttft": "lognormal:50,10", "gap": "gamma:10,5", "faults": ["reset_mid:0.2", "no_end:0.2"]}


def timing(seed, requests=30):
    desk = Reception(**SPEC, seed=seed)
    jobs = [desk.ask() for _ in range(requests)]
    return [(content_due(desk.wire(j)), j.fault.kind if j.fault else None) for j in jobs]


def test_a_seed_repeats_everything():
    assert timing(3) == timing(3)
    assert timing(3) != timing(4)
    kinds = {fault for _, fault in timing(3)}
    assert kinds == {None, "reset_mid", "no_end"}


def test_shares_do_not_dilute_each_other():
    """Each has its own, whatever stands before it; the last of ten tenths leaves nothing over."""
    spec = sim_spec({"faults": ["hostile_text:0.5", "wrong_usage:0.2", "error_mid:0.1"]})
    asked = SimpleNamespace(text="")
    n = 20_000
    met = Counter(f.kind if (f := fault_for(spec, asked, i)) else None for i in range(n))
    for kind, share in (("hostile_text", 0.5), ("wrong_usage", 0.2), ("error_mid", 0.1)):
        assert abs(met[kind] / n - share) < 5 * (share * (1 - share) / n) ** 0.5
    tenths = sim_spec({"faults": [f"{kind}:0.1" for kind in FAULTS[:10]]})
    assert all(fault_for(tenths, asked, i) for i in range(1_000))


def test_draws_go_by_number_not_by_moment():
    early, late = Reception(**SPEC), Reception(**SPEC)
    for number in range(5):
        one = early.wire(early.ask(at_ns=0))
        other = late.wire(late.ask(at_ns=number * 977))
        assert [d - one.due_ns[0] for d in one.due_ns] == [
            d - other.due_ns[0] for d in other.due_ns
        ]


# ---------------------------------------------------------------------------------- slots and queue


def test_slots_and_their_queue():
    desk = Reception(slots=2, ttft=50, gap=10)
    jobs = [desk.ask(at_ns=n, options={"num_predict": 1}) for n in range(4)]
    assert set(desk.answers) == {1, 2}
    desk.desk.finished(jobs[0], 80 * MS)
    assert set(desk.answers) == {1, 2, 3}
    assert content_due(desk.wire(jobs[2])) == [130 * MS], "its turn came with the free slot"
    desk.desk.gone(jobs[1], 90 * MS)
    assert content_due(desk.wire(jobs[3])) == [140 * MS]
    last = desk.lines(jobs[3])[-1]
    assert last["total_duration"] == 140 * MS - 3
    assert last["prompt_eval_duration"] == 50 * MS, "the wait is in no field but the total"


def test_who_goes_away_leaves_the_queue():
    desk = Reception(slots=1)
    jobs = [desk.ask() for _ in range(3)]
    desk.desk.gone(jobs[1], 1)
    desk.desk.finished(jobs[0], 2)
    assert set(desk.answers) == {1, 3}


def test_a_full_queue_refuses():
    desk = Reception(slots=1, queue_max=1)
    jobs = [desk.ask() for _ in range(3)]
    status, body = desk.body(jobs[2])
    assert status == 503 and b"maximum pending requests exceeded" in body
    assert 2 not in desk.answers


def test_a_stalled_answer_keeps_its_slot():
    desk = Reception(slots=1, faults=["stall_mid@1"])
    jobs = [desk.ask(), desk.ask()]
    assert desk.desk.finished(jobs[0], 100) is False
    assert 2 not in desk.answers
    desk.desk.gone(jobs[0], 200)
    assert 2 in desk.answers


# ------------------------------------------------------------------------------- the model's memory


def loaded(desk, now_ns):
    job = Job(serial=999, conn=1, arrived_ns=now_ns)
    desk.desk.arrive(job, b"GET /api/ps HTTP/1.1\r\n\r\n", b"")
    return msgspec.json.decode(desk.body(job)[1])["models"]


def test_loading_takes_time_once():
    desk = Reception(load=1000, ttft=50)
    first = desk.ask(options={"num_predict": 1})
    assert content_due(desk.wire(first)) == [1050 * MS]
    assert desk.lines(first)[-1]["load_duration"] == 1000 * MS + 50_000
    desk.desk.finished(first, 1050 * MS)
    second = desk.ask(at_ns=2000 * MS, options={"num_predict": 1})
    assert content_due(desk.wire(second)) == [2050 * MS]
    changed = desk.ask(at_ns=3000 * MS, options={"num_predict": 1, "num_ctx": 512})
    assert content_due(desk.wire(changed)) == [4050 * MS], "another context is another load"


def test_an_empty_prompt_loads_and_keep_alive_0_unloads():
    desk = Reception(load=1000)
    job = desk.ask(messages=[], options={"num_ctx": 777}, stream=False)
    assert desk.lines(job)[0]["done_reason"] == "load"
    assert desk.wire(job).due_ns == [1000 * MS]
    assert loaded(desk, 1) == [], "not yet"
    assert loaded(desk, 1001 * MS)[0]["context_length"] == 777
    job = desk.ask(at_ns=2000 * MS, messages=[], keep_alive=0)
    assert desk.lines(job)[0]["done_reason"] == "unload"
    assert loaded(desk, 2001 * MS) == []


def test_an_unload_takes_its_time():
    desk = Reception(load=100, unload=500)
    desk.ask(messages=[], options={"num_ctx": 777})
    job = desk.ask(at_ns=1000 * MS, messages=[], keep_alive=0)
    assert desk.lines(job)[0]["done_reason"] == "unload"
    assert desk.wire(job).due_ns == [1000 * MS], "answered at once"
    assert loaded(desk, 1499 * MS)[0]["context_length"] == 777
    assert loaded(desk, 1500 * MS) == []
    desk = Reception(load=100, unload=500, ttft=50)
    desk.desk.finished(desk.ask(options={"num_predict": 1}), 200 * MS)
    other = desk.ask(at_ns=1000 * MS, options={"num_predict": 1, "num_ctx": 512})
    assert content_due(desk.wire(other)) == [1650 * MS], "out with the one, in with the other"


@pytest.mark.parametrize(
    ("keep_alive", "gone_s"),
    [
        ("5m", 300),
        (90, 90),
        ("1h30m", 5400),
        ("1500ms", 1.5),
        (None, 300),
        (-1, None),
        ("-1m", None),
    ],
)
def test_keep_alive(keep_alive, gone_s):
    desk = Reception(ttft=0, gap=0)
    job = desk.ask(keep_alive=keep_alive)
    assert loaded(desk, 10**18), "busy: never dropped"
    desk.desk.finished(job, 0)
    if gone_s is None:
        assert loaded(desk, 10**17)
    else:
        assert loaded(desk, int(gone_s * 1e9) - 1)
        assert not loaded(desk, int(gone_s * 1e9))


def test_the_prompt_cache_shows_as_on_real_servers():
    desk = Reception(prompt_cache=True, prefill_tok_s=1000, ttft=0, dialect="llamacpp")
    text = "word " * 99 + "end"
    path = "/v1/chat/completions"
    last = []
    for _ in range(2):
        job = desk.ask(path=path, text=text, stream=True, max_tokens=2)
        data = [x for x in desk.body(job)[1].decode().split("\n\n") if x.startswith("data: {")]
        last.append(msgspec.json.decode(data[-1][6:])["timings"])
    assert [(t["cache_n"], t["prompt_n"], t["prompt_ms"]) for t in last] == [
        (0, 100, 100.0),
        (99, 1, 1.0),
    ]
    ollama = [desk.lines(desk.ask(text=f"other {n} " + text))[-1] for n in (1, 1)]
    assert [line["prompt_eval_count"] for line in ollama] == [102, 102], "all of them, cached too"
    assert [line["prompt_eval_duration"] // MS for line in ollama] == [102, 1]


# ------------------------------------------------------------------- prompts that do not fit


def test_ollama_cuts_a_long_prompt_and_only_the_count_tells():
    desk = Reception(prefill_tok_s=1000, ttft=0, context_length=40)
    job = desk.ask(text=" ".join(map(str, range(100))))
    last = desk.lines(job)[-1]
    assert last["prompt_eval_count"] == 22 and last["prompt_eval_duration"] == 22 * MS
    assert job.asked.words == [*"0123", *map(str, range(82, 100))]
    job = desk.ask(text="word " * 100, options={"num_ctx": 30})
    assert desk.lines(job)[-1]["prompt_eval_count"] == 17
    job = desk.ask(text="word " * 30, options={"num_ctx": 30})
    assert desk.lines(job)[-1]["prompt_eval_count"] == 30, "it fits"
    job = desk.ask(text="word " * 41, options={"num_ctx": 70})
    assert desk.lines(job)[-1]["prompt_eval_count"] == 22, "the model was not trained for more"
    status, body = desk.body(desk.ask(text="word " * 41, truncate=False))
    assert status == 400 and b"exceeds the context length" in body


@pytest.mark.parametrize("dialect", TRAITS)
def test_what_the_others_do_with_a_long_prompt(dialect):
    desk = Reception(dialect=dialect, context_length=40)
    job = desk.ask(path="/v1/chat/completions", text="word " * 50, max_tokens=2)
    status, body = desk.body(job)
    if dialect in ("ollama", "transformers"):
        evaluated = msgspec.json.decode(body)["usage"]["prompt_tokens"]
        assert (status, evaluated) == (200, 22 if dialect == "ollama" else 50)
    else:
        assert status == 400 and b"40 tokens" in body


# ---------------------------------------------------------------------------------- hostile clients


@given(st.binary(max_size=200))
def test_any_head_gets_an_answer(head):
    desk = Reception()
    job = Job(serial=1, conn=1, arrived_ns=0)
    desk.desk.arrive(job, head + b"\r\n\r\n", b"")
    assert desk.wire(job).data.startswith(b"HTTP/1.1 ")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
)
FIELDS = ("model", "messages", "prompt", "options", "stream", "max_tokens", "stream_options")
PATHS = ("/api/chat", "/api/generate", "/v1/chat/completions", "/v1/completions", "/api/show")


@given(st.sampled_from(PATHS), st.dictionaries(st.sampled_from(FIELDS), json_values))
def test_any_body_gets_an_answer(path, body):
    desk = Reception()
    if isinstance(body.get("max_tokens"), int):
        body["max_tokens"] %= 100  # as many as asked for would be made
    job = Job(serial=1, conn=1, arrived_ns=0)
    encoded = msgspec.json.encode(body, enc_hook=str) if _encodes(body) else b"\xff"
    desk.desk.arrive(job, HEAD % path.encode(), encoded)
    assert desk.wire(job).data.startswith(b"HTTP/1.1 ")


def _encodes(body):
    try:
        msgspec.json.encode(body)
    except (OverflowError, ValueError):
        return False
    return True


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("stream", [True, False])
def test_every_fault_has_an_answer(kind, stream):
    desk = Reception(faults=[f"{kind}@1"])
    job = desk.ask(stream=stream, options={"num_predict": 4})
    wire = desk.wire(job)
    assert len(wire.ends) == len(wire.due_ns) == len(wire.kinds)
    assert wire.due_ns == sorted(wire.due_ns)
    if kind in ("refuse", "reset_before"):
        assert (wire.data, wire.ending) == (b"", RESET)
    if kind == "stall_before":
        assert (wire.data, wire.ending) == (b"", HOLD)
    assert desk.refused == ([200.0] if kind == "refuse" else [])
