"""Scenario `agent`, through the engine: one program or the same work in process, tapped or not, or
a program that knows nothing of us."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from harness_agents import rust
from harness_agents.corpus import corpus_of
from harness_agents.ingest import ingest, sha256
from harness_agents.options import WorkloadOptions
from harness_agents.workload import filled, workload

from harness.errors import BackendError, ScenarioError, SpecError
from harness.testing import run_in_memory

HERE = Path(__file__).parent
STRANGER = """
import json, os, sys, urllib.request
url = os.environ["OLLAMA_HOST"] + "/api/chat"
body = {"model": "sim", "messages": [{"role": "user", "content": "a b"}]}
body["options"] = {"num_predict": 4}
urllib.request.urlopen(url, json.dumps(body).encode()).read()
print("done", sys.argv[1:])
"""
WRITER = """
import shutil, sys
shutil.copy(sys.argv[1], sys.argv[2] + "/metrics.json")
"""
QUICK = {"ttft": 5, "gap": 1}


def spec(options, *, tap=False, dialect="ollama", log="", measured=1, **more):
    backend = {"name": "sim", "options": {"dialect": dialect, **QUICK}, "tap": tap}
    if log:
        backend["options"]["log"] = str(log)
    return {
        "backend": backend,
        "scenario": {"name": "agent", "options": {"max_tokens": 6, **options}},
        "iterations": {"warmup": 0, "measured": measured},
        **more,
    }


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The reference agent through the tap, and the same work in process."""
    raw = spec({"chunk_stamps": True}, tap=True, log=tmp_path_factory.mktemp("sims"), measured=2)
    raw["arms"] = {
        "program": {},
        "within": {"scenario": {"options": {"agent": "in_process", "chunk_stamps": False}}},
    }
    ran = run_in_memory(raw)
    assert ran.error is None
    return ran


def of_arm(ran, arm):
    return [one for one in ran.calls if one.arm == arm], [
        one for one in ran.iterations if one.arm == arm
    ]


def test_its_calls_are_tapped_and_told(both):
    calls, _ = of_arm(both, "program")
    assert [call.stage for call in calls] == ["analysis", "report"] * 2
    for call in calls:
        assert (call.status, call.stamp_source, call.agent) == ("ok", "tap", "agent")
        assert call.usage.output_tokens == call.content_chunks == 6
        assert call.reported.content_chunks == 6
        assert call.reported.first_token_ns > call.instants.first_token_ns


def test_the_same_work_in_process_is_the_same_work(both):
    outside, _ = of_arm(both, "program")
    inside, _ = of_arm(both, "within")
    assert [call.stage for call in inside] == [call.stage for call in outside]
    # A word is a token to the server, and the tag is of equal length.
    assert [c.usage.prompt_tokens for c in inside] == [c.usage.prompt_tokens for c in outside]
    assert [c.usage.output_tokens for c in inside] == [c.usage.output_tokens for c in outside]


def test_its_work_is_in_spans(both):
    for arm in ("program", "within"):
        _, iterations = of_arm(both, arm)
        for iteration in iterations:
            spans = {span.name: span for span in iteration.spans}
            assert set(spans) >= {"agent", "ingest", "analysis", "report"}
            whole = spans["agent"]
            assert all(
                whole.start_ns <= span.start_ns <= span.end_ns <= whole.end_ns
                for name, span in spans.items()
                if name in ("ingest", "analysis", "report")
            )


def test_what_it_cost(both):
    _, iterations = of_arm(both, "program")
    for iteration in iterations:
        figures = {metric.name: metric.value for metric in iteration.metrics}
        assert figures["cpu_ms"] == pytest.approx(figures["cpu_user_ms"] + figures["cpu_system_ms"])
        assert figures["cpu_ms"] > 0
        assert figures["start_up_ms"] > 0
        assert figures["rss_max_bytes"] > 2**20
        assert {"ctx_switches_voluntary", "ctx_switches_involuntary"} <= set(figures)
    _, within = of_arm(both, "within")
    assert all(not iteration.metrics for iteration in within)


