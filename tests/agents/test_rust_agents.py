"""The Rust agents: whatever runtime they run on, they do the same work and tell the same of it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading

import pytest
from harness_agents import rust

from harness.errors import BackendError
from tests.agents import vectors
from tests.agents.conversing import Replay, Talk, converse, job, stage, without_instants
from tests.sim.servers import inline_sim

BLIND = "rust-smol-1kb"
SIGHTED = [name for name in rust.RUNTIMES if name != BLIND]
DIALECTS = ("ollama", "openai")


@pytest.fixture(scope="module")
def programs():
    try:
        return {name: [rust.binary(name)] for name in rust.RUNTIMES}
    except BackendError as error:
        hint = "needs cargo: https://rustup.rs or apt-get install cargo, then harness agents build"
        pytest.skip(f"{error}; {hint}")


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Of a truth server whose answer is the same each time."""
    log = tmp_path_factory.mktemp("sim") / "log"
    with inline_sim(log, {"ttft": 2, "gap": 0.2, "output_tokens": 30}) as server:
        yield server.url


class InThread:
    """A replay server with an event loop of its own."""

    def __init__(self, cases, size, **how):
        self.server = Replay(cases, size, **how)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)

    def __enter__(self):
        self.thread.start()
        return self._await(self.server.__aenter__())

    def __exit__(self, *exc):
        self._await(self.server.__aexit__())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def _await(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)


def ends(events):
    return {e["call"]: e for e in events if e["t"] == "call_end"}


def blinded(plain):
    """What is told of the same work by a reader that accumulates."""
    told = []
    for event in plain:
        event = {k: v for k, v in event.items() if k not in ("chunk_ns", "reason")}
        if event["t"] in ("call_first_token", "call_last_token"):
            event["at_ns"] = None
        told.append(event)
    return told


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_vectors_by_all_of_them(programs, dialect):
    """Each stream of a job gets another vector."""
    cases = [case for case in vectors.STREAMS if case["dialect"] == dialect]
    told = {}
    with InThread(cases, size=7) as server:
        for name, command in programs.items():
            stages = [stage("s", "{{stream}}", dialect=dialect)]
            task = job(server.url, stages, dialect=dialect, streams=len(cases))
            status, events = converse(command, task)
            assert (status, events[-1]["status"]) == (1, "error"), name
            told[name] = without_instants(events)
        assert {name: len(plain) for name, plain in told.items()} == dict.fromkeys(
            programs, len(told["rust-tokio"])
        )
        assert server.bodies["a.3.s"]["messages"] == [{"role": "user", "content": "3"}]
    for number, case in enumerate(cases):
        end = ends(told["rust-tokio"])[f"a.{number}.s"]
        assert {k: end[k] for k in ("content_chunks", "text", "server")} == {
            k: case[k] for k in ("content_chunks", "text", "server")
        }, case["name"]
        wanted = "ok" if case["ended"] else "error" if case["error"] else "truncated"
        assert end["status"] == wanted, case["name"]
        said = end.get("error", {}).get("message", "")
        assert (case["error"] or "") in said, case["name"]
    for name in SIGHTED:
        assert told[name] == told["rust-tokio"], name
    assert blinded(told[BLIND]) == blinded(told["rust-tokio"])


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_truth_server_by_all_of_them(programs, url, dialect, tmp_path):
    """Two stages with a corpus; the second prompt holds the first answer."""
    case = next(one for one in vectors.SUMMARIES if one["name"] == "one of each")
    vectors.lay_out(case, tmp_path)
    stages = [
        stage("analysis", "{{data_summary}}", dialect=dialect),
        stage("report", "of {{answer:analysis}}", dialect=dialect),
    ]
    corpus = {"path": str(tmp_path), "files": case["listed"]}
    for name, command in programs.items():
        talk = Talk(*command)
        talk.begin(job(url, stages, dialect=dialect, corpus=corpus))
        status, events = talk.end()
        assert status == 0, events
        assert [event["t"] for event in events[:7]] == ["hello", *["clock"] * 5, "ready"]
        kinds = [event["t"] for event in events[7:]]
        call = ["call_sent", "call_first_token", "call_last_token", "call_end"]
        phase = ["phase_start", *call, "phase_end"]
        assert kinds == ["begin", "phase_start", "phase_end", *phase, *phase, "result"], name
        assert events[-1]["data"] == {"summary_sha256": case["sha256"]}
        instants = [e["at_ns"] for e in events[7:] if e["at_ns"] is not None]
        assert instants == sorted(instants)
        assert instants[0] >= talk.start_ns
        for end in ends(events).values():
            assert (end["status"], end["http_status"], end["content_chunks"]) == ("ok", 200, 30)
            assert len(end["text"].split()) == 30
            assert ("chunk_ns" in end) == (name in SIGHTED)


def test_a_reader_that_accumulates_says_why_it_knows_no_instants(programs, url):
    _, events = converse(programs[BLIND], job(url, [stage("s", "one")]))
    marks = [e for e in events if e["t"] in ("call_first_token", "call_last_token")]
    assert [mark["at_ns"] for mark in marks] == [None, None]
    assert all("1024 bytes" in mark["reason"] for mark in marks)


def test_many_streams_at_once(programs, url):
    for name, command in programs.items():
        status, events = converse(command, job(url, [stage("s", "{{stream}}")], streams=40))
        assert status == 0, name
        assert {end["status"] for end in ends(events).values()} == {"ok"}
        assert list(ends(events)) == [f"a.{n}.s" for n in range(40)]
        assert not [event for event in events if event["t"].startswith("phase")]


