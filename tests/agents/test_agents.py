"""The agents that ship, in Python and in JavaScript: by every rule, every vector, and the truth
server, which knows when it sent what."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from harness_agents.agents import NodeAgent, PythonAgent, agent_named
from harness_agents.answers import Answer, reader_for
from harness_agents.checking import check
from harness_agents.ingest import ingest, sha256
from harness_agents.program import Program
from harness_agents.protocol import Endpoint, Job, Stage
from harness_agents.team import run_team
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import BackendError, SpecError
from harness.testing.sim.log import read_log
from tests.agents import vectors
from tests.sim.servers import inline_sim

ROOT = Path(__file__).resolve().parents[2]
AGENTS = {"python": PythonAgent, "node": NodeAgent}
PATHS = {"ollama": "/api/chat", "openai": "/v1/chat/completions"}
TOKENS = 12


@pytest.fixture(params=AGENTS)
def agent(request):
    if request.param == "node" and not (shutil.which("node") or shutil.which("nodejs")):
        pytest.skip("there is no node: install Node.js 18 or later (apt-get install nodejs)")
    return AGENTS[request.param]()


def test_it_keeps_every_rule(agent):
    """Also every stream of the vectors, in pieces of seven bytes, all at once."""
    found = asyncio.run(check(agent.command()))
    assert [(one.rule, one.evidence) for one in found if one.status != "kept"] == []


@pytest.mark.parametrize("dialect", PATHS)
def test_its_stamps_and_figures_are_true(agent, dialect, tmp_path):
    body = {"model": "sim", "messages": [{"role": "user", "content": ""}], "stream": True}
    bound = {"options": {"num_predict": TOKENS}} if dialect == "ollama" else {"max_tokens": TOKENS}
    usage = {} if dialect == "ollama" else {"stream_options": {"include_usage": True}}
    stage = Stage(
        name="only",
        path=PATHS[dialect],
        body=body | bound | usage,
        prompt_at=("messages", 0, "content"),
        prompt="one two {{stream}}",
        answer_chars_max=10,
        timeout_s=60,
    )
    with inline_sim(tmp_path / "log", {"ttft": 10, "gap": 3}) as server:
        job = Job(
            job_id="t",
            agent="a",
            model="sim",
            endpoint=Endpoint(url=server.url, dialect=dialect),
            stages=(stage,),
            streams=3,
            chunk_stamps=True,
            keep_text=True,
        )
        outcome = asyncio.run(_work(agent.command(), job))
    assert outcome.failure is None, outcome
    log = read_log(tmp_path / "log")
    serials = {request["request_id"]: serial for serial, request in log.requests.items()}
    assert {call.call for call in outcome.calls} == {"a.0.only", "a.1.only", "a.2.only"}
    for call in outcome.calls:
        request = log.requests[serials[call.call]]
        rows = log.rows[log.rows["serial"] == serials[call.call]]
        sent_ns = rows[rows["kind"] == 3]["before_ns"]
        seen_ns = np.frombuffer(call.reported.chunk_ns, "<i8")
        assert call.reported.content_chunks == len(seen_ns) == len(sent_ns) == TOKENS
        assert (seen_ns > sent_ns).all()
        assert call.reported.sent_ns < request["arrived_ns"]
        assert call.usage.output_tokens == TOKENS
        assert call.usage.prompt_tokens == 3
        assert len(call.text.split()) == TOKENS


async def _work(command, job):
    return (await run_team([Program(command, job, timeout_s=60)]))[0]


def test_what_they_are_made_of(agent):
    about = agent.about()
    assert about["language"] in ("Python", "JavaScript")
    assert len(about["sha256"]) == 64
    assert about["libraries"]


@given(st.sampled_from(vectors.STREAMS), st.lists(st.integers(1, 40), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_however_a_body_is_cut_the_reader_finds_the_same(case, sizes):
    body, at = vectors.body(case), 0
    answer = Answer(reader_for(case["dialect"]), 0)
    for number in range(len(body)):
        size = sizes[number % len(sizes)]
        if at < len(body):
            answer.feed(body[at : at + size], number)
        at += size
    answer.finish(1)
    assert answer.text == case["text"]
    assert len(answer.chunk_ns) == case["content_chunks"]
    wanted = "error" if case["error"] else "ok" if case["ended"] else "truncated"
    assert answer.status == wanted


@pytest.mark.parametrize("case", vectors.SUMMARIES, ids=vectors.name)
def test_the_summary_in_python(case, tmp_path):
    vectors.lay_out(case, tmp_path)
    listed = [(entry["path"], entry["kind"]) for entry in case["listed"]]
    assert ingest(str(tmp_path), listed).summary == case["summary"]


@pytest.mark.parametrize("case", vectors.SUMMARIES, ids=vectors.name)
def test_a_summary_by_oracle_and_by_digest(case):
    assert sha256(case["summary"]) == case["sha256"]


def test_the_summaries_by_every_agent(agent, tmp_path):
    """One job a case would be a process each: a corpus of all of them together will do, and each of
    those that differ most on its own."""
    chosen = (
        "CSV: CRLF, blank lines, no LF at the end",
        "JSON: what is not",
        "names of any script",
    )
    cases = [case for case in vectors.SUMMARIES if case["name"] in chosen]
    assert len(cases) == len(chosen)
    for number, case in enumerate(cases):
        folder = tmp_path / str(number)
        vectors.lay_out(case, folder)
        job = {
            "job_id": "t",
            "agent": "a",
            "model": "m",
            "endpoint": {"url": "http://127.0.0.1:9", "dialect": "ollama", "headers": []},
            "corpus": {"path": str(folder), "files": case["listed"]},
            "stages": [],
        }
        import msgspec

        outcome = asyncio.run(_work(agent.command(), msgspec.convert(job, Job)))
        assert outcome.failure is None
        assert outcome.data == {"summary_sha256": case["sha256"]}


def test_the_reference_agent_is_light():
    """It is started for every iteration: of the harness it needs next to nothing."""
    code = "import sys, harness_agents.python_agent; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    modules = set(done.stdout.split())
    assert "httpx" in modules
    assert not modules & {"numpy", "msgspec", "harness.engine", "harness.schema", "scipy"}


def test_agents_by_name():
    assert isinstance(agent_named("python"), PythonAgent)
    with pytest.raises(SpecError, match="there is no agent 'pyton'"):
        agent_named("pyton")


def test_without_node_one_is_told_how_to_get_it(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BackendError, match=r"there is no node \(try: install Node.js 18 or later"):
        NodeAgent().command()
