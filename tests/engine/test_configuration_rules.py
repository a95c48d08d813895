"""config-not-effective and cold-in-warm: fired by real faults, silent without them; and how a
doubtful run ends."""

from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from harness._native.clock import monotonic_ns
from harness.engine.readings import UNREAD, merged, read_again
from harness.engine.rules.configuration import cold_in_warm
from harness.engine.rules.view import ArmView, RunView
from harness.engine.summary import derive_summary
from harness.errors import BackendError
from harness.schema import ArmSpec, BackendSpec, Effective, IterationsSpec, ValiditySpec
from harness.testing import ScriptedBackend
from tests.cli.conftest import harness_command  # noqa: F401  (a fixture)
from tests.engine.faults import ARMS, caveat_of, caveats, changed, clean, codes
from tests.engine.real_runs import RULES, measure
from tests.sim.servers import inline_sim
from tests.store import builders
from tests.store.builders import MS

LOAD_MS = 600
NOT = "config-not-effective"
relaxed = settings(max_examples=40, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A model that was trained for 1,024 tokens."""
    spec = {"ttft": 0, "gap": 0, "context_length": 1024}
    with inline_sim(tmp_path_factory.mktemp("sim"), spec) as running:
        yield running.url


def says(url, *, options, num_ctx=(), **more):
    return {
        "backend": {"name": "ollama", "url": url, "options": options},
        "scenario": {"name": "says", "options": {"texts": ["one two"] * 3, "num_ctx": num_ctx}},
        "iterations": {"warmup": 0},
        **more,
    }


def with_options(**arms):
    return {name: {"backend": {"options": options}} for name, options in arms.items()}


# For real --------------------------------------------------------------------------------------


def test_a_context_that_the_server_cuts_to_what_the_model_can(server):
    large = measure(says(server, options={"num_ctx": 8192}))
    caveat = large.caveat("config-not-effective")
    assert caveat.message.endswith("asked to: num_ctx: asked 8192, runs 1024")
    assert caveat.remedy.startswith("-o num_ctx=1024 asks for what runs")
    assert large.trials[0].effective.read_back == {"num_ctx": 1024, "num_gpu": "all"}
    assert measure(says(server, options={"num_ctx": 1024})).doubts == []


def test_two_arms_that_come_to_the_same(server):
    """The model has no more than all of its layers, and no more context than it has."""
    arms = with_options(some={"num_gpu": 60}, more={"num_gpu": 99})
    same = measure(says(server, options={"num_ctx": 512}, arms=arms))
    caveat = same.caveat("config-not-effective")
    assert caveat.message.startswith("some and more ran the same configuration, although")
    assert caveat.evidence["runs"] == {"num_gpu": "all"}
    none = with_options(some={"num_gpu": 60}, none={"num_gpu": 0})
    assert measure(says(server, options={"num_ctx": 512}, arms=none)).doubts == []
    contexts = with_options(some={"num_ctx": 512}, more={"num_ctx": 1024})
    assert measure(says(server, options={}, arms=contexts)).doubts == []
    twice = measure(says(server, options={"num_ctx": 512}, arms={"a": {}, "b": {}}))
    assert twice.doubts == []  # A/A is what was asked for


def test_a_model_that_is_loaded_again_in_the_midst(tmp_path):
    """A call with a context of its own makes the server load the model."""
    with inline_sim(tmp_path, {"ttft": 0, "gap": 0, "load": LOAD_MS}) as slow:
        again = measure(says(slow.url, options={"num_ctx": 1024}, num_ctx=(1024, 512, 512)))
        warm = measure(says(slow.url, options={"num_ctx": 512}, num_ctx=(512, 512, 512)))
    assert warm.doubts == []
    assert sorted(again.doubts) == ["cold-in-warm", "config-not-effective"]
    cold = again.caveat("cold-in-warm")
    assert (cold.evidence["calls"], cold.evidence["first_of_their_trial"]) == (1, 0)
    assert cold.evidence["server_load_ms"] >= LOAD_MS
    assert "(iterations.warmup is 0: nothing ran before them)" in cold.message
    moved = again.caveat("config-not-effective")
    assert "context_length: 1024 when it was opened, 512 at the end" in moved.message
    assert moved.remedy.startswith("keep other clients off the server")


@pytest.mark.real_model
def test_llama_cpp_tells_what_it_runs_with():
    def asked(**options):
        options = {"probe": False, "parallel": 2, **options}
        scenario = {"name": "says", "options": {"texts": ["one two"]}}
        return {"backend": {"name": "llamacpp", "options": options}, "scenario": scenario}

    layers = measure(asked(num_gpu=99, num_ctx=300))
    gpu = [d for d in layers.trials[0].effective.details["devices"] if d["type"] != "CPU"]
    if not gpu:
        assert layers.caveat("config-not-effective").evidence["options"] == {
            "num_gpu": "asked 99, runs 0"
        }
    assert layers.trials[0].effective.read_back["num_ctx"] == 512  # rounded up is as asked
    assert measure(asked(num_ctx=300)).doubts == []
    beyond = measure(asked(num_ctx=65_536)).caveat("config-not-effective")
    assert beyond.evidence["options"] == {"num_ctx": "asked 65536, runs 32768"}


# The second reading ----------------------------------------------------------------------------


class Reads:
    def __init__(self, answer):
        self.answer = answer

    async def effective(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


FIRST = Effective(
    server="ollama",
    server_version="0.33.0",
    context_length=4096,
    size_bytes=1000,
    size_vram_bytes=1000,
    read_back={"num_ctx": 4096},
)


def test_a_second_reading_that_fails_is_no_failure():
    for error in (BackendError("gone", where="x"), OSError("reset"), TimeoutError()):
        found = asyncio.run(read_again(Reads(error), FIRST))
        assert replace(found, unknown={}) == FIRST
        assert found.unknown[UNREAD]
    assert asyncio.run(read_again(Reads(FIRST), FIRST)) is FIRST


def test_what_the_second_reading_no_longer_tells_is_no_difference():
    unloaded = Effective(server="ollama", server_version="0.33.0")
    assert merged(FIRST, unloaded) == FIRST


def test_every_difference_is_named():
    last = replace(FIRST, server_version="0.33.1", context_length=2048, size_vram_bytes=940)
    last = replace(last, read_back={"num_ctx": 2048}, not_effective={"num_gpu": "asked 9, runs 0"})
    assert merged(FIRST, last).not_effective == {
        "num_gpu": "asked 9, runs 0",
        "server_version": "0.33.0 when it was opened, 0.33.1 at the end",
        "context_length": "4096 when it was opened, 2048 at the end",
        "num_ctx": "4096 when it was opened, 2048 at the end",
        "size_vram_bytes": "1000 when it was opened, 940 at the end",
    }
    assert set(merged(FIRST, last).changed) == set(merged(FIRST, last).not_effective) - {"num_gpu"}
    assert merged(FIRST, replace(FIRST, size_vram_bytes=951)).not_effective == {}


def test_a_trial_outlives_a_server_that_does_not_answer_again(execute, host, monkeypatch):
    read = ScriptedBackend.effective

    async def once(self):
        if "effective" in self.log:
            raise BackendError("no answer", where="x")
        return await read(self)

    monkeypatch.setattr(ScriptedBackend, "effective", once)
    outcome, sink, _ = execute({"load": {"mode": "closed", "requests": 1}})
    assert (outcome.manifest.state, outcome.error) == ("finished", None)
    trial = sink.records[-1]
    assert (trial.status, trial.effective.server) == ("ok", "scripted")
    assert "no answer" in trial.effective.unknown[UNREAD]
    assert host.made[0].log == ["open", "effective", "close"]


def test_a_trial_ends_before_its_server_is_asked_again(execute, monkeypatch):
    """The answer may take ten seconds, which are not the run's."""
    asked_ns = []
    read = ScriptedBackend.effective

    async def noting(self):
        asked_ns.append(monotonic_ns())
        return await read(self)

    monkeypatch.setattr(ScriptedBackend, "effective", noting)
    _, sink, _ = execute({"load": {"mode": "closed", "requests": 1}})
    trial = sink.records[-1]
    assert asked_ns[0] < trial.end_ns <= asked_ns[1]
    assert all(r.end_ns <= trial.end_ns for r in sink.records if hasattr(r, "planned_calls"))


# config-not-effective, record by record ----------------------------------------------------------


def ran(records, **by_arm):
    """`records` whose trials have these accounts, by arm."""
    return [
        replace(r, effective=by_arm[r.arm]) if hasattr(r, "effective") and r.arm in by_arm else r
        for r in records
    ]


def spec_of(**arms):
    return builders.spec(
        backend=BackendSpec(name="ollama", model="toy:1b"),
        arms={name: ArmSpec(backend={"options": options}) for name, options in arms.items()},
    )


def account(sent, read_back=None, **more):
    return Effective(
        server="ollama", model="toy:1b", options=sent, read_back=read_back or {}, **more
    )


def equal(one, other, spec=None):
    spec = spec or spec_of(baseline={"num_gpu": 60}, chimera={"num_gpu": 99})
    records = ran(clean(), baseline=one, chimera=other)
    found = [c for c in caveats(records, spec=spec) if c.code == "config-not-effective"]
    return [c.evidence["options"] for c in found]


def test_arms_are_equal_by_what_runs():
    all_of = {"num_gpu": "all"}
    one, other = account({"num_gpu": 60}, all_of), account({"num_gpu": 99}, all_of)
    assert equal(one, other) == [["num_gpu"]]
    assert equal(one, replace(other, read_back={"num_gpu": 0})) == []
    assert equal(one, replace(other, read_back={})) == []  # not told: it may differ
    assert equal(one, replace(other, context_length=512)) == []
    assert equal(one, replace(other, model_digest="sha256:1")) == []
    assert equal(one, replace(other, options={"num_gpu": 99, "top_k": 3})) == []


def test_an_option_that_is_set_per_call_may_differ():
    """`num_predict` is in neither account: each call has its own."""
    spec = spec_of(baseline={"num_predict": 10}, chimera={"num_predict": 99})
    same = account({"num_ctx": 512})
    assert equal(same, same, spec) == []


def test_a_default_spelled_out_is_the_default():
    spec = spec_of(baseline={}, chimera={"num_ctx": 4096})
    same = account({"num_ctx": 4096})
    assert equal(same, same, spec) == [["num_ctx"]]


def test_arms_that_differ_in_more_than_options_are_not_compared():
    same = account({"num_gpu": 60}, {"num_gpu": "all"})
    spec = spec_of(baseline={"num_gpu": 60}, chimera={"num_gpu": 99})
    for change in ({"model": "other"}, {"url": "http://x"}):
        arm = ArmSpec(backend={"options": {"num_gpu": 99}, **change})
        assert equal(same, same, replace(spec, arms=spec.arms | {"chimera": arm})) == []
    arm = ArmSpec(backend={"options": {"num_gpu": 99}}, scenario={"options": {"max_tokens": 3}})
    assert equal(same, same, replace(spec, arms=spec.arms | {"chimera": arm})) == []
    assert equal(same, same, spec_of(baseline={}, chimera={})) == []


def test_a_configuration_that_changed_is_none_to_compare():
    same = account({"num_gpu": 60}, {"num_gpu": "all"})
    moved = replace(same, not_effective={"context_length": "1 when it was opened, 2 at the end"})
    assert equal(same, moved) == [{"context_length": "1 when it was opened, 2 at the end"}]


def test_one_caveat_for_all_arms_that_run_otherwise_in_the_same_way():
    wrong = {"num_ctx": "asked 9, runs 4", "b": "x", "c": "y", "d": "z"}
    effective = replace(builders.trial().effective, not_effective=wrong)
    both = ran(clean(), **dict.fromkeys(ARMS, effective))
    caveat = caveat_of("config-not-effective", both)
    assert (caveat.arm, caveat.severity) == (None, "doubtful")
    assert caveat.message.endswith("num_ctx: asked 9, runs 4; b: x; c: y, and 1 more")
    one = ran(clean(), chimera=effective)
    assert caveat_of("config-not-effective", one).arm == "chimera"


def test_the_remedy_rests_on_what_was_read_and_not_on_what_a_server_says():
    """A server's words in `not_effective` may look like ours."""
    quoted = "asked true, runs without: 4096 when it was opened, 1 at the end, runs 5"
    said = account({"usage": True}, not_effective={"usage": quoted})
    remedy = caveat_of("config-not-effective", ran(clean(), baseline=said)).remedy
    assert remedy == "see `harness show` for what runs, and ask for that (usage)"
    runs = replace(said, read_back={"usage": 5})
    remedy = caveat_of("config-not-effective", ran(clean(), baseline=runs)).remedy
    assert remedy.startswith("-o usage=5 asks for what runs")
    moved = replace(said, changed=("usage",))
    remedy = caveat_of("config-not-effective", ran(clean(), baseline=moved)).remedy
    assert remedy.startswith("keep other clients off the server")


def test_the_order_in_which_options_are_found_is_no_difference():
    one = account({}, not_effective={"a": "x", "b": "y"})
    other = account({}, not_effective={"b": "y", "a": "x"})
    both = [c for c in caveats(ran(clean(), baseline=one, chimera=other)) if c.code == NOT]
    assert [c.arm for c in both] == [None]


# cold-in-warm, record by record ----------------------------------------------------------------


def loading(records, *loads_ms):
    for index, load_ms in enumerate(loads_ms):
        server = {} if load_ms is None else {"load_duration": int(load_ms * MS)}
        records = changed(records, "call", index, server=server)
    return records


def test_a_load_stands_out_from_warm_calls():
    cold = loading(clean(), 2000)
    caveat = caveat_of("cold-in-warm", cold)
    assert (caveat.severity, caveat.arm) == ("doubtful", "baseline")
    assert caveat.evidence["first_of_their_trial"] == 1
    assert caveat.message == (
        "1 of 20 measured calls waited for the model to be loaded, the longest 2.0 s: a cold "
        "start is in the warm figures"
    )
    assert "-o keep_alive=30m" in caveat.remedy
    cold_start = builders.spec(iterations=IterationsSpec(warmup=0))
    first = caveat_of("cold-in-warm", cold, spec=cold_start)
    assert "iterations.warmup is 0" in first.message
    assert first.remedy.startswith("--warmup 1")


@relaxed
@given(st.lists(st.floats(1, 100), min_size=20, max_size=20))
def test_warm_calls_are_not_cold_however_they_vary(loads_ms):
    """Some ms to 100 ms while the model is loaded, as ollama#12443 has it."""
    assert "cold-in-warm" not in codes(loading(clean(), *loads_ms))


def test_the_bounds_of_a_load():
    assert "cold-in-warm" not in codes(loading(clean(), 500))
    assert codes(loading(clean(), 501))["cold-in-warm"] == "doubtful"
    queued = loading(clean(), 700, *[200] * 39)  # the scheduler's queue: everybody waits
    assert "cold-in-warm" not in codes(queued)
    assert "cold-in-warm" in codes(loading(clean(), 1001, *[200] * 39))
    every = loading(clean(), *[2000] * 40)  # keep_alive=0: there is no warm call
    assert caveat_of("cold-in-warm", every).evidence["calls"] == 20
    patient = builders.spec(validity=ValiditySpec(load_max_ms=3000))
    assert "cold-in-warm" not in codes(every, spec=patient)
    assert "cold-in-warm" not in codes(loading(clean(), *[None] * 20))


def overlapping(*loads_ms, slots=4):
    """One trial of an arm at this concurrency; each call takes a second more than its load."""
    free_ms = [1000.0 + slot for slot in range(slots)]
    records = []
    for ordinal, load_ms in enumerate(loads_ms):
        slot = free_ms.index(min(free_ms))
        call = builders.call(
            ordinal=ordinal,
            sent_ms=free_ms[slot],
            ttft_ms=load_ms + 959,  # 41 ms before the end
            server={"load_duration": int(load_ms * MS)},
        )
        free_ms[slot] += load_ms + 1000
        records.append(call)
    return [*records, builders.iteration(records), builders.trial()]


def test_a_queue_in_the_scheduler_is_no_load():
    """The few calls at the beginning that found it empty do not make all others cold."""
    assert "cold-in-warm" not in codes(overlapping(*[50] * 16, *[700] * 3984, slots=16))
    assert "cold-in-warm" not in codes(overlapping(50, *range(100, 4000, 10)))
    one = caveat_of("cold-in-warm", overlapping(*[50] * 16, *[700] * 184, 9000, slots=16))
    assert (one.evidence["calls"], one.evidence["bound_ms"]) == (1, 3500.0)


def test_calls_that_wait_together_for_one_load():
    """Nothing was before them, and yet none was warm."""
    cold = caveat_of("cold-in-warm", overlapping(5000, 5000, 5000, 5000, slots=4))
    assert (cold.evidence["calls"], cold.evidence["bound_ms"]) == (4, 500.0)
    cold = caveat_of("cold-in-warm", overlapping(*[5000] * 4, *[700] * 6, slots=4))
    assert cold.evidence["calls"] == 4
    assert cold.evidence["first_of_their_trial"] == 1
    alone = caveat_of("cold-in-warm", overlapping(*[700] * 20, slots=1))
    assert alone.evidence["calls"] == 20


def test_the_rule_looks_at_each_call_a_few_times_only():
    """It once looked at all calls for each load: 16,000 of them took half a minute."""

    class Counting(list):
        looks = 0

        def __iter__(self):
            Counting.looks += len(self)
            return super().__iter__()

    calls = Counting(c for c in overlapping(*[700] * 500, slots=1) if hasattr(c, "call_id"))
    summary = derive_summary(builders.manifest(ARMS), calls).arms[0]
    arm = ArmView(calls=calls, iterations=[], trials=[], summary=summary, load=None)
    view = RunView(manifest=builders.manifest(ARMS), state="finished", arms=(arm,))
    Counting.looks = 0
    (caveat,) = cold_in_warm(view)
    assert caveat.evidence["calls"] == 500
    assert Counting.looks <= 10 * len(calls)


# How a doubtful run ends -----------------------------------------------------------------------


@pytest.mark.real_model
def test_a_doubtful_run_warns_and_an_invalid_one_ends_with_4(harness_command, tmp_path):  # noqa: F811
    words = ["run", "load", "--requests", "2", "--max-tokens", "200", "-o", "prompt_tokens=150"]
    doubtful = harness_command(*words, "-o", "num_ctx=256", "--out", tmp_path / "run")
    assert doubtful.status == 0
    assert re.search(r"^warning: the run is doubtful: .*prompt-truncated", doubtful.err, re.M)
    assert "verdict: doubtful" in doubtful.out
    assert "doubtful prompt-truncated" in doubtful.out
    fits = harness_command(*words, "-o", "num_ctx=512", "--json")
    assert fits.status == 0
    assert not [code for code in RULES if code in fits.out + fits.err]
    refused = harness_command(*words[:-1], "prompt_tokens=300", "-o", "num_ctx=256", "--json")
    assert refused.status == 4
    assert re.search(r"^warning: the run is invalid: .*errors", refused.err, re.M)