@pytest.mark.parametrize("closes", [False, True])
def test_a_connection_is_kept_for_as_long_as_the_server_keeps_it(programs, closes):
    stages = [stage(name, "0") for name in ("one", "two", "three")]
    fine = [case for case in vectors.STREAMS if case["name"] == "chat"]
    dialect = fine[0]["dialect"]
    for name, command in programs.items():
        with InThread(fine, size=1000, closes=closes) as server:
            status, _ = converse(command, job(server.url, stages, dialect=dialect))
            assert status == 0, name
            assert server.connections == (3 if closes else 1), name


@pytest.mark.parametrize("name", rust.RUNTIMES)
def test_every_rule_of_the_protocol_is_kept(programs, name):
    from harness_agents.checking import check

    found = asyncio.run(check([str(word) for word in programs[name]], answers=False))
    assert {one.rule: one.evidence for one in found if one.status != "kept"} == {}


def test_what_can_go_wrong_with_the_server(programs):
    """Nobody there; and silence."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        here = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with socket.create_server(("127.0.0.1", 0)) as closed:
            gone = f"http://127.0.0.1:{closed.getsockname()[1]}"
        for name, command in programs.items():
            for url, code, timeout_s in ((gone, "connect", 60.0), (here, "timeout", 0.1)):
                stages = [stage("s", "x", timeout_s=timeout_s), stage("never", "x")]
                exit_status, events = converse(command, job(url, stages))
                (end,) = ends(events).values()
                status = "error" if code == "connect" else "timeout"
                assert (end["status"], end["error"]["code"]) == (status, code), name
                assert (end["content_chunks"], end["http_status"]) == (0, None)
                assert (exit_status, events[-1]["status"]) == (1, "error")


def test_a_refusal_by_http_is_told_with_its_words(programs, url):
    for name, command in programs.items():
        _, events = converse(command, job(url, [stage("s", "x", path="/no/such/path")]))
        (end,) = ends(events).values()
        assert (end["status"], end["http_status"], end["error"]["code"]) == (
            "error",
            404,
            "http.404",
        ), name
        assert end["error"]["message"]


def test_interrupted_they_write_what_they_have(programs):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for name, command in programs.items():
            talk = Talk(*command)
            talk.begin(job(url, [stage("s", "x")], streams=3))
            connections = [silent.accept()[0] for _ in range(3)]
            for connection in connections:
                assert connection.recv(1)  # the request is under way
            talk.process.terminate()
            status, events = talk.end()
            for connection in connections:
                connection.close()
            assert [end["status"] for end in ends(events).values()] == ["cancelled"] * 3, name
            assert (status, events[-1]["t"], events[-1]["status"]) == (1, "result", "error")


@pytest.mark.parametrize("name", rust.RUNTIMES)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"protocol": 999}, "protocol 1, and not 999"),
        ({"endpoint": {"url": "https://127.0.0.1:1", "dialect": "openai"}}, "backend.tap"),
        ({"endpoint": {"url": "nonsense", "dialect": "openai"}}, "not an http url"),
        ({"stages": [{"name": "s"}]}, "missing field"),
    ],
)
def test_a_job_that_cannot_be_done_is_refused(programs, name, change, said):
    talk = Talk(*programs[name])
    talk.tell(job("http://127.0.0.1:1", [stage("s", "x")]) | change)
    status, events = talk.end()
    assert status == 1
    assert [event["t"] for event in events] == ["error"]
    assert said in events[-1]["message"]


@pytest.mark.parametrize("name", rust.RUNTIMES)
def test_what_a_binary_is_made_of(programs, name):
    about = rust.about(name)
    assert about["rustc"].startswith("rustc 1.")
    assert about["profile"] == "release"
    assert "lto=fat" in about["settings"]
    assert len(about["sha256"]) == 64
    versions = about["crates"]
    assert versions["hyper"].startswith("1.")
    locked = (rust.WORKSPACE / "Cargo.lock").read_text("utf-8")
    for crate, version in versions.items():
        assert f'name = "{crate}"\nversion = "{version}"' in locked
    assert ("historic" in json.dumps(about)) == (name == "rust-async-std")


@pytest.mark.real_model
def test_a_real_server_by_all_of_them(programs):
    """llama.cpp with the tiny model, which is greedy: the same answer for everybody."""
    from tests.plugins.llamacpp_kit import make

    body = {"messages": [{"role": "user", "content": ""}], "stream": True, "max_tokens": 8}
    body |= {"temperature": 0, "seed": 1, "stream_options": {"include_usage": True}}

    async def of_all():
        backend = make()
        await backend.open()
        try:
            origin = backend.urls[0].removesuffix("/v1")
            task = job(origin, [stage("s", "Compare.", body=body)])
            return {
                name: await asyncio.to_thread(converse, command, task)
                for name, command in programs.items()
            }
        finally:
            await backend.close()

    told = asyncio.run(of_all())
    counts = set()
    for name, (status, events) in told.items():
        assert status == 0, (name, events)
        (end,) = ends(events).values()
        assert end["server"]["usage"]["completion_tokens"] == 8
        assert end["server"]["finish_reason"] == "length"
        counts.add((end["text"], end["content_chunks"]))
    assert len(counts) == 1