def test_when_it_woke_up(both):
    _, iterations = of_arm(both, "program")
    for iteration in iterations:
        figures = {metric.name: metric.value for metric in iteration.metrics}
        assert 0 < figures["wake_up_p50_us"] <= figures["wake_up_p99_us"]
        assert figures["wake_up_p99_us"] <= figures["wake_up_max_us"]
        assert iteration.data["wake_up"] == {"chunks": 12, "calls_left_out": 0}


def test_what_it_is_made_of_is_said_once_a_trial(both):
    _, iterations = of_arm(both, "program")
    told = [
        iteration.data["agent_about"] for iteration in iterations if "agent_about" in iteration.data
    ]
    assert [one["agent"]["language"] for one in told] == ["Python"]
    assert all(one.data["agents"]["agent"]["name"] == "python" for one in iterations)


def test_a_program_of_ones_own_without_a_tap():
    command = [sys.executable, "-S", "-E", str(HERE / "wrong.py")]
    raw = spec({"command": command, "unique_prefix": False})
    ran = run_in_memory(raw)
    assert ran.error is None
    assert [(c.status, c.stamp_source) for c in ran.calls] == [("ok", "agent")] * 2
    (iteration,) = ran.iterations
    assert iteration.data["agents"]["agent"]["events"] == [{"t": "x_mood", "good": True}]


def failed(options, **more):
    raw = spec(options, **more)
    ran = run_in_memory(raw)
    (iteration, *_) = ran.iterations
    return ran, iteration.error or str(ran.error)


def test_an_agent_that_fails_fails_the_iteration():
    command = [sys.executable, "-S", "-E", str(HERE / "wrong.py"), "chunks"]
    ran, error = failed({"command": command, "chunk_stamps": True})
    assert "agent agent: " in str(error)
    assert "(rule `chunks`)" in str(error)
    assert [call.status for call in ran.calls if call.phase == "measured"] == ["ok", "ok"]


def test_a_call_that_hangs_is_a_timeout_of_its_own():
    raw = spec({"prompt": "Hello", "timeout_s": 60, "call_timeout_s": 0.3})
    raw["backend"]["options"] |= {"ttft": 60_000}
    ran = run_in_memory(raw)
    (call,) = ran.calls
    assert (call.status, call.error.code) == ("timeout", "timeout")
    assert "its work failed: agent.0.prompt ended as timeout" in str(ran.iterations[0].error)


def test_one_that_did_other_work_fails_the_iteration():
    command = [sys.executable, "-S", "-E", str(HERE / "wrong.py"), "summary"]
    _, error = failed({"command": command})
    assert "its data summary is not that of the protocol" in str(error)


def test_a_stranger_is_known_by_the_tap_alone():
    raw = spec(
        {"command": [sys.executable, "-c", STRANGER, "{url}"], "speaks": "nothing"}, tap=True
    )
    ran = run_in_memory(raw)
    assert ran.error is None
    (call,) = ran.calls
    assert (call.status, call.stamp_source, call.reported) == ("ok", "tap", None)
    assert call.usage.output_tokens == 4
    (iteration,) = ran.iterations
    assert iteration.error is None
    assert {metric.name for metric in iteration.metrics} >= {"cpu_ms", "rss_max_bytes"}


def test_a_stranger_that_fails_says_why():
    code = "import sys; sys.exit('no idea what to do')"
    _, error = failed({"command": [sys.executable, "-c", code], "speaks": "nothing"}, tap=True)
    assert "exit status 1" in str(error)
    assert "no idea what to do" in str(error)


def test_one_that_leaves_no_file_is_told_so():
    options = {"command": [sys.executable, "-c", "pass", "{out}"], "speaks": "files"}
    _, error = failed(options, tap=True)
    assert "it left no metrics.json in the folder {out}" in str(error)


