"""multi_agent with programs: the same start for all, and what becomes of those that fail."""

from __future__ import annotations

import sys
from itertools import pairwise

import pytest

from harness.errors import BackendError
from harness.testing import run_in_memory
from tests.sim.servers import inline_sim

PYTHON = [sys.executable, "-m", "harness_agents.python_agent"]
DIES = [sys.executable, "-c", "import sys; print('no luck', file=sys.stderr); sys.exit(3)"]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    log = tmp_path_factory.mktemp("sim") / "log"
    with inline_sim(log, {"ttft": 5, "gap": 1, "slots": 4}) as server:
        yield server.url


def run(url, agents, **options):
    return run_in_memory(
        {
            "backend": {"name": "ollama", "model": "sim:latest", "url": url, "tap": True},
            "scenario": {
                "name": "multi_agent",
                "options": {"agents": agents, "max_tokens": 4, **options},
            },
            "iterations": {"warmup": 0},
        }
    )


def test_programs_and_the_harness_itself_begin_at_one_instant(url):
    ran = run(url, [{"name": "one", "command": PYTHON}, {"name": "two", "command": PYTHON}, {}])
    assert ran.error is None, ran.error
    measured, solo = sorted(ran.iterations, key=lambda one: one.phase)
    assert (measured.status, solo.status) == ("ok", "ok"), (measured.error, solo.error)

    programs = {n: one["program"] for n, one in measured.data["agents"].items() if "program" in one}
    assert {*programs} == {"one", "two"}
    (start_ns,) = {one["start_ns"] for one in programs.values()}
    begun = {s.agent: s.start_ns for s in measured.spans if s.name == "agent"}
    assert {*begun} == {"one", "two", "agent3"}
    assert all(start_ns <= at_ns for at_ns in begun.values()), "nobody is early"

    order = sorted((s.start_ns, s.end_ns) for s in solo.spans if s.name == "agent")
    assert all(one[1] < two[0] for one, two in pairwise(order))

    assert len(ran.calls) == 12
    for call in ran.calls:
        outside = call.agent != "agent3"
        assert (call.stamp_source == "tap") is outside
        assert (call.reported is not None) is outside
    names = {one.name for one in measured.metrics}
    assert {"one_cpu_ms", "two_start_up_ms", "one_ttft_ms", "agent3_throughput_tok_s"} <= names
    assert "agent3_cpu_ms" not in names
    assert measured.data["form"] == "agents"
    about = {*ran.iterations[0].data["agent_about"]}
    assert about == {"one", "two"} and "agent_about" not in ran.iterations[1].data


def test_two_programs_do_the_same_work_as_the_harness_itself(url):
    ran = run(url, [{"name": "program", "command": PYTHON}, {"name": "inside"}])
    bodies = {}
    for call in ran.calls:
        bodies.setdefault((call.phase, call.stage), {})[call.agent] = call
    assert len(bodies) == 4
    for (_, stage), of in bodies.items():
        assert of["program"].max_tokens == of["inside"].max_tokens == 4
        if stage == "analysis":  # the report's prompt has the analysis in it, which differs
            assert of["program"].prompt_chars == of["inside"].prompt_chars


def test_one_that_dies_before_it_is_ready_keeps_all_from_starting(url):
    ran = run(url, [{"name": "good", "command": PYTHON}, {"name": "bad", "command": DIES}])
    by_phase = {one.phase: one for one in ran.iterations}
    error = by_phase["measured"].error.message
    assert error.startswith("agent bad: ") and "no luck" in error and "status 3" in error
    assert by_phase["measured"].status == "error"
    assert not [s for s in by_phase["measured"].spans if s.name == "agent"]
    assert [c.status for c in ran.calls if c.phase == "measured"] == ["not_sent"] * 4
    stderr = [text for path, text in ran.artifacts.items() if path.endswith("bad.m0.stderr.txt")]
    assert stderr and "no luck" in stderr[0]


def test_a_program_that_is_not_there_is_said_before_any_call(url):
    ran = run(url, [{"command": ["/nowhere/agent"]}, {}])
    assert not [c for c in ran.calls if c.status != "not_sent"]
    said = str(ran.error) if ran.error else ran.iterations[0].error.message
    assert "/nowhere/agent" in said
    assert isinstance(ran.error, BackendError | None)


def test_an_agent_that_is_not_built_is_said_with_the_command_that_builds_it(url, monkeypatch):
    def missing(name):
        raise BackendError("is not built", where=f"agent {name}", remedy="harness agents build")

    monkeypatch.setattr("harness_agents.rust.binary", missing)
    with pytest.raises(BackendError) as missed:
        run(url, 2, agent="rust-smol")
    assert str(missed.value) == "agent rust-smol: is not built (try: harness agents build)"