def test_one_that_writes_an_older_file_is_known_by_its_figures():
    file = HERE.parent / "data" / "legacy" / "multi-rust-v2" / "metrics.json"
    command = [sys.executable, "-c", WRITER, str(file), "{out}"]
    ran = run_in_memory(spec({"command": command, "speaks": "files"}, tap=True))
    assert ran.error is None
    (iteration,) = ran.iterations
    told = {m.name: (m.value, m.unit) for m in iteration.metrics if m.name.startswith("legacy.")}
    assert told["legacy.concurrent_wall_time_s"] == (8.1, "s")
    assert told["legacy.efficiency_percent"][1] == "%"
    assert told["legacy.concurrency_speedup"][1] == "1"
    assert told["legacy.collector_throughput"] == (80.0, "tok/s")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"speaks": "nothing"}, "is of a `command`"),
        ({"command": ["x"], "speaks": "nothing", "streams": 2}, "`streams` has no effect"),
        ({"command": [""]}, "`command` begins with the program"),
        ({"agent": "pyton"}, "there is no agent 'pyton'"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": 5, "call_timeout_s": 6}, "no call would meet it"),
    ],
)
def test_mistakes_are_named(options, what):
    raw = spec(options)
    try:
        ran = run_in_memory(raw)
    except SpecError as error:
        assert what in str(error)
    else:
        assert what in str(ran.error) + str([trial.error for trial in ran.trials])


def test_a_wrong_name_is_named_in_the_plan():
    with pytest.raises(SpecError) as refused:
        run_in_memory(spec({"agent": "pyton"}))
    assert refused.value.where == "$.scenario.options.agent"


def test_a_program_that_is_not_built_is_missed_before_anything_starts(monkeypatch, tmp_path):
    monkeypatch.setattr(rust, "target_folder", lambda: tmp_path)
    with pytest.raises(BackendError) as missed:
        run_in_memory(spec({"agent": "rust-smol"}))
    assert "harness agents build" in str(missed.value)


# ------------------------------------------------------------------------------------ the workload


def made(options=None, **more):
    options = options or WorkloadOptions()
    how = {"agent": "a", "seed": 7, "salt": "s", "corpus": None, **more}
    return workload(options, **how)


def test_no_two_prompts_begin_alike():
    prompts = {
        filled(step, stream, "", {}).messages[0].content.split("\n")[0]
        for salt in ("s", "t")
        for agent in ("a", "b")
        for step in made(agent=agent, salt=salt).steps
        for stream in (0, 1)
    }
    assert len(prompts) == 16
    assert len({len(prompt) for prompt in prompts}) == 1


def test_a_persona_is_a_system_message():
    (step, _) = made(persona="You are terse.").steps
    system, user = step.request.messages
    assert (system.role, user.role) == ("system", "user")
    assert system.content.endswith("\nYou are terse.")


def test_what_a_model_wrote_is_not_looked_at_again():
    _, report = made().steps
    told = filled(report, 0, "SUMMARY", {"analysis": "{{stream}} {{data_summary}} {{answer:x}}"})
    assert "{{stream}} {{data_summary}} {{answer:x}}" in told.messages[0].content
    assert told.messages[0].content.count("SUMMARY") == 1


def test_the_shipped_corpus_is_found_and_summarised():
    corpus = corpus_of(WorkloadOptions())
    assert [file.path for file in corpus.files] == sorted(file.path for file in corpus.files)
    assert {file.kind for file in corpus.files} == {"csv", "json", "md"}
    found = ingest(corpus.path, [(file.path, file.kind) for file in corpus.files])
    assert found.skipped == 0
    assert len(sha256(found.summary)) == 64


def test_a_prompt_of_ones_own_reads_no_corpus_unless_it_speaks_of_it():
    assert corpus_of(WorkloadOptions(prompt="Hello")) is None
    assert corpus_of(WorkloadOptions(prompt="{{data_summary}}")) is not None
    assert WorkloadOptions(prompt="Hello", streams=3).planned_calls() == 3


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ScenarioError, match="no CSV, JSON or Markdown file in it"):
        corpus_of(WorkloadOptions(corpus=str(tmp_path)))
    with pytest.raises(ScenarioError, match="there is no such folder"):
        corpus_of(WorkloadOptions(corpus=str(tmp_path / "gone")))


def test_prompts_that_no_cache_may_know_say_so_whoever_sends_them(both):
    for arm in ("program", "within"):
        assert {call.cold_prompt for call in of_arm(both, arm)[0]} == {True}


@pytest.mark.parametrize("program", ["/nowhere/agent", "no-such-agent-anywhere"])
def test_a_program_that_is_not_there_ends_the_run_before_it_has_measured(program):
    ran = run_in_memory(spec({"command": [program]}))
    assert str(ran.error).startswith(f"command: there is no program '{program}'")
    assert ran.calls == ran.iterations == []
